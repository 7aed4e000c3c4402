// Package domain decides what may happen to a subscription, and what follows: commands return events, Evolve applies one. It
// does no I/O and knows no clock; ids and times are given. Only subscription's app and store folders import it.
package domain

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// Subscription is an application's right to a product under a plan version.
type Subscription struct {
	ID, Name, Account, Application, Product string
	Plan                                    string
	PlanVersion                             uint32
	State                                   State
}

// Evolve applies an event.
func (s Subscription) Evolve(event proto.Message) Subscription {
	switch e := event.(type) {
	case *subscriptionv1.SubscriptionRequested:
		return Subscription{
			ID: e.GetSubscription(), Name: e.GetName(), Account: e.GetAccount(), Application: e.GetApplication(),
			Product: e.GetProduct(), Plan: e.GetPlan(), PlanVersion: e.GetPlanVersion(), State: Requested,
		}
	case *subscriptionv1.SubscriptionPlanChanged:
		s.Plan, s.PlanVersion = e.GetPlan(), e.GetPlanVersion()
	default:
		if state, ok := StateAfter(event); ok {
			s.State = state
		}
	}
	return s
}

// Application is what identity says of an application.
type Application struct {
	ID, Name, Account string
	// Deleted and AccountClosed mean that it takes part in nothing new.
	Deleted, AccountClosed bool
}

// Plan is what catalog says of a plan, in one version.
type Plan struct {
	ID, Name, Product string
	Version           uint32
	Spec              *catalogv1.PlanSpec
	// Retired means that it takes no new subscriptions.
	Retired bool
}

// NeedsApproval says whether the provider decides on each request.
func (p Plan) NeedsApproval() bool { return p.Spec.GetApproval() != "auto" }

func (p Plan) timeZone() string {
	if zone := p.Spec.GetPeriod().GetTimeZone(); zone != "" {
		return zone
	}
	return "UTC"
}

// Request asks for a plan. Where the plan needs no approval the subscription is active at once, from now.
func Request(id, name string, a Application, p Plan, now time.Time) ([]proto.Message, error) {
	switch {
	case a.Deleted:
		return nil, problem.NewConflict("application-deleted", "The application %s was deleted.", a.Name)
	case a.AccountClosed:
		return nil, problem.NewConflict("account-closed", "The account of the application %s is closed and takes no subscriptions.", a.Name)
	case p.Retired:
		return nil, retired(p)
	}
	requested := &subscriptionv1.SubscriptionRequested{
		Subscription: id, Name: name, Account: a.Account, Application: a.ID, Product: p.Product, Plan: p.ID, PlanVersion: p.Version,
	}
	if p.NeedsApproval() {
		return []proto.Message{requested}, nil
	}
	return []proto.Message{requested, activated(id, "", p, now)}, nil
}

func activated(id, by string, p Plan, now time.Time) proto.Message {
	return &subscriptionv1.SubscriptionActivated{Subscription: id, ApprovedBy: by, StartedAt: now.UnixNano(), TimeZone: p.timeZone()}
}

func retired(p Plan) error {
	return problem.NewConflict("plan-retired", "The plan %s is retired and takes no new subscriptions; choose another.", p.Name)
}

// Approve lets a requested subscription begin now. by is who approves, p the plan version that it was requested for.
func (s Subscription) Approve(by string, p Plan, now time.Time) ([]proto.Message, error) {
	return s.move("approved", Active, activated(s.ID, by, p, now), Requested)
}

// Reject turns a request down. It takes a reason, for the developer who asked.
func (s Subscription) Reject(reason string) ([]proto.Message, error) {
	if err := needReason("rejecting", reason); err != nil {
		return nil, err
	}
	return s.move("rejected", Rejected, &subscriptionv1.SubscriptionRejected{Subscription: s.ID}, Requested)
}

// Suspend stops an active subscription's calls. It takes a reason.
func (s Subscription) Suspend(reason string) ([]proto.Message, error) {
	if err := needReason("suspending", reason); err != nil {
		return nil, err
	}
	return s.move("suspended", Suspended, &subscriptionv1.SubscriptionSuspended{Subscription: s.ID}, Active)
}

// Resume lets a suspended subscription's calls through again.
func (s Subscription) Resume() ([]proto.Message, error) {
	return s.move("resumed", Active, &subscriptionv1.SubscriptionResumed{Subscription: s.ID}, Suspended)
}

// Cancel ends the subscription for good, now.
func (s Subscription) Cancel(now time.Time) ([]proto.Message, error) {
	return s.move("cancelled", Cancelled, &subscriptionv1.SubscriptionCancelled{Subscription: s.ID, EndedAt: now.UnixNano()}, Requested, Active, Suspended)
}

// ChangePlan puts the subscription under another plan version of its product, from now. from is the plan version that it is
// under. What was billed stays; an invoice has one currency, and so has a subscription.
func (s Subscription) ChangePlan(from, to Plan, now time.Time) ([]proto.Message, error) {
	switch {
	case s.Plan == to.ID && s.PlanVersion == to.Version:
		return nil, nil
	case s.State == Requested:
		return nil, problem.NewConflict("subscription-requested", "The subscription %s is not approved yet. Approve it first, or cancel it and ask for the other plan.", s.Name)
	case !s.State.Live():
		return nil, problem.NewConflict("subscription-ended", "The subscription %s is %s, which is final; subscribe anew.", s.Name, s.State)
	case s.Product != to.Product:
		return nil, problem.NewConflict("other-product", "The plan %s belongs to another product than the subscription %s; a subscription stays with its product. Subscribe to the other product too, and cancel this one if it is not needed.", to.Name, s.Name)
	case to.Retired:
		return nil, retired(to)
	case !strings.EqualFold(from.Spec.GetCurrency(), to.Spec.GetCurrency()):
		return nil, problem.NewConflict("other-currency", "The subscription %s is billed in %s and the plan %s has %s; cancel it and subscribe anew.", s.Name, from.Spec.GetCurrency(), to.Name, to.Spec.GetCurrency())
	}
	return []proto.Message{&subscriptionv1.SubscriptionPlanChanged{
		Subscription: s.ID, FromPlan: s.Plan, FromPlanVersion: s.PlanVersion, Plan: to.ID, PlanVersion: to.Version, EffectiveAt: now.UnixNano(),
	}}, nil
}

func needReason(doing, reason string) error {
	if strings.TrimSpace(reason) != "" {
		return nil
	}
	return problem.NewInvalid("reason-missing", "No reason is given.").With(problem.Field{
		Path: "Tollgate-Reason", Message: "is missing; " + doing + " a subscription takes a reason, which the developer is shown",
	})
}
