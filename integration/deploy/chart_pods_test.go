package deploy_test

import (
	"encoding/base64"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// secretValue is what a key of the chart's Secret may hold.
func secretValue(t *testing.T, key string) string {
	t.Helper()
	switch {
	case strings.HasSuffix(key, ".nk"):
		return read(t, secrets(t), key)
	case strings.HasSuffix(key, "-postgres"):
		service := strings.TrimSuffix(key, "-postgres")
		return "postgres://" + service + ":secret@db.postgres:5432/" + service + "?sslmode=verify-full"
	case strings.HasSuffix(key, "-seal-key"):
		return base64.StdEncoding.EncodeToString(make([]byte, 32))
	case key == "mail-url":
		return "smtps://user:secret@mail.example.com:465"
	case key == "analytics-clickhouse":
		return "clickhouse://analytics:secret@clickhouse.clickhouse:9440/analytics?secure=true"
	}
	require.Fail(t, "README.md lists no such key", key)
	return ""
}

// environment resolves a container's environment: secrets by their keys, fields, and paths of mounted secrets.
func environment(t *testing.T, o *object, c podContainer) map[string]string {
	t.Helper()
	dir := t.TempDir()
	env := maps.Clone(dockerfileOf(t, c.Name).env(t))
	for _, v := range c.Env {
		_, twice := env[v.Name]
		require.False(t, twice && dockerfileOf(t, c.Name).env(t)[v.Name] == "", "%s is set twice", v.Name)
		value := v.Value
		switch {
		case v.ValueFrom.SecretKeyRef.Key != "":
			value = secretValue(t, v.ValueFrom.SecretKeyRef.Key)
			require.NotEmpty(t, v.ValueFrom.SecretKeyRef.Name)
		case v.ValueFrom.FieldRef.FieldPath != "":
			require.Equal(t, "metadata.name", v.ValueFrom.FieldRef.FieldPath)
			value = o.Metadata.Name + "-0"
		}
		env[v.Name] = value
	}
	for _, volume := range o.Spec.Template.Spec.Volumes {
		for _, item := range volume.Secret.Items {
			mounted := write(t, secretValue(t, item.Key), dir, volume.Name, item.Path)
			for _, mount := range c.VolumeMounts {
				if mount.Name == volume.Name {
					require.True(t, mount.ReadOnly)
					for name, value := range env {
						if value == filepath.Join(mount.MountPath, item.Path) {
							env[name] = mounted
						}
					}
				}
			}
		}
	}
	return env
}

// TestChartServicesAreConfigured: each service accepts the environment and arguments of its container.
func TestChartServicesAreConfigured(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(t *testing.T, objects []*object) {
		for _, o := range workloads(objects) {
			require.Len(t, o.Spec.Template.Spec.Containers, 1)
			c := o.Spec.Template.Spec.Containers[0]
			env := environment(t, o, c)
			require.NotEqual(t, "/etc/tollgate/nats/user.nk", env["TOLLGATE_NATS_CREDENTIALS"], "the seed is mounted where it is looked for")
			requireKnown(t, c.Name, keys(env))
			requireValid(t, c.Name, env, c.Args...)
		}
	})
}

// TestChartGatewayNames: the longest name of a release leaves room for the number of the pod.
func TestChartGatewayNames(t *testing.T) {
	t.Parallel()
	objects := render(t, "default", "--set", "fullnameOverride="+strings.Repeat("x", 60))
	for _, o := range ofKind(objects, "StatefulSet") {
		env := environment(t, o, o.Spec.Template.Spec.Containers[0])
		env["TOLLGATE_GATEWAY_NAME"] = o.Metadata.Name + "-999"
		requireValid(t, "gateway", env)
	}
}

// TestChartSelectors: what selects pods selects those of one workload, or with the default policy all.
func TestChartSelectors(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(t *testing.T, objects []*object) {
		selected := func(labels map[string]string) []string {
			var names []string
			for _, w := range workloads(objects) {
				if matches(labels, w.Spec.Template.Metadata.Labels) {
					names = append(names, w.Metadata.Name)
				}
			}
			return names
		}
		for _, o := range workloads(objects) {
			require.Equal(t, []string{o.Metadata.Name}, selected(o.matchLabels(t)))
		}
		budgets := ofKind(objects, "PodDisruptionBudget")
		require.Len(t, budgets, len(services))
		for _, o := range budgets {
			require.Equal(t, []string{o.Metadata.Name}, selected(o.matchLabels(t)))
		}
		for _, o := range ofKind(objects, "Service") {
			require.Equal(t, []string{"tollgate-gateway"}, selected(o.matchLabels(t)))
			ports := portNames(ofNamed(objects, "tollgate-gateway"))
			for _, p := range o.Spec.Ports {
				require.Contains(t, ports, p.TargetPort, o.Metadata.Name)
			}
		}
		for _, o := range ofKind(objects, "PodMonitor") {
			require.Len(t, selected(o.matchLabels(t)), len(services))
			for _, w := range workloads(objects) {
				require.Contains(t, portNames(w), o.Spec.PodMetricsEndpoints[0].Port)
			}
		}
		for _, o := range ofKind(objects, "HorizontalPodAutoscaler") {
			target := ofNamed(objects, o.Spec.ScaleTargetRef.Name)
			require.Equal(t, o.Spec.ScaleTargetRef.Kind, target.Kind)
			require.Nil(t, target.Spec.Replicas, "an upgrade must not undo what the autoscaler did")
		}
		for _, o := range ofKind(objects, "StatefulSet") {
			require.True(t, slices.ContainsFunc(objects, func(s *object) bool { return s.Kind == "Service" && s.Metadata.Name == o.Spec.ServiceName }))
		}
	})
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// ofNamed returns the workload of a name.
func ofNamed(objects []*object, name string) *object {
	for _, o := range workloads(objects) {
		if o.Metadata.Name == name {
			return o
		}
	}
	return &object{}
}

