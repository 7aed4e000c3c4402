package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/services/metering/internal/domain"
)

// BalanceKey names a balance.
type BalanceKey struct {
	Subscription, Meter, Per string
	WindowStart              int64
}

// Balance is a row of balances.
type Balance struct {
	ID           int64  `db:"id"`
	Tenant       string `db:"tenant_id"`
	Subscription string `db:"subscription"`
	Meter        string `db:"meter"`
	Per          string `db:"per"`
	WindowStart  int64  `db:"window_start"`
	WindowEnd    int64  `db:"window_end"`
	Hard         bool   `db:"hard"`
	Quota        int64  `db:"quota"`
	Ceiling      int64  `db:"ceiling"`
	Spent        int64  `db:"spent"`
	Leased       int64  `db:"leased"`
	Unleased     int64  `db:"unleased"`
	Exhausted    bool   `db:"exhausted"`
}

// Key returns the name of the balance.
func (b Balance) Key() BalanceKey { return BalanceKey{b.Subscription, b.Meter, b.Per, b.WindowStart} }

// Window returns the window of the balance.
func (b Balance) Window() domain.Window { return domain.Window{Start: b.WindowStart, End: b.WindowEnd} }

// Domain returns the figures.
func (b Balance) Domain() domain.Balance {
	return domain.Balance{Quota: b.Quota, Ceiling: b.Ceiling, Spent: b.Spent, Leased: b.Leased, Unleased: b.Unleased}
}

// Set takes the figures over.
func (b *Balance) Set(d domain.Balance) {
	b.Quota, b.Ceiling, b.Spent, b.Leased, b.Unleased = d.Quota, d.Ceiling, d.Spent, d.Leased, d.Unleased
}

// Lease is a row of leases.
type Lease struct {
	ID        string `db:"id"`
	Tenant    string `db:"tenant_id"`
	BalanceID int64  `db:"balance_id"`
	Gateway   string `db:"gateway"`
	Boot      int64  `db:"boot"`
	Granted   int64  `db:"granted"`
	Spent     int64  `db:"spent"`
	Returned  bool   `db:"returned"`
	Promised  int64  `db:"promised"`
	ExpiresAt int64  `db:"expires_at"`
}

// Domain returns the figures.
func (l Lease) Domain() domain.Lease {
	return domain.Lease{Granted: l.Granted, Spent: l.Spent, Returned: l.Returned, Promised: l.Promised}
}

// Set takes the figures over.
func (l *Lease) Set(d domain.Lease) {
	l.Granted, l.Spent, l.Returned, l.Promised = d.Granted, d.Spent, d.Returned, d.Promised
}

const (
	balanceColumns = `id, tenant_id, subscription, meter, per, window_start, window_end, hard, quota, ceiling, spent, leased, unleased, exhausted`
	leaseColumns   = `id, tenant_id, balance_id, gateway, boot, granted, spent, returned, promised, expires_at`
)

// FindBalances returns those of the named balances that there are, without locking them.
func FindBalances(ctx context.Context, tx pgx.Tx, keys []BalanceKey) ([]Balance, error) {
	n := len(keys)
	subscriptions, meters, pers, starts := make([]string, n), make([]string, n), make([]string, n), make([]int64, n)
	for i, k := range keys {
		subscriptions[i], meters[i], pers[i], starts[i] = k.Subscription, k.Meter, k.Per, k.WindowStart
	}
	return collect[Balance](ctx, tx, "find balances", `SELECT `+balanceColumns+` FROM balances WHERE (subscription, meter, per, window_start) IN
		(SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]))`, subscriptions, meters, pers, starts)
}

// LockBalances returns balances that stay as they are until the end of the transaction.
func LockBalances(ctx context.Context, tx pgx.Tx, ids []int64) ([]Balance, error) {
	return collect[Balance](ctx, tx, "lock balances", `SELECT `+balanceColumns+` FROM balances WHERE id = ANY ($1) ORDER BY id FOR UPDATE`, ids)
}

// LockBalancesOf is LockBalances for those that calls of subscriptions, completed between two instants (both included), may
// count for, and those with these ids.
func LockBalancesOf(ctx context.Context, tx pgx.Tx, subscriptions []string, first, last int64, ids []int64) ([]Balance, error) {
	return collect[Balance](ctx, tx, "lock balances", `SELECT `+balanceColumns+` FROM balances
		WHERE id = ANY ($4) OR (subscription = ANY ($1) AND window_end > $2 AND window_start <= $3) ORDER BY id FOR UPDATE`, subscriptions, first, last, ids)
}

