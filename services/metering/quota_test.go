package metering_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

func (f *fixture) operator() string {
	return f.TokenFor(principal.Principal{Tenant: tenant, Subject: "member:operator", Scopes: []string{"metering.read", "metering.operate"}, Operator: true})
}

func hard(quota uint64, per string) *catalogv1.PlanSpec {
	return &catalogv1.PlanSpec{Limits: []*catalogv1.Limit{{Quota: quota, Per: per}}}
}

func ask(subscription, per string, want int64) []*meteringv1.LeaseAsk {
	return []*meteringv1.LeaseAsk{{Subscription: subscription, Meter: "calls", Per: per, Want: want}}
}

// on makes the call spend a unit of a lease.
func on(c *callsv1.CallRecord, lease string) *callsv1.CallRecord {
	c.LeaseSpends = []*callsv1.LeaseSpend{{Lease: lease, Units: 1}}
	return c
}

type quota struct {
	Mode                            string
	Quota, Spent, Leased, Remaining int64
	Exhausted                       bool
	WindowStart, WindowEnd          time.Time
	ExhaustedAt                     *time.Time
	Leases                          []struct {
		Gateway                     string
		Granted, Spent, Outstanding int64
		ExpiresAt                   time.Time
	}
}

func (f *fixture) quotas(t *testing.T, subscription string) []quota {
	t.Helper()
	var list struct{ Items []quota }
	f.Client(f.Token(tenant, "metering.read")).Must("GET", "/metering/v1/quotas?subscription="+subscription, nil, &list)
	return list.Items
}

// Gateways that spend a quota side by side, return what they do not need and lose answers on the way spend exactly the quota.
func TestQuotaIsExactOverGateways(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(300, "month"))
	f.run(t) // a second replica answers too
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	var spent atomic.Int64
	var workers sync.WaitGroup
	for i := range 3 {
		g := f.gateway(fmt.Sprintf("gw%d", i))
		for worker := range 4 {
			workers.Go(func() {
				for round := 0; ; round++ {
					reply := &meteringv1.LeaseReply{}
					err := operation.Call(ctx, f.Bus, "metering.Lease", &meteringv1.LeaseRequest{Gateway: g.name, Boot: g.boot, Asks: ask("s1", "month", int64(5+worker))}, reply)
					if err != nil {
						t.Error(err)
						cancel() // what is lost with one worker, the others wait for in vain
						return
					}
					grant := reply.GetGrants()[0]
					if grant.GetUnits() == 0 {
						if grant.GetExhausted() {
							return
						}
						continue
					}
					use := grant.GetUnits()
					if round%3 == 0 {
						use = (use + 1) / 2
					}
					var calls []*callsv1.CallRecord
					for range use {
						calls = append(calls, on(call("s1", began.Add(time.Hour)), grant.GetLease()))
					}
					f.publish(t, g.batch(calls...))
					spent.Add(use)
					back := &meteringv1.LeaseRequest{Gateway: g.name, Boot: g.boot, Returns: []*meteringv1.LeaseReturn{{Lease: grant.GetLease(), Spent: use}}}
					for range 2 { // a return may come again
						if err := operation.Call(ctx, f.Bus, "metering.Lease", back, reply); err != nil {
							t.Error(err)
							cancel()
							return
						}
					}
				}
			})
		}
	}
	workers.Wait()
	require.EqualValues(t, 300, spent.Load())
	state := f.quotas(t, "s1")[0]
	require.EqualValues(t, 300, state.Spent)
	require.Zero(t, state.Leased)
	require.True(t, state.Exhausted)
	require.EqualValues(t, 300, f.calls(t, "s1", began, began.AddDate(0, 1, 0)))
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'metering.v1.QuotaExhausted'`))
	require.Zero(t, query[int64](t, f.db, `SELECT count(*) FROM leases`))
}

func TestALostLeaseIsFreeOnceItsGatewayHasNothingMoreToSay(t *testing.T) {
	t.Parallel()
	for name, speechless := range map[string]func(t *testing.T, f *fixture, g *gateway, expiry time.Time){
		"sealed": func(t *testing.T, f *fixture, g *gateway, expiry time.Time) { g.seal(t, expiry.Add(time.Minute)) },
		"closed": func(t *testing.T, f *fixture, g *gateway, _ time.Time) {
			b := g.batch()
			b.BootClosed = true
			f.metered(t, b)
		},
		"waived": func(t *testing.T, f *fixture, g *gateway, expiry time.Time) {
			f.Client(f.operator()).Must("POST", "/metering/v1/gateways/gw1/waive", fmt.Sprintf(`{"until":%q}`, expiry.Format(time.RFC3339Nano)), nil, operation.HeaderReason, "dead")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			f.subscribe(t, "s1", hard(4, "month"))
			g := f.gateway("gw1")
			grant := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 4)}).GetGrants()[0]
			require.EqualValues(t, 1, grant.GetUnits(), "a share becomes small near zero")
			g.send(t, on(call("s1", began.Add(time.Hour)), grant.GetLease()))
			lost := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 4)}).GetGrants()[0]
			require.Equal(t, int64(1), f.quotas(t, "s1")[0].Leased)
			f.clock.Advance(time.Hour)
			g.seal(t, time.Unix(0, lost.GetExpiresAt()).Add(time.Minute-1))
			require.Equal(t, int64(1), f.quotas(t, "s1")[0].Leased, "calls in flight at its expiry may still come")
			speechless(t, f, g, time.Unix(0, lost.GetExpiresAt()))
			testkit.Await(t, patience, func() bool { return f.quotas(t, "s1")[0].Leased == 0 })
			require.EqualValues(t, 3, f.quotas(t, "s1")[0].Remaining)
			// A call of it that comes all the same is counted.
			g.send(t, on(call("s1", began.Add(time.Hour)), lost.GetLease()))
			require.EqualValues(t, 2, f.quotas(t, "s1")[0].Spent)
		})
	}
}

func TestLeasesEndWithTheirWindowAndAreRenewed(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(1000, "day"))
	end := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)
	f.clock.Set(end.Add(-20 * time.Second))
	grant := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "day", 10)}).GetGrants()[0]
	require.EqualValues(t, 10, grant.GetUnits())
	require.Equal(t, end.UnixNano(), grant.GetWindowEnd())
	require.Less(t, grant.GetExpiresAt(), end.UnixNano())
	f.clock.Advance(10 * time.Second)
	renewed := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Renew: []string{grant.GetLease(), "unknown"}}).GetRenewed()
	require.Equal(t, map[string]int64{grant.GetLease(): end.UnixNano()}, renewed)
	require.Empty(t, f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw2", Boot: 1, Renew: []string{grant.GetLease()}}).GetRenewed(), "it is another's")

	f.clock.Set(end)
	next := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "day", 10)}).GetGrants()[0]
	require.Equal(t, end.UnixNano(), next.GetWindowStart())
	require.EqualValues(t, 990, next.GetRemaining())
	// A call that was let through on a lease of the old window counts there, though it completed in the new one.
	f.gateway("gw1").send(t, on(call("s1", end.Add(time.Second)), grant.GetLease()))
	require.Zero(t, f.quotas(t, "s1")[0].Spent)
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT spent FROM balances WHERE window_end = $1`, end.UnixNano()))
}

