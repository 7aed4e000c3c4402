package identity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
)

// TestSearch: lists are narrowed to what has a text in its name or title, page by page, and never to another tenant's.
func TestSearch(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.admin.Must("POST", "/identity/v1/tenants", fmt.Sprintf(newTenant, "second"), nil)
	for name, title := range map[string]string{"globex": "Globex Corporation", "initech": "Initech 100%", "umbrella": "Ümbrella"} {
		f.admin.Must("PUT", "/identity/v1/accounts/"+name, `{"spec":{"title":"`+title+`","currency":"USD"}}`, nil)
		f.admin.Must("PUT", "/identity/v1/applications/"+name+"-app", `{"account":"`+name+`","spec":{"title":"App of `+title+`"}}`, nil)
	}
	names := func(path string) (found []string) {
		for cursor := ""; ; {
			var page operation.List[struct{ Name string }]
			f.admin.Must("GET", "/identity/v1/"+path+"&limit=1&cursor="+cursor, nil, &page)
			for _, item := range page.Items {
				found = append(found, item.Name)
			}
			if cursor = page.Next; cursor == "" {
				return found
			}
		}
	}
	for path, want := range map[string][]string{
		"accounts?search=":                         {"globex", "initech", "umbrella"},
		"accounts?search=CORPOR":                   {"globex"},
		"accounts?search=e":                        {"globex", "initech", "umbrella"},
		"accounts?search=%25":                      {"initech"},
		"accounts?search=_":                        nil,
		"accounts?search=%C3%BCM":                  {"umbrella"},
		"accounts?search=globexG":                  nil, // no text across name and title
		"applications?search=app+of+":              {"globex-app", "initech-app", "umbrella-app"},
		"applications?search=INITECH":              {"initech-app"},
		"applications?search=app&account=umbrella": {"umbrella-app"},
		"tenants?search=SECO":                      {"second"},
		"tenants?search=nobody":                    nil,
	} {
		require.Equal(t, want, names(path), path)
	}
	require.Equal(t, 400, f.admin.Do("GET", "/identity/v1/accounts?search=a%00", nil).Status)
	names("accounts?search=" + strings.Repeat("%C3%BC", 200))
	long := f.admin.Do("GET", "/identity/v1/accounts?search="+strings.Repeat("a", 201), nil)
	require.Equal(t, 400, long.Status)
	require.Contains(t, long.Body, `"path":"search"`)
}
