package analytics_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

type page struct {
	Items []struct {
		ID           string
		CompletedAt  time.Time
		Account      struct{ ID, Name string }
		Subscription struct{ ID, Name string }
		API          struct{ ID, Name string }
		Billable     bool
	}
	Next string
}

func TestRequestLog(t *testing.T) {
	t.Parallel()
	f := start(t)
	after := []string{
		fmt.Sprintf("identity=%d", f.Emit("identity", tenant, "account", "a1", 0, &identityv1.AccountCreated{Account: "a1", Name: "globex"})),
		fmt.Sprintf("identity=%d", f.Emit("identity", tenant, "application", "p1", 0, &identityv1.ApplicationCreated{Application: "p1", Name: "globex-app"})),
		fmt.Sprintf("catalog=%d", f.Emit("catalog", tenant, "api", "api1", 0, &catalogv1.APICreated{Api: "api1", Name: "weather"})),
		fmt.Sprintf("subscription=%d", f.Emit("subscription", tenant, "subscription", "s1", 0, &subscriptionv1.SubscriptionRequested{Subscription: "s1", Name: "globex-pro"})),
	}
	g := f.gateway("gw1")
	rejected := call("s1", noon.Add(2))
	rejected.Status, rejected.Billable, rejected.Reason = 429, false, callsv1.Reason_REASON_GATEWAY_REJECTED
	missing := call("s2", noon.Add(3))
	missing.Status, missing.Account = 404, "a2"
	reported := call("s1", noon.Add(4))
	reported.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "3"}}
	// Two calls at the same nanosecond, and one of another tenant.
	foreign := call("s1", noon)
	foreign.Tenant = "globex"
	g.send(t, call("s1", noon), call("s1", noon), rejected, missing, reported, foreign, call("s1", noon.Add(-25*time.Hour)))
	client := f.Client(f.Token(tenant, "analytics.read"))
	client.Must("GET", "/analytics/v1/calls", nil, nil, operation.HeaderAfter, strings.Join(after, ","))
	all := span(noon, noon.Add(time.Hour))
	for _, c := range []struct {
		query string
		want  string
	}{
		{all, "5 4 3 2 1"},
		{"", "5 4 3 2 1"}, // the last day
		{span(noon.Add(-48*time.Hour), noon.Add(time.Hour)), "5 4 3 2 1 7"},
		{span(noon, noon.Add(1)), "2 1"},
		{span(noon.Add(1), noon.Add(3)), "3"},
		{all + "&subscription=s1", "5 3 2 1"},
		{all + "&subscription=globex-pro", "5 3 2 1"},
		{all + "&account=globex&status=200", "5 2 1"},
		{all + "&account=a2", "4"},
		{all + "&application=globex-app&api=weather&status=4xx", "4 3"},
		{all + "&status=429", "3"},
		{all + "&billable=true&subscription=s1", "5 2 1"},
		{all + "&billable=false", "3"},
		{all + "&reason=gateway_rejected", "3"},
		{all + "&meter=rows", "5"},
		{all + "&meter=calls&billable=true", "5 4 2 1"},
		{all + "&api=none", ""},
		{all + "&subscription=" + url.QueryEscape(`s1' OR 1=1 --`), ""},
	} {
		var list page
		client.Must("GET", "/analytics/v1/calls?"+c.query, nil, &list)
		var got []string
		for _, item := range list.Items {
			got = append(got, strings.TrimPrefix(item.ID, "gw1.1."))
		}
		require.Equal(t, c.want, strings.Join(got, " "), c.query)
	}
	var list page
	client.Must("GET", "/analytics/v1/calls?limit=1&"+all, nil, &list)
	require.Equal(t, "globex", list.Items[0].Account.Name)
	require.Equal(t, "globex-pro", list.Items[0].Subscription.Name)
	require.Equal(t, "weather", list.Items[0].API.Name)
	require.Equal(t, noon.Add(4), list.Items[0].CompletedAt)
	var ids []string
	for next := ""; ; next = "&cursor=" + list.Next {
		list = page{}
		client.Must("GET", "/analytics/v1/calls?limit=2&"+all+next, nil, &list)
		for _, item := range list.Items {
			ids = append(ids, item.ID)
		}
		if list.Next == "" {
			break
		}
	}
	require.Equal(t, []string{"gw1.1.5", "gw1.1.4", "gw1.1.3", "gw1.1.2", "gw1.1.1"}, ids, "pages neither repeat nor leave out")

	require.Equal(t, 404, client.Do("GET", "/analytics/v1/calls/gw1.1.99", nil).Status)
	for _, wrong := range []string{"/calls/nonsense", "/calls?from=yesterday", "/calls?status=teapot", "/calls?cursor=x", "/calls?billable=maybe", "/calls?" + span(noon, noon), "/reconciliation"} {
		require.Equal(t, 400, client.Do("GET", "/analytics/v1"+wrong, nil).Status, wrong)
	}
}

