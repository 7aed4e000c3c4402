package deploy_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// environments that the project is documented to be started with.
var environments = map[string]string{"one NATS server": "", "three NATS servers": "deploy/compose/cluster.env"}

func eachEnvironment(t *testing.T, check func(t *testing.T, project *types.Project)) {
	t.Helper()
	dir := secrets(t)
	for name, file := range environments {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, loadProject(t, dir, file))
		})
	}
}

func TestComposeStartsAService(t *testing.T) {
	t.Parallel()
	engines := []string{"clickhouse", "grafana", "nats", "postgres"}
	names := func(environment string) []string {
		all := loadProject(t, secrets(t), environment).ServiceNames()
		slices.Sort(all)
		return all
	}
	require.ElementsMatch(t, append(slices.Clone(services), engines...), names(""))
	require.ElementsMatch(t, append(slices.Clone(services), append(engines, "nats-2", "nats-3")...), names("deploy/compose/cluster.env"))
}

func TestComposeMountsWhatIsThere(t *testing.T) {
	t.Parallel()
	eachEnvironment(t, func(t *testing.T, project *types.Project) {
		used := map[string]bool{}
		for _, name := range project.ServiceNames() {
			c := containerOf(t, project, name)
			for target, source := range c.files {
				_, err := os.Stat(source)
				require.NoError(t, err, "%s mounts it at %s", name, target)
			}
			for _, s := range c.Secrets {
				used[s.Source] = true
			}
			for _, v := range c.Volumes {
				if v.Type == types.VolumeTypeBind {
					require.True(t, v.ReadOnly, "%s: %s is mounted writable", name, v.Source)
				}
			}
			if c.Build != nil {
				require.FileExists(t, filepath.Join(c.Build.Context, c.Build.Dockerfile))
				require.Equal(t, root(t), c.Build.Context)
			}
		}
		for name := range project.Secrets {
			require.True(t, used[name], "nobody uses the secret %s", name)
		}
	})
}

// TestComposeSecrets: the script keeps what is there, its files can be read by the containers' users and its folder cannot.
func TestComposeSecrets(t *testing.T) {
	t.Parallel()
	dir := makeSecrets(t)
	before := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o444), info.Mode().Perm(), e.Name())
		before[e.Name()] = read(t, dir, e.Name())
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	out, err := run(t, os.Environ(), filepath.Join(root(t), "deploy", "compose", "secrets.sh"), dir)
	require.NoError(t, err, out)
	for name, content := range before {
		require.Equal(t, content, read(t, dir, name), name)
	}
	require.NotEqual(t, before["postgres-password"], read(t, secrets(t), "postgres-password"), "drawn by lot")
	require.Contains(t, read(t, root(t), "deploy", "compose", ".gitignore"), "/secrets/")
}

// TestComposeServicesAreConfigured: each service accepts exactly the environment, arguments and secrets that its container has, and
// reads every variable that it is given.
func TestComposeServicesAreConfigured(t *testing.T) {
	t.Parallel()
	eachEnvironment(t, func(t *testing.T, project *types.Project) {
		for _, name := range services {
			c := containerOf(t, project, name)
			env, args := c.process()
			requireKnown(t, name, keys(env))
			requireValid(t, name, env, args...)
			requireReadableSettings(t, c)
		}
	})
}

// requireReadableSettings checks the file that --config names: the library passes over keys that it does not know.
func requireReadableSettings(t *testing.T, c *container) {
	t.Helper()
	settings, ok := c.here("/run/secrets/config")
	if !ok {
		return
	}
	var values map[string]string
	require.NoError(t, yaml.Unmarshal([]byte(read(t, settings)), &values))
	require.NotEmpty(t, values)
	options := help(t, c.Name)
	for key := range values {
		require.Contains(t, options, "--"+key+"=", c.Name)
	}
}

// TestComposeHealth: who is waited for says when it is healthy, with a program that its image has.
func TestComposeHealth(t *testing.T) {
	t.Parallel()
	eachEnvironment(t, func(t *testing.T, project *types.Project) {
		for _, name := range project.ServiceNames() {
			service, err := project.GetService(name)
			require.NoError(t, err)
			require.NotNil(t, service.HealthCheck, name)
			for dependency, condition := range service.DependsOn {
				require.Equal(t, types.ServiceConditionHealthy, condition.Condition, "%s on %s", name, dependency)
			}
			if slices.Contains(services, name) {
				require.Equal(t, types.HealthCheckTest{"CMD", dockerfileOf(t, name).entrypoint(t), "--healthcheck"}, service.HealthCheck.Test)
			}
		}
	})
}

// TestComposeKeepsToItself: published on loopback only, unprivileged, on networks of their own, without a password in sight.
func TestComposeKeepsToItself(t *testing.T) {
	t.Parallel()
	eachEnvironment(t, func(t *testing.T, project *types.Project) {
		require.True(t, project.Networks["engines"].Internal)
		for _, name := range project.ServiceNames() {
			c := containerOf(t, project, name)
			require.NotContains(t, []string{"", "latest"}, tag(c.Image), name)
			require.Contains(t, c.SecurityOpt, "no-new-privileges:true", name)
			require.Contains(t, c.Networks, "engines", name)
			for _, port := range c.Ports {
				require.Equal(t, "127.0.0.1", port.HostIP, name)
			}
			for variable := range c.Environment {
				secret := strings.Contains(variable, "PASSWORD") || strings.Contains(variable, "SECRET") || strings.Contains(variable, "KEY")
				require.False(t, secret && !strings.HasSuffix(variable, "_FILE"), "%s: %s is for docker inspect to see", name, variable)
			}
			if slices.Contains(services, name) {
				require.True(t, c.ReadOnly, name)
				require.Equal(t, []string{"ALL"}, c.CapDrop, name)
				require.Empty(t, c.User, "the image's own")
			}
		}
	})
}

// TestComposePorts: what is published is what the process listens on.
func TestComposePorts(t *testing.T) {
	t.Parallel()
	project := loadProject(t, secrets(t), "")
	for _, name := range services {
		c := containerOf(t, project, name)
		env, _ := c.process()
		listens := map[string]bool{}
		for _, variable := range []string{"TOLLGATE_LISTEN", "TOLLGATE_GATEWAY_LISTEN", "TOLLGATE_ADMIN_LISTEN"} {
			if address, ok := env[variable]; ok {
				host, port, err := net.SplitHostPort(address)
				require.NoError(t, err)
				require.Equal(t, "0.0.0.0", host, "other containers reach it")
				listens[port] = true
			}
		}
		for _, port := range dockerfileOf(t, name).exposed(t) {
			require.True(t, listens[port], "%s exposes %s", name, port)
		}
		for _, port := range c.Ports {
			require.True(t, listens[strconv.Itoa(int(port.Target))], "%s publishes %d", name, port.Target)
		}
	}
}

func tag(image string) string {
	_, after, _ := strings.Cut(image, ":")
	return after
}

func keys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}
