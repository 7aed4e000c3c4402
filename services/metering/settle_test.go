package metering_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// What an upstream reports beyond what the gateway had set aside counts against the quota.
func TestUnitsBeyondTheReserveCount(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{Limits: []*catalogv1.Limit{{Quota: 10_000, Per: "month", Meter: "rows", Reserve: 10}}})
	g := f.gateway("gw1")
	lease := func() *meteringv1.LeaseGrant {
		return f.lease(t, &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: []*meteringv1.LeaseAsk{{Subscription: "s1", Meter: "rows", Per: "month", Want: 20}}}).GetGrants()[0]
	}
	reporting := func(rows string, spends ...*callsv1.LeaseSpend) *callsv1.CallRecord {
		c := call("s1", began.Add(time.Hour))
		c.Quantities, c.LeaseSpends = []*callsv1.Quantity{{Meter: "rows", Value: rows}}, spends
		return c
	}
	first, second := lease(), lease()
	require.EqualValues(t, 20, first.GetUnits())
	free := reporting("1000", &callsv1.LeaseSpend{Lease: first.GetLease(), Units: 10})
	free.Billable, free.Reason = false, callsv1.Reason_REASON_STATUS_EXCLUDED
	g.send(t,
		reporting("1000", &callsv1.LeaseSpend{Lease: first.GetLease(), Units: 10}),
		reporting("3", &callsv1.LeaseSpend{Lease: second.GetLease(), Units: 3}),
		reporting("100.5", &callsv1.LeaseSpend{Lease: second.GetLease(), Units: 4}, &callsv1.LeaseSpend{Lease: second.GetLease(), Units: 6}),
		free)
	state := f.quotas(t, "s1")[0]
	require.EqualValues(t, 1000+3+101+10, state.Spent)
	require.EqualValues(t, 40-10-3-10-10, state.Leased)
	g.send(t, reporting("8886", &callsv1.LeaseSpend{Lease: second.GetLease(), Units: 7}))
	require.True(t, f.quotas(t, "s1")[0].Exhausted)
	next := lease()
	require.Zero(t, next.GetUnits())
	require.True(t, next.GetExhausted())
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'metering.v1.QuotaExhausted'`))
}

func TestSoftQuotaIsCountedAndReported(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{Limits: []*catalogv1.Limit{{Quota: 3, Per: "month", Mode: "soft"}, {Quota: 100, Per: "month", Meter: "rows", Mode: "soft"}}})
	g := f.gateway("gw1")
	with := func(value string) *callsv1.CallRecord {
		c := call("s1", began.Add(time.Hour))
		c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: value}}
		return c
	}
	g.send(t, with("1.2"), call("s1", began.Add(time.Hour)))
	states := f.quotas(t, "s1")
	require.EqualValues(t, 2, states[0].Spent)
	require.EqualValues(t, 2, states[1].Spent)
	testkit.Await(t, patience, func() bool { return query[int64](t, f.db, `SELECT count(*) FROM balances`) == 2 })
	g.send(t, with("2"))
	g.send(t, with("3"))
	states = f.quotas(t, "s1")
	require.Equal(t, "soft", states[0].Mode)
	require.EqualValues(t, 4, states[0].Spent)
	require.True(t, states[0].Exhausted)
	require.EqualValues(t, 7, states[1].Spent)
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'metering.v1.QuotaExhausted'`))
}

// A balance that is made from the ledger counts as calls that come to it do, each rounded up, and is announced when it is used up.
func TestABalanceFromTheLedgerCountsAsCallsDo(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{Limits: []*catalogv1.Limit{{Quota: 4, Per: "month", Meter: "rows", Mode: "soft"}}})
	half := func() *callsv1.CallRecord {
		c := call("s1", began.Add(time.Hour))
		c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "0.5"}}
		return c
	}
	g := f.gateway("gw1")
	g.send(t, half(), half(), half(), half())
	require.EqualValues(t, 4, f.quotas(t, "s1")[0].Spent)
	testkit.Await(t, patience, func() bool { return query[int64](t, f.db, `SELECT count(*) FROM balances`) == 1 })
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'metering.v1.QuotaExhausted'`))
	g.send(t, half())
	require.EqualValues(t, 5, f.quotas(t, "s1")[0].Spent)
	require.EqualValues(t, 5, query[int64](t, f.db, `SELECT sum(units)::bigint FROM usage WHERE meter = 'rows'`))
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'metering.v1.QuotaExhausted'`))

	// A row of before the ledger had units counts by what it has.
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE usage SET units = NULL`)
		return err
	}))
	g.send(t, half())
	require.EqualValues(t, 3+1, query[int64](t, f.db, `SELECT sum(units)::bigint FROM usage WHERE meter = 'rows'`))
}
