package manifest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func none(string) (string, bool) { return "", false }

func TestTheSampleLoads(t *testing.T) {
	t.Parallel()
	items, err := manifest.Load([]string{"../sample/weather"}, func(name string) (string, bool) {
		return "http://127.0.0.1:9", name == "WEATHER_UPSTREAM"
	})
	require.NoError(t, err)
	require.Len(t, items, 9)
	require.Equal(t, "APIVersion weather-v1", items[1].Key())
	require.Contains(t, string(items[1].Spec), "http://127.0.0.1:9")
	require.Contains(t, string(items[1].Spec), "openapi: 3.1.0", "the document is read in")
}

func TestErrorsNameFileLineAndField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"unknown field":   {"apiVersion: tollgate/v1\nkind: API\nmetadata: {name: a}\nspec:\n  titel: A\n", ":5: spec.titel: is not a field here"},
		"wrong type":      {"apiVersion: tollgate/v1\nkind: Plan\nmetadata: {name: a, product: p}\nspec:\n  prices:\n    - name: calls\n      unit: 1\n", ":7: spec.prices[0].unit: is a number; want a string; write it in quotes"},
		"unknown kind":    {"apiVersion: tollgate/v1\nkind: Plans\nmetadata: {name: a}\n", `:2: kind: "Plans" is not a kind`},
		"no parent":       {"apiVersion: tollgate/v1\nkind: Plan\nmetadata:\n  name: a\n", ":4: metadata.product: is missing"},
		"bad name":        {"apiVersion: tollgate/v1\nkind: API\nmetadata:\n  name: A B\n", ":4: metadata.name:"},
		"unknown meta":    {"apiVersion: tollgate/v1\nkind: API\nmetadata:\n  name: a\n  nmae: b\n", ":5: metadata.nmae: is not a field here"},
		"not YAML":        {"apiVersion: tollgate/v1\nkind: [\n", "is not YAML"},
		"twice":           {"apiVersion: tollgate/v1\nkind: API\nmetadata: {name: a}\n---\napiVersion: tollgate/v1\nkind: API\nmetadata: {name: a}\n", ":7: metadata.name: API a is there already"},
		"key twice":       {"apiVersion: tollgate/v1\nkind: API\nkind: API\nmetadata: {name: a}\n", "line 3: kind is there twice"},
		"no document":     {"apiVersion: tollgate/v1\nkind: APIVersion\nmetadata: {name: a, api: b}\nspec:\n  openapi: ./none.yaml\n", ":5: spec.openapi: there is no file ./none.yaml"},
		"no rules":        {"apiVersion: tollgate/v1\nkind: Ruleset\nmetadata: {name: default}\nspec:\n  rules: ./none.yaml\n", ":5: spec.rules: there is no file ./none.yaml"},
		"unset variable":  {"apiVersion: tollgate/v1\nkind: API\nmetadata: {name: a}\nspec: {title: \"${NOPE}\"}\n", ":4: the environment variable NOPE is not set"},
		"alias":           {"apiVersion: tollgate/v1\nkind: API\nmetadata: &m {name: a}\nspec: *m\n", "aliases are not supported"},
		"other resources": {"apiVersion: apps/v1\nkind: API\nmetadata: {name: a}\n", `:1: apiVersion: is "apps/v1"`},
		"nothing in it":   {"", "no Tollgate resources"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "a.yaml", c.text)
			_, err := manifest.Load([]string{path}, none)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAllProblemsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	path := write(t, "a.yaml", "apiVersion: tollgate/v1\nkind: API\nmetadata: {name: a}\nspec: {titel: A}\n---\napiVersion: tollgate/v1\nkind: Plan\nmetadata: {name: a}\n")
	_, err := manifest.Load([]string{path}, none)
	require.ErrorContains(t, err, "spec.titel")
	require.ErrorContains(t, err, "metadata.product")
}

func TestALargeDocumentIsSentCompressed(t *testing.T) {
	t.Parallel()
	path := write(t, "a.yaml", "apiVersion: tollgate/v1\nkind: APIVersion\nmetadata: {name: a, api: b}\nspec: {openapi: large.json}\n")
	document := "{\"openapi\": \"3.1.0\", \"x\": \"" + strings.Repeat("abc", 1<<20) + "\"}\n"
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "large.json"), []byte(document), 0o600))
	items, err := manifest.Load([]string{path}, none)
	require.NoError(t, err)
	require.Less(t, len(items[0].Spec), 64<<10)
	var spec struct{ OpenAPI string }
	require.NoError(t, json.Unmarshal(items[0].Spec, &spec))
	text, err := manifest.Unpack(spec.OpenAPI)
	require.NoError(t, err)
	require.Equal(t, document, text)
	_, err = manifest.Unpack("data:application/gzip;base64,AAAA")
	require.ErrorContains(t, err, "compressed document")
}

func TestVariables(t *testing.T) {
	t.Parallel()
	const document = `{"openapi":"3.1.0","servers":[{"url":"https://${HOST}/$${HOST}"}]}`
	path := write(t, "a.yaml", `apiVersion: tollgate/v1
kind: API
metadata: {name: a}
spec: {title: "${HOST}", description: "$${HOST} and ${HOST}, $$${HOST}, $HOST, ${NONE:-a default}"}
---
apiVersion: tollgate/v1
kind: APIVersion
metadata: {name: inline, api: a}
spec: {openapi: '`+document+`'}
---
apiVersion: tollgate/v1
kind: APIVersion
metadata: {name: lines, api: a}
spec:
  openapi: |
    # ${HOST}
---
apiVersion: tollgate/v1
kind: APIVersion
metadata: {name: file, api: a}
spec: {openapi: "./${HOST}.json"}
`)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "example.json"), []byte(document), 0o600))
	items, err := manifest.Load([]string{path}, func(name string) (string, bool) { return "example", name == "HOST" })
	require.NoError(t, err)
	specs := make([]struct{ Title, Description, OpenAPI string }, len(items))
	for i, item := range items {
		require.NoError(t, json.Unmarshal(item.Spec, &specs[i]))
	}
	require.Equal(t, "example", specs[0].Title)
	require.Equal(t, "${HOST} and example, $${HOST}, $HOST, a default", specs[0].Description)
	require.Equal(t, []string{document, "# ${HOST}\n", document}, []string{specs[1].OpenAPI, specs[2].OpenAPI, specs[3].OpenAPI}, "documents are left as they are")
}

func TestADocumentThatIsNotTextIsRefused(t *testing.T) {
	t.Parallel()
	path := write(t, "a.yaml", "apiVersion: tollgate/v1\nkind: APIVersion\nmetadata: {name: a, api: b}\nspec: {openapi: latin.yaml}\n")
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "latin.yaml"), []byte("title: M\xfcnchen\n"), 0o600))
	_, err := manifest.Load([]string{path}, none)
	require.ErrorContains(t, err, "a.yaml:4: spec.openapi: latin.yaml is not text in UTF-8")
}

func FuzzLoad(f *testing.F) {
	f.Add("apiVersion: tollgate/v1\nkind: API\nmetadata: {name: a}\nspec: {title: A}\n")
	f.Add("a: [1, {b: 2}]\n---\n- x\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "f.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		items, err := manifest.Load([]string{path}, none)
		require.True(t, err != nil || len(items) > 0)
	})
}
