package billing_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	"github.com/tollgate/tollgate/services/billing"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

var january = day("2026-01-01T00:00:00Z")

// subscriptions starts n subscriptions whose first period ends in February, each with as many calls as its number.
func (f *fixture) subscriptions(n int) {
	f.tb.Helper()
	f.plan("pro", 1, pro())
	for i := range n {
		id := f.subscribe(fmt.Sprintf("s%03d", i+1), "pro", january)
		f.calls(id, i+1, january.AddDate(0, 0, 3))
	}
}

// requireExact checks that n subscriptions have one invoice each, the right one, with numbers from 1 to n, in the tables, in the
// log, and in the tables made again from the log.
func (f *fixture) requireExact(n int) {
	f.tb.Helper()
	numbers := map[string]bool{}
	subscriptions := map[string]bool{}
	for _, i := range f.invoices("") {
		require.Equal(f.tb, "final", i.State)
		numbers[i.Number], subscriptions[i.Subscription] = true, true
		full := f.invoice(i.Number)
		var calls int
		_, err := fmt.Sscanf(i.Subscription, "s%d", &calls)
		require.NoError(f.tb, err)
		require.Len(f.tb, full.Lines, 2)
		require.Equal(f.tb, uint64(calls), full.Lines[1].Calls)
	}
	require.Len(f.tb, numbers, n)
	require.Len(f.tb, subscriptions, n)
	for i := range n {
		require.True(f.tb, numbers[fmt.Sprintf("INV-%06d", i+1)], "number %d", i+1)
	}
	log := f.log()
	events, err := log.Read(f.tb.Context(), 0, 100_000)
	require.NoError(f.tb, err)
	given := map[uint64]bool{}
	for _, e := range events {
		if final, ok := e.Payload.(*billingv1.InvoiceFinalized); ok {
			require.False(f.tb, given[final.GetNumber()], "number %d was given twice", final.GetNumber())
			given[final.GetNumber()] = true
		}
	}
	require.Len(f.tb, given, n)
	require.Empty(f.tb, f.rebuilt(log))
}

// rebuilt makes the invoices again from the log and returns where they differ.
func (f *fixture) rebuilt(log *eventlog.Log) []eventlog.RowDifference {
	f.tb.Helper()
	r, err := log.Rebuild(f.tb.Context(), store.Projection())
	require.NoError(f.tb, err)
	differences, err := r.Compare(f.tb.Context())
	require.NoError(f.tb, err)
	require.NoError(f.tb, r.Swap(f.tb.Context()), "the swap leaves equal rows alone")
	require.NoError(f.tb, r.Close(f.tb.Context()))
	return differences
}

// TestStoppedAtAnyCall stops the service at each internal call of a run and starts it again.
func TestStoppedAtAnyCall(t *testing.T) {
	t.Parallel()
	const n = 4
	f := prepare(t)
	f.subscriptions(n)
	f.start(nil)
	stops := make(chan struct{}, 1)
	var mu sync.Mutex
	seen := 0
	f.ledger.set(func(l *ledger) {
		l.before = func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if seen++; seen%2 == 0 {
				return nil
			}
			select {
			case stops <- struct{}{}:
			default:
			}
			return problem.NewUnavailable("dying", "The connection is gone.")
		}
	})
	var run runAnswer
	f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-02"}`, &run, "Tollgate-After", f.after)
	for range 3 * n {
		select {
		case <-stops:
		case <-time.After(20 * time.Second):
			t.Fatal("the run does not get on")
		}
		f.stop()
		f.start(nil)
	}
	f.ledger.set(func(l *ledger) { l.before = nil })
	require.Equal(t, n, f.await(run.ID).Counts.Finalized)
	f.requireExact(n)
}

// TestTerminatedBackends ends every connection that is in a transaction, each time the run has got on by an invoice.
func TestTerminatedBackends(t *testing.T) {
	t.Parallel()
	const n = 16
	f := prepare(t)
	f.subscriptions(n)
	f.start(nil)
	db := f.database()
	var run runAnswer
	f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-02"}`, &run, "Tollgate-After", f.after)
	terminated, seen := 0, -1
	testkit.Await(t, time.Minute, func() error {
		var final int
		err := db.InTenant(t.Context(), f.tenant, func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT count(*) FROM invoices WHERE state = 'final'`).Scan(&final)
		})
		if err != nil || final == n {
			return err
		}
		if final > seen {
			var ended int
			err = db.Pool().QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid, 5000))
				FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL`).Scan(&ended)
			if terminated += ended; ended > 0 {
				seen = final
			}
		}
		return errors.Join(err, fmt.Errorf("%d of %d invoices are final", final, n))
	})
	require.Positive(t, terminated)
	require.Equal(t, n, f.await(run.ID).Counts.Finalized)
	f.requireExact(n)
}

// TestManyRunsAtOnce has two replicas, runs of the same month on both, and the schedule, all at the same time.
func TestManyRunsAtOnce(t *testing.T) {
	t.Parallel()
	const n = 30
	f := prepare(t)
	f.config.Manual, f.config.Schedule = false, 10*time.Millisecond
	f.subscriptions(n)
	// The schedule bills what is due from the first moment on: keep it waiting until all are there.
	f.ledger.set(func(l *ledger) { l.gaps = 1 })
	f.start(nil)
	second, err := billing.New(t.Context(), f.config, f.Deps(nil))
	require.NoError(t, err)
	f.Run(second)
	var runs []string
	for range 6 {
		var run runAnswer
		f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-02"}`, &run, "Tollgate-After", f.after)
		runs = append(runs, run.ID)
	}
	f.ledger.set(func(l *ledger) { l.gaps = 0 })
	for _, run := range runs {
		f.await(run)
	}
	testkit.Await(t, time.Minute, func() bool { return len(f.invoices("&period=2026-02&state=final")) == n })
	numbers := map[string]bool{}
	for _, i := range f.invoices("&state=final") {
		require.False(t, numbers[i.Number], i.Number)
		numbers[i.Number] = true
	}
}

func TestTheSameRunMakesTheSameInvoices(t *testing.T) {
	t.Parallel()
	bodies := make([]string, 2)
	for i := range bodies {
		f := startBilling(t)
		f.subscriptions(5)
		require.Equal(t, 5, f.bill("2026-02").Counts.Finalized)
		f.stop()
		f.start(nil)
		require.Equal(t, 5, f.bill("2026-02").Counts.Before)
		for n := range 5 {
			body := f.client.Must("GET", fmt.Sprintf("/billing/v1/invoices/INV-%06d", n+1), nil, nil).Body
			var anyTime map[string]any
			require.NoError(t, json.Unmarshal([]byte(body), &anyTime))
			delete(anyTime, "finalizedAt") // the one thing that depends on when
			again, err := json.Marshal(anyTime)
			require.NoError(t, err)
			bodies[i] += string(again)
		}
		f.requireExact(5)
	}
	require.Equal(t, bodies[0], bodies[1])
}
