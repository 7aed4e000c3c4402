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
