package analytics_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// TestInvoicesAndNamesAreInClickHouse for who reads its tables: the lines of the last draft, once the invoice is final.
func TestInvoicesAndNamesAreInClickHouse(t *testing.T) {
	t.Parallel()
	f := start(t)
	draft := func(amounts ...string) *billingv1.InvoiceDrafted {
		d := &billingv1.InvoiceDrafted{Invoice: "i1", Account: "a1", Subscription: "s1", Currency: "USD", PeriodStart: noon.AddDate(0, -1, 0).UnixNano(), PeriodEnd: noon.UnixNano()}
		for _, amount := range amounts {
			d.Lines = append(d.Lines, &billingv1.InvoiceLine{Price: "calls", Meter: "calls", Plan: "pro", Amount: amount, PeriodStart: d.GetPeriodStart(), PeriodEnd: d.GetPeriodEnd(), Calls: 7})
		}
		return d
	}
	f.Emit("billing", tenant, "billing-run", "r1", 0, &billingv1.BillingRunStarted{Run: "r1", Period: "2026-03"})
	f.Emit("billing", tenant, "invoice", "i1", 0, draft("1", "2", "3"), &billingv1.InvoiceHeld{Invoice: "i1", Cause: "not-sealed"}, draft("100.000000000001", "-0.5"))
	f.Emit("billing", tenant, "invoice", "i1", 3, &billingv1.InvoiceFinalized{Invoice: "i1", FinalizedAt: noon.UnixNano()})
	f.after(t, "billing", f.Emit("billing", tenant, "billing-run", "r1", 1, &billingv1.BillingRunFinished{Run: "r1", Finalized: 1}))
	f.after(t, "identity", f.Emit("identity", tenant, "account", "a1", 0, &identityv1.AccountCreated{Account: "a1", Name: "globex"}))
	var lines, runs, name string
	var at time.Time
	require.NoError(t, f.table.QueryRow(t.Context(), `SELECT toString(groupArray((line, toString(amount), plan, currency, calls))), max(finalized_at) FROM invoice_lines FINAL`).Scan(&lines, &at))
	require.Equal(t, `[(1,'100.000000000001','pro','USD',7),(2,'-0.5','pro','USD',7)]`, lines)
	require.Equal(t, noon, at)
	require.NoError(t, f.table.QueryRow(t.Context(), `SELECT arrayStringConcat(arraySort(groupArray(concat(kind, ' ', run, ' ', cause))), ',') FROM billing_events FINAL`).Scan(&runs))
	require.Equal(t, "finished r1 ,held  not-sealed,started r1 ", runs)
	named := func(want string) {
		t.Helper()
		testkit.Await(t, patience, func() error {
			err := f.table.QueryRow(t.Context(), `SELECT name FROM names FINAL WHERE kind = 'account' AND id = 'a1'`).Scan(&name)
			if err == nil && name != want {
				err = errors.New("the name is " + name)
			}
			return err
		})
	}
	named("globex")
	testkit.Await(t, patience, func() bool { return query[int](t, f, `SELECT count(*) FROM names WHERE NOT noted`) == 0 })
	f.after(t, "identity", f.Emit("identity", tenant, "account", "a1", 1, &identityv1.AccountCreated{Account: "a1", Name: "globex-2"}))
	named("globex-2")
}
