package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/manifest"
	"github.com/tollgate/tollgate/libs/resource"
)

func TestAnyTextIsExportedAsItIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.yaml")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("${}:-A \n\r\t#'\"\\|>\u0085\u2028\ufeff{[~0\u00e9")))).Draw(t, "text")
		text = strings.ReplaceAll(text, "\x00", "") // no resource takes it
		spec, err := json.Marshal(map[string]string{"title": text})
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, writeResources(&out, []resource.Resource{
			{APIVersion: resource.APIVersion, Kind: "API", Metadata: resource.Metadata{Name: "a"}, Spec: spec},
		}, nil))
		require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
		items, err := manifest.Load([]string{path}, func(string) (string, bool) { return "replaced", true })
		require.NoError(t, err, out.String())
		var read struct{ Title string }
		require.NoError(t, json.Unmarshal(items[0].Spec, &read))
		require.Equal(t, text, read.Title, out.String())
	})
}
