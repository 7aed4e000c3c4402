package billing_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

func TestAPeriodIsBilled(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	id := f.subscribe("globex-pro", "pro", day("2026-01-15T10:00:00.000000007Z"))
	f.calls(id, 8, day("2026-02-01T00:00:00Z"))
	f.ledger.add(call{subscription: id, seq: 900, at: day("2026-02-02T00:00:00Z"), reason: "upstream_failed"})
	f.calls(id, 1, day("2026-02-15T10:00:00.000000007Z")) // the first call of the next period

	run := f.bill("2026-02")
	require.Equal(t, 1, run.Counts.Finalized, run)
	i := f.invoice("INV-000001")
	require.Equal(t, "final", i.State)
	require.Equal(t, "globex", i.Account)
	require.Equal(t, "globex-pro", i.Subscription)
	require.Equal(t, day("2026-01-15T10:00:00.000000007Z"), i.PeriodStart)
	require.Equal(t, day("2026-02-15T10:00:00.000000007Z"), i.PeriodEnd)
	require.Len(t, i.Lines, 2)
	require.Equal(t, "49.00", i.Lines[0].Amount)
	require.Equal(t, id+"/pro@1/1/calls/2026-01-15T10:00:00.000000007Z", i.Lines[1].Identity)
	require.Equal(t, "8", i.Lines[1].Quantity)
	require.Equal(t, "0.45", i.Lines[1].Amount, "2 included, 3 at 0.10, 3 at 0.05")
	require.Equal(t, uint64(8), i.Lines[1].Calls)
	require.Len(t, i.Lines[1].Detail, 3)
	require.Equal(t, "49.45", i.Total)
	require.Equal(t, uint64(9), i.Evidence.Landed, "calls that are not billable are proven too")
	require.Equal(t, i.Evidence.MeteredDigest, i.Evidence.LandedDigest)

	var calls struct {
		Count             uint64
		Digest, CallsPath string
	}
	f.client.Must("GET", "/billing/v1/invoices/INV-000001/lines/2/calls", nil, &calls)
	require.Equal(t, uint64(8), calls.Count)
	require.Equal(t, i.Lines[1].Digest, calls.Digest)
	path, err := url.Parse(calls.CallsPath)
	require.NoError(t, err)
	require.Equal(t, "/analytics/v1/calls", path.Path)
	require.Equal(t, url.Values{
		"subscription": {id}, "meter": {"calls"}, "billable": {"true"},
		"from": {"2026-01-15T10:00:00.000000007Z"}, "to": {"2026-02-15T10:00:00.000000007Z"},
	}, path.Query())
	require.Equal(t, 404, f.client.Do("GET", "/billing/v1/invoices/INV-000001/lines/3/calls", nil).Status)
	require.Equal(t, 400, f.client.Do("GET", "/billing/v1/invoices/INV-000001/lines/x/calls", nil).Status)
	require.Equal(t, 404, f.client.Do("GET", "/billing/v1/invoices/INV-000002", nil).Status)

	before := f.client.Must("GET", "/billing/v1/invoices/INV-000001", nil, nil).Body
	again := f.bill("2026-02")
	require.Equal(t, 0, again.Counts.Finalized+again.Counts.Held+again.Counts.Skipped)
	require.Equal(t, 1, again.Counts.Before)
	require.Equal(t, before, f.client.Must("GET", "/billing/v1/invoices/"+i.ID, nil, nil).Body, "byte by byte")

	require.Equal(t, 1, f.bill("2026-03").Counts.Finalized)
	require.Len(t, f.invoices(""), 2)
	for query, want := range map[string]int{
		"&account=globex": 2, "&account=" + account: 2, "&account=other": 0, "&subscription=globex-pro": 2, "&subscription=" + id: 2,
		"&state=final": 2, "&state=held": 0, "&period=2026-03": 1, "&period=2026-04": 0,
	} {
		require.Len(t, f.invoices(query), want, query)
	}
	var page struct {
		Items []invoice
		Next  string
	}
	f.client.Must("GET", "/billing/v1/invoices?limit=1", nil, &page)
	require.Equal(t, "INV-000002", page.Items[0].Number)
	f.client.Must("GET", "/billing/v1/invoices?limit=1&cursor="+page.Next, nil, &page)
	require.Equal(t, "INV-000001", page.Items[0].Number)
}

