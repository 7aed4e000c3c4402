package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// kubernetes is the version of the API whose schemas are used: the lowest that the chart says it runs on.
const kubernetes = "1.30"

// schemas checks objects against the schemas that Kubernetes publishes, as strictly as kubectl does with --validate=strict: fields that
// are not in the schema are errors.
type schemas struct {
	tb       testing.TB
	dir      string
	compiler *jsonschema.Compiler
	loaded   map[string]map[string]string // by group and version: the name of a schema by kind
}

func newSchemas(tb testing.TB) *schemas {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "go", "mod", "download", "-json", "sigs.k8s.io/kubectl-validate")
	cmd.Dir, cmd.Env = filepath.Join(root(tb), "scripts", "tools", "kubernetes"), append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	out, err := cmd.Output()
	require.NoError(tb, err, string(out))
	var module struct{ Dir string }
	require.NoError(tb, json.Unmarshal(out, &module))
	return &schemas{
		tb: tb, dir: filepath.Join(module.Dir, "pkg", "openapiclient", "builtins", kubernetes),
		compiler: jsonschema.NewCompiler(), loaded: map[string]map[string]string{},
	}
}

// check returns what is wrong with an object.
func (s *schemas) check(object map[string]any) error {
	s.tb.Helper()
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	kinds := s.load(version)
	require.Contains(s.tb, kinds, kind, "%s has no %s", version, kind)
	schema, err := s.compiler.Compile(resource(version) + "#/components/schemas/" + kinds[kind])
	require.NoError(s.tb, err)
	return schema.Validate(object)
}

func resource(version string) string { return "https://kubernetes.example/" + version }

// load reads the schemas of a group and version, and makes them strict.
func (s *schemas) load(version string) map[string]string {
	s.tb.Helper()
	if kinds, ok := s.loaded[version]; ok {
		return kinds
	}
	folder := "apis"
	if !strings.Contains(version, "/") {
		folder = "api"
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(read(s.tb, s.dir, folder, version+".json")))
	require.NoError(s.tb, err)
	kinds := map[string]string{}
	for name, schema := range document.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		schema := schema.(map[string]any)
		if _, open := schema["additionalProperties"]; !open && schema["properties"] != nil {
			schema["additionalProperties"] = false
		}
		for _, named := range list(schema["x-kubernetes-group-version-kind"]) {
			group := named.(map[string]any)
			if strings.TrimPrefix(group["group"].(string)+"/"+group["version"].(string), "/") == version {
				kinds[group["kind"].(string)] = name
			}
		}
	}
	require.NoError(s.tb, s.compiler.AddResource(resource(version), document))
	s.loaded[version] = kinds
	return kinds
}

func list(value any) []any {
	elements, _ := value.([]any)
	return elements
}

// TestSchemasAreStrict: the check finds what it is there for.
func TestSchemasAreStrict(t *testing.T) {
	t.Parallel()
	s := newSchemas(t)
	service := func(spec map[string]any) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "x"}, "spec": spec}
	}
	require.NoError(t, s.check(service(map[string]any{"ports": []any{map[string]any{"port": 80}}})))
	require.Error(t, s.check(service(map[string]any{"ports": []any{map[string]any{"port": "80"}}})), "a wrong type")
	require.Error(t, s.check(service(map[string]any{"prots": []any{}})), "an unknown field")
	require.Error(t, s.check(service(map[string]any{"ports": []any{map[string]any{"name": "x"}}})), "a missing field")
}
