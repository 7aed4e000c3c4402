// Package follow has what analytics makes of streams: of the calls, which it lands, and of other services' logs, from which it
// learns names and waivers.
package follow

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/rating/period"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Names keeps the names of what calls refer to, from the logs of identity, catalog and subscription.
func Names(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	put := func(kind, id, name string) error { return store.PutName(ctx, tx, e.Tenant, kind, id, name) }
	switch p := e.Payload.(type) {
	case *identityv1.AccountCreated:
		return put(store.Account, p.GetAccount(), p.GetName())
	case *identityv1.ApplicationCreated:
		return put(store.Application, p.GetApplication(), p.GetName())
	case *catalogv1.APICreated:
		return put(store.API, p.GetApi(), p.GetName())
	case *catalogv1.APIVersionRegistered:
		return put(store.APIVersion, p.GetApiVersion(), p.GetName())
	case *subscriptionv1.SubscriptionRequested:
		return put(store.Subscription, p.GetSubscription(), p.GetName())
	case *subscriptionv1.SubscriptionActivated, *subscriptionv1.SubscriptionPlanChanged, *subscriptionv1.SubscriptionCancelled:
		return divide(ctx, tx, e)
	case *catalogv1.ProductCreated:
		return put(store.Product, p.GetProduct(), p.GetName())
	case *catalogv1.PlanPublished:
		if err := store.RaiseLongestPeriod(ctx, tx, e.Tenant, longestDays(p.GetSpec().GetPeriod().GetEvery())); err != nil {
			return err
		}
		return put(store.Plan, p.GetPlan(), p.GetName())
	}
	return nil
}

// longestDays is the most days that a billing period of a length has.
func longestDays(every string) int {
	switch every {
	case period.Day:
		return 2 // with a change of the clock
	case period.Week:
		return 8
	case period.Quarter:
		return 93
	case period.Year:
		return 367
	default:
		return 32
	}
}

// Waivers keeps until when gateways are waived, from the log of metering.
func Waivers(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	if p, ok := e.Payload.(*meteringv1.GatewayWaived); ok {
		return store.PutWaiver(ctx, tx, p.GetGateway(), p.GetUntil())
	}
	return nil
}
