package store

import (
	"context"
	"errors"
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
		Name: "subscription", Tables: []string{"subscriptions", "subscription_comments", "webhooks", "mail_recipients"},
		Apply: func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			return Project(ctx, tx, FactOf(e))
		},
	}
}

// Fact is an event with what belongs to it.
type Fact struct {
	Tenant, Actor, Reason string
	Version               uint64
	At                    time.Time
	Payload               proto.Message
}

// FactOf returns the fact that an event of the log is.
func FactOf(e eventlog.Event) Fact {
	return Fact{Tenant: e.Tenant, Actor: e.Actor, Reason: e.Reason, Version: e.Version, At: e.RecordedAt, Payload: e.Payload}
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
		return projectRequested(ctx, tx, f, e)
	case *subscriptionv1.SubscriptionWaitlisted:
		return exec(`UPDATE subscriptions SET waiting = $2, expires_at = NULL WHERE id = $1`, e.GetSubscription(), int64(e.GetNumber()))
	case *subscriptionv1.SubscriptionAdmitted:
		return exec(`UPDATE subscriptions SET waiting = NULL, expires_at = $2 WHERE id = $1`, e.GetSubscription(), optional(e.GetExpiresAt()))
	case *subscriptionv1.SubscriptionActivated:
		return errors.Join(
			exec(`UPDATE subscriptions SET state = $2, started_at = $3, waiting = NULL, expires_at = NULL WHERE id = $1`, e.GetSubscription(), state, at(e.GetStartedAt())),
			projectDecision(ctx, tx, f, e.GetSubscription(), e.GetApprovedBy()),
			projectComment(ctx, tx, f, e.GetSubscription(), e.GetComment()))
	case *subscriptionv1.SubscriptionRejected:
		return errors.Join(
			projectEnd(ctx, tx, e.GetSubscription(), state, f.At, f.Reason),
			projectDecision(ctx, tx, f, e.GetSubscription(), f.Actor),
			projectComment(ctx, tx, f, e.GetSubscription(), e.GetComment()))
	case *subscriptionv1.SubscriptionExpired:
		return projectEnd(ctx, tx, e.GetSubscription(), state, f.At, Expired)
	case *subscriptionv1.SubscriptionCancelled:
		return projectEnd(ctx, tx, e.GetSubscription(), state, at(e.GetEndedAt()), f.Reason)
	case *subscriptionv1.SubscriptionSuspended:
		return exec(`UPDATE subscriptions SET state = $2, reason = $3 WHERE id = $1`, e.GetSubscription(), state, f.Reason)
	case *subscriptionv1.SubscriptionResumed:
		return exec(`UPDATE subscriptions SET state = $2, reason = '' WHERE id = $1`, e.GetSubscription(), state)
	case *subscriptionv1.SubscriptionCommented:
		return projectComment(ctx, tx, f, e.GetSubscription(), e.GetComment())
	}
	return projectTerms(ctx, tx, f)
}

