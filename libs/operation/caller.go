package operation

import (
	"sync"

	"golang.org/x/time/rate"
)

// maxCallers bounds how many callers' rates are kept; beyond it all are forgotten at once, which at worst lets each
// have one more burst.
const maxCallers = 10_000

// callers limits the rate of each caller of one replica. It protects the service; it is not a quota.
type callers struct {
	perSecond int
	mu        sync.Mutex
	limiters  map[string]*rate.Limiter
}

func newCallers(perSecond int) *callers {
	return &callers{perSecond: perSecond, limiters: map[string]*rate.Limiter{}}
}

func (c *callers) allow(caller string) bool {
	c.mu.Lock()
	limiter, ok := c.limiters[caller]
	if !ok {
		if len(c.limiters) >= maxCallers {
			clear(c.limiters)
		}
		limiter = rate.NewLimiter(rate.Limit(c.perSecond), 2*c.perSecond)
		c.limiters[caller] = limiter
	}
	c.mu.Unlock()
	return limiter.Allow()
}
