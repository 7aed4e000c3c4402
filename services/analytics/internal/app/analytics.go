// Package app has analytics' use cases: landing the calls in ClickHouse, each once, the request log, counts and the proof that four
// counters agree.
package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Warehouse is where calls are landed.
type Warehouse interface {
	// Insert inserts a block of calls; the same token makes a repetition of it do nothing.
	Insert(ctx context.Context, token string, calls []clickhouse.Call) error
	// Present returns which of the numbers from first to last of a boot are there.
	Present(ctx context.Context, gateway string, boot, first, last uint64, span clickhouse.Span) (map[uint64]bool, error)
}

// Deps is what the use cases are given.
type Deps struct {
	Log    *eventlog.Log
	DB     *postgres.DB
	Bus    *bus.Bus
	Table  *clickhouse.Table
	Clock  func() time.Time
	Logger *slog.Logger
	// Warehouse is Table when nil.
	Warehouse Warehouse
	// Notifier is nil where nobody can be told.
	Notifier *Notifier
}

// Analytics has the use cases. It is safe for concurrent use.
type Analytics struct {
	Deps
	tails  tails
	places *places
	// recounts has a place for each proof that reads messages again.
	recounts chan struct{}
}

// New returns the use cases.
func New(d Deps) *Analytics {
	if d.Warehouse == nil {
		d.Warehouse = d.Table
	}
	a := &Analytics{Deps: d, tails: tails{of: map[string]int{}}, recounts: make(chan struct{}, maxRecounts)}
	a.places = newPlaces(a.tailNow)
	return a
}

// EnsurePartitions makes the rows of the partitions.
func (a *Analytics) EnsurePartitions(ctx context.Context) error {
	return a.all(ctx, func(tx pgx.Tx) error { return store.EnsurePartitions(ctx, tx, bus.Partitions) })
}

// now is the time, in the resolution that Postgres keeps.
func (a *Analytics) now() time.Time { return a.Clock().UTC().Truncate(time.Microsecond) }

func newToken() string { return uuid.Must(uuid.NewV7()).String() }

// all runs fn in a transaction that sees every tenant.
func (a *Analytics) all(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return a.in(ctx, principal.AllTenants, fn)
}

// in runs fn in a transaction of a tenant. A failure of the moment is given its kind, so that callers try again.
func (a *Analytics) in(ctx context.Context, tenant string, fn func(tx pgx.Tx) error) error {
	err := a.DB.InTenant(ctx, tenant, fn)
	if postgres.Transient(err) && problem.KindOf(err) == problem.Internal {
		return problem.NewUnavailable("database-unavailable", "The database does not answer. Try again later.").Wrap(err)
	}
	return err
}

// actor returns who acts.
func actor(ctx context.Context) (principal.Principal, error) {
	p, ok := principal.From(ctx)
	if !ok {
		return p, problem.NewUnauthenticated("token-missing", "Nobody is known to act here.")
	}
	return p, nil
}
