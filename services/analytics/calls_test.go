package analytics_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// after waits until analytics has followed a log up to a position.
func (f *fixture) after(t testing.TB, log string, position uint64) {
	t.Helper()
	f.client.Must("GET", "/analytics/v1/calls", nil, nil, operation.HeaderAfter, fmt.Sprintf("%s=%d", log, position))
}

type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type page struct {
	Items []struct {
		Call         string    `json:"call"`
		CompletedAt  time.Time `json:"completedAt"`
		Method       string    `json:"method"`
		Path         string    `json:"path"`
		Status       int       `json:"status"`
		Billable     bool      `json:"billable"`
		Reason       string    `json:"reason"`
		Subscription named     `json:"subscription"`
		Account      named     `json:"account"`
		Application  named     `json:"application"`
		API          named     `json:"api"`
	} `json:"items"`
	Next string `json:"next"`
}

// list returns the ids of all calls that a query lists, in its order.
func (f *fixture) list(t testing.TB, query string, limit int) []string {
	t.Helper()
	var ids []string
	for cursor := ""; ; {
		var p page
		f.client.Must("GET", fmt.Sprintf("/analytics/v1/calls?%s&limit=%d&cursor=%s", query, limit, url.QueryEscape(cursor)), nil, &p)
		require.LessOrEqual(t, len(p.Items), limit)
		for _, c := range p.Items {
			ids = append(ids, c.Call)
		}
		if cursor = p.Next; cursor == "" {
			return ids
		}
	}
}

// TestCallsAreListed lists with every filter.
func TestCallsAreListed(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.after(t, "identity", f.Emit("identity", tenant, "account", "a1", 0, &identityv1.AccountCreated{Account: "a1", Name: "globex"}))
	f.after(t, "identity", f.Emit("identity", tenant, "application", "p1", 0, &identityv1.ApplicationCreated{Application: "p1", Name: "globex-app"}))
	f.after(t, "catalog", f.Emit("catalog", tenant, "api", "api1", 0, &catalogv1.APICreated{Api: "api1", Name: "weather-api"}))
	f.after(t, "catalog", f.Emit("catalog", tenant, "api-version", "version2", 0, &catalogv1.APIVersionRegistered{Api: "api1", ApiVersion: "version2", Name: "v2"}))
	f.after(t, "catalog", f.Emit("catalog", tenant, "product", "product2", 0, &catalogv1.ProductCreated{Product: "product2", Name: "weather-data"}))
	f.after(t, "catalog", f.Emit("catalog", tenant, "plan", "plan2", 0, &catalogv1.PlanPublished{Plan: "plan2", Product: "product2", Name: "pro", Version: 1}))
	f.subscribe(tenant, "s1", "weather")
	header, value := f.subscribe(tenant, "s2", "maps")
	f.gateway("gw1").send(t,
		call("s1", noon), // 1
		call("s1", noon.Add(1), func(c *callsv1.CallRecord) { c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "3"}} }), // 2
		call("s1", noon.Add(2), rejected, func(c *callsv1.CallRecord) { c.ErrorReason = "quota-exceeded" }),                      // 3
		call("s2", noon.Add(3), func(c *callsv1.CallRecord) { // 4
			c.Status, c.Account, c.Api, c.Plan, c.Product, c.Method, c.TotalMicros, c.Path = 404, "a2", "api2", "plan2", "product2", "POST", 2000, "/forecast/Tokyo"
		}),
		call("s2", noon.Add(4), func(c *callsv1.CallRecord) { // 5
			c.Application, c.ApiVersion, c.Operation, c.Path = "p2", "version2", "listAlerts", "/alerts/münchen"
		}),
		call("s1", noon.Add(-25*time.Hour)),                                   // 6
		call("s3", noon, func(c *callsv1.CallRecord) { c.Tenant = stranger }), // 7
	)
	f.client.Must("GET", "/analytics/v1/calls", nil, nil, header, value)
	tests := map[string]struct {
		query string
		want  []string
	}{
		"the last day":       {"", []string{"5", "4", "3", "2", "1"}},
		"subscription":       {"subscription=weather", []string{"3", "2", "1"}},
		"by id":              {"subscription=s2", []string{"5", "4"}},
		"billable":           {"billable=true&subscription=weather", []string{"2", "1"}},
		"not billable":       {"billable=false", []string{"3"}},
		"reason":             {"reason=gateway_rejected", []string{"3"}},
		"status":             {"status=404", []string{"4"}},
		"class":              {"status=4xx", []string{"4", "3"}},
		"an unknown account": {"account=a2", nil},
		"several":            {"account=globex&application=globex-app&api=weather-api&status=2xx", []string{"2", "1"}},
		"meter":              {"meter=rows", []string{"2"}},
		"the meter calls":    {"meter=calls&billable=true&subscription=s1", []string{"2", "1"}},
		"from a nanosecond":  {"from=" + noon.Add(2).Format(time.RFC3339Nano), []string{"5", "4", "3"}},
		"up to a nanosecond": {"from=2026-03-10T12:00:00Z&to=" + noon.Add(2).Format(time.RFC3339Nano), []string{"2", "1"}},
		"version":            {"version=v2", []string{"5"}},
		"operation":          {"operation=listAlerts", []string{"5"}},
		"plan by name":       {"plan=pro", []string{"4"}},
		"product by name":    {"product=weather-data", []string{"4"}},
		"gateway":            {"gateway=gw1&method=POST", []string{"4"}},
		"another gateway":    {"gateway=gw2", []string{}},
		"responder":          {"responder=gateway", []string{"3"}},
		"error":              {"error=quota-exceeded", []string{"3"}},
		"slow":               {"latencyFrom=2ms", []string{"4"}},
		"fast":               {"latencyTo=1201us&latencyFrom=1ms&subscription=s2", []string{"5"}},
		"call":               {"call=gw1.1.4", []string{"4"}},
		"a word":             {"search=TOKYO", []string{"4"}},
		"two words":          {"search=tokyo+forecast", []string{"4"}},
		"a part of a word":   {"search=toky", []string{}},
		"a word of errors":   {"search=exceeded", []string{"3"}},
		"a word of Unicode":  {"search=m%C3%BCnchen", []string{"5"}},
		"an earlier day":     {"from=2026-03-09T00:00:00Z&to=2026-03-10T00:00:00Z", []string{"6"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.want == nil {
				answer := f.client.Do("GET", "/analytics/v1/calls?"+test.query, nil)
				require.Equal(t, 404, answer.Status, answer.Body)
				return
			}
			var want []string
			for _, seq := range test.want {
				want = append(want, "gw1.1."+seq)
			}
			require.Equal(t, want, f.list(t, test.query, 200))
			require.Equal(t, want, f.list(t, test.query, 2), "in pages of two")
		})
	}
	var p page
	f.client.Must("GET", "/analytics/v1/calls?status=429", nil, &p)
	require.Equal(t, "GET", p.Items[0].Method)
	require.Equal(t, "/current/Berlin", p.Items[0].Path)
	require.Equal(t, "gateway_rejected", p.Items[0].Reason)
	require.Equal(t, named{"s1", "weather"}, p.Items[0].Subscription)
	require.Equal(t, named{"a1", "globex"}, p.Items[0].Account)
	require.Equal(t, named{"p1", "globex-app"}, p.Items[0].Application)
	require.Equal(t, named{"api1", "weather-api"}, p.Items[0].API)
	require.Equal(t, noon.Add(2), p.Items[0].CompletedAt)
}

