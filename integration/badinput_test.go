package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
)

// described is an operation as a service's OpenAPI document has it.
type described struct {
	method, path string
	hasJSON      bool
	hasForm      bool
	public       bool
	// text is a field of the body that takes a text; empty for none.
	text string
	// denied says that it is for members of accounts: the administrator's request is refused before it is read.
	denied bool
}

// or403 is the status that a wrong request of the administrator is answered with.
func (d described) or403(status int) int {
	if d.denied {
		return http.StatusForbidden
	}
	return status
}

// schema is what is looked at of a JSON schema.
type schema struct {
	Ref        string `json:"$ref"`
	Type       any
	Properties map[string]schema
}

// textOf returns the first field of a schema that takes a text.
func textOf(s schema, named map[string]schema) string {
	if s.Ref != "" {
		s = named[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if s.Properties[name].Type == "string" {
			return name
		}
	}
	return ""
}

// operations returns every operation of every service.
func operations(t *testing.T, admin string) []described {
	t.Helper()
	var all []described
	for _, service := range harness.Services[:6] {
		response, err := http.Get(admin + "/" + service + "/openapi.json")
		require.NoError(t, err)
		var document struct {
			Paths map[string]map[string]struct {
				Security    []any
				Description string
				RequestBody struct {
					Content map[string]struct{ Schema schema }
				} `json:"requestBody"`
			}
			Components struct{ Schemas map[string]schema }
		}
		err = json.NewDecoder(response.Body).Decode(&document)
		_ = response.Body.Close()
		require.NoError(t, err)
		require.NotEmpty(t, document.Paths, service)
		for path, methods := range document.Paths {
			for method, o := range methods {
				d := described{method: strings.ToUpper(method), path: path, public: len(o.Security) == 0}
				body, hasJSON := o.RequestBody.Content["application/json"]
				d.hasJSON, d.text = hasJSON, textOf(body.Schema, document.Components.Schemas)
				d.denied = strings.HasPrefix(o.Description, "Needs the scope account.")
				_, d.hasForm = o.RequestBody.Content["application/x-www-form-urlencoded"]
				all = append(all, d)
			}
		}
	}
	slices.SortFunc(all, func(a, b described) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// internals are what no answer may show.
var internals = regexp.MustCompile(`goroutine \d|\.go:\d|SQLSTATE|pgx|panic|runtime error|/root/|/home/`)

// TestBadInput sends what is wrong to every operation of every service: each answers a problem document, none shows its
// inside, nothing is changed, and no secret is in the log.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := harness.Up(t, harness.Dir(t))
	token := s.Token(t)
	before := export(t, s, token)
	all := operations(t, s.Admin)
	require.Greater(t, len(all), 80)
	send := func(d described, body io.Reader, token string, headers ...string) (int, []byte, http.Header) {
		path := parameter.ReplaceAllString(d.path, "no-such-thing")
		r, err := http.NewRequestWithContext(t.Context(), d.method, s.Admin+path, body)
		require.NoError(t, err)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		response, err := (&http.Client{Timeout: time.Minute}).Do(r)
		require.NoError(t, err, "%s %s", d.method, path)
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, answer, response.Header
	}
	refused := func(what string, d described, status int, answer []byte, header http.Header) {
		name := fmt.Sprintf("%s: %s %s", what, d.method, d.path)
		require.GreaterOrEqual(t, status, 400, "%s: %s", name, answer)
		require.Less(t, status, 500, "%s: %s", name, answer)
		require.NotRegexp(t, internals, string(answer), name)
		if d.hasForm {
			return // OAuth has an error format of its own (RFC 6749, section 5.2)
		}
		require.Equal(t, "application/problem+json", header.Get("Content-Type"), "%s: %s", name, answer)
		var problem struct {
			Type, Title, Code string
			Status            int
		}
		require.NoError(t, json.Unmarshal(answer, &problem), name)
		require.Equal(t, status, problem.Status, name)
		require.True(t, strings.HasPrefix(problem.Type, "urn:tollgate:problem:"), name)
		require.NotEmpty(t, problem.Code, name)
	}
	const secret = "tgp_this-is-a-secret-that-must-not-be-logged"
	large := bytes.Repeat([]byte(" "), 13<<20)
	texts := 0
	for i, d := range all {
		if !d.public {
			for what, wrong := range map[string]string{"no token": "", "wrong token": secret, "token of another kind": "eyJhbGciOiJub25lIn0.e30."} {
				status, answer, header := send(d, strings.NewReader("{"), wrong)
				refused(what, d, status, answer, header)
				require.Equal(t, http.StatusUnauthorized, status, "%s: %s %s: %s", what, d.method, d.path, answer)
			}
		}
		if !d.hasJSON {
			continue
		}
		for what, body := range map[string]string{
			"cut off": `{"name": `, "not JSON": `<name>x</name>`, "a list": `[]`, "a second value": `{} {}`, "unknown field": `{"thisFieldDoesNotExist": 1}`,
			"deep": strings.Repeat(`{"a":`, 20000), "not UTF-8": "{\"\xff\xfe\": 1}",
		} {
			status, answer, header := send(d, strings.NewReader(body), token)
			refused(what, d, status, answer, header)
			require.Equal(t, d.or403(http.StatusBadRequest), status, "%s: %s %s: %s", what, d.method, d.path, answer)
		}
		if d.text != "" && !d.denied {
			texts++
			status, answer, header := send(d, strings.NewReader(`{"`+d.text+`": "a\u0000b"}`), token)
			refused("NUL", d, status, answer, header)
			require.Equal(t, http.StatusBadRequest, status, "%s %s: %s", d.method, d.path, answer)
			require.Contains(t, string(answer), "U+0000", "%s %s", d.method, d.path)
		}
		status, answer, header := send(d, strings.NewReader("name: x"), token, "Content-Type", "application/yaml")
		refused("content type", d, status, answer, header)
		require.Equal(t, d.or403(http.StatusUnsupportedMediaType), status, "%s %s: %s", d.method, d.path, answer)
		if i%10 == 0 { // the same code for all: a few are enough
			status, answer, header = send(d, bytes.NewReader(large), token)
			refused("too large", d, status, answer, header)
			require.Equal(t, d.or403(http.StatusRequestEntityTooLarge), status, "%s %s: %s", d.method, d.path, answer)
		}
	}
	require.Greater(t, texts, 20)
	oversized(t, s.Admin)
	require.Equal(t, before, export(t, s, token), "nothing was changed")
	log, err := os.ReadFile(filepath.Join(s.Data, "tollgate.log"))
	require.NoError(t, err)
	for what, secret := range map[string]string{"wrong token": secret, "administrator's token": token} {
		require.NotContains(t, string(log), secret, what)
	}
	require.NotContains(t, string(log), "goroutine ")
}

// export returns all that is configured.
func export(t *testing.T, s *harness.Suite, token string) string {
	t.Helper()
	code, stdout, stderr := harness.CLI(t, s.Admin, token, "export")
	require.Equal(t, 0, code, stderr)
	api := harness.NewAPI(t, s.Admin, token)
	for _, path := range []string{"/identity/v1/members", "/identity/v1/tenants", "/identity/v1/tokens", "/subscription/v1/subscriptions", "/billing/v1/invoices", "/billing/v1/runs"} {
		status, body := api.Do("GET", path, nil)
		require.Equal(t, 200, status, "%s: %s", path, body)
		stdout += string(body)
	}
	return stdout
}

// oversized sends header fields that are too large.
func oversized(t *testing.T, admin string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin+"/identity/v1/members", nil)
	require.NoError(t, err)
	r.Header.Set("X-Large", strings.Repeat("x", 2<<20))
	response, err := (&http.Client{Timeout: time.Minute}).Do(r)
	if err != nil {
		return // the connection is closed while the fields are still being sent
	}
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, response.StatusCode)
}