// InsertBalance makes a balance unless there is one, and says whether it did.
func InsertBalance(ctx context.Context, tx pgx.Tx, b Balance) (made bool, err error) {
	tag, err := tx.Exec(ctx, `INSERT INTO balances (tenant_id, subscription, meter, per, window_start, window_end, hard, quota, ceiling, unleased, exhausted)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`,
		b.Tenant, b.Subscription, b.Meter, b.Per, b.WindowStart, b.WindowEnd, b.Hard, b.Quota, b.Ceiling, b.Unleased, b.Exhausted)
	return tag.RowsAffected() == 1, wrap("make balance", err)
}

// UpdateBalances writes balances as they are.
func UpdateBalances(ctx context.Context, tx pgx.Tx, balances []Balance) error {
	var batch pgx.Batch
	for _, b := range balances {
		batch.Queue(`UPDATE balances SET hard = $2, quota = $3, ceiling = $4, spent = $5, leased = $6, unleased = $7, exhausted = $8 WHERE id = $1`,
			b.ID, b.Hard, b.Quota, b.Ceiling, b.Spent, b.Leased, b.Unleased, b.Exhausted)
	}
	return wrap("write balances", tx.SendBatch(ctx, &batch).Close())
}

// FindLeases returns leases by their ids, without locking them.
func FindLeases(ctx context.Context, tx pgx.Tx, ids []string) ([]Lease, error) {
	return collect[Lease](ctx, tx, "find leases", `SELECT `+leaseColumns+` FROM leases WHERE id = ANY ($1)`, ids)
}

// LeasesOf returns the leases of a balance, by gateway.
func LeasesOf(ctx context.Context, tx pgx.Tx, balance int64) ([]Lease, error) {
	return collect[Lease](ctx, tx, "read leases", `SELECT `+leaseColumns+` FROM leases WHERE balance_id = $1 ORDER BY gateway, boot, id LIMIT 1000`, balance)
}

// LockLeases returns leases that stay as they are until the end of the transaction.
func LockLeases(ctx context.Context, tx pgx.Tx, ids []string) ([]Lease, error) {
	return collect[Lease](ctx, tx, "lock leases", `SELECT `+leaseColumns+` FROM leases WHERE id = ANY ($1) ORDER BY id FOR UPDATE`, ids)
}

// WriteLeases makes or changes leases; those that are over are deleted.
func WriteLeases(ctx context.Context, tx pgx.Tx, leases []Lease) error {
	var batch pgx.Batch
	for _, l := range leases {
		if l.Domain().Over() {
			batch.Queue(`DELETE FROM leases WHERE id = $1`, l.ID)
			continue
		}
		batch.Queue(`INSERT INTO leases (`+leaseColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (id) DO UPDATE SET spent = excluded.spent, returned = excluded.returned, promised = excluded.promised, expires_at = excluded.expires_at`,
			l.ID, l.Tenant, l.BalanceID, l.Gateway, l.Boot, l.Granted, l.Spent, l.Returned, l.Promised, l.ExpiresAt)
	}
	return wrap("write leases", tx.SendBatch(ctx, &batch).Close())
}

// DeleteLease takes a lease away that was given up.
func DeleteLease(ctx context.Context, tx pgx.Tx, id string) error {
	return exec(ctx, tx, "delete lease", `DELETE FROM leases WHERE id = $1`, id)
}

// SpeechlessLeases returns the leases about which their gateway has nothing more to say: its boot is closed, or its seal
// passes their expiry by more than inflight, or it is waived. Calls that were admitted on them are all here.
func SpeechlessLeases(ctx context.Context, tx pgx.Tx, now, inflight int64) ([]Lease, error) {
	return collect[Lease](ctx, tx, "find leases", `SELECT l.id, l.tenant_id, l.balance_id, l.gateway, l.boot, l.granted, l.spent, l.returned, l.promised, l.expires_at
		FROM leases l JOIN boots b ON b.gateway = l.gateway AND b.boot = l.boot JOIN gateways g ON g.gateway = l.gateway
		WHERE b.closed_at > 0 OR (l.expires_at < $1 AND (b.sealed_until >= l.expires_at + $2 OR g.waived_until >= l.expires_at))
		ORDER BY l.id LIMIT 500`, now, inflight)
}

// PruneBalances forgets balances whose window ended long ago.
func PruneBalances(ctx context.Context, tx pgx.Tx, now time.Time) error {
	return exec(ctx, tx, "forget balances", `DELETE FROM balances b WHERE window_end < $1 AND NOT EXISTS (SELECT FROM leases l WHERE l.balance_id = b.id)`,
		now.Add(-window).UnixNano())
}

// window is how long balances are kept after the end of their window.
const window = 400 * 24 * time.Hour
