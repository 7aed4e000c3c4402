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
	// Waiting says that the request has no place yet: it is on the plan's waiting list.
	Waiting bool
	// ExpiresAt is when the request expires, in nanoseconds since the Unix epoch; 0 for never.
	ExpiresAt int64
	// Terms that were accepted last.
	Terms Terms
	// Limits of the subscription's own; none for those of the plan.
	Limits []*catalogv1.Limit
	// Comments is their number.
	Comments int
}

// Evolve applies an event.
func (s Subscription) Evolve(event proto.Message) Subscription {
	switch e := event.(type) {
	case *subscriptionv1.SubscriptionRequested:
		return Subscription{
			ID: e.GetSubscription(), Name: e.GetName(), Account: e.GetAccount(), Application: e.GetApplication(),
			Product: e.GetProduct(), Plan: e.GetPlan(), PlanVersion: e.GetPlanVersion(), State: Requested,
			ExpiresAt: e.GetExpiresAt(), Terms: termsOf(e.GetTerms()),
		}
	case *subscriptionv1.SubscriptionWaitlisted:
		s.Waiting, s.ExpiresAt = true, 0
		return s
	case *subscriptionv1.SubscriptionAdmitted:
		s.Waiting, s.ExpiresAt = false, e.GetExpiresAt()
		return s
	case *subscriptionv1.SubscriptionPlanChanged:
		s.Plan, s.PlanVersion = e.GetPlan(), e.GetPlanVersion()
		if e.GetTerms() != nil {
			s.Terms = termsOf(e.GetTerms())
		}
		return s
	case *subscriptionv1.SubscriptionLimitsSet:
		s.Limits = e.GetLimits()
		return s
	case *subscriptionv1.SubscriptionLimitsCleared:
		s.Limits = nil
		return s
	case *subscriptionv1.SubscriptionCommented:
		s.Comments++
		return s
	case *subscriptionv1.SubscriptionActivated:
		s.Comments += present(e.GetComment())
	case *subscriptionv1.SubscriptionRejected:
		s.Comments += present(e.GetComment())
	}
	if state, ok := StateAfter(event); ok {
		s.State, s.Waiting, s.ExpiresAt = state, false, 0
	}
	return s
}

