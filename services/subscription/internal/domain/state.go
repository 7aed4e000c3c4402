package domain

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// State of a subscription.
type State string

// The states: requested → active or rejected; active ↔ suspended; each live one → cancelled.
const (
	Requested State = "requested" // waits for the provider's decision
	Active    State = "active"    // calls are let through
	Suspended State = "suspended" // calls are refused for the time being
	Rejected  State = "rejected"  // turned down, for good
	Cancelled State = "cancelled" // ended, for good
)

// States returns every state.
func States() []State { return []State{Requested, Active, Suspended, Rejected, Cancelled} }

// Live says whether the subscription goes on: neither rejected nor cancelled.
func (s State) Live() bool { return s == Requested || s == Active || s == Suspended }

// StateAfter returns the state that an event leads to, and false for events that leave it.
func StateAfter(event proto.Message) (State, bool) {
	switch event.(type) {
	case *subscriptionv1.SubscriptionRequested:
		return Requested, true
	case *subscriptionv1.SubscriptionActivated, *subscriptionv1.SubscriptionResumed:
		return Active, true
	case *subscriptionv1.SubscriptionRejected, *subscriptionv1.SubscriptionExpired:
		return Rejected, true
	case *subscriptionv1.SubscriptionSuspended:
		return Suspended, true
	case *subscriptionv1.SubscriptionCancelled:
		return Cancelled, true
	}
	return "", false
}

// move decides on a transition: possible from some states, and nothing to do where it has happened already.
func (s Subscription) move(done string, to State, event proto.Message, from ...State) ([]proto.Message, error) {
	switch {
	case s.State == to:
		return nil, nil
	case slices.Contains(from, s.State):
		return []proto.Message{event}, nil
	case !s.State.Live():
		return nil, problem.NewConflict("subscription-ended", "The subscription %s is %s, which is final; subscribe anew.", s.Name, s.State)
	}
	names := make([]string, len(from))
	for i, f := range from {
		names[i] = string(f)
	}
	return nil, problem.NewConflict("state-not-allowed", "The subscription %s is %s; only one that is %s can be %s.", s.Name, s.State, strings.Join(names, " or "), done)
}