func TestAnotherPlanTakesTheBalanceOver(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(100, "month"))
	f.plan("plan-s1", 2, hard(4, "month"))
	f.plan("plan-s1", 3, &catalogv1.PlanSpec{Limits: []*catalogv1.Limit{{Quota: 200, Per: "month"}, {Quota: 10, Per: "day"}}})
	g := f.gateway("gw1")
	grant := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 6)}).GetGrants()[0]
	require.EqualValues(t, 6, grant.GetUnits())
	change := func(version uint32) {
		position := f.emit("subscription", "subscription", "s1", &subscriptionv1.SubscriptionPlanChanged{Subscription: "s1", Plan: "plan-s1", PlanVersion: version, EffectiveAt: f.clock.Now().Truncate(time.Second).UnixNano()})
		f.followed(t, "subscription", position)
	}
	change(2)
	next := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 6)}).GetGrants()[0]
	require.Zero(t, next.GetUnits())
	require.False(t, next.GetExhausted(), "what is leased out may come back")
	require.EqualValues(t, 4, next.GetQuota())
	g.send(t, on(call("s1", began.Add(time.Hour)), grant.GetLease()), on(call("s1", began.Add(time.Hour)), grant.GetLease()))
	f.clock.Advance(time.Minute)
	change(3)
	next = f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: append(ask("s1", "month", 6), ask("s1", "day", 1)...)}).GetGrants()[0]
	require.EqualValues(t, 6, next.GetUnits())
	require.EqualValues(t, 188, next.GetRemaining())
	states := f.quotas(t, "s1")
	require.Len(t, states, 2)
	require.EqualValues(t, 2, states[0].Spent)
	require.EqualValues(t, 2, states[1].Spent, "a quota that is new in its window counts what was called before")
}

