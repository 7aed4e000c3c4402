package follow

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/rating/period"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// divide has the counts of stored calls divided where billing periods of a subscription begin and end, so that a proof of one reads
// no message again: at the instants themselves, and every hour as its anniversaries and the midnights of its zone divide it.
// What was counted before an instant is known stays undivided: a proof reads that hour again.
func divide(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	var all []store.Division
	switch p := e.Payload.(type) {
	case *subscriptionv1.SubscriptionActivated:
		all = append(midnights(p.GetTimeZone(), p.GetStartedAt()), store.Division{At: p.GetStartedAt(), Hourly: true})
		for i := range all {
			all[i].Subscription = p.GetSubscription()
		}
	case *subscriptionv1.SubscriptionPlanChanged:
		all = []store.Division{{Subscription: p.GetSubscription(), At: p.GetEffectiveAt()}}
	case *subscriptionv1.SubscriptionCancelled:
		all = []store.Division{
			{Subscription: p.GetSubscription(), At: p.GetEndedAt()}, {Subscription: p.GetSubscription(), At: p.GetEndedAt() + int64(period.Drain)},
		}
	}
	for _, d := range all {
		if d.At%int64(time.Hour) == 0 {
			continue // a full hour
		}
		if err := store.PutDivision(ctx, tx, e.Tenant, d); err != nil {
			return err
		}
	}
	return nil
}

// midnights are those of a zone in winter and summer: where they are at a full hour of UTC, they divide none.
func midnights(zone string, near int64) []store.Division {
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil // a zone that this build does not know
	}
	year := time.Unix(0, near).In(location).Year()
	var all []store.Division
	for _, month := range []time.Month{time.January, time.July} {
		all = append(all, store.Division{At: time.Date(year, month, 1, 0, 0, 0, 0, location).UnixNano(), Hourly: true})
	}
	return all
}
