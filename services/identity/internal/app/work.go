package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

const (
	// workEvery is how often requests are looked for that another replica was given.
	workEvery = time.Second
	// cleanEvery is how often what has ended is deleted.
	cleanEvery = 10 * time.Minute
)

// Run does what is not done in a request, until ctx ends: it mails password resets and deletes what has ended. Several
// replicas share the work.
func (i *Identity) Run(ctx context.Context) error {
	tick := time.NewTicker(workEvery)
	defer tick.Stop()
	for cleaned := (time.Time{}); ctx.Err() == nil; {
		if err := i.work(ctx); err != nil && ctx.Err() == nil {
			i.logger.LogAttrs(ctx, slog.LevelWarn, "password resets wait", slog.Any("error", err))
		}
		if now := i.now(); now.Sub(cleaned) >= cleanEvery {
			if err := i.clean(ctx, now); err != nil && ctx.Err() == nil {
				i.logger.LogAttrs(ctx, slog.LevelWarn, "what has ended was not deleted", slog.Any("error", err))
			}
			cleaned = now
		}
		select {
		case <-ctx.Done():
		case <-i.wake:
		case <-tick.C:
		}
	}
	return nil
}

func (i *Identity) nudge() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *Identity) work(ctx context.Context) error {
	for ctx.Err() == nil {
		more, err := i.mailReset(ctx)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (i *Identity) clean(ctx context.Context, now time.Time) error {
	return i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		return store.DeleteEnded(ctx, tx, now, now.Add(-i.config.SessionIdle))
	})
}
