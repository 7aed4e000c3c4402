package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Run is a billing run as it is shown.
type Run struct {
	ID string `json:"id"`
	// running or finished.
	State string `json:"state" enum:"running,finished"`
	// Calendar month (UTC) in which the periods ended.
	Period       string `json:"period"`
	Subscription string `json:"subscription,omitempty"`
	Counts       Counts `json:"counts"`
	// What the run waits for.
	Waiting    string     `json:"waiting,omitempty"`
	StartedAt  time.Time  `json:"startedAt"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	// Items that were held or skipped, with the reason: at most 200.
	Items []RunItem `json:"items,omitempty"`
}

// Counts are the periods of a run by what became of them.
type Counts struct {
	Pending   int32 `json:"pending"`
	Finalized int32 `json:"finalized"`
	Held      int32 `json:"held"`
	Skipped   int32 `json:"skipped"`
	// Periods of the month that had been billed before the run.
	Before int32 `json:"before"`
}

// RunItem is a period that the run made no final invoice of.
type RunItem struct {
	Subscription string    `json:"subscription"`
	PeriodEnd    time.Time `json:"periodEnd"`
	State        string    `json:"state" enum:"held,skipped"`
	Cause        string    `json:"cause"`
	Detail       string    `json:"detail"`
}

// maxRunItems bounds the items that are shown of a run.
const maxRunItems = 200

func newRun(r store.Run) Run {
	state := "running"
	if r.FinishedAt != nil {
		state = "finished"
	}
	return Run{
		ID: r.ID, State: state, Period: r.Month, Subscription: r.Subscription, Waiting: r.Waiting, StartedAt: r.StartedAt.UTC(), FinishedAt: r.FinishedAt,
		Counts: Counts{Pending: r.Pending, Finalized: r.Finalized, Held: r.Held, Skipped: r.Skipped, Before: r.Before},
	}
}

// StartRun begins a run over the periods that ended in a month (or, in the current one, have ended so far) and are not billed
// yet, of one subscription (name or id) unless it is empty. The worker does it.
func (b *Billing) StartRun(ctx context.Context, month, subscription string) (Run, error) {
	if err := b.catchUp(ctx); err != nil {
		return Run{}, err
	}
	run, err := service.Execute(ctx, b.log, func(ctx context.Context, tx *eventlog.Tx) (Run, error) {
		return b.startRun(ctx, tx, month, subscription)
	})
	if err == nil {
		select {
		case b.wake <- struct{}{}:
		default: // it is awake
		}
	}
	return run, err
}

func (b *Billing) startRun(ctx context.Context, tx *eventlog.Tx, month, subscription string) (Run, error) {
	id, now, tenant := newID(), b.now(), actor(ctx).Tenant
	events, err := domain.StartRun(id, month, now)
	if err != nil {
		return Run{}, err
	}
	only := ""
	if subscription != "" {
		s, err := store.FindSubscription(ctx, tx, subscription)
		if err != nil {
			return Run{}, subscriptionNotFound(err, subscription)
		}
		only = s.ID
	}
	if err := settleTenant(ctx, tx, tenant, only, now); err != nil {
		return Run{}, err
	}
	bounds, err := domain.ParseMonth(month)
	if err != nil {
		return Run{}, err
	}
	end := bounds.End.UnixNano()
	if now.Before(bounds.End) {
		end = now.UnixNano() + 1 // periods that end right now have ended
	}
	row := store.Run{ID: id, Tenant: tenant, Month: month, Subscription: only, StartedAt: tx.Now()}
	if err := store.InsertRun(ctx, tx, row, bounds.Start.UnixNano(), end); err != nil {
		return Run{}, err
	}
	tx.Append("billing-run", id, 0, events...)
	row, err = store.FindRun(ctx, tx, id)
	return newRun(row), err
}

// Run returns a run with its progress.
func (b *Billing) Run(ctx context.Context, id string) (Run, error) {
	return read(ctx, b, func(tx pgx.Tx, _ string) (Run, error) {
		row, err := store.FindRun(ctx, tx, id)
		if err != nil {
			return Run{}, notFound(err, "run-not-found", "There is no billing run %q.", id)
		}
		run := newRun(row)
		items, err := store.HeldItems(ctx, tx, id, maxRunItems)
		for _, i := range items {
			run.Items = append(run.Items, RunItem{
				Subscription: i.Name, PeriodEnd: store.Instant(i.EndsAt), State: i.State, Cause: i.Cause, Detail: i.Detail,
			})
		}
		return run, err
	})
}

// Runs returns runs, the newest first, before one.
func (b *Billing) Runs(ctx context.Context, before string, limit int) ([]Run, error) {
	return read(ctx, b, func(tx pgx.Tx, _ string) ([]Run, error) {
		rows, err := store.Runs(ctx, tx, before, limit)
		runs := make([]Run, len(rows))
		for i, r := range rows {
			runs[i] = newRun(r)
		}
		return runs, err
	})
}

// itemOf turns what became of a period into what became of an item.
func itemOf(i store.Item, p store.Period) store.Item {
	i.Cause, i.Detail = p.Cause, p.Detail
	switch p.State {
	case store.Invoiced:
		i.State = store.ItemFinalized
	case store.Skipped:
		i.State = store.ItemSkipped
	default:
		i.State = store.ItemHeld
	}
	return i
}

// finishRun ends a run whose items are done.
func (b *Billing) finishRun(ctx context.Context, run store.Run) error {
	_, err := eventlog.Execute(in(ctx, run.Tenant), b.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		history, err := tx.Load(ctx, "billing-run", run.ID)
		if err != nil {
			return struct{}{}, err
		}
		row, err := store.FindRun(ctx, tx, run.ID)
		if err != nil {
			return struct{}{}, err
		}
		if row.Pending > 0 {
			return struct{}{}, problem.NewConflict("run-pending", "The run has %d periods to bill.", row.Pending)
		}
		events := eventlog.Fold(history, domain.Run{}, domain.Run.Evolve).Finish(uint32(row.Finalized), uint32(row.Held))
		tx.Append("billing-run", run.ID, uint64(len(history)), events...)
		return struct{}{}, store.FinishRun(ctx, tx, run.ID, tx.Now())
	})
	return wrap("finish the billing run", err)
}