func TestAStrangerSeesNothing(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.meter(t)
	g := f.gateway("gw1")
	g.send(t, call("s1", noon))
	stranger := f.TokenFor(principal.Principal{Tenant: "globex", Subject: "member:x", Scopes: []string{"analytics.read"}})
	for _, filter := range []string{"?", "?subscription=s1&", "?account=a1&application=p1&api=api1&", "?meter=calls&status=2xx&"} {
		tried := f.Attack(f.service.API(), stranger, map[string][]string{"call": {"gw1.1.1"}}, nil,
			map[string]string{"ListCalls": filter + span(noon, noon.Add(time.Hour)), "GetReconciliation": "?subscription=s1&" + span(noon, noon.Add(time.Hour))},
			map[string]bool{"ListCalls": true, "GetReconciliation": true}, []string{"gw1.1.1", `"a1"`, `"landed":1`, `"stored":1`, `"answered":1`})
		require.Equal(t, 3, tried)
	}
	require.Equal(t, 404, f.Client(stranger).Do("GET", "/analytics/v1/calls/gw1.1.1", nil).Status)
	require.Equal(t, 403, f.Client(stranger).Do("GET", "/analytics/v1/reconciliation?all=true&"+span(noon, noon.Add(time.Hour)), nil).Status)
	require.Equal(t, 401, f.Client("").Do("GET", "/analytics/v1/calls", nil).Status)
}

func (f *fixture) landedCounts(t *testing.T, who, subscription string, from, to time.Time) *meteringv1.CountReply {
	t.Helper()
	reply := &meteringv1.CountReply{}
	require.NoError(t, operation.Call(t.Context(), f.Bus, "analytics.Count", &meteringv1.CountRequest{
		Tenant: who, Subscription: subscription, Start: from.UnixNano(), End: to.UnixNano(),
	}, reply))
	return reply
}

func TestCountIsThatOfMetering(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	half := call("s1", noon)
	half.CallUnits, half.Quantities = "0.5", []*callsv1.Quantity{{Meter: "rows", Value: "1.5"}, {Meter: "bytes", Value: "7"}}
	free := call("s1", noon.Add(1))
	free.Billable, free.Reason, free.Quantities = false, callsv1.Reason_REASON_FREE_PLAN, []*callsv1.Quantity{{Meter: "rows", Value: "100"}}
	more := call("s1", noon.Add(2))
	more.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "0.000000000001"}}
	g.send(t, half, free, more, call("s2", noon), call("s1", noon.Add(3)))
	c := f.landedCounts(t, tenant, "s1", noon, noon.Add(3))
	require.EqualValues(t, 2, c.GetCounts().GetBillable())
	require.Equal(t, map[string]uint64{"free_plan": 1}, c.GetCounts().GetNotBillable())
	d := func(seq uint64) uint64 { return callset.Digest("gw1", 1, seq) }
	require.Equal(t, callset.Hex(d(1)+d(2)+d(3)), c.GetCounts().GetDigest())
	got := map[string]string{}
	for _, m := range c.GetMeters() {
		got[m.GetMeter()] = fmt.Sprint(m.GetQuantity(), " ", m.GetCalls(), " ", m.GetDigest())
	}
	require.Equal(t, map[string]string{
		"calls": "1.5 2 " + callset.Hex(d(1)+d(3)), "rows": "1.500000000001 2 " + callset.Hex(d(1)+d(3)), "bytes": "7 1 " + callset.Hex(d(1)),
	}, got)
	require.EqualValues(t, 4, f.landedCounts(t, "*", "", noon, noon.Add(time.Hour)).GetCounts().GetBillable())
	require.Zero(t, f.landedCounts(t, "globex", "s1", noon, noon.Add(time.Hour)).GetCounts().GetBillable())
}

func (f *fixture) proof(t *testing.T, who, subscription string, from, to time.Time) *analyticsv1.ProofReply {
	t.Helper()
	reply := &analyticsv1.ProofReply{}
	require.NoError(t, operation.Call(t.Context(), f.Bus, "analytics.Proof", &analyticsv1.ProofRequest{
		Tenant: who, Subscription: subscription, Start: from.UnixNano(), End: to.UnixNano(),
	}, reply))
	return reply
}

