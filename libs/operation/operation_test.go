package operation_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

type getThing struct {
	Thing string   `path:"thing"`
	Depth int      `query:"depth"`
	Tags  []string `query:"tag"`
}

type putThing struct {
	Thing string                                                 `path:"thing"`
	Title string                                                 `json:"title" required:"true" maxLength:"10"`
	Spec  resource.Spec[catalogv1.PlanSpec, *catalogv1.PlanSpec] `json:"spec,omitzero"`
}

func (p *putThing) Validate() error {
	var fields problem.Fields
	if p.Title == "" {
		fields.Add("title", "is empty; give the thing a title")
	}
	return fields.Err("request-invalid", "The request is not valid.")
}

type thing struct {
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	Depth  int    `json:"depth,omitempty"`
	Key    string `json:"key,omitempty"`
}

func newAPI(t *testing.T) *operation.API {
	t.Helper()
	api, err := operation.New(operation.Config{
		Service: "demo", Title: "Demo", Log: slog.New(slog.DiscardHandler), PerSecond: 100,
		Verify: func(signed string) (principal.Principal, error) {
			tenant, scope, ok := strings.Cut(signed, ":")
			if !ok {
				return principal.Principal{}, errors.New("the token is not one that identity signed")
			}
			return principal.Principal{Tenant: tenant, Subject: "member:m", Scopes: []string{scope}}, nil
		},
		Waiters: map[string]func(context.Context, uint64) error{
			"other": func(ctx context.Context, position uint64) error {
				if position > 7 {
					return context.DeadlineExceeded
				}
				return nil
			},
		},
	})
	require.NoError(t, err)
	operation.Register(api, operation.Op[getThing, thing]{
		Name: "GetThing", Method: "GET", Path: "/things/{thing}", Summary: "One thing", Scope: "demo.read",
		Handle: func(ctx context.Context, r *getThing) (thing, error) {
			p, _ := principal.From(ctx)
			switch r.Thing {
			case "panic":
				panic("password=hunter2")
			case "secret":
				return thing{}, errors.New("password=hunter2")
			case "none":
				return thing{}, problem.NewNotFound("thing-not-found", "There is no thing %q.", r.Thing)
			}
			return thing{Name: r.Thing, Tenant: p.Tenant, Depth: r.Depth}, nil
		},
	})
	operation.Register(api, operation.Op[putThing, thing]{
		Name: "PutThing", Method: "PUT", Path: "/things/{thing}", Summary: "Make a thing", Scope: "demo.write",
		Handle: func(ctx context.Context, r *putThing) (thing, error) {
			operation.Committed(ctx, 12, false)
			return thing{Name: r.Thing, Key: principal.CommandFrom(ctx).Key}, nil
		},
	})
	operation.Register(api, operation.Op[getThing, thing]{
		Name: "KickThing", Method: "POST", Path: "/things/{thing}/kick", Scope: "demo.write", Direct: true,
		Handle: func(_ context.Context, r *getThing) (thing, error) { return thing{Name: r.Thing}, nil },
	})
	operation.Register(api, operation.Op[getThing, thing]{
		Name: "SlowThing", Method: "POST", Path: "/things/{thing}/slow", Public: true, Timeout: time.Millisecond,
		Handle: func(ctx context.Context, _ *getThing) (thing, error) {
			<-ctx.Done()
			return thing{}, ctx.Err()
		},
	})
	return api
}

func do(t *testing.T, h http.Handler, method, path, token, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	answer, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	require.NotContains(t, string(answer), "hunter2")
	return w.Code, w.Header(), string(answer)
}