func TestAPlanChangeDividesThePeriod(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	flat := func(amount string) *catalogv1.PlanSpec {
		return &catalogv1.PlanSpec{Currency: "USD", Prices: []*catalogv1.Price{
			{Name: "base", Model: "flat", Amount: amount}, {Name: "calls", Meter: "calls", Model: "unit", Unit: "1"},
		}}
	}
	f.plan("small", 1, flat("10"))
	f.plan("large", 1, flat("20"))
	started, change := day("2026-04-01T00:00:00Z"), day("2026-04-16T00:00:00Z")
	id := f.subscribe("s", "small", started)
	f.emit("subscription", "subscription", id, 2, &subscriptionv1.SubscriptionPlanChanged{
		Subscription: id, FromPlan: planID("small"), FromPlanVersion: 1, Plan: planID("large"), PlanVersion: 1, EffectiveAt: change.UnixNano()})
	f.calls(id, 3, change.Add(-1))
	f.calls(id, 4, change)
	f.calls(id, 2, day("2026-05-16T12:00:03Z"))
	f.emit("subscription", "subscription", id, 3, &subscriptionv1.SubscriptionCancelled{Subscription: id, EndedAt: day("2026-05-16T12:00:00Z").UnixNano()})

	require.Equal(t, 2, f.bill("2026-05").Counts.Finalized)
	i := f.invoice("INV-000001")
	var amounts []string
	for _, l := range i.Lines {
		amounts = append(amounts, fmt.Sprintf("%s %s %s", l.Identity[len(id)+1:], l.Quantity, l.Amount))
	}
	require.Equal(t, []string{
		"small@1/1/base/2026-04-01T00:00:00Z 1 5.00", "small@1/1/calls/2026-04-01T00:00:00Z 3 3.00",
		"large@1/2/base/2026-04-01T00:00:00Z 1 10.00", "large@1/2/calls/2026-04-01T00:00:00Z 4 4.00",
	}, amounts)
	require.Equal(t, "22.00", i.Total)

	// The end of the subscription closes the period: half of it was served, and calls under way at the end are billed still.
	i = f.invoice("INV-000002")
	require.Equal(t, day("2026-05-16T12:00:05Z"), i.PeriodEnd)
	require.Equal(t, "10.00", i.Lines[0].Amount)
	require.Equal(t, "1/2", i.Lines[0].Detail[0]["share"])
	require.Equal(t, "2", i.Lines[1].Quantity)
	require.Equal(t, 0, f.bill("2026-07").Counts.Finalized, "nothing is billed after the end")
	require.Len(t, f.invoices(""), 2)
}

// TestAnEndThatIsLearnedLate: the periods after the end were stored before it was known.
func TestAnEndThatIsLearnedLate(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	id := f.subscribe("s", "pro", january)
	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	f.emit("subscription", "subscription", id, 2, &subscriptionv1.SubscriptionCancelled{Subscription: id, EndedAt: day("2026-02-15T00:00:00Z").UnixNano()})
	require.Equal(t, 1, f.bill("2026-03").Counts.Finalized)
	require.Equal(t, "24.50", f.invoice("INV-000002").Total, "half of the period was served")
	run := f.bill("2026-04")
	require.Equal(t, 1, run.Counts.Skipped)
	require.Equal(t, "nothing-to-bill", run.Items[0].Cause)
	require.Len(t, f.invoices(""), 2)
}

func TestAnUnprovenInvoiceIsHeld(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	id := f.subscribe("globex-pro", "pro", day("2026-01-01T00:00:00Z"))
	f.calls(id, 3, day("2026-01-10T00:00:00Z"))
	held := func(cause, detail string) {
		t.Helper()
		run := f.bill("2026-02")
		require.Equal(t, 1, run.Counts.Held)
		require.Equal(t, cause, run.Items[0].Cause)
		require.Contains(t, run.Items[0].Detail, detail)
		list := f.invoices("&state=held")
		require.Len(t, list, 1)
		require.Equal(t, cause, list[0].Cause)
		require.Empty(t, list[0].Number)
	}
	f.ledger.set(func(l *ledger) { l.unsealed["gw2"] = day("2026-01-31T23:59:59Z").UnixNano() })
	held("not-sealed", "gw2 (until 2026-01-31T23:59:59Z)")
	require.Zero(t, f.ledger.times("analytics.Proof"))
	f.ledger.set(func(l *ledger) { l.unsealed, l.gaps = map[string]int64{}, 2 })
	held("open-gap", "2 gaps")
	var lost call
	f.ledger.set(func(l *ledger) {
		l.gaps, lost = 0, l.landed[0]
		l.landed = l.landed[1:]
	})
	held("counters-differ", "landed 2, metered 3")
	// The same number of calls, but not the same calls.
	f.ledger.set(func(l *ledger) {
		l.landed = append(l.landed, call{subscription: id, seq: 77, at: lost.at, meters: lost.meters})
	})
	held("counters-differ", "meter calls")
	// The same calls, with another quantity.
	f.ledger.set(func(l *ledger) {
		l.landed[len(l.landed)-1] = call{subscription: id, seq: lost.seq, at: lost.at, meters: map[string]string{"calls": "2"}}
	})
	held("counters-differ", "landed 4 in 3 calls")
	// A call that metering had missed arrives: the draft is made again.
	f.ledger.set(func(l *ledger) {
		l.metered = append(l.metered, call{subscription: id, seq: 78, at: lost.at, meters: lost.meters})
		l.landed = l.metered
	})
	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	i := f.invoice("INV-000001")
	require.Equal(t, "4", i.Lines[1].Quantity)
	require.Empty(t, i.Cause)

	// Each reason is told once in the log, and the draft was made again where it changed.
	require.Equal(t, map[string]int{
		"billing.v1.BillingRunStarted": 6, "billing.v1.BillingRunFinished": 6, "billing.v1.InvoiceDrafted": 2, "billing.v1.InvoiceHeld": 5, "billing.v1.InvoiceFinalized": 1,
	}, f.logged())
}

