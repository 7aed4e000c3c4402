package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/rating/period"
)

// Subscription is a row of subscriptions.
type Subscription struct {
	ID          string `db:"id"`
	Tenant      string `db:"tenant_id"`
	Name        string `db:"name"`
	AccountID   string `db:"account_id"`
	ProductID   string `db:"product_id"`
	PlanID      string `db:"plan_id"`
	PlanVersion int32  `db:"plan_version"`
	State       string `db:"state"`
	StartedAt   int64  `db:"started_at"`
	EndedAt     int64  `db:"ended_at"`
	TimeZone    string `db:"time_zone"`
	Revision    int64  `db:"revision"`
}

const subscriptionColumns = `id, tenant_id, name, account_id, product_id, plan_id, plan_version, state, started_at, ended_at, time_zone, revision`

// InsertSubscription adds a subscription.
func InsertSubscription(ctx context.Context, tx pgx.Tx, s Subscription) error {
	return exec(ctx, tx, "write subscription", `INSERT INTO subscriptions (`+subscriptionColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING`,
		s.ID, s.Tenant, s.Name, s.AccountID, s.ProductID, s.PlanID, s.PlanVersion, s.State, s.StartedAt, s.EndedAt, s.TimeZone, s.Revision)
}

// UpdateSubscription writes what can change of a subscription.
func UpdateSubscription(ctx context.Context, tx pgx.Tx, s Subscription) error {
	return exec(ctx, tx, "write subscription", `UPDATE subscriptions SET plan_id = $2, plan_version = $3, state = $4, started_at = $5,
		ended_at = $6, time_zone = $7, revision = $8 WHERE id = $1`,
		s.ID, s.PlanID, s.PlanVersion, s.State, s.StartedAt, s.EndedAt, s.TimeZone, s.Revision)
}

// SettleFrom makes the periods of a subscription be looked at again from an instant on.
func SettleFrom(ctx context.Context, tx pgx.Tx, id string, from int64) error {
	return exec(ctx, tx, "reopen periods", `UPDATE subscriptions SET periods_until = least(periods_until, $2) WHERE id = $1`, id, from)
}

// FindSubscription returns a subscription by its id, or by its name: of those with the same name the newest.
func FindSubscription(ctx context.Context, tx pgx.Tx, nameOrID string) (Subscription, error) {
	return one[Subscription](ctx, tx, "find subscription", `SELECT `+subscriptionColumns+` FROM subscriptions WHERE id = $1 OR name = $1
		ORDER BY id = $1 DESC, revision DESC, id LIMIT 1`, nameOrID)
}

// LockSubscription returns a subscription and keeps it from changing until the end of the transaction.
func LockSubscription(ctx context.Context, tx pgx.Tx, id string) (Subscription, error) {
	return one[Subscription](ctx, tx, "lock subscription", `SELECT `+subscriptionColumns+` FROM subscriptions WHERE id = $1 FOR UPDATE`, id)
}

// Phase is a row of phases with its plan version, of which the name is empty and the specification nil while it is not known.
type Phase struct {
	StartsAt    int64  `db:"starts_at"`
	PlanID      string `db:"plan_id"`
	PlanVersion int32  `db:"plan_version"`
	Plan        string `db:"plan"`
	Spec        []byte `db:"spec"`
}

// Phases returns the phases of a subscription in order of time.
func Phases(ctx context.Context, tx pgx.Tx, subscription string) ([]Phase, error) {
	return collect[Phase](ctx, tx, "read phases", `SELECT f.starts_at, f.plan_id, f.plan_version, coalesce(p.name, '') AS plan, p.spec
		FROM phases f LEFT JOIN plans p ON p.id = f.plan_id AND p.version = f.plan_version
		WHERE f.subscription_id = $1 ORDER BY f.starts_at`, subscription)
}

// PutPhase puts a subscription under a plan version from an instant on, in place of all that was to come after it.
func PutPhase(ctx context.Context, tx pgx.Tx, tenant, subscription string, from int64, plan string, version int32) error {
	if err := exec(ctx, tx, "write phase", `DELETE FROM phases WHERE subscription_id = $1 AND starts_at >= $2`, subscription, from); err != nil {
		return err
	}
	return exec(ctx, tx, "write phase", `INSERT INTO phases (subscription_id, starts_at, tenant_id, plan_id, plan_version) VALUES ($1, $2, $3, $4, $5)`,
		subscription, from, tenant, plan, version)
}

// Unsettled is a subscription whose periods do not reach up to now.
type Unsettled struct {
	ID     string `db:"id"`
	Tenant string `db:"tenant_id"`
}

// UnsettledSubscriptions returns subscriptions whose periods do not reach up to now, in order of their id, after an id; of one
// subscription unless only is empty.
func UnsettledSubscriptions(ctx context.Context, tx pgx.Tx, only string, now int64, after string, limit int) ([]Unsettled, error) {
	return collect[Unsettled](ctx, tx, "list subscriptions", `SELECT id, tenant_id FROM subscriptions
		WHERE started_at > 0 AND (ended_at = 0 OR periods_until < ended_at + $5) AND periods_until <= $1 AND id > $2 AND ($3 = '' OR id = $3)
		ORDER BY id LIMIT $4`, now, after, only, limit, int64(period.Drain))
}

// FollowedUpTo returns the position of another service's log up to which billing has applied it: the offset that the follower
// (libs/eventlog) writes in the transaction of each effect.
func FollowedUpTo(ctx context.Context, tx pgx.Tx, log string) (position uint64, err error) {
	var migrated bool
	err = tx.QueryRow(ctx, `SELECT to_regclass('follow_offset') IS NOT NULL`).Scan(&migrated)
	if err != nil || !migrated { // the followers have not started
		return 0, wrap("read the follower's offset", err)
	}
	err = tx.QueryRow(ctx, `SELECT coalesce((SELECT position FROM follow_offset WHERE name = 'billing-' || $1::text AND log = $1), 0)`, log).Scan(&position)
	return position, wrap("read the follower's offset", err)
}
