package app

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// errChanged says that the subscription changed between the measurement and the transaction.
var errChanged = errors.New("the subscription changed meanwhile")

// maxMeasurements is how often a period is measured again because its subscription changed.
const maxMeasurements = 3

// bill makes the invoice of a period that has ended, or says why not. What comes back is the period with its new state. It
// may be called again at any time, and by several at once. The error is of kind problem.Unavailable when another service
// does not answer: nothing has changed then.
func (b *Billing) bill(ctx context.Context, tenant, subscription string, number int32) (store.Period, error) {
	ctx = in(ctx, tenant)
	for attempt := 1; ; attempt++ {
		p, err := b.billOnce(ctx, tenant, subscription, number)
		if !errors.Is(err, errChanged) || attempt == maxMeasurements {
			return p, err
		}
	}
}

// work is what is known of a period before it is measured.
type work struct {
	row     store.Subscription
	period  store.Period
	known   domain.Subscription
	account bool
}

func (b *Billing) billOnce(ctx context.Context, tenant, subscription string, number int32) (store.Period, error) {
	w, err := read(ctx, b, func(tx pgx.Tx, _ string) (work, error) { return b.work(ctx, tx, subscription, number) })
	if err != nil || w.period.Billed() {
		return w.period, err
	}
	if !w.account {
		return b.hold(ctx, w, domain.Hold{Cause: domain.AccountUnknown, Detail: "The account " + w.row.AccountID + " is not known yet."})
	}
	m, err := b.measure(ctx, tenant, w.known, w.period.Domain())
	if err != nil {
		return w.period, err
	}
	if m.draft == nil {
		return b.hold(ctx, w, m.hold)
	}
	result, err := eventlog.Execute(ctx, b.log, func(ctx context.Context, tx *eventlog.Tx) (store.Period, error) {
		return b.commit(ctx, tx, tenant, w, m)
	})
	return result.Value, wrap("bill the period", err)
}

// work reads a period that has ended with its subscription.
func (b *Billing) work(ctx context.Context, tx pgx.Tx, subscription string, number int32) (w work, err error) {
	if w.period, err = store.FindPeriod(ctx, tx, subscription, number); err != nil || w.period.Billed() {
		return w, err
	}
	if b.now().Before(store.Instant(w.period.EndsAt)) {
		return w, problem.NewConflict("period-open", "The period ends at %s and is not billed before.", store.Instant(w.period.EndsAt))
	}
	if w.row, err = store.FindSubscription(ctx, tx, subscription); err != nil {
		return w, err
	}
	if w.known, err = load(ctx, tx, w.row); err != nil {
		return w, err
	}
	if err := settled(ctx, tx, w); err != nil {
		return w, err
	}
	w.account, err = store.AccountKnown(ctx, tx, w.row.AccountID)
	return w, err
}

// settled returns errChanged for a period that a plan change has given other bounds than are stored.
func settled(ctx context.Context, tx pgx.Tx, w work) error {
	last, err := store.LastPeriod(ctx, tx, w.row.ID)
	if err != nil || last.Number != w.period.Number {
		return err
	}
	cut, err := w.known.Cut(w.period.Domain())
	switch {
	case errors.Is(err, domain.ErrPlanUnknown): // rating says so too, and holds it
		return nil
	case err == nil && cut != nil:
		return errChanged
	}
	return err
}

// lock takes the period for the rest of the transaction and makes sure that what was measured still holds.
func lock(ctx context.Context, tx pgx.Tx, w work) (store.Period, error) {
	row, err := store.LockSubscription(ctx, tx, w.row.ID)
	if err != nil {
		return store.Period{}, err
	}
	p, err := store.LockPeriod(ctx, tx, w.period.Subscription, w.period.Number)
	if err != nil || p.Billed() {
		return p, err
	}
	if row.Revision != w.row.Revision || p.Domain() != w.period.Domain() {
		return p, errChanged
	}
	return p, nil
}

// hold notes why a period cannot be rated.
func (b *Billing) hold(ctx context.Context, w work, h domain.Hold) (store.Period, error) {
	result, err := eventlog.Execute(ctx, b.log, func(ctx context.Context, tx *eventlog.Tx) (store.Period, error) {
		p, err := lock(ctx, tx, w)
		if err != nil || p.Billed() {
			return p, err
		}
		return keep(ctx, tx, p, h)
	})
	return result.Value, wrap("hold the period", err)
}