func TestWhatCannotBeRatedIsHeld(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("percent", 1, &catalogv1.PlanSpec{Currency: "USD", Prices: []*catalogv1.Price{{Name: "fee", Meter: "volume", Model: "percentage", Rate: "1", Fixed: "0.10"}}})
	f.plan("yen", 1, &catalogv1.PlanSpec{Currency: "JPY", Prices: []*catalogv1.Price{{Name: "base", Model: "flat", Amount: "100"}}})
	f.plan("pro", 1, pro())
	f.plan("free", 1, &catalogv1.PlanSpec{Currency: "USD"})
	started := day("2026-01-01T00:00:00Z")
	percent := f.subscribe("percent", "percent", started)
	f.ledger.add(call{subscription: percent, seq: 1, at: started, meters: map[string]string{"volume": "12.5"}})
	f.subscribe("free", "free", started)
	mixed := f.subscribe("mixed", "pro", started)
	f.emit("subscription", "subscription", mixed, 2, &subscriptionv1.SubscriptionPlanChanged{
		Subscription: mixed, Plan: planID("yen"), PlanVersion: 1, EffectiveAt: started.Add(time.Hour).UnixNano()})
	f.emit("subscription", "subscription", subscriptionID("stranger"), 0,
		&subscriptionv1.SubscriptionRequested{Subscription: subscriptionID("stranger"), Name: "stranger", Account: "unknown", Plan: planID("pro"), PlanVersion: 1},
		&subscriptionv1.SubscriptionActivated{Subscription: subscriptionID("stranger"), StartedAt: started.UnixNano(), TimeZone: "UTC"})
	run := f.bill("2026-02")
	require.Equal(t, 3, run.Counts.Held)
	require.Equal(t, 1, run.Counts.Skipped)
	causes := map[string]string{}
	for _, i := range run.Items {
		causes[i.Subscription] = i.Cause
	}
	require.Equal(t, map[string]string{"percent": "not-rateable", "mixed": "currency-differs", "stranger": "account-unknown", "free": "nothing-to-bill"}, causes)
	require.Empty(t, f.invoices(""))
	again := f.bill("2026-02")
	require.Equal(t, 1, again.Counts.Before, "what was skipped is settled")
	require.Equal(t, 3, again.Counts.Held)
}

func TestRunsAreChecked(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	for body, want := range map[string]string{
		`{"period":"November"}`:                       `2026-11`,
		`{"period":"2200-01"}`:                        `has not begun`,
		`{"period":"2999-01"}`:                        `2026-11`,
		`{"period":"2026-01","subscription":"ghost"}`: `There is no subscription`,
		`{"month":"2026-01"}`:                         `is not a field`,
	} {
		a := f.client.Do("POST", "/billing/v1/runs", body)
		require.True(t, a.Status == 400 || a.Status == 404, a.Body)
		require.Contains(t, a.Body, want)
	}
	viewer := f.Client(f.Token(f.tenant, "billing.read"))
	require.Equal(t, 403, viewer.Do("POST", "/billing/v1/runs", `{"period":"2026-01"}`).Status)
	require.Equal(t, 404, f.client.Do("GET", "/billing/v1/runs/none", nil).Status)
	require.Equal(t, 400, f.client.Do("GET", "/billing/v1/invoices?state=paid", nil).Status)
	require.Equal(t, 400, f.client.Do("GET", "/billing/v1/invoices?period=May", nil).Status)
	require.Equal(t, 400, f.client.Do("GET", "/billing/v1/invoices?cursor=x", nil).Status)

	var first, again runAnswer
	f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-01"}`, &first, "Idempotency-Key", "k")
	f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-01"}`, &again, "Idempotency-Key", "k")
	require.Equal(t, first.ID, again.ID)
	f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-01"}`, nil, "Tollgate-Dry-Run", "true")
	f.await(first.ID)
	var list struct{ Items []runAnswer }
	f.client.Must("GET", "/billing/v1/runs", nil, &list)
	require.Len(t, list.Items, 1)
}

