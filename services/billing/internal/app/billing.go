// Package app has billing's use cases: settle the periods of subscriptions, bill a period, billing runs, the schedule,
// previews and replays, and reading invoices.
//
// A period is billed in two steps. First everything is read and measured, without effect: usage from metering, proof from
// analytics. Then one transaction locks the period, appends the events and writes the tables: draft, number and final
// invoice appear together or not at all. So a run that is killed anywhere, repeated, or running twice makes the same invoices.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Billing has the use cases. It is safe for concurrent use.
type Billing struct {
	log    *eventlog.Log
	db     *postgres.DB
	bus    *bus.Bus
	clock  func() time.Time
	logger *slog.Logger
	// wake tells the run worker of this process that there is a new run.
	wake chan struct{}
}

// New returns the use cases over a database, its log and the bus on which metering and analytics answer.
func New(log *eventlog.Log, db *postgres.DB, b *bus.Bus, clock func() time.Time, logger *slog.Logger) *Billing {
	return &Billing{log: log, db: db, bus: b, clock: clock, logger: logger, wake: make(chan struct{}, 1)}
}

// now is the time of the command, in the resolution that Postgres keeps.
func (b *Billing) now() time.Time { return b.clock().UTC().Truncate(time.Microsecond) }

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// followedLogs are those of the services that billing learns from.
var followedLogs = []string{"identity", "catalog", "subscription"}

// catchUpTimeout bounds how long is waited for the followers.
const catchUpTimeout = 10 * time.Second

// catchUp waits until the followers have applied all that the other services' logs hold by now, so that a plan change made
// before the end of a period is known before the period is billed.
func (b *Billing) catchUp(ctx context.Context) error {
	heads := map[string]uint64{}
	for _, log := range followedLogs {
		stream, err := b.bus.JS.Stream(ctx, "EV_"+strings.ToUpper(log))
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound): // the service has never run here
		case err != nil:
			return problem.NewUnavailable("unavailable", "The log of %s cannot be looked at.", log).Wrap(err)
		default:
			heads[log] = stream.CachedInfo().State.LastSeq
		}
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	for log, head := range heads {
		if err := b.reach(ctx, log, head); err != nil {
			return err
		}
	}
	return nil
}

// catchUpPoll is the time between two looks at a follower's offset.
const catchUpPoll = 20 * time.Millisecond

func (b *Billing) reach(ctx context.Context, log string, head uint64) error {
	for {
		var position uint64
		err := b.all(ctx, func(tx pgx.Tx) (err error) {
			position, err = store.FollowedUpTo(ctx, tx, log)
			return err
		})
		if err == nil && position >= head {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(catchUpPoll):
		case <-ctx.Done():
			return problem.NewUnavailable("behind", "Billing has applied the log of %s up to position %d of %d. Try again in a moment.", log, position, head).Wrap(ctx.Err())
		}
	}
}

// callTimeout bounds an internal call: usage and proof of a long period take their time.
const callTimeout = 30 * time.Second

func (b *Billing) call(ctx context.Context, name string, request, reply proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return operation.Call(ctx, b.bus, name, request, reply)
}

// read runs fn in a transaction of the acting tenant.
func read[R any](ctx context.Context, b *Billing, fn func(tx pgx.Tx, tenant string) (R, error)) (R, error) {
	var result R
	p, ok := principal.From(ctx)
	if !ok {
		return result, problem.NewUnauthenticated("token-missing", "Nobody is known to act here.")
	}
	err := b.db.InTenant(ctx, p.Tenant, func(tx pgx.Tx) error {
		var err error
		result, err = fn(tx, p.Tenant)
		return err
	})
	return result, err
}

// all runs fn in a transaction of all tenants.
func (b *Billing) all(ctx context.Context, fn func(tx pgx.Tx) error) error {
	return b.db.InTenant(ctx, principal.AllTenants, fn)
}

// in returns a context in which billing acts in one tenant.
func in(ctx context.Context, tenant string) context.Context {
	return principal.With(ctx, principal.Service("billing", tenant))
}

// notFound turns a row that is not there into a problem.
func notFound(err error, code, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound(code, format, args...)
	}
	return err
}

func subscriptionNotFound(err error, nameOrID string) error {
	return notFound(err, "subscription-not-found", "There is no subscription %q.", nameOrID)
}

func actor(ctx context.Context) principal.Principal {
	p, _ := principal.From(ctx)
	return p
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
