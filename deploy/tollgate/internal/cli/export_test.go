package cli_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
	"github.com/tollgate/tollgate/libs/resource"
)

// exporting is a server that has these resources, all of the catalog.
func exporting(t testing.TB, resources []resource.Resource) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := resource.Export{Resources: []resource.Resource{}}
		if strings.HasPrefix(r.URL.Path, "/catalog/") {
			answer.Resources = resources
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server
}

func api(name string, spec map[string]any) resource.Resource {
	raw, err := json.Marshal(spec)
	if err != nil {
		panic(err)
	}
	return resource.Resource{APIVersion: resource.APIVersion, Kind: "API", Metadata: resource.Metadata{Name: name}, Spec: raw}
}

func version(name, document string) resource.Resource {
	r := api(name, map[string]any{"openapi": document, "stage": "registered"})
	r.Kind, r.Metadata.API = "APIVersion", "weather"
	return r
}

// packed is a document as a service sends it when it is large.
func packed(document string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(document))
	_ = w.Close()
	return "data:application/gzip;base64," + base64.StdEncoding.EncodeToString(b.Bytes())
}

// read is what the files hold, with documents as they are.
func read(t require.TestingT, paths ...string) map[string]map[string]any {
	items, err := manifest.Load(paths, func(string) (string, bool) { return "replaced", true })
	require.NoError(t, err)
	specs := map[string]map[string]any{}
	for _, item := range items {
		var spec map[string]any
		require.NoError(t, json.Unmarshal(item.Spec, &spec))
		for _, field := range []string{"openapi", "rules"} {
			if text, ok := spec[field].(string); ok {
				spec[field], err = manifest.Unpack(text)
				require.NoError(t, err)
			}
		}
		specs[item.Key()] = spec
	}
	return specs
}

func large(size int) string {
	return "openapi: 3.1.0\ninfo:\n  description: |\n" + strings.Repeat("    The same line again, and nothing of use in it.\n", size/52)
}

func TestWhatIsExportedCanBeApplied(t *testing.T) {
	t.Parallel()
	documents := map[string]string{
		"minified": `{"openapi":"3.1.0","info":{"title":"T","version":"1"},"paths":{}}`,
		"crlf":     "openapi: 3.1.0\r\ninfo:\r\n  title: T\r\n",
		"variable": "openapi: 3.1.0\nservers:\n  - url: https://${HOST}/${BASE:-v1}\n  - url: https://$${HOST}\n",
		"one-line": `{"openapi":"3.1.0","servers":[{"url":"https://${HOST}"}]}`,
		"odd":      " \topenapi: 3.1.0 \n\n\n# \u2028 \u0085 \ufeff\n  ",
		"large":    large(13 << 20),
		"larger":   large(300 << 10),
	}
	resources := []resource.Resource{
		api("weather", map[string]any{"title": "Costs ${PRICE}, not $${PRICE} or $PRICE", "description": "a\r\nb\n${HOST}\n"}),
		{APIVersion: resource.APIVersion, Kind: "Ruleset", Metadata: resource.Metadata{Name: "default"}, Spec: json.RawMessage(`{"rules":"{\"rules\":{\"a\":\"${X}\"}}"}`)},
	}
	for name, document := range documents {
		if len(document) > 64<<10 {
			document = packed(document)
		}
		resources = append(resources, version(name, document))
	}
	server := exporting(t, resources)
	check := func(specs map[string]map[string]any) {
		t.Helper()
		require.Len(t, specs, len(resources))
		for name, document := range documents {
			got, _ := specs["APIVersion "+name]["openapi"].(string)
			require.True(t, document == got, "document %s is another: %.80q", name, got)
		}
		require.Equal(t, "Costs ${PRICE}, not $${PRICE} or $PRICE", specs["API weather"]["title"])
		require.Equal(t, "a\r\nb\n${HOST}\n", specs["API weather"]["description"])
		require.Equal(t, `{"rules":{"a":"${X}"}}`, specs["Ruleset default"]["rules"])
	}
	dir := filepath.Join(t.TempDir(), "export")
	code, _, stderr := run(t, "export", "--server", server.URL, "--token", "x", "-d", dir)
	require.Equal(t, 0, code, stderr)
	check(read(t, dir))
	document, err := os.ReadFile(filepath.Join(dir, "documents", "apiversion-crlf.yaml"))
	require.NoError(t, err)
	require.Equal(t, documents["crlf"], string(document), "documents are files of their own")
	require.FileExists(t, filepath.Join(dir, "documents", "apiversion-minified.json"))

	code, stdout, stderr := run(t, "export", "--server", server.URL, "--token", "x")
	require.Equal(t, 0, code, stderr)
	path := filepath.Join(t.TempDir(), "all.yaml")
	require.NoError(t, os.WriteFile(path, []byte(stdout), 0o600))
	check(read(t, path))
}
