package service

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tollgate/tollgate/libs/audit"
)

const (
	// keepAnswers is how long a repeated command answers as the first did. Answers may have personal data.
	keepAnswers = 30 * 24 * time.Hour
	// lookEvery is how often forget looks at the clock, forgetEvery how often it deletes by it.
	lookEvery   = time.Second
	forgetEvery = 10 * time.Minute
)

// forget deletes, until ctx ends, what was kept for long enough: answers of commands, and from where changes were made. Several
// replicas share the work.
func (b *Base) forget(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for forgotten := (time.Time{}); ctx.Err() == nil; {
		if now := b.Clock(); now.Sub(forgotten) >= forgetEvery {
			if err := b.forgetAt(ctx, now); err != nil && ctx.Err() == nil {
				b.Log.LogAttrs(ctx, slog.LevelWarn, "what is to be forgotten is kept for longer than it should be", slog.Any("error", err))
			}
			forgotten = now
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

func (b *Base) forgetAt(ctx context.Context, now time.Time) error {
	_, err := b.Events.ForgetCommands(ctx, now.Add(-keepAnswers))
	return errors.Join(err, audit.Forget(ctx, b.DB, now.Add(-cmp.Or(b.Config.AuditOrigins, defaultAuditOrigins))))
}
