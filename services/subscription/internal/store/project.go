package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
)

// Projection describes the table that Project alone writes, for making it again from the log (see libs/eventlog).
func Projection() eventlog.Projection {
	return eventlog.Projection{
		Name: "subscription", Tables: []string{"subscriptions"},
		Apply: func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			return Project(ctx, tx, Fact{Tenant: e.Tenant, At: e.RecordedAt, Payload: e.Payload})
		},
	}
}

// Fact is an event with what belongs to it.
type Fact struct {
	Tenant  string
	At      time.Time
	Payload proto.Message
}

// Project writes to the table what an event says.
func Project(ctx context.Context, tx pgx.Tx, f Fact) error {
	if err := project(ctx, tx, f); err != nil {
		return fmt.Errorf("project %s: %w", f.Payload.ProtoReflect().Descriptor().FullName(), err)
	}
	return nil
}

func project(ctx context.Context, tx pgx.Tx, f Fact) error {
	exec := func(query string, args ...any) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	}
	state, _ := domain.StateAfter(f.Payload)
	switch e := f.Payload.(type) {
	case *subscriptionv1.SubscriptionRequested:
		return exec(`INSERT INTO subscriptions (id, tenant_id, name, account_id, application_id, product_id, plan_id, plan_version, state, requested_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, e.GetSubscription(), f.Tenant, e.GetName(), e.GetAccount(),
			e.GetApplication(), e.GetProduct(), e.GetPlan(), e.GetPlanVersion(), state, f.At)
	case *subscriptionv1.SubscriptionActivated:
		return exec(`UPDATE subscriptions SET state = $2, started_at = $3 WHERE id = $1`, e.GetSubscription(), state, at(e.GetStartedAt()))
	case *subscriptionv1.SubscriptionCancelled:
		return exec(`UPDATE subscriptions SET state = $2, ended_at = $3 WHERE id = $1`, e.GetSubscription(), state, at(e.GetEndedAt()))
	case *subscriptionv1.SubscriptionRejected:
		return exec(`UPDATE subscriptions SET state = $2, ended_at = $3 WHERE id = $1`, e.GetSubscription(), state, f.At)
	case *subscriptionv1.SubscriptionSuspended:
		return exec(`UPDATE subscriptions SET state = $2 WHERE id = $1`, e.GetSubscription(), state)
	case *subscriptionv1.SubscriptionResumed:
		return exec(`UPDATE subscriptions SET state = $2 WHERE id = $1`, e.GetSubscription(), state)
	case *subscriptionv1.SubscriptionPlanChanged:
		return exec(`UPDATE subscriptions SET plan_id = $2, plan_version = $3 WHERE id = $1`, e.GetSubscription(), e.GetPlan(), e.GetPlanVersion())
	}
	return nil
}

func at(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }
