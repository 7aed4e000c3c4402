package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// DefaultKeepMessages is how long messages of calls stay in the stream unless it is said otherwise: a proof reads some again for
// periods of a month.
const DefaultKeepMessages = 40 * 24 * time.Hour

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

// PruneStream deletes, until ctx ends, messages of calls that both analytics and metering have taken and that came longer than keep
// ago: nobody else would, and a full stream takes no more calls. Any number may run at once.
func (a *Analytics) PruneStream(ctx context.Context, keep time.Duration) error {
	return a.every(ctx, pruneTick, "old messages of calls cannot be deleted; it is tried again", func(ctx context.Context) error {
		return a.pruneStream(ctx, a.now().Add(-keep))
	})
}

func (a *Analytics) pruneStream(ctx context.Context, before time.Time) error {
	var partitions []store.Partition
	err := a.all(ctx, func(tx pgx.Tx) (err error) {
		partitions, err = store.Partitions(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	// What it counts is of no interest here, but up to where it has metered.
	metered := new(meteringv1.CountReply)
	now := a.now().UnixNano()
	request := &meteringv1.CountRequest{Tenant: principal.AllTenants, Start: now, End: now + 1}
	if err := operation.Call(ctx, a.Bus, "metering.Count", request, metered); err != nil {
		return err
	}
	for _, p := range partitions {
		taken := min(uint64(p.Landed), metered.GetWatermark()[uint32(p.Partition)])
		if p.StreamCreated == nil || taken == 0 {
			continue
		}
		if err := callstream.Purge(ctx, a.Bus, p.Partition, taken, before, *p.StreamCreated); err != nil {
			return err
		}
	}
	return nil
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
