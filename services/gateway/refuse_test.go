package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := w.api()
	api.Policies = []*catalogv1.Policy{{Kind: "validate", Request: true, MaxBody: 100}, {Kind: "cors", Origins: []string{"https://app.example"}}}
	w.publish(api)
	w.entitle(w.entitlement())
	w.issue(apiKey, w.credential())
	for key, change := range map[string]func(*gatewayv1.CredentialDocument){
		"revoked":   func(c *gatewayv1.CredentialDocument) { c.Revoked = true },
		"expired":   func(c *gatewayv1.CredentialDocument) { c.ExpiresAt = 1 },
		"foreign":   func(c *gatewayv1.CredentialDocument) { c.Tenant = "t2" },
		"none":      func(c *gatewayv1.CredentialDocument) { c.Application = "app-none" },
		"suspended": func(c *gatewayv1.CredentialDocument) { c.Application = "app-suspended" },
		"requested": func(c *gatewayv1.CredentialDocument) { c.Application = "app-requested" },
		"cancelled": func(c *gatewayv1.CredentialDocument) { c.Application = "app-cancelled" },
	} {
		c := w.credential()
		change(c)
		w.issue(key, c)
	}
	for _, state := range []string{"suspended", "requested", "cancelled"} {
		e := w.entitlement()
		e.Application, e.State = "app-"+state, state
		w.entitle(e)
	}
	g := w.start(w.config(t.TempDir()))
	g.await("/weather/v1/current/rome", 200)
	for name, c := range map[string]struct {
		method, path, key, body string
		headers                 []string
		status                  int
		code                    string
		check                   func(*testing.T, reply)
	}{
		"no route":           {"GET", "/other", apiKey, "", nil, 404, "no-route", nil},
		"no operation":       {"GET", "/weather/v1/other", apiKey, "", nil, 404, "no-route", nil},
		"method":             {"DELETE", "/weather/v1/forecasts", apiKey, "", nil, 405, "method-not-allowed", func(t *testing.T, r reply) { require.Equal(t, "POST", r.headers.Get("Allow")) }},
		"dot segments":       {"GET", "/weather/v1/current/%2e%2e", apiKey, "", nil, 400, "path-invalid", nil},
		"no key":             {"GET", "/weather/v1/current/rome", "", "", nil, 401, "key-missing", func(t *testing.T, r reply) { require.Contains(t, r.headers.Get("Www-Authenticate"), "Bearer") }},
		"other scheme":       {"GET", "/weather/v1/current/rome", "", "", []string{"Authorization", "Basic " + apiKey}, 401, "key-missing", nil},
		"unknown key":        {"GET", "/weather/v1/current/rome", "nonsense", "", nil, 401, "key-unknown", nil},
		"revoked key":        {"GET", "/weather/v1/current/rome", "revoked", "", nil, 401, "key-revoked", nil},
		"expired key":        {"GET", "/weather/v1/current/rome", "expired", "", nil, 401, "key-expired", nil},
		"another provider's": {"GET", "/weather/v1/current/rome", "foreign", "", nil, 401, "key-unknown", nil},
		"no subscription":    {"GET", "/weather/v1/current/rome", "none", "", nil, 403, "not-subscribed", nil},
		"suspended":          {"GET", "/weather/v1/current/rome", "suspended", "", nil, 403, "subscription-suspended", nil},
		"waiting":            {"GET", "/weather/v1/current/rome", "requested", "", nil, 403, "subscription-pending", nil},
		"cancelled":          {"GET", "/weather/v1/current/rome", "cancelled", "", nil, 403, "not-subscribed", nil},
		"parameter": {"GET", "/weather/v1/current/r?units=kelvin", apiKey, "", nil, 400, "request-invalid", func(t *testing.T, r reply) {
			fields := r.problem(t).Errors
			require.Len(t, fields, 2)
			require.Equal(t, "path.city", fields[0].Path)
			require.Equal(t, "query.units", fields[1].Path)
			require.Contains(t, fields[1].Message, "metric")
		}},
		"body":      {"POST", "/weather/v1/forecasts", apiKey, `{"days":0}`, []string{"Content-Type", "application/json"}, 400, "request-invalid", nil},
		"body over": {"POST", "/weather/v1/forecasts", apiKey, `{"days":1,"x":"` + repeat("x", 200) + `"}`, []string{"Content-Type", "application/json"}, 413, "body-too-large", nil},
		"scripts see it": {"GET", "/weather/v1/current/rome", "", "", []string{"Origin", "https://app.example"}, 401, "key-missing", func(t *testing.T, r reply) {
			require.Equal(t, "https://app.example", r.headers.Get("Access-Control-Allow-Origin"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := g.do(c.method, c.path, strings.NewReader(c.body), append([]string{"X-API-Key", c.key}, c.headers...)...)
			require.Equal(t, c.status, got.status, got.body)
			require.Equal(t, c.code, got.problem(t).Code)
			require.NotContains(t, got.body, "goroutine")
			if c.check != nil {
				c.check(t, got)
			}
			record := w.record(got)
			require.False(t, record.GetBillable())
			require.Equal(t, callsv1.Reason_REASON_GATEWAY_REJECTED, record.GetReason())
			require.Equal(t, callsv1.Responder_RESPONDER_GATEWAY, record.GetResponder())
			require.Equal(t, c.code, record.GetErrorReason())
			require.Equal(t, uint32(c.status), record.GetStatus())
			require.Equal(t, uint64(len(got.body)), record.GetBytesOut())
		})
	}
}

func TestPreflightNeedsNoKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := w.api()
	api.Policies = []*catalogv1.Policy{{Kind: "cors", Origins: []string{"*"}, MaxAge: "5m", Expose: []string{"RateLimit"}}}
	w.publish(api)
	w.entitle(w.entitlement())
	w.issue(apiKey, w.credential())
	g := w.start(w.config(t.TempDir()))
	g.await("/weather/v1/current/rome", 200)
	got := g.do("OPTIONS", "/weather/v1/current/rome", nil, "Origin", "https://x.example", "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-api-key")
	require.Equal(t, 204, got.status)
	require.Equal(t, "*", got.headers.Get("Access-Control-Allow-Origin"))
	require.Equal(t, "GET, POST", got.headers.Get("Access-Control-Allow-Methods"))
	require.Equal(t, "x-api-key", got.headers.Get("Access-Control-Allow-Headers"))
	require.Equal(t, "300", got.headers.Get("Access-Control-Max-Age"))
	record := w.record(got)
	require.Equal(t, callsv1.Reason_REASON_UNSUBSCRIBED_ALLOWED, record.GetReason())
	require.Zero(t, record.GetBytesOut())
	got = g.get("/weather/v1/current/rome", "Origin", "https://x.example")
	require.Equal(t, 200, got.status)
	require.Equal(t, "RateLimit", got.headers.Get("Access-Control-Expose-Headers"))
	require.Equal(t, 405, g.do("OPTIONS", "/weather/v1/current/rome", nil).status, "without the preflight's fields")
}

