package apibridge_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type echo struct {
	Thing string `path:"thing"`
	Query string `query:"q"`
	Text  string `json:"text"`
}

type echoed struct {
	Thing, Query, Text, Subject string
}

// start serves a service named identity with an echo and a token exchange that counts.
func start(t *testing.T) (http.Handler, *atomic.Int64) {
	t.Helper()
	server := testkit.NATS(t)
	b, err := bus.Connect(bus.Config{URL: server.URL(), Name: "test"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	api, err := operation.New(operation.Config{
		Service: "identity", Log: testkit.Logger(t),
		Verify: func(signed string) (principal.Principal, error) {
			if signed != "signed" {
				return principal.Principal{}, errors.New("unknown")
			}
			return principal.Principal{Tenant: "t1", Subject: "member:m1"}, nil
		},
	})
	require.NoError(t, err)
	operation.Register(api, operation.Op[echo, echoed]{
		Name: "Echo", Method: "POST", Path: "/things/{thing}",
		Handle: func(ctx context.Context, r *echo) (echoed, error) {
			p, _ := principal.From(ctx)
			operation.Committed(ctx, 7, false)
			return echoed{r.Thing, r.Query, r.Text, p.Subject}, nil
		},
	})
	var exchanges atomic.Int64
	operation.RPC(api, "identity.Exchange", func(_ context.Context, r *identityv1.ExchangeRequest) (*identityv1.ExchangeReply, error) {
		exchanges.Add(1)
		if r.GetToken() != "tgp_good" {
			return nil, problem.NewUnauthenticated("token-invalid", "No.")
		}
		return &identityv1.ExchangeReply{Token: "signed", ExpiresAt: time.Now().Add(time.Minute).Unix()}, nil
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- api.ServeNATS(ctx, b, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return apibridge.Handler(b, []string{"identity", "catalog"}, testkit.Logger(t)), &exchanges
}

func send(h http.Handler, token, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRequestsAreForwarded(t *testing.T) {
	t.Parallel()
	h, exchanges := start(t)
	for range 3 {
		w := send(h, "tgp_good", "POST", "/identity/v1/things/a%20b?q=x", `{"text":"hello"}`)
		require.Equal(t, 200, w.Code, w.Body)
		require.JSONEq(t, `{"Thing":"a b","Query":"x","Text":"hello","Subject":"member:m1"}`, w.Body.String())
		require.Equal(t, "identity=7", w.Header().Get(operation.HeaderPosition))
	}
	require.Equal(t, int64(1), exchanges.Load(), "a token is exchanged once")
	require.Equal(t, 200, send(h, "signed", "POST", "/identity/v1/things/a", `{}`).Code)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	h, _ := start(t)
	for name, c := range map[string]struct {
		token, path, body string
		status            int
		code              string
	}{
		"wrong personal token": {"tgp_bad", "/identity/v1/things/a", `{}`, 401, "token-invalid"},
		"wrong signed token":   {"forged", "/identity/v1/things/a", `{}`, 401, "token-invalid"},
		"no token":             {"", "/identity/v1/things/a", `{}`, 401, "token-missing"},
		"unknown service":      {"signed", "/payroll/v1/things/a", `{}`, 404, "no-such-path"},
		"service down":         {"signed", "/catalog/v1/apis", `{}`, 503, "service-unavailable"},
		"too large":            {"signed", "/identity/v1/things/a", strings.Repeat("x", 13<<20), 413, "body-too-large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := send(h, c.token, "POST", c.path, c.body)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.code)
			require.Equal(t, problem.ContentType, w.Header().Get("Content-Type"))
		})
	}
}

// A client cannot choose another method or target than that of its request.
func TestForwardingHeadersAreNotTaken(t *testing.T) {
	t.Parallel()
	h, _ := start(t)
	r := httptest.NewRequest("POST", "/identity/v1/things/mine", strings.NewReader(`{}`))
	r.Header.Set("Authorization", "Bearer signed")
	r.Header.Set(apibridge.HeaderTarget, "/identity/v1/things/other")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Contains(t, w.Body.String(), "mine")
}

// tracked is a body that says whether it was read.
type tracked struct {
	io.Reader
	read atomic.Bool
}

func (b *tracked) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.Reader.Read(p)
}

func post(h http.Handler, token string, length int64, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/identity/v1/things/a", body)
	r.ContentLength = length
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Only those whose token is good can have much memory taken, whether they say how much they send or not.
func TestLargeBodiesAreForThoseWhoAreKnown(t *testing.T) {
	t.Parallel()
	h, _ := start(t)
	large := `{"text":"` + strings.Repeat("x", 300<<10) + `"}`
	for name, c := range map[string]struct {
		token  string
		status int
		read   bool // by a sender who does not say how much it is
	}{
		"known": {"tgp_good", 200, true}, "nobody": {"", 413, true}, "signed by whoever": {"a.b.c", 413, true}, "wrong token": {"tgp_bad", 401, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for length, read := range map[int64]bool{-1: c.read, int64(len(large)): c.status == 200} {
				body := &tracked{Reader: strings.NewReader(large)}
				w := post(h, c.token, length, body)
				require.Equal(t, c.status, w.Code, w.Body)
				require.Equal(t, read, body.read.Load())
			}
		})
	}
	require.Equal(t, 400, post(h, "tgp_good", 100, strings.NewReader("{")).Code, "a body that broke off")
}

// Large bodies that are on their way at once are bounded; small ones do not wait for them.
func TestLargeBodiesWaitForTheirTurn(t *testing.T) {
	t.Parallel()
	h, _ := start(t)
	const length = 12 << 20
	done := make(chan int, 6)
	var slow []*io.PipeWriter
	for range 5 {
		r, w := io.Pipe()
		slow = append(slow, w)
		go func() { done <- post(h, "tgp_good", length, r).Code }()
		_, err := w.Write([]byte(`{"text":"`))
		require.NoError(t, err)
	}
	body := &tracked{Reader: strings.NewReader(`{"text":"` + strings.Repeat("x", length-11) + `"}`)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("POST", "/identity/v1/things/a", body).WithContext(ctx)
	r.ContentLength = length
	r.Header.Set("Authorization", "Bearer tgp_good")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, 503, w.Code, w.Body)
	require.Contains(t, w.Body.String(), "overloaded")
	require.False(t, body.read.Load())
	require.Equal(t, 200, send(h, "tgp_good", "POST", "/identity/v1/things/a", `{}`).Code)

	for _, w := range slow {
		require.NoError(t, w.CloseWithError(io.ErrUnexpectedEOF))
		require.Equal(t, 400, <-done)
	}
	again := post(h, "tgp_good", length, body)
	require.True(t, body.read.Load(), "there is room again")
	require.NotContains(t, again.Body.String(), "overloaded")
}
