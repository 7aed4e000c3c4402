package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/deploy/tollgate/internal/client"
	"github.com/tollgate/tollgate/libs/resource"
)

func TestExportFollowsThePages(t *testing.T) {
	t.Parallel()
	pages := map[string]resource.Export{
		"":                  {Resources: []resource.Resource{{Kind: "API", Metadata: resource.Metadata{Name: "a"}}}, Next: "APIVersion//a v1"},
		"APIVersion//a v1":  {Resources: []resource.Resource{{Kind: "APIVersion", Metadata: resource.Metadata{Name: "b"}}}, Next: "Plan/weather/free"},
		"Plan/weather/free": {Resources: []resource.Resource{}},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page := resource.Export{Resources: []resource.Resource{{Kind: strings.Split(r.URL.Path, "/")[1]}}}
		if strings.HasPrefix(r.URL.Path, "/catalog/") {
			page = pages[r.URL.Query().Get("cursor")]
		}
		_ = json.NewEncoder(w).Encode(page)
	}))
	t.Cleanup(server.Close)
	all, err := client.New(server.URL, "").Export(t.Context())
	require.NoError(t, err)
	require.Len(t, all, len(resource.Services())+1)
	var catalogs []string
	for _, r := range all {
		if r.Metadata.Name != "" {
			catalogs = append(catalogs, r.Kind+" "+r.Metadata.Name)
		}
	}
	require.Equal(t, []string{"API a", "APIVersion b"}, catalogs)
}
