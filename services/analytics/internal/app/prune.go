package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

const (
	pruneTick = time.Hour
	// keepManifests is how long manifests are kept after they were done, for whoever wants to know how it went.
	keepManifests = 7 * 24 * time.Hour
)

// Prune forgets old manifests until ctx ends. Any number may run at once.
func (a *Analytics) Prune(ctx context.Context) error {
	return a.every(ctx, pruneTick, "old manifests cannot be forgotten; it is tried again", func(ctx context.Context) error {
		return a.all(ctx, func(tx pgx.Tx) error { return store.PruneLandings(ctx, tx, a.now().Add(-keepManifests)) })
	})
}

// every does something at once and then at intervals until ctx ends; what fails is logged, once for the same failure in a row.
func (a *Analytics) every(ctx context.Context, interval time.Duration, failure string, do func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	last := ""
	for {
		text := ""
		if err := do(ctx); err != nil && ctx.Err() == nil {
			text = err.Error()
		}
		if text != "" && text != last {
			a.Logger.Warn(failure, "error", text)
		}
		last = text
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
