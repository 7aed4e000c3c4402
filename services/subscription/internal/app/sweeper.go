package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

const (
	sweepTick  = time.Second
	sweepBatch = 100
)

// Sweeper does what only time or another service's event brings about: it lets requests expire, and fills places of plans
// whose capacity was raised. Any number may run at once: each step is a command that decides on the subscription as it is.
type Sweeper struct {
	s     *Subscriptions
	clock func() time.Time
	log   *slog.Logger
	mu    sync.Mutex
	err   error
}

// NewSweeper returns a sweeper; Run starts it.
func NewSweeper(s *Subscriptions, clock func() time.Time, log *slog.Logger) *Sweeper {
	return &Sweeper{s: s, clock: clock, log: log}
}

// Err returns why the sweeper does not get on, or nil.
func (w *Sweeper) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Run sweeps until ctx ends and then returns nil. It outlives failures of the database.
func (w *Sweeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(sweepTick)
	defer ticker.Stop()
	for {
		w.note(ctx, w.Sweep(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (w *Sweeper) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	was := w.err
	w.err = err
	w.mu.Unlock()
	if err != nil && (was == nil || was.Error() != err.Error()) {
		w.log.Error("requests do not expire, or do not move up", "error", err)
	}
}

// Sweep makes one round.
func (w *Sweeper) Sweep(ctx context.Context) error {
	var due, open []store.Reference
	err := w.s.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		if due, err = store.DueRequests(ctx, tx, w.clock().UTC(), sweepBatch); err != nil {
			return err
		}
		open, err = store.OpenPlans(ctx, tx, sweepBatch)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error // one that fails keeps no other tenant's from going on
	for _, r := range due {
		if err := w.s.expire(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("let request %s expire: %w", r.ID, err))
		}
	}
	for _, r := range open {
		if err := w.s.moveUp(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("fill plan %s: %w", r.Plan, err))
		}
	}
	return errors.Join(errs...)
}

func asService(ctx context.Context, tenant string) context.Context {
	return principal.With(ctx, principal.Service("subscription", tenant))
}

// expire rejects a request whose time is over, unless that has happened, or it was decided on.
func (s *Subscriptions) expire(ctx context.Context, r store.Reference) error {
	_, err := execute(asService(ctx, r.Tenant), s, func(ctx context.Context, ch *change) (struct{}, error) {
		row, err := ch.hold(ctx, r.ID)
		if waits, err := requested(row, err); !waits {
			return struct{}{}, err
		}
		if err != nil {
			return struct{}{}, err
		}
		err = ch.decide(ctx, row.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.Expire(ch.Now()) })
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.admit(ctx, row.PlanID)
	})
	return err
}

// moveUp gives the free places of a plan to those in line.
func (s *Subscriptions) moveUp(ctx context.Context, r store.Reference) error {
	_, err := execute(asService(ctx, r.Tenant), s, func(ctx context.Context, ch *change) (struct{}, error) {
		if err := store.HoldPlans(ctx, ch, []string{r.Plan}); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.admit(ctx, r.Plan)
	})
	return err
}
