package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Request asks for a plan for an application. product is needed only where several products have a plan of that name.
func (s *Subscriptions) Request(ctx context.Context, name, application, plan, product string) (store.Subscription, error) {
	return execute(ctx, s, func(ctx context.Context, ch *change) (store.Subscription, error) {
		a, err := ch.application(ctx, requestPaths, application)
		if err != nil {
			return store.Subscription{}, err
		}
		p, err := ch.plan(ctx, requestPaths, plan, product)
		if err != nil {
			return store.Subscription{}, err
		}
		id, err := ch.request(ctx, requestPaths, name, a, p.Plan)
		if err != nil {
			return store.Subscription{}, err
		}
		return store.Find(ctx, ch, ch.tenant, id)
	})
}

// request returns the new subscription's id.
func (ch *change) request(ctx context.Context, at paths, name string, a domain.Application, p domain.Plan) (string, error) {
	if err := resource.CheckName(name); err != nil {
		return "", invalid(at.name, "%s", err)
	}
	taken, err := store.FindLive(ctx, ch, ch.tenant, name)
	switch {
	case err == nil:
		return "", problem.NewConflict("subscription-exists", "There is a subscription %s already, of the application %s to the product %s. Choose another name, or change that one's plan.", name, taken.Application, taken.Product)
	case !errors.Is(err, pgx.ErrNoRows):
		return "", err
	}
	other, err := store.FindLiveOf(ctx, ch, ch.tenant, a.ID, p.Product)
	switch {
	case err == nil:
		return "", problem.NewConflict("already-subscribed", "The application %s is subscribed to the product %s already, by the subscription %s under the plan %s. Change the plan of that one instead.", other.Application, other.Product, other.Name, other.Plan)
	case !errors.Is(err, pgx.ErrNoRows):
		return "", err
	}
	id := newID()
	events, err := domain.Request(id, name, a, p, ch.Now())
	if err != nil {
		return "", err
	}
	return id, ch.record(ctx, id, 0, events)
}

// command runs one decision on a subscription, by its name or id.
func (s *Subscriptions) command(ctx context.Context, nameOrID string, run func(ctx context.Context, ch *change, row store.Subscription) error) (store.Subscription, error) {
	return execute(ctx, s, func(ctx context.Context, ch *change) (store.Subscription, error) {
		row, err := store.Find(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return row, notFound(err, nameOrID)
		}
		if err := run(ctx, ch, row); err != nil {
			return row, err
		}
		return store.Find(ctx, ch, ch.tenant, row.ID)
	})
}

// Approve lets a requested subscription begin.
func (s *Subscriptions) Approve(ctx context.Context, nameOrID string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error { return ch.approve(ctx, row) })
}

func (ch *change) approve(ctx context.Context, row store.Subscription) error {
	p, err := store.FindPlanVersion(ctx, ch, row.PlanID, row.PlanVersion)
	if err != nil {
		return err
	}
	return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) {
		return s.Approve(ch.subject, p.Plan, ch.Now())
	})
}

// Reject turns a request down, with the reason of the command.
func (s *Subscriptions) Reject(ctx context.Context, nameOrID string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.Reject(ch.reason) })
	})
}

// Suspend stops a subscription's calls, with the reason of the command.
func (s *Subscriptions) Suspend(ctx context.Context, nameOrID string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.Suspend(ch.reason) })
	})
}

// Resume lets a suspended subscription's calls through again.
func (s *Subscriptions) Resume(ctx context.Context, nameOrID string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.decide(ctx, row.ID, domain.Subscription.Resume)
	})
}

// Cancel ends a subscription for good.
func (s *Subscriptions) Cancel(ctx context.Context, nameOrID string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.Cancel(ch.Now()) })
	})
}

