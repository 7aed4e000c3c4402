// Package follow has what billing learns from other services' logs: tenants and accounts from identity, products and plans from catalog,
// subscriptions from subscription. The logs are followed independently: a subscription may be known before its plan is.
package follow

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Identity applies an event of identity's log.
func Identity(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	switch p := e.Payload.(type) {
	case *identityv1.TenantCreated:
		return store.PutTenant(ctx, tx, p.GetTenant(), p.GetName(), p.GetTitle())
	case *identityv1.TenantChanged:
		return store.PutTenant(ctx, tx, p.GetTenant(), "", p.GetTitle())
	case *identityv1.AccountCreated:
		return store.InsertAccount(ctx, tx, e.Tenant, store.Account{
			ID: p.GetAccount(), Name: p.GetName(), Title: p.GetTitle(), Country: p.GetCountry(), Currency: p.GetCurrency(),
		})
	case *identityv1.AccountChanged:
		return store.ChangeAccount(ctx, tx, p.GetAccount(), p.GetTitle(), p.GetCountry(), p.GetCurrency())
	case *identityv1.AccountClosed:
		return store.CloseAccount(ctx, tx, p.GetAccount())
	}
	return nil
}

// Catalog applies an event of catalog's log. Plan versions are kept in full, for ever: past periods are rated by them.
func Catalog(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	switch p := e.Payload.(type) {
	case *catalogv1.ProductCreated:
		return store.UpsertProduct(ctx, tx, e.Tenant, p.GetProduct(), p.GetName())
	case *catalogv1.PlanPublished:
		return store.InsertPlan(ctx, tx, e.Tenant, p)
	}
	return nil
}

// Subscription applies an event of subscription's log.
func Subscription(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	switch p := e.Payload.(type) {
	case *subscriptionv1.SubscriptionRequested:
		return store.InsertSubscription(ctx, tx, store.Subscription{
			ID: p.GetSubscription(), Tenant: e.Tenant, Name: p.GetName(), AccountID: p.GetAccount(), ProductID: p.GetProduct(),
			PlanID: p.GetPlan(), PlanVersion: int32(p.GetPlanVersion()), State: "requested", Revision: int64(e.Position),
		})
	case *subscriptionv1.SubscriptionActivated:
		return change(ctx, tx, e, p.GetSubscription(), func(s *store.Subscription) error {
			s.State, s.StartedAt, s.TimeZone = "active", p.GetStartedAt(), p.GetTimeZone()
			return store.PutPhase(ctx, tx, e.Tenant, s.ID, s.StartedAt, s.PlanID, s.PlanVersion)
		})
	case *subscriptionv1.SubscriptionPlanChanged:
		return change(ctx, tx, e, p.GetSubscription(), func(s *store.Subscription) error { return changePlan(ctx, tx, s, p) })
	case *subscriptionv1.SubscriptionRejected:
		return setState(ctx, tx, e, p.GetSubscription(), "rejected")
	case *subscriptionv1.SubscriptionExpired:
		return setState(ctx, tx, e, p.GetSubscription(), "rejected")
	case *subscriptionv1.SubscriptionSuspended:
		return setState(ctx, tx, e, p.GetSubscription(), "suspended")
	case *subscriptionv1.SubscriptionResumed:
		return setState(ctx, tx, e, p.GetSubscription(), "active")
	case *subscriptionv1.SubscriptionCancelled:
		return change(ctx, tx, e, p.GetSubscription(), func(s *store.Subscription) error {
			s.State, s.EndedAt = "cancelled", p.GetEndedAt()
			if s.StartedAt == 0 {
				return nil
			}
			// The open period is cut short: it is settled again.
			return store.SettleFrom(ctx, tx, s.ID, s.EndedAt-1)
		})
	}
	return nil
}

// changePlan puts a subscription under another plan version. Before the activation it only changes what was asked for.
func changePlan(ctx context.Context, tx pgx.Tx, s *store.Subscription, p *subscriptionv1.SubscriptionPlanChanged) error {
	s.PlanID, s.PlanVersion = p.GetPlan(), int32(p.GetPlanVersion())
	if s.StartedAt == 0 {
		return nil
	}
	from := max(p.GetEffectiveAt(), s.StartedAt)
	if err := store.PutPhase(ctx, tx, s.Tenant, s.ID, from, s.PlanID, s.PlanVersion); err != nil {
		return err
	}
	return store.SettleFrom(ctx, tx, s.ID, from)
}

func setState(ctx context.Context, tx pgx.Tx, e eventlog.Event, id, state string) error {
	return change(ctx, tx, e, id, func(s *store.Subscription) error {
		s.State = state
		return nil
	})
}

// change applies an event to a subscription. One that is not known is an error, at which the follower halts: what is not
// understood must not go unbilled.
func change(ctx context.Context, tx pgx.Tx, e eventlog.Event, id string, apply func(*store.Subscription) error) error {
	s, err := store.LockSubscription(ctx, tx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("subscription %s was never requested in its log: %w", id, err)
	}
	if err != nil {
		return err
	}
	if err := apply(&s); err != nil {
		return err
	}
	s.Revision = int64(e.Position)
	return store.UpdateSubscription(ctx, tx, s)
}
