package app

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/postgres/postgrestest"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/billing/internal/follow"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const tenant = "33333333-0000-7000-8000-000000000000"

// bench is the use cases alone, without the service around them: each statement that goes to the database is theirs.
type bench struct {
	*Billing
	tb       testing.TB
	proxy    *postgrestest.Proxy
	direct   *postgres.DB // past the proxy
	position uint64
}

func newBench(tb testing.TB) *bench {
	tb.Helper()
	url := testkit.Database(tb, "billing")
	proxy, through := postgrestest.NewURLProxy(tb, url)
	server := testkit.NATS(tb)
	connection, err := bus.Connect(bus.Config{URL: server.URL(), Name: "test", Replicas: 1})
	require.NoError(tb, err)
	tb.Cleanup(connection.Close)
	b := &bench{tb: tb, proxy: proxy, direct: open(tb, url)}
	db := open(tb, through)
	log, err := eventlog.New(db, eventlog.Config{Name: "billing"})
	require.NoError(tb, err)
	require.NoError(tb, log.Migrate(tb.Context()))
	require.NoError(tb, db.Migrate(tb.Context(), store.Migrations(), "tollgate_billing_versions"))
	b.Billing = New(log, db, connection, time.Now, testkit.Logger(tb))
	answerEmpty(tb, connection)
	b.apply(follow.Identity, &identityv1.AccountCreated{Account: "globex", Name: "globex", Title: "Globex", Currency: "USD"})
	b.apply(follow.Catalog, &catalogv1.PlanPublished{Plan: "pro", Name: "pro", Version: 1, Spec: &catalogv1.PlanSpec{
		Currency: "USD", Prices: []*catalogv1.Price{{Name: "base", Model: "flat", Amount: "49.00"}, {Name: "calls", Meter: "calls", Model: "unit", Unit: "1"}}}})
	return b
}

func open(tb testing.TB, url string) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(tb.Context(), postgres.Config{URL: url})
	require.NoError(tb, err)
	tb.Cleanup(db.Close)
	return db
}

// answerEmpty answers for metering and analytics that there were no calls.
func answerEmpty(tb testing.TB, b *bus.Bus) {
	tb.Helper()
	for _, name := range []string{"metering", "analytics"} {
		api, err := operation.New(operation.Config{Service: name, Title: name, Log: testkit.Logger(tb),
			Verify: func(string) (principal.Principal, error) { return principal.Principal{}, errors.New("no tokens here") }})
		require.NoError(tb, err)
		none := &meteringv1.CallCounts{Digest: callset.Hex(0)}
		if name == "metering" {
			operation.RPC(api, "metering.Usage", func(context.Context, *meteringv1.UsageRequest) (*meteringv1.UsageReply, error) {
				return &meteringv1.UsageReply{Sealed: true, Counts: none}, nil
			})
		} else {
			operation.RPC(api, "analytics.Count", func(context.Context, *meteringv1.CountRequest) (*meteringv1.CountReply, error) {
				return &meteringv1.CountReply{Counts: none}, nil
			})
			operation.RPC(api, "analytics.Proof", func(context.Context, *analyticsv1.ProofRequest) (*analyticsv1.ProofReply, error) {
				return &analyticsv1.ProofReply{Agree: true, LandedDigest: callset.Hex(0), MeteredDigest: callset.Hex(0)}, nil
			})
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
		ready, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- api.ServeNATS(ctx, b, func() { close(ready) }) }()
		<-ready
		tb.Cleanup(func() {
			cancel()
			require.NoError(tb, <-done)
		})
	}
}

// apply gives an event to a follower's handler.
func (b *bench) apply(handle eventlog.Handle, events ...proto.Message) {
	b.tb.Helper()
	for _, e := range events {
		b.position++
		require.NoError(b.tb, b.direct.InTenant(b.tb.Context(), principal.AllTenants, func(tx pgx.Tx) error {
			return handle(b.tb.Context(), tx, eventlog.Event{Position: b.position, Tenant: tenant, Payload: e})
		}))
	}
}

