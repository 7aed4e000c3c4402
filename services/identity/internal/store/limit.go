package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Limit is a rate that is kept in the database, so that replicas share it and a restart forgets nothing: Burst at once, and
// one more each Interval.
type Limit struct {
	Interval time.Duration
	Burst    int
}

// Forget gives back all that was taken.
func Forget(ctx context.Context, tx pgx.Tx, what string) error {
	_, err := tx.Exec(ctx, `DELETE FROM rate_limits WHERE key = $1`, limitKey(what))
	return wrap("forget rate limit", err)
}

func limitKey(what string) []byte {
	sum := sha256.Sum256([]byte(what))
	return sum[:]
}

// Take takes one from a limit, and returns how long to wait when there is none, 0 otherwise. what names the limit and whom
// it is for; only its hash is kept. It is the generic cell rate algorithm: full_at is when everything taken has come back.
func (l Limit) Take(ctx context.Context, tx pgx.Tx, what string, now time.Time) (time.Duration, error) {
	var fullAt time.Time
	err := tx.QueryRow(ctx, `
		INSERT INTO rate_limits AS r (key, full_at) VALUES ($1, $2::timestamptz + $3::interval)
		ON CONFLICT (key) DO UPDATE SET full_at = greatest(r.full_at, $2::timestamptz) + $3::interval
			WHERE greatest(r.full_at, $2::timestamptz) + $3::interval <= $2::timestamptz + $4::interval
		RETURNING full_at`, limitKey(what), now, l.Interval, time.Duration(l.Burst)*l.Interval).Scan(&fullAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return l.Wait(ctx, tx, what, now)
	}
	return 0, wrap("take from rate limit", err)
}

// Wait returns how long to wait until one can be taken, 0 for not at all, and takes none.
func (l Limit) Wait(ctx context.Context, tx pgx.Tx, what string, now time.Time) (time.Duration, error) {
	var fullAt time.Time
	err := tx.QueryRow(ctx, `SELECT full_at FROM rate_limits WHERE key = $1`, limitKey(what)).Scan(&fullAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return max(0, fullAt.Add(l.Interval).Sub(now)-time.Duration(l.Burst)*l.Interval), wrap("read rate limit", err)
}
