package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
)

// Subscription is a subscription with the names of what it is about.
type Subscription struct {
	ID            string     `db:"id" json:"id"`
	Name          string     `db:"name" json:"name"`
	State         string     `db:"state" json:"state" enum:"requested,active,suspended,rejected,cancelled"`
	AccountID     string     `db:"account_id" json:"accountId"`
	Account       string     `db:"account" json:"account"`
	ApplicationID string     `db:"application_id" json:"applicationId"`
	Application   string     `db:"application" json:"application"`
	ProductID     string     `db:"product_id" json:"productId"`
	Product       string     `db:"product" json:"product"`
	PlanID        string     `db:"plan_id" json:"planId"`
	Plan          string     `db:"plan" json:"plan"`
	PlanVersion   uint32     `db:"plan_version" json:"planVersion"`
	RequestedAt   time.Time  `db:"requested_at" json:"requestedAt"`
	StartedAt     *time.Time `db:"started_at" json:"startedAt,omitempty"`
	EndedAt       *time.Time `db:"ended_at" json:"endedAt,omitempty"`
	// ExpiresAt is when the request is rejected if nobody decides on it.
	ExpiresAt *time.Time `db:"expires_at" json:"expiresAt,omitempty"`
	// WaitingPosition on the plan's waiting list, from 1; absent for what has a place.
	WaitingPosition *int64 `db:"waiting_position" json:"waitingPosition,omitempty"`
	// AcceptedTerms is the version of the plan's terms that was accepted, with their URL, when and by whom.
	AcceptedTerms   string     `db:"accepted_terms" json:"acceptedTerms,omitempty"`
	TermsURL        string     `db:"terms_url" json:"termsUrl,omitempty"`
	TermsAcceptedAt *time.Time `db:"terms_at" json:"termsAcceptedAt,omitempty"`
	TermsAcceptedBy string     `db:"terms_by" json:"termsAcceptedBy,omitempty"`
	// DecidedBy is who approved or rejected the request.
	DecidedBy string     `db:"decided_by" json:"decidedBy,omitempty"`
	DecidedAt *time.Time `db:"decided_at" json:"decidedAt,omitempty"`
	// Reason why it is rejected ("expired" when nobody decided), suspended or cancelled.
	Reason string `db:"reason" json:"reason,omitempty"`
	// Limits of its own, in place of the plan's.
	Limits Limits `db:"limits" json:"limits,omitempty"`
}

const (
	live = `s.state IN ('requested', 'active', 'suspended')`

	fields = `s.id, s.name, s.state, s.account_id, a.name AS account, s.application_id, p.name AS application,
		s.product_id, o.name AS product, s.plan_id, l.name AS plan, s.plan_version, s.requested_at, s.started_at, s.ended_at, s.expires_at,
		s.accepted_terms, s.terms_url, s.terms_at, s.terms_by, s.decided_by, s.decided_at, s.reason, s.limits`

	named = ` s JOIN accounts a ON a.id = s.account_id JOIN applications p ON p.id = s.application_id
		JOIN products o ON o.id = s.product_id JOIN plans l ON l.id = s.plan_id `

	// query is for one subscription: it counts those before it on the waiting list.
	query = `SELECT ` + fields + `, CASE WHEN s.waiting IS NOT NULL
			THEN (SELECT count(*) FROM subscriptions w WHERE w.plan_id = s.plan_id AND w.waiting <= s.waiting) END AS waiting_position
		FROM subscriptions` + named
)

// Find returns a subscription by its name or id. Of several with a name it is the live one, else the newest.
func Find(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Subscription, error) {
	return first[Subscription](ctx, tx, "find subscription", query+`WHERE s.tenant_id = $1 AND (s.name = $2 OR s.id = $2)
		ORDER BY `+live+` DESC, s.id DESC LIMIT 1`, tenant, nameOrID)
}

// FindLive returns the live subscription of that name.
func FindLive(ctx context.Context, tx pgx.Tx, tenant, name string) (Subscription, error) {
	return first[Subscription](ctx, tx, "find live subscription", query+`WHERE s.tenant_id = $1 AND s.name = $2 AND `+live, tenant, name)
}

// FindLiveOf returns the live subscription of an application to a product, by their ids.
func FindLiveOf(ctx context.Context, tx pgx.Tx, tenant, application, product string) (Subscription, error) {
	return first[Subscription](ctx, tx, "find subscription to product",
		query+`WHERE s.tenant_id = $1 AND s.application_id = $2 AND s.product_id = $3 AND `+live, tenant, application, product)
}