func (b *bench) subscribe(id string) {
	b.tb.Helper()
	b.apply(follow.Subscription,
		&subscriptionv1.SubscriptionRequested{Subscription: id, Name: id, Account: "globex", Plan: "pro", PlanVersion: 1},
		&subscriptionv1.SubscriptionActivated{Subscription: id, StartedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), TimeZone: "UTC"})
}

// look reads past the proxy.
func look[R any](b *bench, fn func(tx pgx.Tx) (R, error)) R {
	b.tb.Helper()
	var result R
	require.NoError(b.tb, b.direct.InTenant(b.tb.Context(), tenant, func(tx pgx.Tx) (err error) {
		result, err = fn(tx)
		return err
	}))
	return result
}

// TestCutAtEveryStatement cuts all connections to the database at the n-th piece of data that a billing run sends, for every n
// until a run is through before the cut. The server gets that piece and its answer is lost, so that a commit may have happened or
// not; without the piece it is as if the one before had been the last, which a coarser sweep looks at.
func TestCutAtEveryStatement(t *testing.T) {
	t.Parallel()
	for step, delivered := range map[int]bool{1: true, 4: false} {
		t.Run(fmt.Sprintf("delivered=%t", delivered), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			runs, last := 0, 0
			for cut := true; cut; {
				last += step
				runs++
				cut = b.runCutAt(runs, last, delivered)
			}
			require.Greater(t, last, 20, "the sweep went through the statements of a run")
			b.requireExact(runs)
		})
	}
}

// runCutAt bills one new subscription and says whether the cut at the n-th piece of data took place.
func (b *bench) runCutAt(number, n int, delivered bool) bool {
	b.tb.Helper()
	id := fmt.Sprintf("s%03d", number)
	b.subscribe(id)
	ctx := principal.With(b.tb.Context(), principal.Principal{Tenant: tenant, Subject: "member:test"})
	ctx = principal.WithCommand(ctx, principal.Command{Key: id})
	cuts := b.proxy.Cuts()
	b.proxy.CutAt(n, delivered)
	var run Run
	testkit.Await(b.tb, 20*time.Second, func() (err error) {
		run, err = b.StartRun(ctx, "2026-02", id)
		return err
	})
	testkit.Await(b.tb, 20*time.Second, func() error {
		if err := b.workRuns(b.tb.Context(), map[string]store.Place{}); err != nil {
			return err
		}
		row := look(b, func(tx pgx.Tx) (store.Run, error) { return store.FindRun(b.tb.Context(), tx, run.ID) })
		if row.FinishedAt == nil {
			return errors.New("the run is not finished")
		}
		require.Equal(b.tb, int32(1), row.Finalized)
		return nil
	})
	b.proxy.CutAt(0, false)
	return b.proxy.Cuts() > cuts
}

// requireExact checks that there are n final invoices of n subscriptions, with numbers 1 to n in the order of the runs.
func (b *bench) requireExact(n int) {
	b.tb.Helper()
	ctx := b.tb.Context()
	invoices := look(b, func(tx pgx.Tx) ([]store.Invoice, error) {
		return store.Invoices(ctx, tx, tenant, store.InvoiceFilter{Limit: 1000})
	})
	require.Len(b.tb, invoices, n)
	for _, i := range invoices {
		require.Equal(b.tb, "final", i.State)
		require.Equal(b.tb, "49.00", i.Total)
		require.Equal(b.tb, fmt.Sprintf("s%03d", *i.Number), i.SubscriptionID)
		require.Len(b.tb, look(b, func(tx pgx.Tx) ([]store.Line, error) { return store.Lines(ctx, tx, i.ID) }), 2)
	}
	events, err := b.log.Read(ctx, 0, 10_000)
	require.NoError(b.tb, err)
	counts := map[string]int{}
	for _, e := range events {
		counts[e.Type]++
		if final, ok := e.Payload.(*billingv1.InvoiceFinalized); ok {
			require.Equal(b.tb, counts[e.Type], int(final.GetNumber()), "numbers are gapless and in order")
		}
	}
	require.Equal(b.tb, map[string]int{
		"billing.v1.BillingRunStarted": n, "billing.v1.InvoiceDrafted": n, "billing.v1.InvoiceFinalized": n, "billing.v1.BillingRunFinished": n,
	}, counts)
}
