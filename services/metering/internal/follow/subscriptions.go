package follow

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// Subscriptions keeps the subscriptions of subscription's log, and has the ledger divided where one begins, changes its
// plan or limits, or ends. An event waits for its plan: the log of catalog may be behind.
func Subscriptions(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	switch p := e.Payload.(type) {
	case *subscriptionv1.SubscriptionRequested:
		return store.UpsertSubscription(ctx, tx, store.Subscription{
			ID: p.GetSubscription(), Tenant: e.Tenant, Name: p.GetName(), State: store.Requested, Plan: p.GetPlan(),
			PlanVersion: int32(p.GetPlanVersion()), TimeZone: "UTC", Revision: int64(e.Position),
		})
	case *subscriptionv1.SubscriptionActivated:
		return activate(ctx, tx, e, p)
	case *subscriptionv1.SubscriptionPlanChanged:
		if _, err := plan(ctx, tx, p.GetPlan(), p.GetPlanVersion()); err != nil {
			return err
		}
		return change(ctx, tx, e, p.GetSubscription(), p.GetEffectiveAt(), func(s *store.Subscription) error {
			return store.UpsertPhase(ctx, tx, *s, p.GetEffectiveAt(), p.GetPlan(), p.GetPlanVersion())
		})
	case *subscriptionv1.SubscriptionLimitsSet:
		limits, err := proto.Marshal(&subscriptionv1.SubscriptionLimitsSet{Limits: p.GetLimits()})
		if err != nil {
			return fmt.Errorf("encode limits: %w", err)
		}
		return setLimits(ctx, tx, e, p.GetSubscription(), p.GetEffectiveAt(), limits)
	case *subscriptionv1.SubscriptionLimitsCleared:
		return setLimits(ctx, tx, e, p.GetSubscription(), p.GetEffectiveAt(), nil)
	case *subscriptionv1.SubscriptionCancelled:
		return change(ctx, tx, e, p.GetSubscription(), p.GetEndedAt(), func(s *store.Subscription) error {
			s.State, s.EndedAt = store.Cancelled, p.GetEndedAt()
			return nil
		})
	case *subscriptionv1.SubscriptionSuspended:
		return change(ctx, tx, e, p.GetSubscription(), 0, setState(store.Suspended))
	case *subscriptionv1.SubscriptionResumed:
		return change(ctx, tx, e, p.GetSubscription(), 0, setState(store.Active))
	case *subscriptionv1.SubscriptionExpired:
		return change(ctx, tx, e, p.GetSubscription(), 0, setState(store.Rejected))
	case *subscriptionv1.SubscriptionRejected:
		return change(ctx, tx, e, p.GetSubscription(), 0, setState(store.Rejected))
	}
	return nil
}

func setState(state string) func(*store.Subscription) error {
	return func(s *store.Subscription) error {
		s.State = state
		return nil
	}
}

func activate(ctx context.Context, tx pgx.Tx, e eventlog.Event, p *subscriptionv1.SubscriptionActivated) error {
	return change(ctx, tx, e, p.GetSubscription(), p.GetStartedAt(), func(s *store.Subscription) error {
		spec, err := plan(ctx, tx, s.Plan, uint32(s.PlanVersion))
		if err != nil {
			return err
		}
		s.State, s.StartedAt = store.Active, p.GetStartedAt()
		switch {
		case p.GetTimeZone() != "":
			s.TimeZone = p.GetTimeZone()
		case spec.GetPeriod().GetTimeZone() != "":
			s.TimeZone = spec.GetPeriod().GetTimeZone()
		}
		return store.UpsertPhase(ctx, tx, *s, p.GetStartedAt(), s.Plan, uint32(s.PlanVersion))
	})
}

// setLimits puts a subscription under limits of its own, or those of its plan again (nil), from an instant on. One that has not
// begun has them from its beginning.
func setLimits(ctx context.Context, tx pgx.Tx, e eventlog.Event, id string, effective int64, limits []byte) error {
	before, err := store.FindSubscription(ctx, tx, id)
	if err != nil {
		return err
	}
	divide := effective
	if before.StartedAt == 0 {
		divide = 0
	}
	return change(ctx, tx, e, id, divide, func(s *store.Subscription) error {
		s.Limits = limits
		if s.StartedAt == 0 {
			return nil
		}
		plan, version, err := store.FindPhase(ctx, tx, s.ID, effective)
		if err != nil {
			return err
		}
		return store.UpsertPhase(ctx, tx, *s, effective, plan, version)
	})
}

// change loads a subscription, changes it and writes it. divide is an instant that time is divided at from now on; 0 for none.
func change(ctx context.Context, tx pgx.Tx, e eventlog.Event, id string, divide int64, fn func(*store.Subscription) error) error {
	s, err := store.FindSubscription(ctx, tx, id)
	if err != nil {
		return err
	}
	if err := fn(&s); err != nil {
		return err
	}
	s.Revision = int64(e.Position)
	if err := store.UpsertSubscription(ctx, tx, s); err != nil || divide == 0 {
		return err
	}
	return store.InsertSplit(ctx, tx, store.Split{Position: int64(e.Position), Tenant: s.Tenant, Subscription: s.ID, Since: divide})
}

// plan returns a plan version; one that is not there yet is an error of kind Unavailable, so that the follower tries again.
func plan(ctx context.Context, tx pgx.Tx, id string, version uint32) (*catalogv1.PlanSpec, error) {
	spec, err := store.FindPlan(ctx, tx, id, version)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem.NewUnavailable("plan-unknown", "Version %d of the plan %s is not known yet.", version, id)
	}
	return spec, err
}