func present(text string) int {
	if text == "" {
		return 0
	}
	return 1
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

// Place is what a plan has for a new request.
type Place struct {
	// Free says that there is a place, and nobody in line for it.
	Free bool
	// Number of the request on the waiting list, if there is none.
	Number uint64
}

// Acceptance is what a request says of the plan's terms.
type Acceptance struct {
	// Version that is accepted; empty for none.
	Version string
	// Path of the field, for errors.
	Path string
}

// Request asks for a plan. Where the plan has no place left the request waits in line; else, where it needs no approval, the
// subscription is active at once, from now.
func Request(id, name string, a Application, p Plan, accepted Acceptance, place Place, now time.Time) ([]proto.Message, error) {
	switch {
	case a.Deleted:
		return nil, problem.NewConflict("application-deleted", "The application %s was deleted.", a.Name)
	case a.AccountClosed:
		return nil, problem.NewConflict("account-closed", "The account of the application %s is closed and takes no subscriptions.", a.Name)
	case p.Retired:
		return nil, retired(p)
	}
	terms, err := p.accept(Terms{}, accepted)
	if err != nil {
		return nil, err
	}
	requested := &subscriptionv1.SubscriptionRequested{
		Subscription: id, Name: name, Account: a.Account, Application: a.ID, Product: p.Product, Plan: p.ID, PlanVersion: p.Version, Terms: terms,
	}
	switch {
	case !place.Free:
		return []proto.Message{requested, &subscriptionv1.SubscriptionWaitlisted{Subscription: id, Plan: p.ID, Number: place.Number}}, nil
	case p.NeedsApproval():
		requested.ExpiresAt = p.expiry(now)
		return []proto.Message{requested}, nil
	}
	return []proto.Message{requested, activated(id, "", "", p, now)}, nil
}

// Admit gives a request that waits in line a place. Where its plan version p needs no approval it begins now.
func (s Subscription) Admit(p Plan, now time.Time) ([]proto.Message, error) {
	if s.State != Requested || !s.Waiting {
		return nil, nil
	}
	admitted := &subscriptionv1.SubscriptionAdmitted{Subscription: s.ID}
	if p.NeedsApproval() {
		admitted.ExpiresAt = p.expiry(now)
		return []proto.Message{admitted}, nil
	}
	return []proto.Message{admitted, activated(s.ID, "", "", p, now)}, nil
}

// Expire rejects a request whose time is over.
func (s Subscription) Expire(now time.Time) ([]proto.Message, error) {
	if s.State != Requested || s.ExpiresAt == 0 || now.UnixNano() < s.ExpiresAt {
		return nil, nil
	}
	return []proto.Message{&subscriptionv1.SubscriptionExpired{Subscription: s.ID}}, nil
}

// expiry is when a request that gets its place now expires; 0 for never.
func (p Plan) expiry(now time.Time) int64 {
	if p.Spec.GetRequestExpiresDays() == 0 {
		return 0
	}
	return now.AddDate(0, 0, int(p.Spec.GetRequestExpiresDays())).UnixNano()
}

func activated(id, by, comment string, p Plan, now time.Time) proto.Message {
	return &subscriptionv1.SubscriptionActivated{Subscription: id, ApprovedBy: by, StartedAt: now.UnixNano(), TimeZone: p.timeZone(), Comment: comment}
}

func retired(p Plan) error {
	return problem.NewConflict("plan-retired", "The plan %s is retired and takes no new subscriptions; choose another.", p.Name)
}

// Approve lets a requested subscription begin now. by is who approves, p the plan version that it was requested for.
func (s Subscription) Approve(by, comment string, p Plan, now time.Time) ([]proto.Message, error) {
	if err := s.checkComment(&comment, false); err != nil {
		return nil, err
	}
	if s.State == Requested && s.Waiting {
		return nil, full(p, "The subscription "+s.Name+" waits in line; it can be approved once a place is free")
	}
	return s.move("approved", Active, activated(s.ID, by, comment, p, now), Requested)
}

// Reject turns a request down. It takes a reason or a comment, for the developer who asked.
func (s Subscription) Reject(reason, comment string) ([]proto.Message, error) {
	if err := s.checkComment(&comment, false); err != nil {
		return nil, err
	}
	if err := needReason("rejecting", reason+comment); err != nil {
		return nil, err
	}
	return s.move("rejected", Rejected, &subscriptionv1.SubscriptionRejected{Subscription: s.ID, Comment: comment}, Requested)
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
// under, and place what the other plan has. What was billed stays; an invoice has one currency, and so has a subscription.
// Limits of its own were agreed on for a plan: they stay with newer versions of it and end with it.
func (s Subscription) ChangePlan(from, to Plan, accepted Acceptance, place Place, now time.Time) ([]proto.Message, error) {
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
	case s.Plan != to.ID && !place.Free:
		return nil, full(to, "A change of plan does not wait in line")
	}
	terms, err := to.accept(s.Terms, accepted)
	if err != nil {
		return nil, err
	}
	var events []proto.Message
	if s.Plan != to.ID && len(s.Limits) > 0 {
		events = append(events, &subscriptionv1.SubscriptionLimitsCleared{Subscription: s.ID, EffectiveAt: now.UnixNano()})
	}
	return append(events, &subscriptionv1.SubscriptionPlanChanged{
		Subscription: s.ID, FromPlan: s.Plan, FromPlanVersion: s.PlanVersion, Plan: to.ID, PlanVersion: to.Version, EffectiveAt: now.UnixNano(), Terms: terms,
	}), nil
}

func full(p Plan, detail string) error {
	return problem.NewConflict("plan-full", "Every place of the plan %s is taken. %s.", p.Name, detail)
}

func needReason(doing, reason string) error {
	if strings.TrimSpace(reason) != "" {
		return nil
	}
	return problem.NewInvalid("reason-missing", "No reason is given.").With(problem.Field{
		Path: "Tollgate-Reason", Message: "is missing; " + doing + " a subscription takes a reason, which the developer is shown",
	})
}
