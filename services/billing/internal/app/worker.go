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
	for {
		last = b.note(ctx, "billing runs do not get on", last, b.workRuns(ctx))
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
	for {
		last = b.note(ctx, "scheduled billing does not get on", last, b.billDue(ctx))
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

func (b *Billing) billDue(ctx context.Context) error {
	return b.exclusively(ctx, "billing-schedule", func() error {
		now := b.now()
		if err := b.catchUp(ctx); err != nil {
			return err
		}
		if err := b.settleAll(ctx, now); err != nil {
			return err
		}
		return b.eachDue(ctx, now, func(p store.Period) error {
			_, err := b.bill(ctx, p.Tenant, p.Subscription, p.Number)
			return b.goOn(ctx, p, err)
		})
	})
}

// eachDue calls fn for each period that has ended and is not billed.
func (b *Billing) eachDue(ctx context.Context, now time.Time, fn func(store.Period) error) error {
	var after store.Period
	for {
		var due []store.Period
		err := b.all(ctx, func(tx pgx.Tx) (err error) {
			due, err = store.DuePeriods(ctx, tx, now.UnixNano(), after, workPage)
			return err
		})
		if err != nil || len(due) == 0 {
			return err
		}
		for _, p := range due {
			after = p
			if err := fn(p); err != nil {
				return err
			}
		}
	}
}

// goOn decides what an error in one period means for the others: nothing, when it is the period's own.
func (b *Billing) goOn(ctx context.Context, p store.Period, err error) error {
	switch {
	case err == nil || errors.Is(err, errChanged): // it is tried again the next time
		return nil
	case ctx.Err() != nil || later(err):
		return err
	}
	b.logger.ErrorContext(ctx, "a period cannot be billed", "tenant", p.Tenant, "subscription", p.Subscription, "period", p.Number, "error", err)
	return nil
}

// later says that the same may succeed at another time, with nothing changed here.
func later(err error) bool {
	kind := problem.KindOf(err)
	return kind == problem.Unavailable || kind == problem.Timeout || postgres.Transient(err) || errors.Is(err, errChanged) || errors.Is(err, eventlog.ErrConflict)
}

// maxRuns is how many unfinished runs are taken up at once.
const maxRuns = 100

func (b *Billing) workRuns(ctx context.Context) error {
	var runs []store.Run
	err := b.all(ctx, func(tx pgx.Tx) (err error) {
		runs, err = store.UnfinishedRuns(ctx, tx, maxRuns)
		return err
	})
	if err != nil || len(runs) == 0 {
		return err
	}
	if err := b.catchUp(ctx); err != nil {
		return errors.Join(err, b.wait(ctx, runs, err))
	}
	var errs []error
	for _, run := range runs {
		err := b.exclusively(ctx, "billing-run-"+run.ID, func() error { return b.workRun(ctx, run) })
		if err != nil && ctx.Err() == nil {
			errs = append(errs, err, b.wait(ctx, []store.Run{run}, err))
		}
	}
	return errors.Join(errs...)
}

// wait notes at runs what they wait for.
func (b *Billing) wait(ctx context.Context, runs []store.Run, cause error) error {
	text := problem.From(cause).Detail
	var errs []error
	for _, run := range runs {
		errs = append(errs, b.db.InTenant(ctx, run.Tenant, func(tx pgx.Tx) error {
			_, err := store.SetRunWaiting(ctx, tx, run.ID, text)
			return err
		}))
	}
	return errors.Join(errs...)
}

// workRun bills the periods of a run one after the other, so that numbers follow the order of their ends.
func (b *Billing) workRun(ctx context.Context, run store.Run) error {
	for {
		var items []store.Item
		err := b.db.InTenant(ctx, run.Tenant, func(tx pgx.Tx) (err error) {
			items, err = store.PendingItems(ctx, tx, run.ID, workPage)
			return err
		})
		if err != nil {
			return err
		}
		if len(items) == 0 {
			return b.finishRun(ctx, run)
		}
		for _, item := range items {
			if err := b.workItem(ctx, run, item); err != nil {
				return err
			}
		}
	}
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
