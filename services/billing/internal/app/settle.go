package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/services/billing/internal/domain"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// settlePage is how many subscriptions are looked at in one transaction.
const settlePage = 500

// settleAll stores the missing periods of every subscription, up to the one that now lies in.
func (b *Billing) settleAll(ctx context.Context, now time.Time) error {
	for after := ""; ; {
		var page []store.Unsettled
		err := b.all(ctx, func(tx pgx.Tx) (err error) {
			page, err = store.UnsettledSubscriptions(ctx, tx, "", now.UnixNano(), after, settlePage)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, s := range page {
			after = s.ID
			err := b.db.InTenant(ctx, s.Tenant, func(tx pgx.Tx) error { return settle(ctx, tx, s.Tenant, s.ID, now) })
			if err != nil && (ctx.Err() != nil || later(err)) {
				return wrap("settle periods", err)
			}
			if err != nil { // it is the subscription's own, and must not hold up the others
				b.logger.ErrorContext(ctx, "the periods of a subscription are not settled", "tenant", s.Tenant, "subscription", s.ID, "error", err)
			}
		}
	}
}

// settleTenant is settleAll for the tenant of a transaction, or one of its subscriptions.
func settleTenant(ctx context.Context, tx pgx.Tx, tenant, subscription string, now time.Time) error {
	for after := ""; ; {
		page, err := store.UnsettledSubscriptions(ctx, tx, subscription, now.UnixNano(), after, settlePage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, s := range page {
			after = s.ID
			if err := settle(ctx, tx, tenant, s.ID, now); err != nil && !errors.Is(err, domain.ErrPlanUnknown) {
				return err
			}
		}
	}
}

// settle stores the missing periods of a subscription.
func settle(ctx context.Context, tx pgx.Tx, tenant, id string, now time.Time) error {
	row, err := store.LockSubscription(ctx, tx, id)
	if err != nil {
		return err
	}
	s, err := load(ctx, tx, row)
	if err != nil {
		return err
	}
	var last *domain.Period
	open := false
	switch stored, err := store.LastPeriod(ctx, tx, id); {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return err
	default:
		p := stored.Domain()
		last, open = &p, !stored.Billed()
	}
	cut, more, err := s.Extend(last, open, now)
	if err != nil {
		return err
	}
	until := time.Time{}
	switch {
	case len(more) > 0:
		until = more[len(more)-1].End
	case cut != nil:
		until = cut.End
	case last != nil:
		until = last.End
	}
	return store.Settle(ctx, tx, tenant, id, cut, more, store.Nanos(until))
}

// load returns a subscription with its phases and the plan versions that are known.
func load(ctx context.Context, tx pgx.Tx, row store.Subscription) (domain.Subscription, error) {
	s := domain.Subscription{
		ID: row.ID, AccountID: row.AccountID, TimeZone: row.TimeZone,
		StartedAt: store.Instant(row.StartedAt), EndedAt: store.Instant(row.EndedAt),
	}
	phases, err := store.Phases(ctx, tx, row.ID)
	if err != nil {
		return s, err
	}
	for _, p := range phases {
		phase := domain.Phase{From: store.Instant(p.StartsAt), PlanID: p.PlanID, Plan: p.Plan, Version: uint32(p.PlanVersion)}
		if p.Spec != nil {
			if phase.Spec, err = (store.Plan{Encoded: p.Spec}).Spec(); err != nil {
				return s, err
			}
		}
		s.Phases = append(s.Phases, phase)
	}
	return s, nil
}