// Filter narrows a list; empty fields do not.
type Filter struct {
	Application, State, Plan string
	// Waiting leaves those on a waiting list.
	Waiting bool
	// Search is a text in the name of the subscription, of its application or of its account.
	Search string
}

// List returns subscriptions in order of their ids, which is that of their requests, after an id. It reads the waiting list of
// each plan on the page once.
func List(ctx context.Context, tx pgx.Tx, tenant string, f Filter, after string, limit int) ([]Subscription, error) {
	return collect[Subscription](ctx, tx, "list subscriptions", `
		WITH page AS MATERIALIZED (
			SELECT s.* FROM subscriptions`+named+`WHERE s.tenant_id = $1
				AND ($2 = '' OR p.name = $2 OR p.id = $2) AND ($3 = '' OR s.state = $3) AND ($4 = '' OR l.name = $4 OR l.id = $4)
				AND ($7 = false OR s.waiting IS NOT NULL) AND `+postgres.HasText("$8", "s.name", "p.name", "a.name")+` AND s.id > $5 ORDER BY s.id LIMIT $6
		), lists AS MATERIALIZED (
			SELECT w.id, row_number() OVER (PARTITION BY w.plan_id ORDER BY w.waiting) AS position FROM subscriptions w
			WHERE w.waiting IS NOT NULL AND w.plan_id IN (SELECT plan_id FROM page WHERE waiting IS NOT NULL)
		)
		SELECT `+fields+`, lists.position AS waiting_position FROM page`+named+`LEFT JOIN lists ON lists.id = s.id ORDER BY s.id`,
		tenant, f.Application, f.State, f.Plan, after, limit, f.Waiting, f.Search)
}

// Reference names a subscription with its plan.
type Reference struct {
	ID     string `db:"id"`
	Tenant string `db:"tenant_id"`
	Plan   string `db:"plan_id"`
}

// LiveOf returns the live subscriptions of an application or account, by its id.
func LiveOf(ctx context.Context, tx pgx.Tx, id string) ([]Reference, error) {
	return collect[Reference](ctx, tx, "find live subscriptions", `SELECT s.id, s.tenant_id, s.plan_id FROM subscriptions s
		WHERE (s.application_id = $1 OR s.account_id = $1) AND `+live+` ORDER BY s.id`, id)
}

// Comment is a remark on a subscription.
type Comment struct {
	// Number of the transition in the subscription's history.
	Number  int64     `db:"number" json:"number"`
	At      time.Time `db:"at" json:"at"`
	Author  string    `db:"author" json:"author"`
	Comment string    `db:"comment" json:"comment"`
}

// Comments returns the remarks on a subscription, the oldest first.
func Comments(ctx context.Context, tx pgx.Tx, subscription string) ([]Comment, error) {
	return collect[Comment](ctx, tx, "read comments", `SELECT number, at, author, comment FROM subscription_comments
		WHERE subscription_id = $1 ORDER BY number LIMIT $2`, subscription, domain.MaxComments)
}

// Entitlement is what a gateway's document is made of.
type Entitlement struct {
	Tenant        string `db:"tenant_id"`
	ID            string `db:"id"`
	AccountID     string `db:"account_id"`
	ApplicationID string `db:"application_id"`
	ProductID     string `db:"product_id"`
	State         string `db:"state"`
	PlanID        string `db:"plan_id"`
	Plan          string `db:"plan"`
	PlanVersion   uint32 `db:"plan_version"`
	Spec          []byte `db:"spec"`
	Limits        Limits `db:"limits"`
}

// FindEntitlement returns the subscription that counts for the application and product that a subscription is about: the
// live one, else the newest.
func FindEntitlement(ctx context.Context, tx pgx.Tx, subscription string) (Entitlement, error) {
	return first[Entitlement](ctx, tx, "find entitlement", `
		SELECT s.tenant_id, s.id, s.account_id, s.application_id, s.product_id, s.state, s.plan_id, l.name AS plan, s.plan_version, v.spec, s.limits
		FROM subscriptions about JOIN subscriptions s ON s.application_id = about.application_id AND s.product_id = about.product_id
			JOIN plans l ON l.id = s.plan_id JOIN plan_versions v ON v.plan_id = s.plan_id AND v.version = s.plan_version
		WHERE about.id = $1 ORDER BY `+live+` DESC, s.id DESC LIMIT 1`, subscription)
}