// projectTerms is project for what a subscription is under (plan, terms, limits) and for who is told.
func projectTerms(ctx context.Context, tx pgx.Tx, f Fact) error {
	exec := func(query string, args ...any) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	}
	switch e := f.Payload.(type) {
	case *subscriptionv1.SubscriptionPlanChanged:
		err := exec(`UPDATE subscriptions SET plan_id = $2, plan_version = $3 WHERE id = $1`, e.GetSubscription(), e.GetPlan(), e.GetPlanVersion())
		if t := e.GetTerms(); t != nil && err == nil {
			err = exec(`UPDATE subscriptions SET accepted_terms = $2, terms_url = $3, terms_at = $4, terms_by = $5 WHERE id = $1`,
				e.GetSubscription(), t.GetVersion(), t.GetUrl(), f.At, f.Actor)
		}
		return err
	case *subscriptionv1.SubscriptionLimitsSet:
		limits, err := proto.MarshalOptions{Deterministic: true}.Marshal(&subscriptionv1.SubscriptionLimitsSet{Limits: e.GetLimits()})
		if err != nil {
			return err
		}
		return exec(`UPDATE subscriptions SET limits = $2 WHERE id = $1`, e.GetSubscription(), limits)
	case *subscriptionv1.SubscriptionLimitsCleared:
		return exec(`UPDATE subscriptions SET limits = NULL WHERE id = $1`, e.GetSubscription())
	case *subscriptionv1.WebhookSet:
		return exec(`INSERT INTO webhooks (id, tenant_id, name, url, events, disabled) VALUES ($1, $2, $3, $4, coalesce($5::text[], '{}'), $6)
			ON CONFLICT (id) DO UPDATE SET url = excluded.url, events = excluded.events, disabled = excluded.disabled`,
			e.GetWebhook(), f.Tenant, e.GetName(), e.GetSpec().GetUrl(), e.GetSpec().GetEvents(), e.GetSpec().GetDisabled())
	case *subscriptionv1.WebhookDeleted:
		return exec(`DELETE FROM webhooks WHERE id = $1`, e.GetWebhook())
	case *subscriptionv1.MailRecipientSet:
		return exec(`INSERT INTO mail_recipients (id, tenant_id, name, account_id, events, disabled) VALUES ($1, $2, $3, $4, coalesce($5::text[], '{}'), $6)
			ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id, events = excluded.events, disabled = excluded.disabled`,
			e.GetRecipient(), f.Tenant, e.GetName(), e.GetAccount(), e.GetEvents(), e.GetDisabled())
	case *subscriptionv1.MailRecipientDeleted:
		return exec(`DELETE FROM mail_recipients WHERE id = $1`, e.GetRecipient())
	}
	return nil
}

func projectRequested(ctx context.Context, tx pgx.Tx, f Fact, e *subscriptionv1.SubscriptionRequested) error {
	var termsAt *time.Time
	termsBy := ""
	if e.GetTerms() != nil {
		termsAt, termsBy = &f.At, f.Actor
	}
	_, err := tx.Exec(ctx, `INSERT INTO subscriptions (id, tenant_id, name, account_id, application_id, product_id, plan_id, plan_version, state,
			requested_at, expires_at, accepted_terms, terms_url, terms_at, terms_by)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`, e.GetSubscription(), f.Tenant, e.GetName(), e.GetAccount(),
		e.GetApplication(), e.GetProduct(), e.GetPlan(), e.GetPlanVersion(), domain.Requested, f.At, optional(e.GetExpiresAt()),
		e.GetTerms().GetVersion(), e.GetTerms().GetUrl(), termsAt, termsBy)
	return err
}

// Expired is the reason of a request that nobody decided on in time.
const Expired = "expired"

func projectEnd(ctx context.Context, tx pgx.Tx, id string, state domain.State, ended time.Time, reason string) error {
	_, err := tx.Exec(ctx, `UPDATE subscriptions SET state = $2, ended_at = $3, reason = $4, waiting = NULL, expires_at = NULL WHERE id = $1`, id, state, ended, reason)
	return err
}

func projectDecision(ctx context.Context, tx pgx.Tx, f Fact, id, by string) error {
	if by == "" { // the plan asked for no decision
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE subscriptions SET decided_by = $2, decided_at = $3 WHERE id = $1`, id, by, f.At)
	return err
}

func projectComment(ctx context.Context, tx pgx.Tx, f Fact, id, comment string) error {
	if comment == "" {
		return nil
	}
	_, err := tx.Exec(ctx, `INSERT INTO subscription_comments (subscription_id, number, tenant_id, at, author, comment) VALUES ($1, $2, $3, $4, $5, $6)`,
		id, int64(f.Version), f.Tenant, f.At, f.Actor, comment)
	return err
}

func at(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }

func optional(nanoseconds int64) *time.Time {
	if nanoseconds == 0 {
		return nil
	}
	t := at(nanoseconds)
	return &t
}
