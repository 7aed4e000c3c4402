package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
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
}

const (
	live = `s.state IN ('requested', 'active', 'suspended')`

	query = `SELECT s.id, s.name, s.state, s.account_id, a.name AS account, s.application_id, p.name AS application,
		s.product_id, o.name AS product, s.plan_id, l.name AS plan, s.plan_version, s.requested_at, s.started_at, s.ended_at
		FROM subscriptions s JOIN accounts a ON a.id = s.account_id JOIN applications p ON p.id = s.application_id
		JOIN products o ON o.id = s.product_id JOIN plans l ON l.id = s.plan_id `
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
}

// List returns subscriptions in order of their ids, which is that of their requests, after an id.
func List(ctx context.Context, tx pgx.Tx, tenant string, f Filter, after string, limit int) ([]Subscription, error) {
	return collect[Subscription](ctx, tx, "list subscriptions", query+`WHERE s.tenant_id = $1
		AND ($2 = '' OR p.name = $2 OR p.id = $2) AND ($3 = '' OR s.state = $3) AND ($4 = '' OR l.name = $4 OR l.id = $4)
		AND s.id > $5 ORDER BY s.id LIMIT $6`, tenant, f.Application, f.State, f.Plan, after, limit)
}

// LiveOf returns the ids of the live subscriptions of an application or account, by its id.
func LiveOf(ctx context.Context, tx pgx.Tx, id string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT s.id FROM subscriptions s WHERE (s.application_id = $1 OR s.account_id = $1) AND `+live+` ORDER BY s.id`, id)
	if err != nil {
		return nil, wrap("find live subscriptions", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, wrap("find live subscriptions", err)
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
}

// FindEntitlement returns the subscription that counts for the application and product that a subscription is about: the
// live one, else the newest.
func FindEntitlement(ctx context.Context, tx pgx.Tx, subscription string) (Entitlement, error) {
	return first[Entitlement](ctx, tx, "find entitlement", `
		SELECT s.tenant_id, s.id, s.account_id, s.application_id, s.product_id, s.state, s.plan_id, l.name AS plan, s.plan_version, v.spec
		FROM subscriptions about JOIN subscriptions s ON s.application_id = about.application_id AND s.product_id = about.product_id
			JOIN plans l ON l.id = s.plan_id JOIN plan_versions v ON v.plan_id = s.plan_id AND v.version = s.plan_version
		WHERE about.id = $1 ORDER BY `+live+` DESC, s.id DESC LIMIT 1`, subscription)
}
