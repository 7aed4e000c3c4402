package eventlog

import (
	"context"
	"math/rand/v2"
	"time"
)

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// backoff gives increasing pauses with jitter. The zero value begins with the shortest.
type backoff struct{ next time.Duration }

const (
	backoffFirst = 20 * time.Millisecond
	backoffMax   = 3 * time.Second
)

func (b *backoff) pause() time.Duration {
	d := max(b.next, backoffFirst)
	b.next = min(2*d, backoffMax)
	return d/2 + rand.N(d/2)
}

func (b *backoff) reset() { b.next = 0 }
