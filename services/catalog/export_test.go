package catalog_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/servicetest"
)

// exported follows the pages of an export.
func exported(t *testing.T, c *servicetest.Client, query string) (all []resource.Resource, pages int) {
	t.Helper()
	for cursor := ""; ; {
		var page resource.Export
		answer := c.Must("GET", "/catalog/v1/export?cursor="+url.QueryEscape(cursor)+query, nil, &page)
		require.Less(t, len(answer.Body), 4<<20)
		all = append(all, page.Resources...)
		pages++
		if cursor = page.Next; cursor == "" {
			return all, pages
		}
	}
}

// TestExportsHavePages: what one answer cannot hold is exported all the same, and documents above 64 KiB are compressed.
func TestExportsHavePages(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	// Texts that cannot be compressed much, so that pages fill up.
	noise := func(seed, length int) string {
		var b strings.Builder
		for state := uint64(seed) + 1; b.Len() < length; {
			state = state*6364136223846793005 + 1442695040888963407
			fmt.Fprintf(&b, "%016x ", state)
		}
		return b.String()
	}
	const versions = 8
	for i := range versions {
		size := 600 << 10
		if i == 0 {
			size = 60 << 10
		}
		text := "openapi: 3.1.0\ninfo: {title: T, version: '1', description: " + noise(i, size) + "}\npaths: {/a: {get: {responses: {default: {description: d}}}}}\n"
		f.admin.Must("PUT", fmt.Sprintf("/catalog/v1/api-versions/large-v%02d", i), `{"api":"weather","spec":{"openapi":`+quote(text)+`,"route":{"hosts":["*"],"prefix":"/large"}}}`, nil)
	}
	var many []resource.Resource
	for product := range 10 {
		name := fmt.Sprintf("p%d", product)
		many = append(many, res("Product", `{"name":"`+name+`"}`, `{"title":"P","includes":[{"apiVersion":"weather-v1"}]}`))
		for i := range 30 {
			plan := strings.Replace(free, `"Free"`, `"Free","description":"`+noise(i, 9000)+`"`, 1)
			many = append(many, res("Plan", fmt.Sprintf(`{"name":"n%02d","product":%q}`, i, name), plan))
		}
	}
	require.Equal(t, 200, apply(f.admin, many).Status)
	all, pages := exported(t, f.admin, "")
	require.Greater(t, pages, 2)
	keys := map[string]bool{}
	packed := 0
	for _, r := range all {
		require.False(t, keys[r.Key()], r.Key())
		keys[r.Key()] = true
		if r.Kind == "APIVersion" && strings.Contains(string(r.Spec), "data:application/gzip;base64,") {
			packed++
		}
	}
	require.Len(t, all, 5+versions+10+300)
	require.Equal(t, versions-1, packed)
	require.Equal(t, repeat("unchanged", len(all)), actions(t, apply(f.admin, all)))

	plans, pages := exported(t, f.admin, "&kind=Plan")
	require.Len(t, plans, 302)
	require.Greater(t, pages, 1)
	for _, bad := range []string{"x", "Plan", "Plan//", "Account//a"} {
		require.Equal(t, 400, f.admin.Do("GET", "/catalog/v1/export?kind=API&cursor="+bad, nil).Status, bad)
	}
}
