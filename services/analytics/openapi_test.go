package analytics_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheDescriptionHasEveryParameter: filters are described for each operation that takes them.
func TestTheDescriptionHasEveryParameter(t *testing.T) {
	t.Parallel()
	f := start(t)
	raw, err := f.service.API().OpenAPI()
	require.NoError(t, err)
	var document struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string } `json:"parameters"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(raw, &document))
	for path, also := range map[string]string{"/calls": "from", "/calls/tail": "wait", "/calls/export": "format", "/series": "timeZone", "/ranking": "metrics"} {
		names := map[string]bool{}
		for _, p := range document.Paths["/analytics/v1"+path]["get"].Parameters {
			names[p.Name] = true
		}
		for _, name := range []string{also, "api", "version", "search", "latencyFrom", "status"} {
			require.True(t, names[name], "%s of %s", name, path)
		}
	}
}
