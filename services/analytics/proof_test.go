package analytics_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating/period"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

func (f *fixture) prove(t testing.TB, tenant, subscription string, from, to time.Time) *analyticsv1.ProofReply {
	t.Helper()
	reply := &analyticsv1.ProofReply{}
	require.NoError(t, operation.Call(t.Context(), f.Bus, "analytics.Proof", &analyticsv1.ProofRequest{
		Tenant: tenant, Subscription: subscription, Start: from.UnixNano(), End: to.UnixNano(),
	}, reply))
	return reply
}

// counted is a CountReply in a form that is compared.
func counted(r *meteringv1.CountReply) map[string]any {
	all := map[string]any{"digest": r.GetCounts().GetDigest(), "billable": r.GetCounts().GetBillable()}
	for reason, n := range r.GetCounts().GetNotBillable() {
		all["reason "+reason] = n
	}
	for _, m := range r.GetMeters() {
		all["meter "+m.GetMeter()] = []any{m.GetQuantity(), m.GetCalls(), m.GetDigest()}
	}
	return all
}

// TestCountersAgree compares counts and proofs with those of the ledger, at spans that divide hours.
func TestCountersAgree(t *testing.T) {
	t.Parallel()
	f := start(t)
	quantities := func(c *callsv1.CallRecord) {
		c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "12.5"}, {Meter: "credits", Value: "0.000000000001"}}
	}
	cached := func(c *callsv1.CallRecord) { c.CallUnits = "0.25" }
	foreign := func(c *callsv1.CallRecord) { c.Tenant = stranger }
	var records []*callsv1.CallRecord
	for i := range 50 {
		at := noon.Add(time.Duration(i) * 7 * time.Minute).Add(time.Duration(i))
		records = append(records, call("s1", at), call("s1", at, quantities), call("s1", at, rejected), call("s2", at, cached), call("", at, rejected),
			call("s3", at, foreign, quantities))
	}
	f.gateway("gw1").send(t, records[:120]...)
	f.gateway("gw2").send(t, records[120:]...)
	spans := map[string][2]time.Time{
		"all":               {noon.Add(-time.Hour), noon.Add(24 * time.Hour)},
		"within an hour":    {noon.Add(7 * time.Minute).Add(1), noon.Add(35 * time.Minute).Add(5)},
		"from a nanosecond": {noon.Add(7 * time.Minute).Add(2), noon.Add(3 * time.Hour)},
		"to a nanosecond":   {noon, noon.Add(140 * time.Minute).Add(20)},
		"nothing":           {noon.Add(-2 * time.Hour), noon.Add(-time.Hour)},
	}
	for name, span := range spans {
		for _, who := range []struct{ tenant, subscription string }{
			{tenant, ""}, {tenant, "s1"}, {tenant, "s2"}, {tenant, "s3"}, {stranger, ""}, {stranger, "s3"}, {principal.AllTenants, ""},
		} {
			t.Run(name+" of "+who.tenant+" "+who.subscription, func(t *testing.T) {
				request := &meteringv1.CountRequest{Tenant: who.tenant, Subscription: who.subscription, Start: span[0].UnixNano(), End: span[1].UnixNano()}
				want, err := f.ledger.count(t.Context(), request)
				require.NoError(t, err)
				got := &meteringv1.CountReply{}
				require.NoError(t, operation.Call(t.Context(), f.Bus, "analytics.Count", request, got))
				require.Equal(t, counted(want), counted(got))
				p := f.prove(t, who.tenant, who.subscription, span[0], span[1])
				require.Empty(t, p.GetDifferences())
				require.True(t, p.GetAgree())
				require.Equal(t, p.GetMetered(), p.GetAnswered())
				require.Equal(t, p.GetMetered(), p.GetStored())
				require.Equal(t, p.GetMetered(), p.GetLanded())
				require.Equal(t, want.GetCounts().GetDigest(), p.GetLandedDigest())
				require.Equal(t, want.GetCounts().GetDigest(), p.GetMeteredDigest())
			})
		}
	}
}

