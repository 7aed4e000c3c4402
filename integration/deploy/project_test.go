package deploy_test

import (
	"maps"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

// loadProject loads docker-compose.yml as Compose does, which checks it against the schema. environment is one file of the kind that
// --env-file names; "" for none.
func loadProject(tb testing.TB, secrets, environment string) *types.Project {
	tb.Helper()
	checkout := root(tb)
	options := []cli.ProjectOptionsFn{
		cli.WithWorkingDirectory(checkout), cli.WithEnv([]string{"TOLLGATE_SECRETS=" + secrets}), cli.WithResolvedPaths(true),
	}
	if environment != "" {
		options = append(options, cli.WithEnvFiles(filepath.Join(checkout, environment)), cli.WithDotEnv, cli.WithDefaultProfiles())
	}
	project, err := cli.NewProjectOptions([]string{filepath.Join(checkout, "docker-compose.yml")}, options...)
	require.NoError(tb, err)
	loaded, err := project.LoadProject(tb.Context())
	require.NoError(tb, err)
	return loaded
}

// container is a service of the project with its mounts resolved to files of this machine.
type container struct {
	types.ServiceConfig
	tb testing.TB
	// files maps paths in the container to paths here.
	files map[string]string
}

func containerOf(tb testing.TB, project *types.Project, name string) *container {
	tb.Helper()
	service, err := project.GetService(name)
	require.NoError(tb, err)
	c := &container{ServiceConfig: service, tb: tb, files: map[string]string{}}
	for _, secret := range service.Secrets {
		source, ok := project.Secrets[secret.Source]
		require.True(tb, ok, "%s: no secret %s", name, secret.Source)
		target := secret.Target
		if target == "" {
			target = secret.Source
		}
		if !path.IsAbs(target) {
			target = path.Join("/run/secrets", target)
		}
		c.files[target] = source.File
	}
	for _, volume := range service.Volumes {
		if volume.Type == types.VolumeTypeBind {
			c.files[volume.Target] = volume.Source
		}
	}
	return c
}

// here returns the path on this machine of a path in the container, and false when nothing is mounted there.
func (c *container) here(target string) (string, bool) {
	for mounted, source := range c.files {
		if rest, ok := strings.CutPrefix(target, mounted); ok && (rest == "" || rest[0] == '/') {
			return filepath.Join(source, rest), true
		}
	}
	return "", false
}

// resolve replaces the paths of what is mounted by those of this machine.
func (c *container) resolve(value string) string {
	if source, ok := c.here(value); ok {
		return source
	}
	return value
}

// process returns the environment and the arguments of the container's process, those of its image included.
func (c *container) process() (map[string]string, []string) {
	c.tb.Helper()
	env := maps.Clone(dockerfileOf(c.tb, c.Name).env(c.tb))
	for name, value := range c.Environment {
		require.NotNil(c.tb, value, "%s takes %s from whoever calls Compose", c.Name, name)
		env[name] = c.resolve(*value)
	}
	var args []string
	for _, argument := range c.Command {
		args = append(args, c.resolve(argument))
	}
	return env, args
}
