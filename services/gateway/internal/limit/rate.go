// Package limit owns what a subscription may use: rate limits, and quotas through leases.
//
// A Rate is a GCRA: exact to the nanosecond, without a queue, one atomic word. A Quota spends leases that metering granted, with
// atomics and no remote call; see Quotas. Only the gateway's own packages import this one.
package limit

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Rate is a rate limit: the generic cell rate algorithm of ITU-T I.371 as a virtual scheduling algorithm. It is safe for
// concurrent use.
type Rate struct {
	// Name of the limit in the RateLimit fields.
	Name string
	// Quota requests are allowed in each Window seconds, Burst of them at once.
	Quota  int64
	Window int64
	Burst  int64

	interval  int64 // nanoseconds from one request to the next
	tolerance int64 // Burst intervals
	arrival   atomic.Int64

	key    RateKey
	taken  atomic.Int64 // since the other gateways were told
	queued atomic.Bool  // to be told of
	rates  *Rates       // nil when nobody is told
}

// windows in seconds, by the unit's name.
var windows = map[string]int64{"second": 1, "minute": 60, "hour": 3600}

// NewRate returns a limit of quota requests per second, minute or hour, with burst at once: 0 means quota.
func NewRate(quota, burst uint64, per string) (*Rate, error) {
	window, ok := windows[per]
	if !ok {
		return nil, fmt.Errorf("per: %q is not second, minute or hour", per)
	}
	if burst == 0 {
		burst = quota
	}
	nanoseconds := uint64(window) * uint64(time.Second)
	if quota == 0 || quota > nanoseconds || burst > 1e9 {
		return nil, fmt.Errorf("rate: %d per %s with a burst of %d is not from 1 to one a nanosecond, with a burst up to 1000000000", quota, per, burst)
	}
	// Rounded up, so that never more than quota pass.
	interval := int64((nanoseconds + quota - 1) / quota)
	if int64(burst) > int64(^uint64(0)>>1)/interval {
		return nil, fmt.Errorf("burst: %d at %d per %s takes centuries to come back", burst, quota, per)
	}
	return &Rate{
		Name: per, Quota: int64(quota), Window: window, Burst: int64(burst),
		interval: interval, tolerance: int64(burst) * interval,
	}, nil
}

// Same says whether two limits allow the same.
func (r *Rate) Same(other *Rate) bool {
	return r.Quota == other.Quota && r.Window == other.Window && r.Burst == other.Burst
}

// State is a limit's state after a request.
type State struct {
	// Allowed says whether the request may pass.
	Allowed bool
	// Remaining requests that would pass at once.
	Remaining int64
	// Reset is the time in nanoseconds until the full burst is there again.
	Reset int64
	// Retry is the time in nanoseconds until the next request passes; 0 when Allowed.
	Retry int64
}

// Take lets one request pass at now, in nanoseconds, if the limit allows it.
func (r *Rate) Take(now int64) State {
	for {
		old := r.arrival.Load()
		next := max(old, now) + r.interval
		if over := next - now - r.tolerance; over > 0 {
			return State{Retry: over, Reset: old - now}
		}
		if r.arrival.CompareAndSwap(old, next) {
			r.note(1)
			return State{Allowed: true, Remaining: (r.tolerance - (next - now)) / r.interval, Reset: next - now}
		}
	}
}

// Undo takes back a request that passed and is refused for another reason.
func (r *Rate) Undo() {
	r.arrival.Add(-r.interval)
	r.note(-1)
}

// note counts what the other gateways are to be told.
func (r *Rate) note(n int64) {
	if r.rates == nil {
		return
	}
	r.taken.Add(n)
	if !r.queued.Load() && r.queued.CompareAndSwap(false, true) {
		r.rates.mark(r)
	}
}

// share counts requests that passed at another gateway at about now. What all let pass beyond the limit is owed: it comes off
// what passes next, so that over time no more passes than the limit allows, on any number of gateways.
func (r *Rate) share(requests, now int64) {
	most := maxDebt * min(r.tolerance, maxTolerance)
	requests = min(max(requests, -r.Burst), most/r.interval)
	for {
		old := r.arrival.Load()
		next := min(max(old, now)+requests*r.interval, max(old, now+most))
		if r.arrival.CompareAndSwap(old, next) {
			return
		}
	}
}

const (
	// maxDebt bounds what is owed, in bursts: a wrong message does not close a limit for long.
	maxDebt = 16
	// maxTolerance bounds the burst, in nanoseconds, that is owed by: a limit with a longer one, of four years, would overflow.
	maxTolerance = math.MaxInt64 / (4 * maxDebt)
)
