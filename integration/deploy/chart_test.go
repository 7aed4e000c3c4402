package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/integration/harness"
)

var helmTool struct {
	once sync.Once
	path string
	err  error
}

// helm runs the pinned Helm, which is built once.
func helm(tb testing.TB, args ...string) (output string, err error) {
	tb.Helper()
	helmTool.once.Do(func() {
		checkout, err := harness.Root()
		if err != nil {
			helmTool.err = err
			return
		}
		helmTool.path = filepath.Join(checkout, ".tools", "helm")
		cmd := exec.CommandContext(context.Background(), "go", "build", "-o", helmTool.path, "helm.sh/helm/v4/cmd/helm")
		cmd.Dir, cmd.Env = filepath.Join(checkout, "scripts", "tools", "helm"), append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			helmTool.err = fmt.Errorf("build helm: %w\n%s", err, out)
		}
	})
	require.NoError(tb, helmTool.err)
	home := tb.TempDir()
	return run(tb, []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}, helmTool.path, args...)
}

func chart(tb testing.TB) string { return filepath.Join(root(tb), "deploy", "helm", "tollgate") }

// valuesFiles are the ways of installing the chart that it is tested with.
var valuesFiles = []string{"default", "minimal", "ha"}

// object is a Kubernetes object, as far as it is looked into.
type object struct {
	APIVersion string
	Kind       string
	Metadata   struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		Replicas    *int
		ServiceName string `yaml:"serviceName"`
		Selector    yaml.Node
		PodSelector selector `yaml:"podSelector"`
		Ports       []struct {
			TargetPort string `yaml:"targetPort"`
		}
		ScaleTargetRef struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		Template       struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
		PolicyTypes          []string `yaml:"policyTypes"`
		Ingress, Egress      []rule
		VolumeClaimTemplates []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
		PodMetricsEndpoints  []struct{ Port string }                    `yaml:"podMetricsEndpoints"`
	}
	raw map[string]any
}

type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type rule struct {
	Ports    []struct{ Port string }
	From, To []map[string]any
}

type podSpec struct {
	ServiceAccountName           string         `yaml:"serviceAccountName"`
	AutomountServiceAccountToken *bool          `yaml:"automountServiceAccountToken"`
	SecurityContext              map[string]any `yaml:"securityContext"`
	Containers                   []podContainer
	Volumes                      []struct {
		Name   string
		Secret struct {
			SecretName string `yaml:"secretName"`
			Items      []struct{ Key, Path string }
		}
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

type podContainer struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Env []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
			FieldRef     struct {
				FieldPath string `yaml:"fieldPath"`
			} `yaml:"fieldRef"`
		} `yaml:"valueFrom"`
	}
	StartupProbe    probe `yaml:"startupProbe"`
	LivenessProbe   probe `yaml:"livenessProbe"`
	ReadinessProbe  probe `yaml:"readinessProbe"`
	Resources       struct{ Requests, Limits map[string]string }
	SecurityContext map[string]any `yaml:"securityContext"`
	VolumeMounts    []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

// matchLabels returns what a selector selects, in either of its forms.
func (o *object) matchLabels(tb testing.TB) map[string]string {
	tb.Helper()
	var nested selector
	require.NoError(tb, o.Spec.Selector.Decode(&nested))
	if nested.MatchLabels != nil {
		return nested.MatchLabels
	}
	var flat map[string]string
	require.NoError(tb, o.Spec.Selector.Decode(&flat))
	return flat
}

// rendered is what Helm made of a file of values.
var rendered = struct {
	sync.Mutex
	output map[string]string
}{output: map[string]string{}}

func template(tb testing.TB, values string, args ...string) string {
	tb.Helper()
	rendered.Lock()
	defer rendered.Unlock()
	key := strings.Join(append(args, values), " ")
	if out, ok := rendered.output[key]; ok {
		return out
	}
	path := filepath.Join(chart(tb), "ci", values+"-values.yaml")
	out, err := helm(tb, append([]string{"template", "tollgate", chart(tb), "--namespace", "tollgate", "--kube-version", kubernetes, "-f", path}, args...)...)
	require.NoError(tb, err, out)
	rendered.output[key] = out
	return out
}

