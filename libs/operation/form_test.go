package operation_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

type form struct {
	Name string   `formData:"name" required:"true"`
	Tags []string `formData:"tag"`
}

type formAnswer struct {
	Name    string
	Tags    []string
	Address string
	Agent   string
}

func newFormAPI(t testing.TB) http.Handler {
	t.Helper()
	api, err := operation.New(operation.Config{
		Service: "demo", Title: "Demo", Log: slog.New(slog.DiscardHandler),
		Verify: func(signed string) (principal.Principal, error) {
			return principal.Principal{Tenant: "t1", Subject: "member:m", Account: strings.TrimPrefix(signed, "tenant")}, nil
		},
	})
	require.NoError(t, err)
	operation.Register(api, operation.Op[form, formAnswer]{
		Name: "SendForm", Method: "POST", Path: "/form", Public: true,
		Failure: func(err error) operation.Raw {
			return operation.Raw{ContentType: "text/plain", Body: []byte("failed: " + problem.From(err).Code), Status: 418, Header: http.Header{"X-Failed": {"yes"}}}
		},
		Handle: func(ctx context.Context, r *form) (formAnswer, error) {
			if r.Name == "later" {
				return formAnswer{}, operation.RetryAfter(problem.NewExhausted("later", "Later."), 1500*time.Millisecond)
			}
			c := operation.CallerFrom(ctx)
			return formAnswer{r.Name, r.Tags, c.Address, c.UserAgent}, nil
		},
	})
	nothing := func(context.Context, *struct{}) (operation.Empty, error) { return operation.Empty{}, nil }
	operation.Register(api, operation.Op[struct{}, operation.Empty]{Name: "Tenants", Method: "GET", Path: "/tenant", Handle: nothing})
	operation.Register(api, operation.Op[struct{}, operation.Empty]{Name: "Accounts", Method: "GET", Path: "/account", Account: true, Handle: nothing})
	operation.Register(api, operation.Op[struct{}, operation.Empty]{Name: "Fixed", Method: "GET", Path: "/.well-known/demo", Root: true, Public: true, Handle: nothing})
	operation.Register(api, operation.Op[struct{}, operation.Empty]{
		Name: "Later", Method: "GET", Path: "/later", Public: true,
		Handle: func(context.Context, *struct{}) (operation.Empty, error) {
			return operation.Empty{}, operation.RetryAfter(problem.NewExhausted("later", "Later."), 90*time.Second)
		},
	})
	handler, err := api.Handler()
	require.NoError(t, err)
	return handler
}

func TestForms(t *testing.T) {
	t.Parallel()
	h := newFormAPI(t)
	const formType = "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
		contentType, body string
		status            int
		want              string
	}{
		"form":          {formType, "name=a+b%26&tag=1&tag=2&unknown=x", 200, `{"Name":"a b\u0026","Tags":["1","2"],"Address":"192.0.2.1","Agent":"test"}`},
		"charset":       {formType + "; charset=UTF-8", "name=a", 200, `"Name":"a"`},
		"twice":         {formType, "name=a&name=b", 418, "failed: request-invalid"},
		"not a form":    {formType, "name=%zz", 418, "failed: request-invalid"},
		"json":          {"application/json", `{"name":"a"}`, 418, "failed: content-type"},
		"too large":     {formType, "name=" + strings.Repeat("x", 65<<10), 418, "failed: body-too-large"},
		"not text":      {formType, "name=%ff", 418, "failed: request-invalid"},
		"failure later": {formType, "name=later", 418, "failed: later"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("POST", "/demo/v1/form?name=query", strings.NewReader(c.body))
			r.Header.Set("Content-Type", c.contentType)
			r.Header.Set("User-Agent", "test")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.want)
			if c.status == 418 {
				require.Equal(t, "yes", w.Header().Get("X-Failed"))
			}
			if name == "failure later" {
				require.Equal(t, "2", w.Header().Get("Retry-After"))
			}
		})
	}
}

func FuzzForm(f *testing.F) {
	f.Add("name=a&tag=b")
	f.Add("name=%zz&&=")
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/demo/v1/form", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		newFormAPI(t).ServeHTTP(w, r)
		require.Contains(t, []int{200, 418}, w.Code, w.Body)
	})
}

func TestMembersOfAccountsAreKeptToTheirOperations(t *testing.T) {
	t.Parallel()
	h := newFormAPI(t)
	for _, c := range []struct {
		token, path string
		status      int
	}{
		{"tenant", "/demo/v1/tenant", 204},
		{"tenant", "/demo/v1/account", 204},
		{"a1", "/demo/v1/tenant", 403},
		{"a1", "/demo/v1/account", 204},
		{"", "/.well-known/demo", 204},
		{"", "/demo/v1/.well-known/demo", 404},
	} {
		status, _, body := do(t, h, "GET", c.path, c.token, "")
		require.Equal(t, c.status, status, "%s as %q: %s", c.path, c.token, body)
	}
	status, header, _ := do(t, h, "GET", "/demo/v1/later", "", "")
	require.Equal(t, 429, status)
	require.Equal(t, "90", header.Get("Retry-After"))
	require.Error(t, errors.Unwrap(operation.RetryAfter(problem.NewExhausted("x", "x"), 0)))
}
