package route

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

type table = Table[string, string]

func build(t testing.TB, routes ...[4]string) *table {
	t.Helper()
	table := New[string, string]()
	for _, r := range routes { // host, prefix, method, template
		_, _, err := SplitTemplate(r[3])
		require.NoError(t, err)
		table.AddPrefix(r[0], r[1], "api of "+r[1])
		require.Nil(t, table.Add(r[0], r[1], r[2], r[3], "api of "+r[1], r[2]+" "+r[0]+r[1]+r[3]))
	}
	return table
}

func TestFind(t *testing.T) {
	t.Parallel()
	table := build(t,
		[4]string{"*", "/weather/v1", "GET", "/current/{city}"},
		[4]string{"*", "/weather/v1", "GET", "/current/berlin"},
		[4]string{"*", "/weather/v1", "POST", "/forecasts"},
		[4]string{"*", "/weather/v1", "GET", "/files/{name}.json"},
		[4]string{"*", "/weather/v1", "GET", "/files/{name}"},
		[4]string{"*", "/weather/v1", "GET", "/compare/{base}...{head}"},
		[4]string{"*", "/weather/v1", "GET", "/a/{x}/c"},
		[4]string{"*", "/weather/v1", "GET", "/a/b/{y}/d"},
		[4]string{"*", "/weather/v1", "GET", "/"},
		[4]string{"*", "/", "GET", "/root"},
		[4]string{"api.example.com", "/x", "GET", "/y"},
		[4]string{"*.example.com", "/x", "GET", "/{any}"},
		[4]string{"*.eu.example.com", "/x", "GET", "/{any}"},
	)
	for name, c := range map[string]struct {
		host, method, path string
		outcome            Outcome
		operation          string
		parameters         []string
		allow              string
	}{
		"parameter":            {"h", "GET", "/weather/v1/current/rome", Found, "GET */weather/v1/current/{city}", []string{"rome"}, "GET, HEAD"},
		"literal wins":         {"h", "GET", "/weather/v1/current/berlin", Found, "GET */weather/v1/current/berlin", nil, "GET, HEAD"},
		"encoded literal":      {"h", "GET", "/weather/v1/current/%62erlin", Found, "GET */weather/v1/current/berlin", nil, "GET, HEAD"},
		"encoded slash":        {"h", "GET", "/weather/v1/current/a%2Fb", Found, "GET */weather/v1/current/{city}", []string{"a/b"}, "GET, HEAD"},
		"head is get":          {"h", "HEAD", "/weather/v1/current/rome", Found, "GET */weather/v1/current/{city}", []string{"rome"}, "GET, HEAD"},
		"wrong method":         {"h", "DELETE", "/weather/v1/forecasts", NoMethod, "POST */weather/v1/forecasts", nil, "POST"},
		"mixed segment":        {"h", "GET", "/weather/v1/files/a.json", Found, "GET */weather/v1/files/{name}.json", []string{"a"}, "GET, HEAD"},
		"mixed needs a value":  {"h", "GET", "/weather/v1/files/.json", Found, "GET */weather/v1/files/{name}", []string{".json"}, "GET, HEAD"},
		"two in a segment":     {"h", "GET", "/weather/v1/compare/a.b...c...d", Found, "GET */weather/v1/compare/{base}...{head}", []string{"a.b", "c...d"}, "GET, HEAD"},
		"one of two is empty":  {"h", "GET", "/weather/v1/compare/a...", NoOperation, "", nil, ""},
		"backtracking":         {"h", "GET", "/weather/v1/a/b/c", Found, "GET */weather/v1/a/{x}/c", []string{"b"}, "GET, HEAD"},
		"deeper literal":       {"h", "GET", "/weather/v1/a/b/z/d", Found, "GET */weather/v1/a/b/{y}/d", []string{"z"}, "GET, HEAD"},
		"root of the prefix":   {"h", "GET", "/weather/v1/", Found, "GET */weather/v1/", nil, "GET, HEAD"},
		"prefix itself":        {"h", "GET", "/weather/v1", Found, "GET */weather/v1/", nil, "GET, HEAD"},
		"unknown below prefix": {"h", "GET", "/weather/v1/other", NoOperation, "", nil, ""},
		"empty parameter":      {"h", "GET", "/weather/v1/current/", NoOperation, "", nil, ""},
		"trailing slash":       {"h", "GET", "/weather/v1/forecasts/", NoOperation, "", nil, ""},
		"longer name":          {"h", "GET", "/weather/v12/forecasts", NoOperation, "", nil, ""}, // the API at "/"
		"api at the root":      {"h", "GET", "/root", Found, "GET */" + "/root", nil, "GET, HEAD"},
		"exact host":           {"api.example.com", "GET", "/x/y", Found, "GET api.example.com/x/y", nil, "GET, HEAD"},
		"falls to wildcard":    {"api.example.com", "GET", "/x/z", Found, "GET *.example.com/x/{any}", []string{"z"}, "GET, HEAD"},
		"longest wildcard":     {"a.b.eu.example.com", "GET", "/x/z", Found, "GET *.eu.example.com/x/{any}", []string{"z"}, "GET, HEAD"},
		"not the bare domain":  {"example.com", "GET", "/x/z", NoOperation, "", nil, ""},
		"falls to any host":    {"api.example.com", "POST", "/weather/v1/forecasts", Found, "POST */weather/v1/forecasts", nil, "POST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var m Match[string, string]
			table.Find(c.host, c.method, c.path, &m)
			require.Equal(t, c.outcome, m.Outcome)
			if c.outcome == Found {
				require.Equal(t, c.operation, m.Operation)
				require.Equal(t, len(c.parameters), len(m.Parameters()))
				for i, p := range c.parameters {
					require.Equal(t, p, m.Parameters()[i])
				}
			}
			require.Equal(t, c.allow, m.Allow)
		})
	}
}

