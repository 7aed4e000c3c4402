package app

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Asked is a request for a plan.
type Asked struct {
	// Application and Plan are names or ids. Product is needed only where several products have a plan of that name.
	Name, Application, Plan, Product string
	// AcceptedTerms is the version of the plan's terms that is accepted.
	AcceptedTerms string
}

// Request asks for a plan for an application.
func (s *Subscriptions) Request(ctx context.Context, r Asked) (store.Subscription, error) {
	return execute(ctx, s, func(ctx context.Context, ch *change) (store.Subscription, error) {
		a, err := ch.application(ctx, requestPaths, r.Application)
		if err != nil {
			return store.Subscription{}, err
		}
		p, err := ch.plan(ctx, requestPaths, r.Plan, r.Product, a)
		if err != nil {
			return store.Subscription{}, err
		}
		id, err := ch.request(ctx, requestPaths, r.Name, a, p.Plan, r.AcceptedTerms)
		if err != nil {
			return store.Subscription{}, err
		}
		return store.Find(ctx, ch, ch.tenant, id)
	})
}

// request returns the new subscription's id.
func (ch *change) request(ctx context.Context, at paths, name string, a domain.Application, p domain.Plan, acceptedTerms string) (string, error) {
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
	if err := store.HoldPlans(ctx, ch, []string{p.ID}); err != nil {
		return "", err
	}
	place, err := ch.place(ctx, p.ID)
	if err != nil {
		return "", err
	}
	id := newID()
	events, err := domain.Request(id, name, a, p, domain.Acceptance{Version: acceptedTerms, Path: at.terms}, place, ch.Now())
	if err != nil {
		return "", err
	}
	if err := ch.record(ctx, id, 0, events); err != nil {
		return "", err
	}
	return id, ch.admit(ctx, p.ID)
}

// command runs one decision on a subscription, by its name or id. What it frees is given to who is next in line.
func (s *Subscriptions) command(ctx context.Context, nameOrID string, run func(ctx context.Context, ch *change, row store.Subscription) error) (store.Subscription, error) {
	return execute(ctx, s, func(ctx context.Context, ch *change) (store.Subscription, error) {
		row, err := ch.hold(ctx, nameOrID)
		if err != nil {
			return row, err
		}
		if err := run(ctx, ch, row); err != nil {
			return row, err
		}
		if err := ch.admit(ctx, row.PlanID); err != nil {
			return row, err
		}
		return store.Find(ctx, ch, ch.tenant, row.ID)
	})
}

// Approve lets a requested subscription begin.
func (s *Subscriptions) Approve(ctx context.Context, nameOrID, comment string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.approve(ctx, row, comment)
	})
}

func (ch *change) approve(ctx context.Context, row store.Subscription, comment string) error {
	p, err := store.FindPlanVersion(ctx, ch, row.PlanID, row.PlanVersion)
	if err != nil {
		return err
	}
	return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) {
		return s.Approve(ch.subject, comment, p.Plan, ch.Now())
	})
}

// Reject turns a request down, with the reason of the command or a comment.
func (s *Subscriptions) Reject(ctx context.Context, nameOrID, comment string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.Reject(ch.reason, comment) })
	})
}

// Comment adds a remark to a subscription.
func (s *Subscriptions) Comment(ctx context.Context, nameOrID, comment string) (Detail, error) {
	return execute(ctx, s, func(ctx context.Context, ch *change) (Detail, error) {
		row, err := store.Find(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return Detail{}, notFound(err, nameOrID)
		}
		err = ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.Comment(comment) })
		if err != nil {
			return Detail{}, err
		}
		return detail(ctx, ch, row)
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

// SetLimits gives a subscription limits of its own, in place of all of its plan's.
func (s *Subscriptions) SetLimits(ctx context.Context, nameOrID string, limits store.Limits) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.setLimits(ctx, requestPaths, row, limits.Messages())
	})
}

func (ch *change) setLimits(ctx context.Context, at paths, row store.Subscription, limits []*catalogv1.Limit) error {
	p, err := store.FindPlanVersion(ctx, ch, row.PlanID, row.PlanVersion)
	if err != nil {
		return err
	}
	return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) {
		return s.SetLimits(at.limits, limits, p.Plan, ch.Now())
	})
}

// ClearLimits puts the limits of the plan in force again.
func (s *Subscriptions) ClearLimits(ctx context.Context, nameOrID string) (store.Subscription, error) {
	return s.command(ctx, nameOrID, func(ctx context.Context, ch *change, row store.Subscription) error {
		return ch.clearLimits(ctx, row)
	})
}

func (ch *change) clearLimits(ctx context.Context, row store.Subscription) error {
	return ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.ClearLimits(ch.Now()) })
}

// PlanChange is a change of plan: to the newest version of a plan of the subscription's product, by name or id.
type PlanChange struct {
	// Product, when given, must be the subscription's.
	Plan, Product string
	// AcceptedTerms is the version of the plan's terms that is accepted; needed when it was not before.
	AcceptedTerms string
}

// ChangePlan puts a subscription under another plan version, at once and with the same keys. The provider may choose plans
// that need approval.
func (s *Subscriptions) ChangePlan(ctx context.Context, nameOrID string, to PlanChange) (store.Subscription, error) {
	return execute(ctx, s, func(ctx context.Context, ch *change) (store.Subscription, error) {
		row, err := store.Find(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return row, notFound(err, nameOrID)
		}
		product := to.Product
		if product == "" {
			product = row.ProductID
		}
		p, err := ch.plan(ctx, requestPaths, to.Plan, product, domain.Application{ID: row.ApplicationID, Account: row.AccountID})
		if err != nil {
			return row, err
		}
		if err := ch.changePlan(ctx, requestPaths, row.ID, p.Plan, to.AcceptedTerms); err != nil {
			return row, err
		}
		return store.Find(ctx, ch, ch.tenant, row.ID)
	})
}

func (ch *change) changePlan(ctx context.Context, at paths, id string, to domain.Plan, acceptedTerms string) error {
	row, err := ch.hold(ctx, id, to.ID)
	if err != nil {
		return err
	}
	from, err := store.FindPlanVersion(ctx, ch, row.PlanID, row.PlanVersion)
	if err != nil {
		return err
	}
	place, err := ch.place(ctx, to.ID)
	if err != nil {
		return err
	}
	err = ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) {
		return s.ChangePlan(from.Plan, to, domain.Acceptance{Version: acceptedTerms, Path: at.terms}, place, ch.Now())
	})
	if err != nil {
		return err
	}
	return ch.admit(ctx, row.PlanID)
}

// Detail is a subscription with all that was said about it.
type Detail struct {
	store.Subscription
	Comments []store.Comment `json:"comments"`
}

func detail(ctx context.Context, tx pgx.Tx, row store.Subscription) (Detail, error) {
	comments, err := store.Comments(ctx, tx, row.ID)
	if comments == nil {
		comments = []store.Comment{}
	}
	return Detail{row, comments}, err
}

// Subscription returns a subscription by its name or id.
func (s *Subscriptions) Subscription(ctx context.Context, nameOrID string) (Detail, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) (Detail, error) {
		row, err := store.Find(ctx, tx, tenant, nameOrID)
		if err != nil {
			return Detail{}, notFound(err, nameOrID)
		}
		return detail(ctx, tx, row)
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
