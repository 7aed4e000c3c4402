package domain

import (
	"google.golang.org/protobuf/proto"

	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// TransitionOf names what an event tells of a subscription; "" for an event of something else.
func TransitionOf(payload proto.Message) string {
	switch payload.(type) {
	case *subscriptionv1.SubscriptionRequested:
		return "requested"
	case *subscriptionv1.SubscriptionWaitlisted:
		return "waitlisted"
	case *subscriptionv1.SubscriptionAdmitted:
		return "admitted"
	case *subscriptionv1.SubscriptionActivated:
		return "activated"
	case *subscriptionv1.SubscriptionRejected:
		return "rejected"
	case *subscriptionv1.SubscriptionExpired:
		return "expired"
	case *subscriptionv1.SubscriptionSuspended:
		return "suspended"
	case *subscriptionv1.SubscriptionResumed:
		return "resumed"
	case *subscriptionv1.SubscriptionCancelled:
		return "cancelled"
	case *subscriptionv1.SubscriptionPlanChanged:
		return "planChanged"
	case *subscriptionv1.SubscriptionLimitsSet:
		return "limitsSet"
	case *subscriptionv1.SubscriptionLimitsCleared:
		return "limitsCleared"
	case *subscriptionv1.SubscriptionCommented:
		return "commented"
	}
	return ""
}