func TestNothingMatchesInAnEmptyTable(t *testing.T) {
	t.Parallel()
	var m Match[string, string]
	New[string, string]().Find("h", "GET", "/x", &m)
	require.Equal(t, NoRoute, m.Outcome)
}

func TestTheSameRouteIsTakenOnce(t *testing.T) {
	t.Parallel()
	table := build(t, [4]string{"*", "/a", "GET", "/{x}"})
	taken := table.Add("*", "/a", "GET", "/{other}", "second", "op")
	require.NotNil(t, taken)
	require.Equal(t, "api of /a", *taken)
}

func TestTemplatesAndHostsThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, template := range []string{"", "x", "/{a}{b}", "/{a", "/a}", "/{}", "/{a}/{a}", "/}a{"} {
		_, _, err := SplitTemplate(template)
		require.Error(t, err, template)
	}
	for _, host := range []string{"", "a*", "*.*", "a:80", "a/b", ".a", "a.", "*."} {
		require.Error(t, ValidateHost(host), host)
	}
	for _, host := range []string{"*", "*.example.com", "localhost", "127.0.0.1"} {
		require.NoError(t, ValidateHost(host), host)
	}
}

func TestValidPath(t *testing.T) {
	t.Parallel()
	for path, valid := range map[string]bool{
		"/": true, "/a/b": true, "/a.b/..c/c..": true, "/%41": true, "/a/...": true, "/a;v=1": true, "/a/.well-known": true,
		"": false, "a": false, "/%4": false, "/%zz": false, "/..": false, "/a/../b": false, "/a/./b": false, "/a/%2e%2E/b": false,
		"/a/.%2e": false, "/a/..;/b": false, `/a\b`: false,
	} {
		require.Equal(t, valid, ValidPath(path), path)
	}
}

func TestSkip(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/c", Skip("/a/b/c", 2))
	require.Equal(t, "/", Skip("/a/b", 2))
	require.Equal(t, "/", Skip("/a/b/", 2))
	require.Equal(t, "/a", Skip("/a", 0))
}

func FuzzFind(f *testing.F) {
	table := build(f, [4]string{"*", "/p", "GET", "/a/{x}/c"}, [4]string{"*", "/p", "GET", "/{y}.json"}, [4]string{"*.b", "/", "GET", "/{z}"})
	f.Add("a.b", "/p/a/1/c")
	f.Add("", "/p/%2e%2e/x.json")
	f.Fuzz(func(t *testing.T, host, path string) {
		if !ValidPath(path) {
			return
		}
		var m Match[string, string]
		table.Find(host, "GET", path, &m)
		for _, p := range m.Parameters() {
			require.NotEmpty(t, p)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := New[string, string]()
			for i := range n {
				prefix := fmt.Sprintf("/team%d/api%d/v1", i%100, i/10)
				table.AddPrefix("*", prefix, prefix)
				table.Add("*", prefix, "GET", fmt.Sprintf("/things%d/{id}", i%10), prefix, "op")
			}
			var m Match[string, string]
			b.ReportAllocs()
			for b.Loop() {
				table.Find("api.example.com", "GET", "/team7/api0/v1/things7/42", &m)
			}
			require.Equal(b, Found, m.Outcome)
		})
	}
}
