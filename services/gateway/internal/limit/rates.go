package limit

import (
	"sync"
	"time"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

// RateKey names a rate limit of a subscription.
type RateKey struct {
	Subscription string
	Quota, Burst uint64
	Per          string
}

// Rates holds every rate limit of this gateway, and shares them with the other gateways: each tells what it let pass, the others
// count it too. Between two exchanges a gateway does not know what the others let pass, so that for a moment each may let the
// whole burst through; what is too much is owed afterwards. While news takes at most d, n gateways (up to maxDebt) let at most
// n·Burst + Quota·(T + (n-1)·d) requests pass in any time T. It is safe for concurrent use.
type Rates struct {
	mu  sync.Mutex
	all map[RateKey]*Rate

	dirtyMu sync.Mutex // of its own: calls take it, and must not wait for Sweep
	dirty   []*Rate    // each once: took something since Taken
}

// NewRates returns no limits.
func NewRates() *Rates { return &Rates{all: map[RateKey]*Rate{}} }

// Rate returns the limit with that key, always the same one, so that a new document does not refill it. See NewRate for what is
// refused.
func (s *Rates) Rate(key RateKey) (*Rate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.all[key]; r != nil {
		return r, nil
	}
	r, err := NewRate(key.Quota, key.Burst, key.Per)
	if err != nil {
		return nil, err
	}
	r.key, r.rates = key, s
	s.all[key] = r
	return r, nil
}

func (s *Rates) mark(r *Rate) {
	s.dirtyMu.Lock()
	defer s.dirtyMu.Unlock()
	s.dirty = append(s.dirty, r)
}

// Taken returns what passed since the call before, at most n limits of it; the rest comes with the next call.
func (s *Rates) Taken(n int) []*gatewayv1.RateTaken {
	s.dirtyMu.Lock()
	n = min(n, len(s.dirty))
	list := append([]*Rate(nil), s.dirty[:n]...)
	rest := copy(s.dirty, s.dirty[n:])
	clear(s.dirty[rest:])
	s.dirty = s.dirty[:rest]
	s.dirtyMu.Unlock()
	var taken []*gatewayv1.RateTaken
	for _, r := range list {
		r.queued.Store(false) // before the swap: what passes after it puts the limit into the queue again
		if requests := r.taken.Swap(0); requests != 0 {
			taken = append(taken, &gatewayv1.RateTaken{
				Subscription: r.key.Subscription, Rate: r.key.Quota, Burst: r.key.Burst, Per: r.key.Per, Requests: requests,
			})
		}
	}
	return taken
}

// Sweep drops the limits that nobody uses any more and that are full again: made anew, they would be the same.
func (s *Rates) Sweep(used map[*Rate]bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range s.all {
		if !used[r] && r.arrival.Load() <= now.UnixNano() {
			delete(s.all, key)
		}
	}
}

// Share counts what another gateway let pass. Limits that this gateway does not have are none of its business.
func (s *Rates) Share(taken []*gatewayv1.RateTaken, now time.Time) {
	for _, t := range taken {
		s.mu.Lock()
		r := s.all[RateKey{Subscription: t.GetSubscription(), Quota: t.GetRate(), Burst: t.GetBurst(), Per: t.GetPer()}]
		s.mu.Unlock()
		if r != nil {
			r.share(t.GetRequests(), now.UnixNano())
		}
	}
}