// fail holds a period that has ended because billing it failed.
func (b *Billing) fail(ctx context.Context, tenant, subscription string, number int32, cause error) error {
	h := domain.Hold{Cause: domain.Failed, Detail: problem.From(cause).Detail}
	_, err := eventlog.Execute(in(ctx, tenant), b.log, func(ctx context.Context, tx *eventlog.Tx) (store.Period, error) {
		if _, err := store.LockSubscription(ctx, tx, subscription); err != nil {
			return store.Period{}, err
		}
		p, err := store.LockPeriod(ctx, tx, subscription, number)
		if err != nil || p.Billed() || b.now().Before(store.Instant(p.EndsAt)) {
			return p, err
		}
		return keep(ctx, tx, p, h)
	})
	return wrap("hold the period", err)
}

// keep holds a locked period, and the draft that there may be of it from before.
func keep(ctx context.Context, tx *eventlog.Tx, p store.Period, h domain.Hold) (store.Period, error) {
	id := domain.InvoiceID(p.Tenant, p.Subscription, store.Instant(p.StartsAt))
	history, err := tx.Load(ctx, "invoice", id)
	if err != nil {
		return p, err
	}
	if invoice := eventlog.Fold(history, domain.Invoice{ID: id}, domain.Invoice.Evolve); invoice.Draft != nil {
		events, err := invoice.Keep(h)
		if err != nil {
			return p, err
		}
		if err := apply(ctx, tx, p.Tenant, id, len(history), events); err != nil {
			return p, err
		}
	}
	p.State, p.Cause, p.Detail = store.Held, h.Cause, h.Detail
	return p, store.SetPeriodState(ctx, tx, p)
}

// apply appends events of an invoice and writes them to the tables.
func apply(ctx context.Context, tx *eventlog.Tx, tenant, id string, version int, events []proto.Message) error {
	for _, event := range events {
		if err := store.ApplyInvoice(ctx, tx, tenant, tx.Now(), event); err != nil {
			return err
		}
	}
	tx.Append("invoice", id, uint64(version), events...)
	return nil
}

// commit writes what was measured: draft, and hold or number and final invoice, all in one transaction.
func (b *Billing) commit(ctx context.Context, tx *eventlog.Tx, tenant string, w work, m measurement) (store.Period, error) {
	p, err := lock(ctx, tx, w)
	if err != nil || p.Billed() {
		return p, err
	}
	p.Cause, p.Detail = m.hold.Cause, m.hold.Detail
	id := domain.InvoiceID(tenant, p.Subscription, store.Instant(p.StartsAt))
	history, err := tx.Load(ctx, "invoice", id)
	if err != nil {
		return p, err
	}
	invoice := eventlog.Fold(history, domain.Invoice{ID: id}, domain.Invoice.Evolve)
	draft := proto.CloneOf(m.draft) // this may run again
	if len(draft.GetLines()) > 0 || invoice.Draft != nil {
		events, err := decide(ctx, tx, tenant, invoice, draft, m)
		if err != nil {
			return p, err
		}
		if err := apply(ctx, tx, tenant, id, len(history), events); err != nil {
			return p, err
		}
	}
	switch {
	case !m.hold.None():
		p.State = store.Held
	case len(draft.GetLines()) == 0:
		p.State, p.Cause, p.Detail = store.Skipped, domain.NothingToBill, "No price of a plan applies to the period."
	default:
		p.State = store.Invoiced
	}
	return p, store.SetPeriodState(ctx, tx, p)
}

// decide returns the events that take the invoice to where the measurement brings it: a draft without lines stays one.
func decide(ctx context.Context, tx *eventlog.Tx, tenant string, invoice domain.Invoice, draft *billingv1.InvoiceDrafted, m measurement) ([]proto.Message, error) {
	events, err := invoice.Rated(invoice.ID, draft)
	if err != nil {
		return nil, err
	}
	for _, e := range events {
		invoice = invoice.Evolve(e)
	}
	var more []proto.Message
	switch {
	case !m.hold.None():
		more, err = invoice.Keep(m.hold)
	case len(draft.GetLines()) > 0:
		var number uint64
		parties, partiesErr := parties(ctx, tx, tenant, draft.GetAccount())
		if partiesErr != nil {
			return nil, partiesErr
		}
		if number, err = store.NextNumber(ctx, tx, tenant, domain.Series); err == nil {
			more, err = invoice.Finalize(number, tx.Now(), m.evidence, parties)
		}
	}
	return append(events, more...), err
}

// parties returns who sends an account's invoice and who gets it, for what is final to stay so when they are renamed.
func parties(ctx context.Context, tx pgx.Tx, tenant, account string) (domain.Parties, error) {
	p, err := store.FindParties(ctx, tx, tenant, account)
	if errors.Is(err, pgx.ErrNoRows) { // the tenant's own name has not arrived; it is printed as it is then
		return domain.Parties{}, nil
	}
	return domain.Parties{Seller: p.Seller.Message(), Buyer: p.Buyer.Message()}, err
}
