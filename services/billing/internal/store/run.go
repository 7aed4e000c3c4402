package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// States of a run's item.
const (
	ItemPending   = "pending"
	ItemFinalized = "finalized"
	ItemHeld      = "held"
	ItemSkipped   = "skipped"
)

// Run is a row of runs with the number of its items by state.
type Run struct {
	ID           string     `db:"id"`
	Tenant       string     `db:"tenant_id"`
	Month        string     `db:"month"`
	Subscription string     `db:"subscription"`
	Before       int32      `db:"before"`
	Waiting      string     `db:"waiting"`
	StartedAt    time.Time  `db:"started_at"`
	FinishedAt   *time.Time `db:"finished_at"`
	Pending      int32      `db:"pending"`
	Finalized    int32      `db:"finalized"`
	Held         int32      `db:"held"`
	Skipped      int32      `db:"skipped"`
}

const runQuery = `SELECT r.id, r.tenant_id, r.month, r.subscription, r.before, r.waiting, r.started_at, r.finished_at,
	n.pending, n.finalized, n.held, n.skipped FROM runs r CROSS JOIN LATERAL (
		SELECT count(*) FILTER (WHERE state = 'pending')::int AS pending, count(*) FILTER (WHERE state = 'finalized')::int AS finalized,
			count(*) FILTER (WHERE state = 'held')::int AS held, count(*) FILTER (WHERE state = 'skipped')::int AS skipped
		FROM run_items WHERE run_id = r.id) n `

// InsertRun adds a run with an item for each period that ended from start on and before end and is not billed. Only those of
// one subscription, by its id, unless it is empty.
func InsertRun(ctx context.Context, tx pgx.Tx, r Run, start, end int64) error {
	err := exec(ctx, tx, "write run", `INSERT INTO runs (id, tenant_id, month, subscription, before, started_at)
		SELECT $1, $2, $3, $4, count(*), $5 FROM periods
		WHERE tenant_id = $2 AND ends_at >= $6 AND ends_at < $7 AND ($4 = '' OR subscription_id = $4) AND state IN ('invoiced', 'skipped')`,
		r.ID, r.Tenant, r.Month, r.Subscription, r.StartedAt, start, end)
	if err != nil {
		return err
	}
	return exec(ctx, tx, "write run items", `INSERT INTO run_items (run_id, tenant_id, subscription_id, number, ends_at)
		SELECT $1, $2, subscription_id, number, ends_at FROM periods
		WHERE tenant_id = $2 AND ends_at >= $4 AND ends_at < $5 AND ($3 = '' OR subscription_id = $3) AND state IN ('open', 'held')`,
		r.ID, r.Tenant, r.Subscription, start, end)
}

// FindRun returns a run by its id.
func FindRun(ctx context.Context, tx pgx.Tx, id string) (Run, error) {
	return one[Run](ctx, tx, "find run", runQuery+`WHERE r.id = $1`, id)
}

// Runs returns runs, the newest first, before one.
func Runs(ctx context.Context, tx pgx.Tx, before string, limit int) ([]Run, error) {
	return collect[Run](ctx, tx, "list runs", runQuery+`WHERE $1 = '' OR r.id < $1 ORDER BY r.id DESC LIMIT $2`, before, limit)
}

// UnfinishedRuns returns runs that go on, the oldest first.
func UnfinishedRuns(ctx context.Context, tx pgx.Tx, limit int) ([]Run, error) {
	return collect[Run](ctx, tx, "list unfinished runs", runQuery+`WHERE r.finished_at IS NULL ORDER BY r.id LIMIT $1`, limit)
}

// Item is a row of run_items.
type Item struct {
	Subscription string `db:"subscription_id"`
	Number       int32  `db:"number"`
	Tenant       string `db:"tenant_id"`
	EndsAt       int64  `db:"ends_at"`
	State        string `db:"state"`
	Cause        string `db:"cause"`
	Detail       string `db:"detail"`
}

const itemColumns = `subscription_id, number, tenant_id, ends_at, state, cause, detail`

// Place returns where the item is among others.
func (i Item) Place() Place { return Place{i.EndsAt, i.Subscription} }

// PendingItems returns items that are still to be done, in order of their end, after a place.
func PendingItems(ctx context.Context, tx pgx.Tx, run string, after Place, limit int) ([]Item, error) {
	return collect[Item](ctx, tx, "list run items", `SELECT `+itemColumns+` FROM run_items
		WHERE run_id = $1 AND state = 'pending' AND (ends_at, subscription_id) > ($2, $3)
		ORDER BY ends_at, subscription_id LIMIT $4`, run, after.EndsAt, after.Subscription, limit)
}

// NamedItem is an item with the name of its subscription.
type NamedItem struct {
	Item
	Name string `db:"name"`
}

// HeldItems returns items that were held or skipped, in order of their end.
func HeldItems(ctx context.Context, tx pgx.Tx, run string, limit int) ([]NamedItem, error) {
	return collect[NamedItem](ctx, tx, "list held items", `SELECT i.subscription_id, i.number, i.tenant_id, i.ends_at, i.state, i.cause, i.detail, s.name
		FROM run_items i JOIN subscriptions s ON s.id = i.subscription_id
		WHERE i.run_id = $1 AND i.state IN ('held', 'skipped') ORDER BY i.state, i.ends_at, i.subscription_id LIMIT $2`, run, limit)
}

// FinishItem says what became of an item.
func FinishItem(ctx context.Context, tx pgx.Tx, run string, i Item) error {
	return exec(ctx, tx, "write run item", `UPDATE run_items SET state = $4, cause = $5, detail = $6
		WHERE run_id = $1 AND subscription_id = $2 AND number = $3 AND state = 'pending'`, run, i.Subscription, i.Number, i.State, i.Cause, i.Detail)
}

// SetRunWaiting says what a run waits for, nothing when empty, and whether that is new.
func SetRunWaiting(ctx context.Context, tx pgx.Tx, run, waiting string) (changed bool, err error) {
	tag, err := tx.Exec(ctx, `UPDATE runs SET waiting = $2 WHERE id = $1 AND waiting <> $2`, run, waiting)
	return tag.RowsAffected() > 0, wrap("write run", err)
}

// FinishRun marks a run as finished.
func FinishRun(ctx context.Context, tx pgx.Tx, run string, at time.Time) error {
	return exec(ctx, tx, "finish run", `UPDATE runs SET finished_at = $2, waiting = '' WHERE id = $1 AND finished_at IS NULL`, run, at)
}

// TryLock takes the lock of that name among all replicas, without waiting. It holds a connection of the pool, and is lost
// with it: what it guards must stand being done twice. It only saves work.
func TryLock(ctx context.Context, pool *pgxpool.Pool, name string) (unlock func(), ok bool, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, false, wrap("lock "+name, err)
	}
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended($1, 0))`, name).Scan(&ok); err != nil || !ok {
		conn.Release()
		return nil, false, wrap("lock "+name, err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_unlock(hashtextextended($1, 0))`, name); err != nil {
			_ = conn.Conn().Close(ctx) // ends the session, and the lock with it
		}
		conn.Release()
	}, true, nil
}
