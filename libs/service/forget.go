package service

import (
	"context"
	"log/slog"
	"time"
)

const (
	// keepAnswers is how long a repeated command answers as the first did. Answers may have personal data.
	keepAnswers = 30 * 24 * time.Hour
	// lookEvery is how often forgetCommands looks at the clock, forgetEvery how often it deletes by it.
	lookEvery   = time.Second
	forgetEvery = 10 * time.Minute
)

// forgetCommands deletes answers that were kept for long enough, until ctx ends. Several replicas share the work.
func (b *Base) forgetCommands(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for forgotten := (time.Time{}); ctx.Err() == nil; {
		if now := b.Clock(); now.Sub(forgotten) >= forgetEvery {
			if _, err := b.Events.ForgetCommands(ctx, now.Add(-keepAnswers)); err != nil && ctx.Err() == nil {
				b.Log.LogAttrs(ctx, slog.LevelWarn, "answers of commands are kept for longer than they should be", slog.Any("error", err))
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