// TestPagesWithinOneInstant: calls that completed in the same nanosecond are listed once each.
func TestPagesWithinOneInstant(t *testing.T) {
	t.Parallel()
	f := start(t)
	const n = 23
	for _, name := range []string{"gw1", "gw2"} {
		var same []*callsv1.CallRecord
		for range n {
			same = append(same, call("s1", noon))
		}
		f.gateway(name).send(t, same...)
	}
	ids := f.list(t, "", 5)
	seen := map[string]bool{}
	for _, id := range ids {
		require.False(t, seen[id], id)
		seen[id] = true
	}
	require.Len(t, seen, 2*n)
}

// TestACallIsFound by the id that its client received.
func TestACallIsFound(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.gateway("gw1").send(t, call("s1", noon), call("s1", noon, rejected))
	var got struct {
		Call       string
		Status     int
		Reason     string
		Quantities []struct{ Meter, Value string }
	}
	f.client.Must("GET", "/analytics/v1/calls/gw1.1.2", nil, &got)
	require.Equal(t, "gw1.1.2", got.Call)
	require.Equal(t, "gateway_rejected", got.Reason)
	require.Equal(t, "calls", got.Quantities[0].Meter)
	require.Equal(t, "1", got.Quantities[0].Value)
	for id, want := range map[string]string{"gw1.1.3": "call-not-found", "gw1": "is not a call id"} {
		answer := f.client.Do("GET", "/analytics/v1/calls/"+id, nil)
		require.GreaterOrEqual(t, answer.Status, 400)
		require.Contains(t, answer.Body, want)
	}
}