func TestProof(t *testing.T) {
	t.Parallel()
	f := start(t)
	m := f.meter(t)
	g := f.gateway("gw1")
	send := func(b *callsv1.CallBatch) {
		partition, sequence := f.publish(t, b)
		m.add(partition, sequence, b)
	}
	from, to := noon.Add(17*time.Minute+1), noon.Add(2*time.Hour+13*time.Minute+5) // no full hours
	foreign := call("s1", noon.Add(time.Hour))
	foreign.Tenant = "globex"
	send(g.batch(call("s1", from.Add(-1)), call("s1", from), call("s1", from.Add(1)), call("s2", from.Add(1))))
	send(g.batch(call("s1", noon.Add(time.Hour)), foreign))
	send(g.batch(call("s1", to.Add(-1)), call("s1", to), call("s1", to.Add(1))))
	p := f.proof(t, tenant, "s1", from, to)
	require.Empty(t, p.GetDifferences())
	require.True(t, p.GetAgree())
	for _, n := range []uint64{p.GetAnswered(), p.GetStored(), p.GetLanded(), p.GetMetered()} {
		require.EqualValues(t, 4, n)
	}
	require.EqualValues(t, 5, f.proof(t, tenant, "", from, to).GetLanded())
	require.EqualValues(t, 6, f.proof(t, "*", "", from, to).GetMetered())
	var shown struct {
		Agree                             bool
		Answered, Stored, Landed, Metered uint64
		Differences                       []string
	}
	operator := f.TokenFor(principal.Principal{Tenant: tenant, Subject: "member:o", Scopes: []string{"analytics.read"}, Operator: true})
	f.Client(operator).Must("GET", "/analytics/v1/reconciliation?all=true&"+span(from, to), nil, &shown)
	require.True(t, shown.Agree)
	require.EqualValues(t, 6, shown.Stored)
	require.Zero(t, query[int64](t, f.db, `SELECT count(*) FROM events`))

	// Calls that gateways have numbered and that are in no message.
	lost := g.batch(call("s1", noon.Add(time.Hour)), call("s1", noon.Add(time.Hour)))
	send(g.batch(call("s1", noon.Add(time.Hour))))
	p = f.proof(t, tenant, "s1", from, to)
	require.False(t, p.GetAgree())
	require.EqualValues(t, 7, p.GetAnswered())
	require.Equal(t, []string{"2 calls that gateways have numbered are in no message: gw1.1.10 to 11"}, p.GetDifferences())
	require.True(t, f.proof(t, tenant, "s1", noon.Add(-time.Hour), noon).GetAgree(), "an earlier time is not concerned")
	f.proof(t, tenant, "s1", from, to)
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'analytics.v1.ReconciliationFailed'`), "the same failure is told once")
	position := f.Emit("metering", "*", "gateway", "gw1", 0, &meteringv1.GatewayWaived{Gateway: "gw1", Until: noon.Add(100 * time.Hour).UnixNano()})
	f.Client(operator).Must("GET", "/analytics/v1/calls", nil, nil, operation.HeaderAfter, fmt.Sprintf("metering=%d", position))
	require.True(t, f.proof(t, tenant, "s1", from, to).GetAgree(), "an operator has accepted the loss")
	send(lost)
	require.EqualValues(t, 7, f.proof(t, tenant, "s1", from, to).GetAnswered())

	// A call that metering has not.
	f.landed(t, g.batch(call("s1", noon.Add(time.Hour))))
	require.Equal(t, []string{"the stream has 8 calls, metering 7"}, f.proof(t, tenant, "s1", from, to).GetDifferences())
	// As many calls, but other ones.
	other := &callsv1.CallBatch{Gateway: "gw9", Boot: 1, Calls: []*callsv1.CallRecord{call("s1", noon.Add(time.Hour))}}
	m.add(0, 0, other)
	require.Contains(t, f.proof(t, tenant, "s1", from, to).GetDifferences()[0], "the numbers agree, the calls do not")
	// A call that is twice in ClickHouse, and one that is not there.
	require.NoError(t, f.table.Exec(t.Context(), `INSERT INTO calls SELECT * FROM calls WHERE seq = 5`))
	require.Equal(t, []string{"1 calls are in ClickHouse more than once"}, f.proof(t, tenant, "s1", from, to).GetDifferences())
	require.NoError(t, f.table.Exec(t.Context(), `DELETE FROM calls WHERE seq = 5`))
	require.Equal(t, []string{"the stream has 8 calls, ClickHouse 7"}, f.proof(t, tenant, "s1", from, to).GetDifferences())
}