// ChangePlan puts a subscription under the newest version of a plan of its product, at once and with the same keys. The
// provider may choose plans that need approval. product, when given, must be the subscription's.
func (s *Subscriptions) ChangePlan(ctx context.Context, nameOrID, plan, product string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		if product == "" {
			product = row.ProductID
		}
		p, err := ch.plan(ctx, requestPaths, plan, product)
		if err != nil {
			return err
		}
		return ch.changePlan(ctx, row, p.Plan)
	})
}

func (ch *change) changePlan(ctx context.Context, row store.Subscription, to domain.Plan) error {
	from, err := store.FindPlanVersion(ctx, ch, row.PlanID, row.PlanVersion)
	if err != nil {
		return err
	}
	return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) {
		return s.ChangePlan(from.Plan, to, ch.Now())
	})
}

// Subscription returns a subscription by its name or id.
func (s *Subscriptions) Subscription(ctx context.Context, nameOrID string) (store.Subscription, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) (store.Subscription, error) {
		row, err := store.Find(ctx, tx, tenant, nameOrID)
		return row, notFound(err, nameOrID)
	})
}

// List returns subscriptions in the order in which they were requested.
func (s *Subscriptions) List(ctx context.Context, f store.Filter, after string, limit int) ([]store.Subscription, error) {
	if f.State != "" && !slices.Contains(domain.States(), domain.State(f.State)) {
		return nil, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{
			Path: "state", Message: "is not a state; want requested, active, suspended, rejected or cancelled",
		})
	}
	return read(ctx, s, func(tx pgx.Tx, tenant string) ([]store.Subscription, error) {
		return store.List(ctx, tx, tenant, f, after, limit)
	})
}

// Transition is one thing that happened to a subscription.
type Transition struct {
	Number     uint64    `json:"number"`
	At         time.Time `json:"at"`
	Transition string    `json:"transition" enum:"requested,activated,rejected,suspended,resumed,cancelled,planChanged"`
	// Actor is who caused it, as in "member:<id>" or "service:<name>".
	Actor  string `json:"actor"`
	Reason string `json:"reason,omitempty"`
	// PlanID and PlanVersion are those asked for, and changed to.
	PlanID      string `json:"planId,omitempty"`
	PlanVersion uint32 `json:"planVersion,omitempty"`
}

// Transitions returns what happened to a subscription, the oldest first, after a number.
func (s *Subscriptions) Transitions(ctx context.Context, nameOrID string, after uint64, limit int) ([]Transition, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) ([]Transition, error) {
		row, err := store.Find(ctx, tx, tenant, nameOrID)
		if err != nil {
			return nil, notFound(err, nameOrID)
		}
		log, _, err := s.log.Within(ctx, tx)
		if err != nil {
			return nil, err
		}
		history, err := log.Load(ctx, streamType, row.ID)
		if err != nil {
			return nil, err
		}
		history = history[min(after, uint64(len(history))):]
		all := make([]Transition, 0, min(limit, len(history)))
		for _, e := range history[:min(limit, len(history))] {
			all = append(all, transition(e))
		}
		return all, nil
	})
}

func transition(e eventlog.Event) Transition {
	t := Transition{Number: e.Version, At: e.RecordedAt, Actor: e.Actor, Reason: e.Reason}
	switch p := e.Payload.(type) {
	case *subscriptionv1.SubscriptionRequested:
		t.Transition, t.PlanID, t.PlanVersion = "requested", p.GetPlan(), p.GetPlanVersion()
	case *subscriptionv1.SubscriptionActivated:
		t.Transition = "activated"
	case *subscriptionv1.SubscriptionRejected:
		t.Transition = "rejected"
	case *subscriptionv1.SubscriptionSuspended:
		t.Transition = "suspended"
	case *subscriptionv1.SubscriptionResumed:
		t.Transition = "resumed"
	case *subscriptionv1.SubscriptionCancelled:
		t.Transition = "cancelled"
	case *subscriptionv1.SubscriptionPlanChanged:
		t.Transition, t.PlanID, t.PlanVersion = "planChanged", p.GetPlan(), p.GetPlanVersion()
	}
	return t
}