func TestOperationsOverHTTP(t *testing.T) {
	t.Parallel()
	h, err := newAPI(t).Handler()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		method, path, token, body string
		headers                   []string
		status                    int
		want                      string
	}{
		"read":           {"GET", "/demo/v1/things/a?depth=3", "t1:demo.read", "", nil, 200, `{"name":"a","tenant":"t1","depth":3}`},
		"bad query":      {"GET", "/demo/v1/things/a?depth=x", "t1:demo.read", "", nil, 400, `"path":"depth"`},
		"no token":       {"GET", "/demo/v1/things/a", "", "", nil, 401, "token-missing"},
		"bad token":      {"GET", "/demo/v1/things/a", "nonsense", "", nil, 401, "token-invalid"},
		"no scope":       {"PUT", "/demo/v1/things/a", "t1:demo.read", `{"title":"A"}`, nil, 403, "scope-missing"},
		"wrong, unknown": {"PUT", "/demo/v1/things/a", "", `{`, nil, 401, "token-missing"},
		"wrong, denied":  {"PUT", "/demo/v1/things/a", "t1:demo.read", `{`, nil, 403, "scope-missing"},
		"write":          {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A"}`, []string{"Idempotency-Key", "k1"}, 200, `"key":"k1"`},
		"unknown field":  {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"titel":"A"}`, nil, 400, `"path":"titel"`},
		"wrong type":     {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":1}`, nil, 400, `"path":"title"`},
		"empty title":    {"PUT", "/demo/v1/things/a", "t1:demo.write", `{}`, nil, 400, "give the thing a title"},
		"not JSON":       {"PUT", "/demo/v1/things/a", "t1:demo.write", `{`, nil, 400, "request-invalid"},
		"two values":     {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A"}{}`, nil, 400, "goes on"},
		"content type":   {"PUT", "/demo/v1/things/a", "t1:demo.write", `title=A`, []string{"Content-Type", "text/plain"}, 415, "content-type"},
		"NUL":            {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"\\a\u0000b"}`, nil, 400, "U+0000"},
		"NUL as a name":  {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A","spec":{"x\u0000":1}}`, nil, 400, "request-invalid"},
		"escaped text":   {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"a\\u0000b"}`, nil, 200, `"name":"a"`},
		"NUL in a list":  {"GET", "/demo/v1/things/a?tag=x&tag=a%00", "t1:demo.read", "", nil, 400, `"path":"tag"`},
		"key not UTF-8":  {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A"}`, []string{"Idempotency-Key", "k\xff"}, 400, "Idempotency-Key"},
		"bad spec":       {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A","spec":{"prices":[{"unit":1}]}}`, nil, 400, `"path":"spec.prices[0].unit"`},
		"not found":      {"GET", "/demo/v1/things/none", "t1:demo.read", "", nil, 404, "thing-not-found"},
		"hidden error":   {"GET", "/demo/v1/things/secret", "t1:demo.read", "", nil, 500, "internal"},
		"panic":          {"GET", "/demo/v1/things/panic", "t1:demo.read", "", nil, 500, "internal"},
		"unknown path":   {"GET", "/demo/v1/nothing", "t1:demo.read", "", nil, 404, "no-such-path"},
		"wrong method":   {"DELETE", "/demo/v1/things/a", "t1:demo.read", "", nil, 405, "GET, PUT"},
		"seen elsewhere": {"GET", "/demo/v1/things/a", "t1:demo.read", "", []string{"Tollgate-After", "other=7, unknown=9"}, 200, `"name":"a"`},
		"not yet seen":   {"GET", "/demo/v1/things/a", "t1:demo.read", "", []string{"Tollgate-After", "other=8"}, 503, "behind"},
		"bad position":   {"GET", "/demo/v1/things/a", "t1:demo.read", "", []string{"Tollgate-After", "other"}, 400, "Tollgate-After"},
		"too slow":       {"POST", "/demo/v1/things/a/slow", "", "", nil, 504, "timeout"},
		"dry run":        {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A"}`, []string{"Tollgate-Dry-Run", "true"}, 200, `"name":"a"`},
		"no dry run":     {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A"}`, []string{"Tollgate-Dry-Run", "false"}, 200, `"name":"a"`},
		"dry run or not": {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A"}`, []string{"Tollgate-Dry-Run", "yes"}, 400, "is neither true nor false"},
		"effect at once": {"POST", "/demo/v1/things/a/kick", "t1:demo.write", "", nil, 200, `"name":"a"`},
		"dry at once":    {"POST", "/demo/v1/things/a/kick", "t1:demo.write", "", []string{"Tollgate-Dry-Run", "true"}, 400, "dry-run-impossible"},
		"long key":       {"PUT", "/demo/v1/things/a", "t1:demo.write", `{"title":"A"}`, []string{"Idempotency-Key", strings.Repeat("k", 201)}, 400, "Idempotency-Key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, header, body := do(t, h, c.method, c.path, c.token, c.body, c.headers...)
			require.Equal(t, c.status, status, body)
			require.Contains(t, body, c.want)
			if status >= 400 {
				require.Equal(t, problem.ContentType, header.Get("Content-Type"))
			}
			if c.method == "PUT" && status == 200 {
				require.Equal(t, "demo=12", header.Get(operation.HeaderPosition))
			}
		})
	}
}

func TestCallersAreLimited(t *testing.T) {
	t.Parallel()
	h, err := newAPI(t).Handler()
	require.NoError(t, err)
	limited := 0
	for range 400 {
		if status, _, _ := do(t, h, "GET", "/demo/v1/things/a", "t9:demo.read", ""); status == 429 {
			limited++
		}
	}
	require.Positive(t, limited)
	status, _, _ := do(t, h, "GET", "/demo/v1/things/a", "t8:demo.read", "")
	require.Equal(t, 200, status, "another caller is not affected")
}

func TestInvokeInProcess(t *testing.T) {
	t.Parallel()
	api := newAPI(t)
	ctx := principal.With(context.Background(), principal.Principal{Tenant: "t1", Scopes: []string{"demo.read"}})
	got, err := operation.Invoke[thing](ctx, api, "GetThing", &getThing{Thing: "a"})
	require.NoError(t, err)
	require.Equal(t, thing{Name: "a", Tenant: "t1"}, got)
	_, err = operation.Invoke[thing](ctx, api, "PutThing", &putThing{Title: "x"})
	require.Equal(t, problem.Denied, problem.KindOf(err))
}

// The document is checked by a validator that shares no code with the generator.
func TestOpenAPIDocumentIsValid(t *testing.T) {
	t.Parallel()
	document, err := newAPI(t).OpenAPI()
	require.NoError(t, err)
	parsed, err := libopenapi.NewDocument(document)
	require.NoError(t, err)
	v, errs := validator.NewValidator(parsed)
	require.Empty(t, errs)
	ok, problems := v.ValidateDocument()
	require.True(t, ok, "%v", problems)
	require.Contains(t, string(document), `"operationId": "PutThing"`)
	require.Equal(t, map[string][]string{
		"GetThing": {"Tollgate-After"}, "KickThing": {"Tollgate-After"}, "SlowThing": {"Idempotency-Key", "Tollgate-Dry-Run", "Tollgate-Reason"},
		"PutThing": {"Idempotency-Key", "Tollgate-After", "Tollgate-Dry-Run", "Tollgate-Reason"},
	}, headersOf(t, document), "only those that have an effect are described")
	require.Contains(t, string(document), `"upTo"`, "spec messages are described with their documents' field names")
}

// headersOf returns the header fields that each operation is described with.
func headersOf(t *testing.T, document []byte) map[string][]string {
	t.Helper()
	var described struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Parameters  []struct{ Name, In string }
		}
	}
	require.NoError(t, json.Unmarshal(document, &described))
	headers := map[string][]string{}
	for _, methods := range described.Paths {
		for _, o := range methods {
			for _, p := range o.Parameters {
				if p.In == "header" {
					headers[o.OperationID] = append(headers[o.OperationID], p.Name)
				}
			}
			slices.Sort(headers[o.OperationID])
		}
	}
	return headers
}

func TestPermissions(t *testing.T) {
	t.Parallel()
	require.Equal(t, []operation.Permission{
		{Operation: "GetThing", Method: "GET", Path: "/demo/v1/things/{thing}", Scope: "demo.read"},
		{Operation: "PutThing", Method: "PUT", Path: "/demo/v1/things/{thing}", Scope: "demo.write"},
		{Operation: "KickThing", Method: "POST", Path: "/demo/v1/things/{thing}/kick", Scope: "demo.write"},
		{Operation: "SlowThing", Method: "POST", Path: "/demo/v1/things/{thing}/slow", Public: true},
	}, newAPI(t).Permissions())
}
