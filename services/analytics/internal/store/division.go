package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Division is a row of divisions.
type Division struct {
	Subscription string `db:"subscription"`
	At           int64  `db:"at"`
	Hourly       bool   `db:"hourly"`
}

// PutDivision has the counts of stored calls of a subscription divided at an instant from now on.
func PutDivision(ctx context.Context, tx pgx.Tx, tenant string, d Division) error {
	return exec(ctx, tx, "note division", `INSERT INTO divisions (subscription, at, tenant_id, hourly) VALUES ($1, $2, $3, $4)
		ON CONFLICT (subscription, at) DO UPDATE SET hourly = divisions.hourly OR excluded.hourly`, d.Subscription, d.At, tenant, d.Hourly)
}

// Divisions returns the divisions of subscriptions that concern calls which completed from one instant to another.
func Divisions(ctx context.Context, tx pgx.Tx, subscriptions []string, from, to int64) ([]Division, error) {
	return collect[Division](ctx, tx, "read divisions", `SELECT subscription, at, hourly FROM divisions
		WHERE subscription = ANY ($1) AND (hourly OR at > $2::bigint - 3600000000000 AND at <= $3)`, subscriptions, from, to)
}
