package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Transition is one thing that happened to a subscription.
type Transition struct {
	Number     uint64    `json:"number"`
	At         time.Time `json:"at"`
	Transition string    `json:"transition" enum:"requested,waitlisted,admitted,activated,rejected,expired,suspended,resumed,cancelled,planChanged,limitsSet,limitsCleared,commented"`
	// From and To are the states before and after.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
	// Actor is who caused it, as in "member:<id>" or "service:<name>".
	Actor   string `json:"actor"`
	Reason  string `json:"reason,omitempty"`
	Comment string `json:"comment,omitempty"`
	// PlanID and PlanVersion are those asked for, and changed to.
	PlanID      string `json:"planId,omitempty"`
	PlanVersion uint32 `json:"planVersion,omitempty"`
	// AcceptedTerms is the version that was accepted with it.
	AcceptedTerms string `json:"acceptedTerms,omitempty"`
	// Limits of the subscription's own that were set.
	Limits store.Limits `json:"limits,omitempty"`
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
		all := transitions(history)
		all = all[min(after, uint64(len(all))):]
		return all[:min(limit, len(all))], nil
	})
}

// transitions tells the history of a subscription.
func transitions(history []eventlog.Event) []Transition {
	all := make([]Transition, 0, len(history))
	var state domain.Subscription
	for _, e := range history {
		before := state
		state = state.Evolve(e.Payload)
		t := transition(e)
		t.From, t.To = string(before.State), string(state.State)
		if _, admitted := e.Payload.(*subscriptionv1.SubscriptionAdmitted); admitted {
			t.Actor, t.Reason = movedUp, ""
		}
		// What an admission leads to at once is no more the doing of whoever gave the place up than that is.
		if n := len(all); n > 0 && all[n-1].Actor == movedUp && all[n-1].Transition == "admitted" && all[n-1].At.Equal(t.At) {
			t.Actor, t.Reason = movedUp, ""
		}
		all = append(all, t)
	}
	return all
}

// movedUp is who moves a waiting list: somebody of another account may have caused it, which is nobody else's business.
const movedUp = "service:subscription"

func transition(e eventlog.Event) Transition {
	t := Transition{Number: e.Version, At: e.RecordedAt, Transition: domain.TransitionOf(e.Payload), Actor: e.Actor, Reason: e.Reason}
	switch p := e.Payload.(type) {
	case *subscriptionv1.SubscriptionRequested:
		t.PlanID, t.PlanVersion, t.AcceptedTerms = p.GetPlan(), p.GetPlanVersion(), p.GetTerms().GetVersion()
	case *subscriptionv1.SubscriptionPlanChanged:
		t.PlanID, t.PlanVersion, t.AcceptedTerms = p.GetPlan(), p.GetPlanVersion(), p.GetTerms().GetVersion()
	case *subscriptionv1.SubscriptionActivated:
		t.Comment = p.GetComment()
	case *subscriptionv1.SubscriptionRejected:
		t.Comment = p.GetComment()
	case *subscriptionv1.SubscriptionCommented:
		t.Comment = p.GetComment()
	case *subscriptionv1.SubscriptionLimitsSet:
		t.Limits = store.LimitsOf(p.GetLimits())
	}
	return t
}