// render returns the objects that an installation named tollgate has.
func render(tb testing.TB, values string, args ...string) []*object {
	tb.Helper()
	out := template(tb, values, args...)
	var objects []*object
	decoder := yaml.NewDecoder(strings.NewReader(out))
	for {
		var node yaml.Node
		if err := decoder.Decode(&node); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			require.NoError(tb, err, out)
		}
		o := &object{}
		require.NoError(tb, node.Decode(o))
		require.NoError(tb, node.Decode(&o.raw))
		if o.Kind != "" {
			objects = append(objects, o)
		}
	}
}

func ofKind(objects []*object, kinds ...string) []*object {
	return slices.DeleteFunc(slices.Clone(objects), func(o *object) bool { return !slices.Contains(kinds, o.Kind) })
}

func workloads(objects []*object) []*object { return ofKind(objects, "Deployment", "StatefulSet") }

func eachInstallation(t *testing.T, check func(t *testing.T, objects []*object)) {
	t.Helper()
	for _, values := range valuesFiles {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			check(t, render(t, values))
		})
	}
}

func TestChartLint(t *testing.T) {
	t.Parallel()
	for _, values := range valuesFiles {
		out, err := helm(t, "lint", "--strict", chart(t), "-f", filepath.Join(chart(t), "ci", values+"-values.yaml"))
		require.NoError(t, err, out)
	}
}

// TestChartRefusesWrongValues: with words that say what would be right.
func TestChartRefusesWrongValues(t *testing.T) {
	t.Parallel()
	base := []string{"template", "tollgate", chart(t)}
	given := []string{"--set", "nats.url=nats://nats:4222", "--set", "secrets.existing=tollgate"}
	for want, args := range map[string][]string{
		"nats.url: name the servers":     {"--set", "secrets.existing=tollgate"},
		"secrets.existing, or":           {"--set", "nats.url=nats://nats:4222"},
		"/nats/url":                      append(slices.Clone(given), "--set", "nats.url=http://nats"),
		"/gateway/journal/mode":          append(slices.Clone(given), "--set", "gateway.journal.mode=fast"),
		"/catalog":                       append(slices.Clone(given), "--set", "catalog.replica=3"),
		"/defaults/replicas":             append(slices.Clone(given), "--set", "defaults.replicas=0"),
		"additional properties 'gatway'": append(slices.Clone(given), "--set", "gatway.replicas=3"),
	} {
		out, err := helm(t, append(slices.Clone(base), args...)...)
		require.Error(t, err, want)
		require.Contains(t, out, want)
	}
}

// TestChartObjectsAreValid against the schemas of Kubernetes.
func TestChartObjectsAreValid(t *testing.T) {
	t.Parallel()
	s := newSchemas(t)
	for _, values := range valuesFiles {
		names := map[string]bool{}
		for _, o := range render(t, values) {
			identity := o.Kind + " " + o.Metadata.Name
			require.False(t, names[identity], "%s is there twice", identity)
			names[identity] = true
			if o.Kind == "PodMonitor" { // of the Prometheus operator, not of Kubernetes
				continue
			}
			require.NoError(t, s.check(normal(o.raw)), "%s: %s", values, identity)
		}
		require.Len(t, workloads(render(t, values)), len(services))
	}
}

// normal gives numbers the type that the schema's library expects.
func normal(value map[string]any) map[string]any {
	copied := maps.Clone(value)
	for k, v := range copied {
		copied[k] = normalValue(v)
	}
	return copied
}

func normalValue(value any) any {
	switch v := value.(type) {
	case map[string]any:
		return normal(v)
	case []any:
		copied := slices.Clone(v)
		for i := range copied {
			copied[i] = normalValue(copied[i])
		}
		return copied
	case int:
		return float64(v)
	}
	return value
}
