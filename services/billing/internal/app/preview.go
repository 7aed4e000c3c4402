package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Preview is what a period comes to. It is not stored.
type Preview struct {
	Subscription   string    `json:"subscription"`
	SubscriptionID string    `json:"subscriptionId"`
	PeriodStart    time.Time `json:"periodStart"`
	PeriodEnd      time.Time `json:"periodEnd"`
	// AsOf is when the usage was read.
	AsOf     time.Time `json:"asOf"`
	Currency string    `json:"currency"`
	Total    string    `json:"total"`
	Lines    []Line    `json:"lines"`
	// Billed is the invoice that was made of the period, where there is one: for a replay to compare with.
	Billed *Billed `json:"billed,omitempty"`
}

// Billed is what a period was billed.
type Billed struct {
	Number   string `json:"number"`
	Currency string `json:"currency"`
	Total    string `json:"total"`
}

// Preview rates the open period of a subscription, by name or id, with its usage so far. Amounts per period are shown as they
// will be due at its end.
func (b *Billing) Preview(ctx context.Context, subscription string) (Preview, error) {
	now := b.now()
	w, err := b.open(ctx, subscription, now)
	if err != nil {
		return Preview{}, err
	}
	return b.preview(ctx, w, now)
}

// Replay is what a period is to be rated by.
type Replay struct {
	// Product and Plan are names or ids; Product may be empty when only one product has a plan of that name.
	Product, Plan string
	// Version is the newest one when 0.
	Version uint32
	// At is an instant of the period; now when zero.
	At time.Time
}

// Replay rates a period of a subscription, closed or open, as if it had been under another plan version all the time.
func (b *Billing) Replay(ctx context.Context, subscription string, r Replay) (Preview, error) {
	now := b.now()
	if r.At.IsZero() {
		r.At = now
	}
	w, err := b.open(ctx, subscription, r.At)
	if err != nil {
		return Preview{}, err
	}
	phase, err := read(ctx, b, func(tx pgx.Tx, _ string) (domain.Phase, error) { return replayPhase(ctx, tx, r) })
	if err != nil {
		return Preview{}, err
	}
	phase.From = w.known.StartedAt
	w.known.Phases = []domain.Phase{phase}
	preview, err := b.preview(ctx, w, now)
	if err != nil {
		return preview, err
	}
	preview.Billed, err = b.billed(ctx, w)
	return preview, err
}

// open returns the period of a subscription that an instant lies in.
func (b *Billing) open(ctx context.Context, nameOrID string, at time.Time) (work, error) {
	return read(ctx, b, func(tx pgx.Tx, tenant string) (w work, err error) {
		if w.row, err = store.FindSubscription(ctx, tx, nameOrID); err != nil {
			return w, subscriptionNotFound(err, nameOrID)
		}
		if err := settleTenant(ctx, tx, tenant, w.row.ID, b.now()); err != nil {
			return w, err
		}
		if w.known, err = load(ctx, tx, w.row); err != nil {
			return w, err
		}
		w.period, err = store.PeriodAt(ctx, tx, w.row.ID, store.Nanos(at))
		if errors.Is(err, pgx.ErrNoRows) {
			for _, p := range w.known.Phases {
				if p.Spec == nil {
					return w, problem.NewUnavailable("behind", "Billing does not know the plan of %s yet. Try again in a moment.", w.row.Name)
				}
			}
			err = problem.NewConflict("period-missing", "The subscription %s has no billing period at %s: it is %s.", w.row.Name, at.UTC().Format(time.RFC3339), w.row.State)
		}
		return w, err
	})
}

// preview rates a period without any effect. The usage of the whole period is asked for: what is still to come is not there.
func (b *Billing) preview(ctx context.Context, w work, now time.Time) (Preview, error) {
	p := w.period.Domain()
	_, measured, err := b.usage(ctx, actor(ctx).Tenant, w.row.ID, p, w.known.Segments(p))
	if err != nil {
		return Preview{}, err
	}
	draft, err := domain.Rate(w.known, p, measured)
	if err != nil {
		hold, err := rateHold(err)
		if err == nil {
			err = problem.NewConflict(hold.Cause, "The period cannot be rated: %s.", hold.Detail)
		}
		return Preview{}, err
	}
	preview := Preview{
		Subscription: w.row.Name, SubscriptionID: w.row.ID, PeriodStart: p.Start, PeriodEnd: p.End, AsOf: now,
		Currency: draft.GetCurrency(), Total: draft.GetTotal(), Lines: []Line{},
	}
	for i, l := range draft.GetLines() {
		preview.Lines = append(preview.Lines, lineOf(i+1, l))
	}
	return preview, nil
}

// replayPhase finds the plan version that a replay rates by.
func replayPhase(ctx context.Context, tx pgx.Tx, r Replay) (domain.Phase, error) {
	plans, err := store.FindPlans(ctx, tx, r.Product, r.Plan, r.Version)
	if err != nil {
		return domain.Phase{}, err
	}
	var fields problem.Fields
	switch {
	case r.Plan == "":
		fields.Add("plan", "is missing; name a plan")
	case len(plans) == 0 && r.Version > 0:
		fields.Add("plan", "there is no version %d of a plan %q; name one that was published", r.Version, r.Plan)
	case len(plans) == 0:
		fields.Add("plan", "there is no plan %q; name one that was published", r.Plan)
	}
	for _, p := range plans {
		if p.ID != plans[0].ID {
			fields.Add("product", "plans of several products are named %q; name the product, such as %q", r.Plan, p.Product)
			break
		}
	}
	if err := fields.Err("replay-invalid", "The replay is not valid."); err != nil {
		return domain.Phase{}, err
	}
	spec, err := plans[0].Spec()
	if err != nil {
		return domain.Phase{}, err
	}
	if _, err := rating.Compile(spec); err != nil {
		return domain.Phase{}, err
	}
	return domain.Phase{PlanID: plans[0].ID, Plan: plans[0].Name, Version: uint32(plans[0].Version), Spec: spec}, nil
}

// billed returns what was made of a period, nil for nothing.
func (b *Billing) billed(ctx context.Context, w work) (*Billed, error) {
	return read(ctx, b, func(tx pgx.Tx, tenant string) (*Billed, error) {
		row, err := store.FindInvoice(ctx, tx, domain.InvoiceID(tenant, w.row.ID, store.Instant(w.period.StartsAt)))
		if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Number == nil {
			return nil, nil
		}
		invoice := newInvoice(row)
		return &Billed{Number: invoice.Number, Currency: invoice.Currency, Total: invoice.Total}, err
	})
}
