package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// runPoll is how often a replica looks for runs that were started on another one, or left unfinished.
const runPoll = 250 * time.Millisecond

// workPage is how many periods are read at once.
const workPage = 200

// WorkRuns does the billing runs until ctx ends. A run that was left unfinished is taken up where it was left.
func (b *Billing) WorkRuns(ctx context.Context) error {
	ticker := time.NewTicker(runPoll)
	defer ticker.Stop()
	var last string
	from := map[string]store.Place{}
	for {
		last = b.note(ctx, "billing runs do not get on", last, b.workRuns(ctx, from))
		select {
		case <-b.wake:
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Schedule bills every period that has ended, of all tenants, each interval until ctx ends: new ones, and those that were held.
func (b *Billing) Schedule(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last string
	var from store.Place
	for {
		last = b.note(ctx, "scheduled billing does not get on", last, b.billDue(ctx, &from))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// note logs an error that is not the last one again, and returns its text.
func (b *Billing) note(ctx context.Context, message, last string, err error) string {
	if err == nil || ctx.Err() != nil {
		return ""
	}
	if err.Error() != last {
		b.logger.ErrorContext(ctx, message, "error", err)
	}
	return err.Error()
}

// exclusively runs fn unless another replica is at it.
func (b *Billing) exclusively(ctx context.Context, name string, fn func() error) error {
	unlock, ok, err := store.TryLock(ctx, b.db.Pool(), name)
	if err != nil || !ok {
		return err
	}
	defer unlock()
	return fn()
}

// billDue bills what is due, from a place on, and from the beginning the next time. Where it breaks off, from is where to go on.
func (b *Billing) billDue(ctx context.Context, from *store.Place) error {
	return b.exclusively(ctx, "billing-schedule", func() error {
		now := b.now()
		if err := b.catchUp(ctx); err != nil {
			return err
		}
		if err := b.settleAll(ctx, now); err != nil {
			return err
		}
		var a attempts
		next := func(after store.Place) (due []store.Period, err error) {
			err = b.all(ctx, func(tx pgx.Tx) error {
				due, err = store.DuePeriods(ctx, tx, now.UnixNano(), after, workPage)
				return err
			})
			return due, err
		}
		return inTurn(from, next, &a, func(p store.Period) error { return a.note(ctx, b.billOne(ctx, p)) })
	})
}

// billOne bills a period that is due. What stands in its way for good is shown at the period; the error is one that may pass.
func (b *Billing) billOne(ctx context.Context, p store.Period) error {
	_, err := b.bill(ctx, p.Tenant, p.Subscription, p.Number)
	switch {
	case err == nil || errors.Is(err, errChanged): // it is tried again the next time
		return nil
	case ctx.Err() != nil || later(err):
		return err
	}
	b.logger.ErrorContext(ctx, "a period cannot be billed", "tenant", p.Tenant, "subscription", p.Subscription, "period", p.Number, "error", err)
	return b.fail(ctx, p.Tenant, p.Subscription, p.Number, err)
}

// later says that the same may succeed at another time, with nothing changed here.
func later(err error) bool {
	kind := problem.KindOf(err)
	return kind == problem.Unavailable || kind == problem.Timeout || postgres.Transient(err) || errors.Is(err, errChanged) || errors.Is(err, eventlog.ErrConflict)
}

// maxRuns is how many unfinished runs are taken up at once.
const maxRuns = 100

// workRuns does the unfinished runs, each from its place on.
func (b *Billing) workRuns(ctx context.Context, from map[string]store.Place) error {
	var runs []store.Run
	err := b.all(ctx, func(tx pgx.Tx) (err error) {
		runs, err = store.UnfinishedRuns(ctx, tx, maxRuns)
		return err
	})
	if err != nil || len(runs) == 0 {
		clear(from)
		return err
	}
	if err := b.catchUp(ctx); err != nil {
		return errors.Join(err, b.wait(ctx, runs, err))
	}
	var errs []error
	for _, run := range runs {
		place := from[run.ID]
		err := b.exclusively(ctx, "billing-run-"+run.ID, func() error { return b.workRun(ctx, run, &place) })
		if from[run.ID] = place; place == (store.Place{}) {
			delete(from, run.ID)
		}
		if err != nil && ctx.Err() == nil {
			errs = append(errs, err, b.wait(ctx, []store.Run{run}, err))
		}
	}
	return errors.Join(errs...)
}

// wait notes at runs what they wait for: nothing for nil.
func (b *Billing) wait(ctx context.Context, runs []store.Run, cause error) error {
	text := ""
	if cause != nil {
		text = problem.From(cause).Detail
	}
	var errs []error
	for _, run := range runs {
		errs = append(errs, b.db.InTenant(ctx, run.Tenant, func(tx pgx.Tx) error {
			_, err := store.SetRunWaiting(ctx, tx, run.ID, text)
			return err
		}))
	}
	return errors.Join(errs...)
}

// workRun bills the periods of a run one after the other, so that numbers follow the order of their ends, but for those that have to be
// tried again.
func (b *Billing) workRun(ctx context.Context, run store.Run, from *store.Place) error {
	var a attempts
	next := func(after store.Place) (items []store.Item, err error) {
		err = b.db.InTenant(ctx, run.Tenant, func(tx pgx.Tx) error {
			items, err = store.PendingItems(ctx, tx, run.ID, after, workPage)
			return err
		})
		return items, err
	}
	err := inTurn(from, next, &a, func(item store.Item) error {
		err := b.workItem(ctx, run, item)
		if err == nil && run.Waiting != "" { // it does not wait any more
			run.Waiting, err = "", b.wait(ctx, []store.Run{run}, nil)
		}
		return a.note(ctx, err)
	})
	if err != nil {
		return err
	}
	return b.finishRun(ctx, run)
}

func (b *Billing) workItem(ctx context.Context, run store.Run, item store.Item) error {
	p, err := b.bill(ctx, run.Tenant, item.Subscription, item.Number)
	if errors.Is(err, errChanged) {
		err = b.resettle(ctx, run.Tenant, item.Subscription)
		if err == nil {
			p, err = b.bill(ctx, run.Tenant, item.Subscription, item.Number)
		}
	}
	if err != nil {
		if ctx.Err() != nil || later(err) {
			return err
		}
		b.logger.ErrorContext(ctx, "a period cannot be billed", "tenant", run.Tenant, "subscription", item.Subscription, "period", item.Number, "error", err)
		if err := b.fail(ctx, run.Tenant, item.Subscription, item.Number, err); err != nil {
			return err
		}
		p = store.Period{State: store.Held, Cause: domain.Failed, Detail: problem.From(err).Detail}
	}
	return b.db.InTenant(ctx, run.Tenant, func(tx pgx.Tx) error {
		return store.FinishItem(ctx, tx, run.ID, itemOf(item, p))
	})
}

// resettle stores the periods of one subscription again as they are after a change of plan.
func (b *Billing) resettle(ctx context.Context, tenant, subscription string) error {
	return b.db.InTenant(ctx, tenant, func(tx pgx.Tx) error { return settle(ctx, tx, tenant, subscription, b.now()) })
}