// A subscription's own limits take the place of its plan's at the gateways' leases and in what is shown, from the instant on at
// which they were set, and not of the usage of before.
func TestLimitsOfItsOwnTakeTheBalanceOver(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(5, "month"))
	g := f.gateway("gw1")
	spend := func(n int) {
		for range n {
			grant := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 1)}).GetGrants()[0]
			require.EqualValues(t, 1, grant.GetUnits())
			g.send(t, on(call("s1", f.clock.Advance(time.Millisecond)), grant.GetLease()))
		}
	}
	spend(5)
	require.True(t, f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 1)}).GetGrants()[0].GetExhausted())
	f.clock.Advance(time.Minute)
	follow := func(event proto.Message) {
		f.followed(t, "subscription", f.emit("subscription", "subscription", "s1", event))
	}
	follow(&subscriptionv1.SubscriptionLimitsSet{Subscription: "s1", EffectiveAt: f.clock.Now().Truncate(time.Microsecond).UnixNano(), Limits: []*catalogv1.Limit{
		{Rate: 5, Per: "second"}, {Quota: 8, Per: "month"}, {Quota: 2, Per: "day"},
	}})
	states := f.quotas(t, "s1")
	require.Len(t, states, 2)
	require.EqualValues(t, 3, states[0].Remaining)
	require.EqualValues(t, 5, states[1].Spent, "calls of the day before count for a quota that is new")
	f.clock.Advance(24 * time.Hour)
	spend(1)
	states = f.quotas(t, "s1")
	require.EqualValues(t, 2, states[0].Remaining)
	require.EqualValues(t, 8, states[0].Quota)

	// They outlast a newer version of the plan, and end when they are cleared.
	f.plan("plan-s1", 2, hard(7, "month"))
	f.clock.Advance(time.Minute)
	follow(&subscriptionv1.SubscriptionPlanChanged{Subscription: "s1", Plan: "plan-s1", PlanVersion: 2, EffectiveAt: f.clock.Now().Truncate(time.Microsecond).UnixNano()})
	require.EqualValues(t, 8, f.quotas(t, "s1")[0].Quota)
	f.clock.Advance(time.Minute)
	follow(&subscriptionv1.SubscriptionLimitsCleared{Subscription: "s1", EffectiveAt: f.clock.Now().Truncate(time.Microsecond).UnixNano()})
	states = f.quotas(t, "s1")
	require.Len(t, states, 1)
	require.EqualValues(t, 7, states[0].Quota)
	require.EqualValues(t, 1, states[0].Remaining)
	spend(1)
	require.True(t, f.quotas(t, "s1")[0].Exhausted)

	// Limits that were set before the subscription began hold from its beginning.
	f.plan("plan-s2", 1, hard(5, "month"))
	f.followed(t, "subscription", f.emit("subscription", "subscription", "s2",
		&subscriptionv1.SubscriptionRequested{Subscription: "s2", Name: "s2", Plan: "plan-s2", PlanVersion: 1},
		&subscriptionv1.SubscriptionLimitsSet{Subscription: "s2", Limits: []*catalogv1.Limit{{Quota: 9, Per: "month"}}, EffectiveAt: began.UnixNano()},
		&subscriptionv1.SubscriptionActivated{Subscription: "s2", StartedAt: f.clock.Now().Truncate(time.Microsecond).UnixNano()}))
	require.EqualValues(t, 9, f.quotas(t, "s2")[0].Quota)
}

func TestQuotaTellsItsLeasesAndWhenItIsUsedUp(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(100, "day"))
	g := f.gateway("gw1")
	grant := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "day", 10)}).GetGrants()[0]
	g.send(t, on(call("s1", began.Add(30*time.Minute)), grant.GetLease()), on(call("s1", began.Add(30*time.Minute)), grant.GetLease()))
	state := f.quotas(t, "s1")[0]
	require.Len(t, state.Leases, 1)
	l := state.Leases[0]
	require.Equal(t, [...]any{"gw1", grant.GetUnits(), int64(2), grant.GetUnits() - 2}, [...]any{l.Gateway, l.Granted, l.Spent, l.Outstanding})
	require.Equal(t, grant.GetExpiresAt(), l.ExpiresAt.UnixNano())
	require.Nil(t, state.ExhaustedAt, "at this pace the day ends before")

	var calls []*callsv1.CallRecord
	for i := range 40 {
		calls = append(calls, call("s1", began.Add(time.Duration(i)*time.Minute)))
	}
	g.send(t, calls...)
	state = f.quotas(t, "s1")[0]
	require.NotNil(t, state.ExhaustedAt)
	require.True(t, state.ExhaustedAt.After(f.clock.Now()) && state.ExhaustedAt.Before(f.clock.Now().Add(3*time.Hour)), "%s", state.ExhaustedAt)
}