// TestWrongQueriesAreExplained: the answer says which part is wrong and what would be right.
func TestWrongQueriesAreExplained(t *testing.T) {
	t.Parallel()
	f := start(t)
	for query, want := range map[string]string{
		"status=40":                   "want a code such as 404 or a class such as 4xx",
		"status=9xx":                  "want a code such as 404 or a class such as 4xx",
		"billable=perhaps":            "is not true or false",
		"from=monday":                 "is not a time",
		"cursor=here":                 "is not the next of a page before",
		"from=2026-03-11T00:00:00Z":   "is not after from",
		"subscription=none":           "There is no subscription none.",
		"responder=nobody":            "is not upstream, gateway or cache",
		"latencyFrom=fast":            "is not a duration as in 250ms",
		"latencyFrom=2s&latencyTo=1s": "is not above latencyFrom",
		"search=%2F":                  "has no letter or digit to look for",
		"search=a+b+c+d+e+f+g+h+i":    "give up to 8 words",
	} {
		answer := f.client.Do("GET", "/analytics/v1/calls?"+query, nil)
		require.GreaterOrEqual(t, answer.Status, 400, query)
		require.Less(t, answer.Status, 500, query)
		require.Contains(t, answer.Body, want, query)
	}
}

// TestTenantsAreIsolated attacks with a stranger's token, and with values that would end a string in SQL.
func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	f := start(t)
	header, value := f.subscribe(tenant, "s-of-acme", "weather-of-acme")
	f.gateway("gw1").send(t, call("s-of-acme", noon, func(c *callsv1.CallRecord) { c.Account, c.Path = "account-of-acme", "/path-of-acme" }), call("", noon))
	f.client.Must("GET", "/analytics/v1/calls?subscription=weather-of-acme", nil, nil, header, value)
	signed := f.TokenFor(principal.Principal{Tenant: stranger, Subject: "member:x", Scopes: []string{"analytics.read", "analytics.write"}})
	secrets := []string{"gw1.1.1", "gw1.1.2", "path-of-acme", "alert-of-acme", "report-of-acme"}
	var rule, report struct{ ID string }
	f.client.Must("PUT", "/analytics/v1/alert-rules/alert-of-acme", spec("kind", "absence", "window", "5m", "mail", []string{"a@example.com"}), &rule)
	f.client.Must("PUT", "/analytics/v1/reports/report-of-acme", spec("schedule", "daily", "mail", []string{"a@example.com"}), &report)
	const span = "from=2026-03-10T00:00:00Z&to=2026-03-11T00:00:00Z"
	hostile := []string{"", "s-of-acme", "weather-of-acme", "' OR 1=1 --", "{tenant:String}", "s-of-acme') OR (1"}
	own := map[string]bool{}
	for _, name := range []string{"ListCalls", "TailCalls", "ExportCalls", "GetReconciliation", "GetTimeSeries", "GetRanking", "GetSettings", "PutSettings",
		"ListAlertRules", "ListReports", "ListAnalyticsDeliveries", "ExportAnalyticsResources", "ApplyAnalyticsResources", "RotateWebhookSecret", "ListAnalyticsAudit", "ExportAnalyticsAudit"} {
		own[name] = true
	}
	tried := 0
	for _, subscription := range hostile {
		query := "?" + span
		if subscription != "" {
			query += "&subscription=" + url.QueryEscape(subscription)
		}
		queries := map[string]string{"ListCalls": query, "GetReconciliation": query, "ExportCalls": query, "GetTimeSeries": query + "&by=path", "GetRanking": query + "&by=path", "TailCalls": "?wait=0s"}
		tried += f.Attack(f.service.API(), signed, map[string][]string{
			"call": {"gw1.1.1", "gw1.1.2"}, "rule": {"alert-of-acme", rule.ID}, "report": {"report-of-acme", report.ID}, "position": {"1", "2"},
		}, nil, queries, own, secrets)
	}
	require.GreaterOrEqual(t, tried, 9*len(hostile))
	other := f.Client(signed)
	for _, filter := range []string{"reason", "meter", "status", "account", "application", "api", "cursor", "version", "plan", "gateway", "error", "call", "search", "latencyTo"} {
		for _, text := range []string{"' OR 1=1 --", "account-of-acme", `\' OR tenant != \'`} {
			answer := other.Do("GET", "/analytics/v1/calls?"+span+"&"+filter+"="+url.QueryEscape(text), nil)
			require.Less(t, answer.Status, 500, answer.Body)
			require.NotContains(t, answer.Body, "gw1.1.", filter)
		}
	}
	var proof struct{ Answered, Stored, Landed, Metered uint64 }
	other.Must("GET", "/analytics/v1/reconciliation?"+span, nil, &proof)
	require.Zero(t, proof)
	require.Equal(t, 403, f.Client(f.Token(tenant, "billing.read")).Do("GET", "/analytics/v1/calls", nil).Status, "without the scope")
	require.Equal(t, 401, f.Client("").Do("GET", "/analytics/v1/calls", nil).Status, "without a token")
}
