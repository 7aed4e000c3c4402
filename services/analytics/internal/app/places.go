package app

import (
	"context"
	"sync"
	"time"
)

const (
	// maxTails bounds the tails that wait in one process, maxTenantTails those of one tenant.
	maxTails       = 48
	maxTenantTails = 12
)

// tails admits the tails that wait. It is safe for concurrent use.
type tails struct {
	mu  sync.Mutex
	all int
	of  map[string]int
}

// enter takes a place for a tail of a tenant, and returns false when there is none. leave gives it back.
func (t *tails) enter(tenant string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == maxTails || t.of[tenant] == maxTenantTails {
		return false
	}
	t.all++
	t.of[tenant]++
	return true
}

func (t *tails) leave(tenant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if t.of[tenant]--; t.of[tenant] == 0 {
		delete(t.of, tenant)
	}
}

// places tells how far the landing is, to many who ask at once with one look. It is safe for concurrent use.
type places struct {
	look func(ctx context.Context) (tailCursor, error)
	// turn has one place: who looks. lookedAt and last belong to it, so that what is told never goes back.
	turn     chan struct{}
	lookedAt time.Time
	last     tailCursor
}

func newPlaces(look func(ctx context.Context) (tailCursor, error)) *places {
	return &places{look: look, turn: make(chan struct{}, 1)}
}

// now returns what was seen so long ago at most; 0 looks anew.
func (p *places) now(ctx context.Context, age time.Duration) (tailCursor, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return tailCursor{}, ctx.Err()
	}
	if age > 0 && !p.lookedAt.IsZero() && time.Since(p.lookedAt) < age {
		return p.last, nil
	}
	seen, err := p.look(ctx)
	if err == nil {
		p.lookedAt, p.last = time.Now(), seen
	}
	return seen, err
}