func TestAnonymousCallsAreRecordedAndNeverBilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	api := w.api()
	api.Authenticate = nil
	w.publish(api)
	g := w.start(w.config(t.TempDir()))
	g.await("/weather/v1/current/rome", 200)
	got := g.do("GET", "/weather/v1/current/rome", nil, "Authorization", "Basic abc")
	require.Equal(t, "Basic abc", got.echoed(t).Headers.Get("Authorization"), "the upstream's own authentication")
	record := w.record(got)
	require.False(t, record.GetBillable())
	require.Equal(t, callsv1.Reason_REASON_UNSUBSCRIBED_ALLOWED, record.GetReason())
	require.Equal(t, "t1", record.GetTenant())
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(w.api())
	e := w.entitlement()
	e.Limits = []*catalogv1.Limit{{Rate: 5, Per: "hour"}, {Rate: 1000, Per: "second"}}
	w.entitle(e)
	w.issue(apiKey, w.credential())
	g := w.start(w.config(t.TempDir()))
	for i := range 5 {
		got := g.get("/weather/v1/current/rome")
		require.Equal(t, 200, got.status, got.body)
		require.Equal(t, `"hour";q=5;w=3600, "second";q=1000;w=1`, got.headers.Get("RateLimit-Policy"))
		require.True(t, strings.HasPrefix(got.headers.Get("RateLimit"), `"hour";r=`+strconv.Itoa(4-i)+";t="), got.headers.Get("RateLimit"))
	}
	got := g.get("/weather/v1/current/rome")
	require.Equal(t, 429, got.status)
	require.Equal(t, "rate-limited", got.problem(t).Code)
	require.Contains(t, got.body, `"violated-policies":["hour"]`)
	require.True(t, strings.HasPrefix(got.headers.Get("RateLimit"), `"hour";r=0;t=`), got.headers.Get("RateLimit"))
	after, err := strconv.Atoi(got.headers.Get("Retry-After"))
	require.NoError(t, err)
	require.InDelta(t, 720, after, 5)
	require.Equal(t, callsv1.Reason_REASON_GATEWAY_REJECTED, w.record(got).GetReason())

	// A new document of the same limits does not fill them up.
	e.Revision, e.PlanName = w.next(), "renamed"
	w.entitle(e)
	testkit.Await(t, time.Minute, func() bool {
		return w.record(g.get("/weather/v1/current/rome")).GetEntitlementRevision() == e.GetRevision()
	})
	require.Equal(t, 429, g.get("/weather/v1/current/rome").status)
}

func TestTheSteps(t *testing.T) {
	t.Parallel()
	// A step that fails answers 500, and the call is recorded.
	w := newWorld(t)
	w.standard()
	g := w.start(w.config(t.TempDir()))
	g.await("/weather/v1/current/rome", 200)
	g.pipeline.Ready = func() bool { panic("a bug") }
	got := g.get("/weather/v1/current/rome")
	require.Equal(t, 500, got.status)
	require.Equal(t, "internal", got.problem(t).Code)
	require.NotContains(t, got.body, "a bug")
	require.Equal(t, callsv1.Reason_REASON_INTERNAL, w.record(got).GetReason())
}

func TestOverload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	c := w.config(t.TempDir())
	c.MaxInFlight = 1
	g := w.start(c)
	g.await("/weather/v1/current/rome", 200)
	entered, release := make(chan struct{}), make(chan struct{})
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { close(entered); <-release; rw.WriteHeader(204) })
	first := make(chan reply, 1)
	go func() { r, _ := g.try("GET", "/weather/v1/current/rome", nil, "X-API-Key", apiKey); first <- r }()
	<-entered
	got := g.get("/weather/v1/current/rome")
	require.Equal(t, 503, got.status)
	require.Equal(t, "overloaded", got.problem(t).Code)
	require.Equal(t, "1", got.headers.Get("Retry-After"))
	close(release)
	require.Equal(t, 204, (<-first).status)
	require.False(t, w.record(got).GetBillable())
}
