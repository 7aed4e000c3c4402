// Package app has metering's use cases: what batches of calls do to the ledger and the quotas, leases, usage at a watermark,
// gaps and waivers. Each effect is one transaction. Locks are taken in the order that the store folder states.
package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

const (
	// LeaseLife is how long a lease may be spent from after it was granted or renewed.
	LeaseLife = 15 * time.Second
	// inflight is the longest time that a call may take after its units were reserved on a lease that then expires. A gateway
	// renews a lease that calls in flight hold, so that it only matters for one that lost its way to metering.
	inflight = time.Minute
	// live is how long after its last batch a gateway counts as live, when units are shared out.
	live = 10 * time.Second
	// GapAfter is how long calls are missing before that is a gap.
	GapAfter = time.Minute
)

// Metering has the use cases. It is safe for concurrent use.
type Metering struct {
	log    *eventlog.Log
	db     *postgres.DB
	bus    *bus.Bus
	clock  func() time.Time
	logger *slog.Logger
	keeper *Keeper
	cache  store.Cache
}

// New returns the use cases over a database and its log.
func New(log *eventlog.Log, db *postgres.DB, b *bus.Bus, clock func() time.Time, logger *slog.Logger) *Metering {
	m := &Metering{log: log, db: db, bus: b, clock: clock, logger: logger}
	m.keeper = newKeeper(m)
	return m
}

// Keeper returns what keeps balances and leases in order beside the calls.
func (m *Metering) Keeper() *Keeper { return m.keeper }

// EnsurePartitions makes the rows of the partitions.
func (m *Metering) EnsurePartitions(ctx context.Context) error {
	return m.all(ctx, func(tx pgx.Tx) error { return store.EnsurePartitions(ctx, tx, bus.Partitions) })
}

// now is the time, in the resolution that Postgres keeps.
func (m *Metering) now() time.Time { return m.clock().UTC().Truncate(time.Microsecond) }

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// all runs fn in a transaction that sees every tenant.
func (m *Metering) all(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return unavailable(m.db.InTenant(ctx, principal.AllTenants, fn))
}

// acting runs fn in a transaction of the acting tenant.
func acting[R any](ctx context.Context, m *Metering, fn func(tx pgx.Tx) (R, error)) (R, error) {
	var result R
	p, ok := principal.From(ctx)
	if !ok {
		return result, problem.NewUnauthenticated("token-missing", "Nobody is known to act here.")
	}
	err := m.db.InTenant(ctx, p.Tenant, func(tx pgx.Tx) error {
		var err error
		result, err = fn(tx)
		return err
	})
	return result, unavailable(err)
}

// unavailable gives a failure of the moment its kind, so that callers try again.
func unavailable(err error) error {
	if postgres.Transient(err) && problem.KindOf(err) == problem.Internal {
		return problem.NewUnavailable("database-unavailable", "The database does not answer. Try again later.").Wrap(err)
	}
	return err
}

func notFound(err error, code, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound(code, format, args...)
	}
	return err
}

// asService is a context in which metering itself acts, for the installation.
func asService(ctx context.Context) context.Context {
	return principal.With(ctx, principal.Service("metering", principal.AllTenants))
}