// TestDifferencesAreFound takes a call from each of the four places in turn.
func TestDifferencesAreFound(t *testing.T) {
	t.Parallel()
	id := callset.ID{Gateway: "gw1", Boot: 1, Seq: 2}
	tests := map[string]struct {
		damage  func(t *testing.T, f *fixture)
		want    *analyticsv1.ProofReply
		explain string
	}{
		"not metered": {
			func(_ *testing.T, f *fixture) { f.ledger.forget(id) },
			&analyticsv1.ProofReply{Answered: 4, Stored: 4, Landed: 4, Metered: 3}, "the stream has 4 calls, metering 3",
		},
		"not in ClickHouse": {
			func(t *testing.T, f *fixture) {
				require.NoError(t, f.table.Exec(t.Context(), `ALTER TABLE calls DELETE WHERE seq = 2 SETTINGS mutations_sync = 1`))
			},
			&analyticsv1.ProofReply{Answered: 4, Stored: 4, Landed: 3, Metered: 4}, "the stream has 4 calls, ClickHouse 3",
		},
		"twice in ClickHouse": {
			func(t *testing.T, f *fixture) {
				require.NoError(t, f.table.Exec(t.Context(), `INSERT INTO calls SELECT * FROM calls WHERE seq = 2`))
			},
			&analyticsv1.ProofReply{Answered: 4, Stored: 4, Landed: 4, Metered: 4}, "1 calls are in ClickHouse more than once",
		},
		"in no message": {
			func(t *testing.T, f *fixture) {
				g := f.gateway("gw2")
				g.batch(call("s1", noon))
				g.send(t, call("s2", noon.Add(time.Minute)))
			},
			&analyticsv1.ProofReply{Answered: 5, Stored: 4, Landed: 4, Metered: 4}, "1 calls that gateways have numbered are in no message: gw2.1.1 to 1",
		},
		"another call in its place": {
			func(t *testing.T, f *fixture) {
				f.ledger.forget(id)
				f.ledger.add(&callsv1.CallBatch{Gateway: "gw9", Boot: 1, Calls: []*callsv1.CallRecord{call("s1", noon)}}, place{})
			},
			&analyticsv1.ProofReply{Answered: 4, Stored: 4, Landed: 4, Metered: 4}, "the numbers agree, the calls do not",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			f.gateway("gw1").send(t, calls("s1", noon, 4)...)
			require.True(t, f.prove(t, tenant, "s1", noon, noon.Add(time.Hour)).GetAgree())
			test.damage(t, f)
			for range 2 {
				p := f.prove(t, tenant, "s1", noon, noon.Add(time.Hour))
				require.False(t, p.GetAgree())
				require.Contains(t, p.GetDifferences()[0], test.explain)
				got := &analyticsv1.ProofReply{Answered: p.GetAnswered(), Stored: p.GetStored(), Landed: p.GetLanded(), Metered: p.GetMetered()}
				require.True(t, proto.Equal(test.want, got), "%v", got)
			}
			require.Equal(t, 1, query[int](t, f, `SELECT count(*) FROM events WHERE type LIKE '%ReconciliationFailed'`), "told once")
		})
	}
}

// TestAHoleConcernsNoPeriodBeforeIt: when the call before it began is known before anything of its message is in ClickHouse.
func TestAHoleConcernsNoPeriodBeforeIt(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.gateway("gw1").send(t, call("s1", noon))
	g := f.gateway("gw2")
	later := noon.Add(2 * time.Hour)
	g.send(t, call("s1", later))
	g.batch(call("s1", later))
	g.send(t, call("s1", later))
	require.NoError(t, f.table.Exec(t.Context(), `ALTER TABLE calls DELETE WHERE gateway = 'gw2' SETTINGS mutations_sync = 1`))
	require.Empty(t, f.prove(t, tenant, "s1", noon, noon.Add(time.Hour)).GetDifferences())
	require.Contains(t, f.prove(t, tenant, "s1", noon, later.Add(time.Hour)).GetDifferences()[0], "gw2.1.2 to 2")
}

// TestAWaivedGatewayIsNotMissed: an operator has accepted that calls are lost.
func TestAWaivedGatewayIsNotMissed(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	g.send(t, call("s1", noon))
	g.batch(call("s1", noon))
	g.send(t, call("s1", noon))
	require.Equal(t, uint64(3), f.prove(t, tenant, "", noon, noon.Add(time.Hour)).GetAnswered())
	position := f.Emit("metering", principal.AllTenants, "gateway", "gw1", 0, &meteringv1.GatewayWaived{Gateway: "gw1", Until: noon.Add(time.Hour).UnixNano()})
	f.after(t, "metering", position)
	require.True(t, f.prove(t, tenant, "", noon, noon.Add(time.Hour)).GetAgree())
}

// TestLostMessagesAreTold: what the stream no longer holds is counted in full hours only.
func TestLostMessagesAreTold(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.gateway("gw1").send(t, calls("s1", noon, 4)...)
	stream, err := f.Bus.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context()))
	require.True(t, f.prove(t, tenant, "s1", noon, noon.Add(time.Hour)).GetAgree())
	err = operation.Call(t.Context(), f.Bus, "analytics.Proof", &analyticsv1.ProofRequest{
		Tenant: tenant, Subscription: "s1", Start: noon.UnixNano(), End: noon.Add(2 * time.Second).UnixNano(),
	}, &analyticsv1.ProofReply{})
	require.Equal(t, problem.Conflict, problem.KindOf(err))
	require.ErrorContains(t, err, "Ask for full hours")
}

