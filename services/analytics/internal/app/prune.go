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
	ticker := time.NewTicker(pruneTick)
	defer ticker.Stop()
	for {
		err := a.all(ctx, func(tx pgx.Tx) error { return store.PruneLandings(ctx, tx, a.now().Add(-keepManifests)) })
		if err != nil && ctx.Err() == nil {
			a.Logger.Warn("old manifests cannot be forgotten; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