// A request for leases that waits for the database holds up no other one.
func TestLeasesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(100, "month"))
	f.subscribe(t, "s2", hard(100, "month"))
	known := &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 1)}
	f.lease(t, known)
	waiting := make(chan error, 1)
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `LOCK TABLE plans IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		go func() { // s2's plan is not known yet
			waiting <- operation.Call(t.Context(), f.Bus, "metering.Lease", &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s2", "month", 1)}, &meteringv1.LeaseReply{})
		}()
		testkit.Await(t, patience, func() bool {
			return query[int64](t, f.db, `SELECT count(*) FROM pg_locks WHERE relation = 'plans'::regclass AND NOT granted`) > 0
		})
		require.EqualValues(t, 1, f.lease(t, known).GetGrants()[0].GetUnits())
		return nil
	}))
	<-waiting // it was answered, or its time was over
}

func TestWhatIsNotLeased(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(10, "month"))
	position := f.emit("subscription", "subscription", "s1", &subscriptionv1.SubscriptionSuspended{Subscription: "s1"})
	f.followed(t, "subscription", position)
	grants := f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: append(append(append(
		ask("s1", "month", 1), ask("unknown", "month", 1)...), ask("s1", "year", 1)...), ask("s1", "wallet", 1)...)}).GetGrants()
	require.Len(t, grants, 4)
	for _, g := range grants {
		require.Zero(t, g.GetUnits())
	}
	require.False(t, grants[0].GetExhausted())
	require.False(t, grants[1].GetExhausted())
	require.True(t, grants[3].GetExhausted(), "there is no wallet yet")

	err := operation.Call(t.Context(), f.Bus, "metering.Lease", &meteringv1.LeaseRequest{
		Asks: []*meteringv1.LeaseAsk{{Subscription: "s1", Meter: "calls"}}, Returns: []*meteringv1.LeaseReturn{{Lease: "x", Spent: -1}},
	}, &meteringv1.LeaseReply{})
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	require.Len(t, problem.From(err).Errors, 5)
}

func TestAStrangerSeesNothing(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", hard(10, "month"))
	f.gateway("gw1").send(t, call("s1", began.Add(time.Minute)))
	stranger := f.TokenFor(principal.Principal{Tenant: "globex", Subject: "member:x", Scopes: []string{"metering.read", "metering.operate"}})
	span := "&from=2026-03-10T00:00:00Z&to=2026-03-11T00:00:00Z"
	for _, name := range []string{"s1", "name-of-s1"} {
		tried := f.Attack(f.service.API(), stranger, map[string][]string{"gateway": {"gw1"}, "position": {"1"}}, map[string]any{"WaiveGateway": `{"until":"2026-03-10T00:00:00Z","reason":"x"}`},
			map[string]string{"GetUsage": "?subscription=" + name + span, "ListQuotas": "?subscription=" + name, "QueryUsage": "?subscription=" + name + span, "ListPeriodHolds": "?" + span[1:]}, map[string]bool{"ListMeteringAudit": true, "ExportMeteringAudit": true}, []string{"s1", "gw1"})
		require.Equal(t, 10, tried)
	}
	require.Equal(t, 404, f.Client(stranger).Do("GET", "/metering/v1/usage?subscription=s1"+span, nil).Status)
	var none struct{ Items []struct{} }
	f.Client(stranger).Must("GET", "/metering/v1/usage/query?dimension=subscription"+span, nil, &none)
	require.Empty(t, none.Items)
	require.Equal(t, 401, f.Client("").Do("GET", "/metering/v1/quotas?subscription=s1", nil).Status)
	require.Equal(t, 200, f.Client(f.Token(tenant, "metering.read")).Do("GET", "/metering/v1/usage?subscription=s1"+span, nil).Status)
	for _, wrong := range []string{"", "?subscription=s1", "?subscription=s1&from=2026-03-11T00:00:00Z&to=2026-03-10T00:00:00Z", "?subscription=s1&by=week" + span, "?subscription=s1&by=hour&from=2026-03-01T00:00:00Z&to=2027-03-10T00:00:00Z"} {
		require.Equal(t, 400, f.Client(f.Token(tenant, "metering.read")).Do("GET", "/metering/v1/usage"+wrong, nil).Status, wrong)
	}
}