func TestTheScheduleBillsAndTriesAgain(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	clock := testkit.NewClock(time.Now())
	f.config.Manual, f.config.Schedule = false, 20*time.Millisecond
	f.plan("pro", 1, pro())
	end := clock.Now().Add(10 * time.Second)
	id := f.subscribe("s", "pro", end.UTC().AddDate(0, 0, -7)) // its first week ends soon
	f.plan("week", 1, &catalogv1.PlanSpec{Currency: "USD", Period: &catalogv1.Period{Every: "week"}, Prices: pro().GetPrices()})
	f.emit("subscription", "subscription", id, 2, &subscriptionv1.SubscriptionPlanChanged{
		Subscription: id, Plan: planID("week"), PlanVersion: 1, EffectiveAt: end.AddDate(0, 0, -7).UnixNano()})
	f.ledger.set(func(l *ledger) { l.gaps = 1 })
	f.start(clock.Now)
	var preview struct {
		PeriodEnd time.Time
		Total     string
	}
	testkit.Await(t, 10*time.Second, func() bool {
		a := f.client.Do("GET", "/billing/v1/subscriptions/s/preview", nil)
		if a.Status != 200 {
			return false
		}
		a.Decode(t, &preview)
		return true
	})
	require.WithinDuration(t, end, preview.PeriodEnd, time.Hour, "a week may have 7 days and an hour, not in UTC")
	require.Empty(t, f.invoices(""), "an open period is not billed")
	clock.Advance(20 * time.Second)
	testkit.Await(t, 10*time.Second, func() bool { return len(f.invoices("&state=held")) == 1 })
	f.ledger.set(func(l *ledger) {
		l.gaps, l.before = 0, func(string) error { return problem.NewUnavailable("down", "Down.") }
	})
	down := f.ledger.times("metering.Usage")
	testkit.Await(t, 10*time.Second, func() bool { return f.ledger.times("metering.Usage") > down+2 })
	require.Len(t, f.invoices("&state=held"), 1, "nothing changes while a service is down")
	f.ledger.set(func(l *ledger) { l.before = nil })
	testkit.Await(t, 10*time.Second, func() bool { return len(f.invoices("&state=final")) == 1 })
	require.Equal(t, "49.00", f.invoice("INV-000001").Total)
}

func TestARunWaitsForAServiceThatIsDown(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	f.subscribe("s", "pro", day("2026-01-01T00:00:00Z"))
	f.ledger.set(func(l *ledger) {
		l.before = func(name string) error {
			if name == "analytics.Proof" {
				return problem.NewUnavailable("down", "ClickHouse is down.")
			}
			return nil
		}
	})
	var run runAnswer
	f.client.Must("POST", "/billing/v1/runs", `{"period":"2026-02"}`, &run, "Tollgate-After", f.after)
	testkit.Await(t, 10*time.Second, func() bool {
		f.client.Must("GET", "/billing/v1/runs/"+run.ID, nil, &run)
		return run.Waiting == "ClickHouse is down."
	})
	require.Equal(t, 1, run.Counts.Pending)
	f.ledger.set(func(l *ledger) { l.before = nil })
	done := f.await(run.ID)
	require.Equal(t, 1, done.Counts.Finalized)
	require.Empty(t, done.Waiting)
}

func TestAFinalInvoiceDoesNotChange(t *testing.T) {
	t.Parallel()
	f := startBilling(t)
	f.plan("pro", 1, pro())
	f.subscribe("s", "pro", day("2026-01-01T00:00:00Z"))
	require.Equal(t, 1, f.bill("2026-02").Counts.Finalized)
	db := f.database()
	for _, statement := range []string{
		`UPDATE invoices SET total = 1`, `UPDATE invoices SET state = 'draft', number = NULL, evidence = NULL`, `DELETE FROM invoices`,
		`UPDATE invoice_lines SET amount = 1`, `DELETE FROM invoice_lines`,
		`INSERT INTO invoice_lines SELECT 'other', tenant_id, invoice_id, 9, price, meter, quantity, amount, detail, starts_at, ends_at, plan, plan_version, calls, digest FROM invoice_lines LIMIT 1`,
	} {
		err := db.InTenant(t.Context(), f.tenant, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), statement)
			return err
		})
		require.ErrorContains(t, err, "final", statement)
	}
	err := db.InTenant(t.Context(), f.tenant, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO invoice_lines (identity, tenant_id, invoice_id, number, price, meter, quantity, amount, detail, starts_at, ends_at, plan, plan_version, calls, digest)
			SELECT identity, tenant_id, 'another', 1, price, meter, quantity, amount, detail, starts_at, ends_at, plan, plan_version, calls, digest FROM invoice_lines LIMIT 1`)
		return err
	})
	require.ErrorContains(t, err, "invoice_lines_identity", "no charge stands on two invoices")
	require.Equal(t, "49.00", f.invoice("INV-000001").Total)
}
