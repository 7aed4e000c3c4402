package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestMockedVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.meter(10)
	api := w.api()
	api.Stage, api.Upstream = "mocked", nil
	api.Mocks = []*gatewayv1.MockAnswer{
		{Operation: "getCurrent", Status: 404, ContentType: "application/json", Body: []byte(`{"error":"none"}`)},
		{Operation: "getCurrent", Status: 200, ContentType: "application/json", Example: "sunny", Body: []byte(`{"sky":"clear"}`), Headers: map[string]string{"x-source": "station"}},
		{Operation: "getCurrent", Status: 200, ContentType: "application/json", Example: "rainy", Body: []byte(`{"sky":"rain"}`)},
		{Operation: "getCurrent", Status: 200, ContentType: "text/plain", Example: "sunny", Body: []byte(`clear`)},
		{Operation: "createForecast", Status: 204},
	}
	w.publish(api)
	e := w.entitlement()
	e.Limits = []*catalogv1.Limit{{Quota: 10, Per: "month", Mode: "hard"}}
	w.entitle(e)
	w.issue(apiKey, w.credential())
	g := w.start(w.config(t.TempDir()))
	g.await("/weather/v1/current/rome", 200)
	for name, tc := range map[string]struct {
		headers []string
		status  int
		body    string
	}{
		"the first success":  {nil, 200, `{"sky":"clear"}`},
		"example":            {[]string{"Prefer", "example=rainy"}, 200, `{"sky":"rain"}`},
		"code":               {[]string{"Prefer", "code=404"}, 404, `{"error":"none"}`},
		"media type":         {[]string{"Accept", "text/plain"}, 200, `clear`},
		"other preferences":  {[]string{"Prefer", "respond-async, wait=10"}, 200, `{"sky":"clear"}`},
		"no such media type": {[]string{"Accept", "image/png"}, 200, `{"sky":"clear"}`},
	} {
		got := g.get("/weather/v1/current/rome", tc.headers...)
		require.Equal(t, tc.status, got.status, name)
		require.Equal(t, tc.body, got.body, name)
	}
	got := g.get("/weather/v1/current/rome", "Prefer", `example="sunny", code=200`)
	require.Equal(t, "station", got.headers.Get("X-Source"))
	require.Equal(t, "example=sunny, code=200", got.headers.Get("Preference-Applied"))
	require.Equal(t, 204, g.do("POST", "/weather/v1/forecasts", nil, "X-API-Key", apiKey).status)
	for _, prefer := range []string{"code=500", "example=snowy", "code=many"} {
		got := g.get("/weather/v1/current/rome", "Prefer", prefer)
		require.Equal(t, "mock-unknown", got.problem(t).Code)
	}
	require.Equal(t, 401, g.do("GET", "/weather/v1/current/rome", nil).status, "the rest of the pipeline is there")
	require.NoError(t, g.stop())
	require.Zero(t, m.spent, "a mocked call takes nothing from the quota")
	mocked := 0
	for _, r := range w.records() {
		require.False(t, r.GetBillable())
		if r.GetReason() == callsv1.Reason_REASON_TEST {
			mocked++
			require.Equal(t, callsv1.Responder_RESPONDER_GATEWAY, r.GetResponder())
		}
	}
	require.GreaterOrEqual(t, mocked, 8)
}

func TestMocksMustBeWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	api := w.api()
	api.Stage = "mocked"
	api.Mocks = []*gatewayv1.MockAnswer{{Operation: "getCurrent", Status: 200}}
	w.publish(api)
	testkit.Await(t, time.Minute, func() bool { return len(g.status().GetRejected()) == 1 })
	require.Contains(t, g.status().GetRejected()["gw_apis/weather-v1"], "the operation createForecast has no answer")
	require.Equal(t, 200, g.get("/weather/v1/current/rome").status, "the one before stays")
}

func TestDeprecatedVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	require.Empty(t, g.get("/weather/v1/current/rome").headers.Get("Deprecation"))
	api := w.api()
	api.Stage, api.DeprecatedAt, api.SunsetAt, api.DeprecationLink = "deprecated", 1_900_000_000, 1_910_000_000, "https://example.com/move"
	w.publish(api)
	testkit.Await(t, time.Minute, func() bool { return g.get("/weather/v1/current/rome").headers.Get("Deprecation") != "" })
	for _, got := range []reply{g.get("/weather/v1/current/rome"), g.do("GET", "/weather/v1/current/rome", nil)} {
		require.Equal(t, "@1900000000", got.headers.Get("Deprecation"), "%d", got.status)
		require.Equal(t, "Thu, 11 Jul 2030 11:33:20 GMT", got.headers.Get("Sunset"))
		require.Equal(t, `<https://example.com/move>; rel="deprecation"; type="text/html"`, got.headers.Get("Link"))
	}
}
