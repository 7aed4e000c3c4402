package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Plans that commands take a place in, or free one of, are held in the order of their ids; applications before them.

// HoldPlans lets nobody else take or free a place in plans until the end of the transaction.
func HoldPlans(ctx context.Context, tx pgx.Tx, ids []string) error {
	_, err := tx.Exec(ctx, `SELECT FROM plans WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE`, ids)
	return wrap("hold plans", err)
}

// Places is how a plan stands.
type Places struct {
	// Capacity of its newest version; 0 for no bound.
	Capacity int64 `db:"capacity"`
	// Taken by subscriptions that are active or suspended, and by requests that may be decided on.
	Taken int64 `db:"taken"`
	// Last number on the waiting list; 0 when nobody waits.
	Last int64 `db:"last"`
}

// Free says that a place is free.
func (p Places) Free() bool { return p.Capacity == 0 || p.Taken < p.Capacity }

// FindPlaces returns how a plan stands. It is exact once the plan is held.
func FindPlaces(ctx context.Context, tx pgx.Tx, plan string) (Places, error) {
	return first[Places](ctx, tx, "count places", `SELECT l.capacity,
			(SELECT count(*) FROM subscriptions s WHERE s.plan_id = l.id AND s.waiting IS NULL AND `+live+`) AS taken,
			(SELECT coalesce(max(s.waiting), 0) FROM subscriptions s WHERE s.plan_id = l.id AND s.waiting IS NOT NULL) AS last
		FROM plans l WHERE l.id = $1`, plan)
}

// NextWaiting returns the id of the subscription that is first in line for a plan.
func NextWaiting(ctx context.Context, tx pgx.Tx, plan string) (id string, err error) {
	err = tx.QueryRow(ctx, `SELECT id FROM subscriptions WHERE plan_id = $1 AND waiting IS NOT NULL ORDER BY waiting LIMIT 1`, plan).Scan(&id)
	return id, wrap("find who is next", err)
}

// DueRequests returns requests whose time is over.
func DueRequests(ctx context.Context, tx pgx.Tx, now time.Time, limit int) ([]Reference, error) {
	return collect[Reference](ctx, tx, "find expired requests", `SELECT id, tenant_id, plan_id FROM subscriptions
		WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2`, now, limit)
}

// OpenPlans returns the plans that have a free place and somebody in line, each with its first in line: the capacity was raised.
func OpenPlans(ctx context.Context, tx pgx.Tx, limit int) ([]Reference, error) {
	return collect[Reference](ctx, tx, "find plans with free places", `SELECT w.id, w.tenant_id, w.plan_id FROM plans l JOIN LATERAL (
			SELECT id, tenant_id, plan_id FROM subscriptions WHERE plan_id = l.id AND waiting IS NOT NULL ORDER BY waiting LIMIT 1) w ON true
		WHERE l.id IN (SELECT plan_id FROM subscriptions WHERE waiting IS NOT NULL) AND (l.capacity = 0 OR l.capacity > (
			SELECT count(*) FROM subscriptions s WHERE s.plan_id = l.id AND s.waiting IS NULL AND `+live+`)) ORDER BY l.id LIMIT $1`, limit)
}