// TestNoMessageIsReadAgainWhereAPeriodBegins: counts are divided at the anniversaries of a subscription, at the midnights of its zone and
// where it ended. The stream has lost its messages, so that reading one would fail.
func TestNoMessageIsReadAgainWhereAPeriodBegins(t *testing.T) {
	t.Parallel()
	f := start(t)
	started := noon.AddDate(0, -1, 0).Add(17*time.Minute + 33*time.Second + 5)
	ended := noon.Add(40 * time.Minute)
	f.subscribe(tenant, "s1", "weather")
	f.after(t, "subscription", f.Emit("subscription", tenant, "subscription", "s1", 1,
		&subscriptionv1.SubscriptionActivated{Subscription: "s1", StartedAt: started.UnixNano(), TimeZone: "Asia/Kolkata"},
		&subscriptionv1.SubscriptionCancelled{Subscription: "s1", EndedAt: ended.UnixNano()}))
	anniversary := started.AddDate(0, 1, 0)
	midnight := time.Date(2026, 3, 9, 18, 30, 0, 0, time.UTC)
	drained := ended.Add(period.Drain)
	instants := []time.Time{started, midnight, anniversary, ended, drained}
	g := f.gateway("gw1")
	for _, at := range instants {
		g.send(t, call("s1", at.Add(-1)), call("s1", at), call("s1", at.Add(1)))
	}
	stream, err := f.Bus.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(t.Context()))
	for i, from := range instants {
		for j, to := range instants[i+1:] {
			p := f.prove(t, tenant, "s1", from, to)
			require.Empty(t, p.GetDifferences())
			require.Equal(t, uint64(3*(j+1)), p.GetStored())
		}
	}
}

// TestAnHourCountedBeforeItWasDividedIsReadAgain: what divides it became known after some of its calls had come.
func TestAnHourCountedBeforeItWasDividedIsReadAgain(t *testing.T) {
	t.Parallel()
	f := start(t)
	changed := noon.Add(20 * time.Minute)
	g := f.gateway("gw1")
	g.send(t, call("s1", changed.Add(-1)), call("s1", changed), call("s1", changed.Add(time.Minute)))
	f.subscribe(tenant, "s1", "weather")
	f.after(t, "subscription", f.Emit("subscription", tenant, "subscription", "s1", 1, &subscriptionv1.SubscriptionPlanChanged{
		Subscription: "s1", Plan: "plan", PlanVersion: 2, EffectiveAt: changed.UnixNano(),
	}))
	g.send(t, call("s1", changed.Add(-2)), call("s1", changed.Add(1)))
	require.Equal(t, 2, query[int](t, f, `SELECT count(*) FROM stored WHERE subscription = 's1'`))
	for _, span := range [][2]time.Time{{noon, changed}, {changed, noon.Add(time.Hour)}} {
		p := f.prove(t, tenant, "s1", span[0], span[1])
		require.Empty(t, p.GetDifferences())
		require.Equal(t, p.GetMetered(), p.GetStored())
	}
}

// TestReconciliationReport reads the report as an operator does.
func TestReconciliationReport(t *testing.T) {
	t.Parallel()
	f := start(t)
	header, value := f.subscribe(tenant, "s1", "weather")
	f.gateway("gw1").send(t, append(calls("s1", noon, 4), call("s2", noon, rejected), call("s3", noon, func(c *callsv1.CallRecord) { c.Tenant = stranger }))...)
	type report struct {
		Agree                             bool
		Answered, Stored, Landed, Metered uint64
		Differences                       []string
	}
	const span = "/analytics/v1/reconciliation?from=2026-03-10T00:00:00Z&to=2026-03-11T00:00:00Z"
	var got report
	f.client.Must("GET", span, nil, &got, header, value)
	require.Equal(t, report{true, 5, 5, 5, 5, []string{}}, got)
	f.client.Must("GET", span+"&subscription=weather", nil, &got)
	require.Equal(t, report{true, 4, 4, 4, 4, []string{}}, got)
	operator := f.Client(f.TokenFor(principal.Principal{Tenant: tenant, Subject: "member:o", Scopes: []string{"analytics.read"}, Operator: true}))
	operator.Must("GET", span+"&all=true", nil, &got)
	require.Equal(t, report{true, 6, 6, 6, 6, []string{}}, got)
	for path, want := range map[string]string{
		span + "&all=true":             `"operator-only"`,
		span + "&subscription=none":    `"subscription-not-found"`,
		"/analytics/v1/reconciliation": `"from"`,
		"/analytics/v1/reconciliation?from=2026-03-10T00:00:00Z&to=2026-03-10T00:00:00Z": "is not after from",
		"/analytics/v1/reconciliation?from=monday&to=2026-03-10T00:00:00Z":               "is not a time",
	} {
		answer := f.client.Do("GET", path, nil)
		require.GreaterOrEqual(t, answer.Status, 400, path)
		require.Contains(t, answer.Body, want, path)
	}
}