func portNames(o *object) []string {
	var names []string
	for _, p := range o.Spec.Template.Spec.Containers[0].Ports {
		names = append(names, p.Name)
	}
	return names
}

// TestChartProbesAndPorts: the ports are those that the process listens on, and the probes ask what the process answers.
func TestChartProbesAndPorts(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(t *testing.T, objects []*object) {
		for _, o := range workloads(objects) {
			c := o.Spec.Template.Spec.Containers[0]
			env := environment(t, o, c)
			listens := map[string]string{"admin": "TOLLGATE_LISTEN"}
			if c.Name == "gateway" {
				listens = map[string]string{"http": "TOLLGATE_GATEWAY_LISTEN", "admin": "TOLLGATE_ADMIN_LISTEN"}
			}
			require.Len(t, c.Ports, len(listens))
			for _, p := range c.Ports {
				require.Equal(t, "0.0.0.0:"+strconv.Itoa(p.ContainerPort), env[listens[p.Name]], c.Name)
			}
			for path, p := range map[string][]probe{"/healthz": {c.StartupProbe, c.LivenessProbe}, "/readyz": {c.ReadinessProbe}} {
				for _, one := range p {
					require.Equal(t, path, one.HTTPGet.Path, c.Name)
					require.Equal(t, "admin", one.HTTPGet.Port, c.Name)
				}
			}
			for _, mount := range c.VolumeMounts {
				require.True(t, o.hasVolume(mount.Name), "%s mounts %s", c.Name, mount.Name)
			}
		}
	})
}

func (o *object) hasVolume(name string) bool {
	for _, v := range o.Spec.Template.Spec.Volumes {
		if v.Name == name {
			return true
		}
	}
	for _, v := range o.Spec.VolumeClaimTemplates {
		if v.Metadata.Name == name {
			return true
		}
	}
	return false
}

// TestChartPodsAreRestricted: as the Pod Security Standard "restricted" has it, and beyond.
func TestChartPodsAreRestricted(t *testing.T) {
	t.Parallel()
	eachInstallation(t, func(t *testing.T, objects []*object) {
		accounts := ofKind(objects, "ServiceAccount")
		for _, o := range workloads(objects) {
			pod := o.Spec.Template.Spec
			require.NotNil(t, pod.AutomountServiceAccountToken)
			require.False(t, *pod.AutomountServiceAccountToken)
			require.True(t, slices.ContainsFunc(accounts, func(a *object) bool { return a.Metadata.Name == pod.ServiceAccountName }))
			require.Equal(t, true, pod.SecurityContext["runAsNonRoot"])
			require.Equal(t, 65532, pod.SecurityContext["runAsUser"], "as in the image")
			require.Equal(t, map[string]any{"type": "RuntimeDefault"}, pod.SecurityContext["seccompProfile"])
			c := pod.Containers[0]
			require.Equal(t, map[string]any{
				"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}},
			}, c.SecurityContext)
			require.NotEmpty(t, c.Resources.Requests["cpu"])
			require.NotEmpty(t, c.Resources.Requests["memory"])
			require.NotEmpty(t, c.Resources.Limits["memory"])
			require.NotContains(t, []string{"", "latest"}, tag(c.Image))
		}
	})
}

// TestChartNetworkPolicies: nothing is open that need not be, and what a service needs is.
func TestChartNetworkPolicies(t *testing.T) {
	t.Parallel()
	for values, open := range map[string]bool{"default": true, "ha": false} {
		objects := render(t, values)
		policies := map[string]*object{}
		for _, o := range ofKind(objects, "NetworkPolicy") {
			policies[strings.TrimPrefix(o.Metadata.Name, "tollgate-")] = o
			require.Equal(t, []string{"Ingress", "Egress"}, o.Spec.PolicyTypes)
		}
		require.Len(t, policies, len(services)+1)
		require.Empty(t, policies["default"].Spec.Ingress)
		require.Empty(t, policies["default"].Spec.Egress)
		for _, w := range workloads(objects) {
			require.True(t, matches(policies["default"].Spec.PodSelector.MatchLabels, w.Spec.Template.Metadata.Labels))
			c := w.Spec.Template.Spec.Containers[0]
			own := policies[c.Name]
			require.True(t, matches(own.Spec.PodSelector.MatchLabels, w.Spec.Template.Metadata.Labels))
			for _, in := range own.Spec.Ingress {
				for _, p := range in.Ports {
					require.Contains(t, portNames(w), p.Port)
					require.True(t, open && p.Port == "http" || len(in.From) > 0, "%s is open to all", p.Port)
				}
			}
			require.Equal(t, c.Name != "gateway", reaches(own, "5432"), c.Name)
			require.Equal(t, c.Name == "analytics", reaches(own, "9440"), c.Name)
			require.True(t, reaches(own, "4222") && reaches(own, "53"), c.Name)
		}
	}
	require.Empty(t, ofKind(render(t, "minimal"), "NetworkPolicy"))
}

// reaches says whether a policy names a port on the way out.
func reaches(o *object, port string) bool {
	return slices.ContainsFunc(o.Spec.Egress, func(r rule) bool {
		return slices.ContainsFunc(r.Ports, func(p struct{ Port string }) bool { return p.Port == port })
	})
}
