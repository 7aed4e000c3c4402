package limit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// Refusal says why a quota let a call not pass.
type Refusal uint8

// The refusals.
const (
	// Passed is no refusal.
	Passed Refusal = iota
	// Exhausted: no unit is left, or all are leased out.
	Exhausted
	// Unavailable: metering does not answer, and what was leased is spent.
	Unavailable
)

// Wallet is the window of a prepaid balance.
const Wallet = "wallet"

// How long a refusal of metering is believed, before it is asked again.
const (
	believeLeasedOut = 100 * time.Millisecond // others may give units back
	believeExhausted = 5 * time.Second        // a correction may free some
	believeEmpty     = time.Second            // a wallet may be topped up
	believeDown      = 500 * time.Millisecond
)

// Key names a quota.
type Key struct {
	Subscription, Meter, Per string
}

// Info is what is known of a quota, as of the last grant.
type Info struct {
	Quota, Remaining       int64
	WindowStart, WindowEnd int64
}

// Quota spends the leases of one quota. It is safe for concurrent use.
type Quota struct {
	Key
	quotas *Quotas

	leases  atomic.Pointer[[]*lease] // oldest first; the slice is never changed
	info    atomic.Pointer[Info]
	refused atomic.Pointer[refusal]
	taken   atomic.Int64 // units taken since the last tick
	waiting atomic.Int64 // units that calls wait for
	largest atomic.Int64 // most units that one call took
	usedAt  atomic.Int64

	mu       sync.Mutex
	asking   chan struct{} // closed when the answer is there; nil when none is awaited
	rate     int64         // units a second, smoothed
	lastWant int64
	lastAsk  int64
	returns  []*meteringv1.LeaseReturn
}

type refusal struct {
	why   Refusal
	until int64
}

// Info returns what is known of the quota; false before the first grant. Remaining includes the units that this gateway holds.
func (q *Quota) Info() (Info, bool) {
	info := q.info.Load()
	if info == nil {
		return Info{}, false
	}
	sum := *info
	for _, l := range q.list() {
		sum.Remaining += l.left.Load()
	}
	return sum, true
}

// RetryAfter is how long a refused caller does well to wait.
func (q *Quota) RetryAfter(now int64) time.Duration {
	if info := q.info.Load(); info != nil && info.Remaining == 0 && info.WindowEnd > now && q.Per != Wallet {
		if r := q.refused.Load(); r != nil && r.why == Exhausted && r.until-now > int64(believeLeasedOut) {
			return time.Duration(info.WindowEnd - now)
		}
	}
	return time.Second
}

func (q *Quota) list() []*lease {
	if p := q.leases.Load(); p != nil {
		return *p
	}
	return nil
}

// Reserve takes units for a call. When no lease has them it waits for metering's answer, at most as long as Config.Wait.
func (q *Quota) Reserve(units int64) (Hold, Refusal) {
	now := q.quotas.now()
	if h, ok := q.take(units, now); ok {
		return h, Passed
	}
	if units > q.largest.Load() {
		q.largest.Store(units)
	}
	q.waiting.Add(units)
	defer q.waiting.Add(-units)
	wait := time.NewTimer(q.quotas.wait)
	defer wait.Stop()
	for {
		if r := q.refused.Load(); r != nil && now < r.until {
			return Hold{}, r.why
		}
		select {
		case <-q.ask():
		case <-wait.C:
			return Hold{}, Unavailable
		}
		now = q.quotas.now()
		if h, ok := q.take(units, now); ok {
			return h, Passed
		}
		// Either the answer was a refusal, or others were faster: then ask again.
	}
}

// take takes units from the oldest lease that has them.
func (q *Quota) take(units, now int64) (Hold, bool) {
	for _, l := range q.list() {
		left, ok := l.take(units, now)
		if !ok {
			continue
		}
		q.taken.Add(units)
		if used := q.usedAt.Load(); now-used > int64(time.Millisecond) {
			q.usedAt.Store(now)
		}
		if left*2 < l.granted && left+units >= l.granted-l.granted/2 && q.plenty(now, l.granted) {
			q.ask() // it just ran low: once a lease
		}
		return Hold{quota: q, lease: l, units: units}, true
	}
	return Hold{}, false
}

// plenty says whether so much of the quota is free that units taken in advance are not missed elsewhere.
func (q *Quota) plenty(now, granted int64) bool {
	r, info := q.refused.Load(), q.info.Load()
	return (r == nil || now >= r.until) && info != nil && info.Remaining >= 4*granted
}

// ask has metering asked for units, unless it is being asked, and returns what is closed with the answer.
func (q *Quota) ask() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asking != nil {
		return q.asking
	}
	q.asking = make(chan struct{})
	asking := q.asking
	select {
	case q.quotas.asks <- q:
	default:
		// The queue is full: the next call asks again.
		close(q.asking)
		q.asking = nil
		q.refuse(Unavailable, believeDown)
	}
	return asking
}

func (q *Quota) refuse(why Refusal, believe time.Duration) {
	q.refused.Store(&refusal{why: why, until: q.quotas.now() + int64(believe)})
}

// Forget makes the next call ask again: what is known of the quota may have changed.
func (q *Quota) Forget() { q.refused.Store(nil) }

// want is how many units to ask for: about a second's worth, fewer when few remain, as many as calls wait for at least.
func (q *Quota) want(now int64) int64 {
	want := q.rate
	if now-q.lastAsk < int64(time.Second) {
		want = max(want, 2*q.lastWant) // what was asked for did not last a second
	}
	if info := q.info.Load(); info != nil && info.Remaining < 4*want {
		want = info.Remaining / 8
	}
	return min(max(want, q.waiting.Load(), 1), maxWant)
}

const maxWant = 1_000_000

// refill asks metering once.
func (q *Quota) refill(ctx context.Context) {
	now := q.quotas.now()
	q.mu.Lock()
	q.gather()
	q.prune(now)
	want := q.want(now)
	q.lastWant, q.lastAsk = want, now
	returns := q.returns
	q.returns = nil
	q.mu.Unlock()
	reply, err := q.quotas.send(ctx, &meteringv1.LeaseRequest{
		Asks:    []*meteringv1.LeaseAsk{{Subscription: q.Subscription, Meter: q.Meter, Per: q.Per, Want: want}},
		Returns: returns,
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	defer func() {
		close(q.asking)
		q.asking = nil
	}()
	if err != nil || len(reply.GetGrants()) != 1 {
		q.returns = append(q.returns, returns...)
		q.refuse(Unavailable, believeDown)
		q.quotas.unanswered(err)
		return
	}
	q.grant(reply.GetGrants()[0])
}

// gather takes remnants out of use that are too small for a call, so that metering grants them anew in one piece. The
// caller holds mu.
func (q *Quota) gather() {
	for _, l := range q.list() {
		if left := l.left.Load(); left > 0 && left < q.largest.Load() {
			l.withdraw()
		}
	}
}

// grant takes an answer in. The caller holds mu.
func (q *Quota) grant(g *meteringv1.LeaseGrant) {
	q.info.Store(&Info{Quota: g.GetQuota(), Remaining: g.GetRemaining(), WindowStart: g.GetWindowStart(), WindowEnd: g.GetWindowEnd()})
	if g.GetUnits() > 0 {
		grown := append(append([]*lease(nil), q.list()...), newLease(g, q.quotas.now()))
		q.leases.Store(&grown)
		q.refused.Store(nil)
		if g.GetUnits() < q.largest.Load() {
			q.refuse(Exhausted, believeLeasedOut) // what is left does not do for the largest call
		}
		return
	}
	switch {
	case !g.GetExhausted():
		q.refuse(Exhausted, believeLeasedOut)
	case q.Per == Wallet:
		q.refuse(Exhausted, believeEmpty)
	default:
		believe := believeExhausted
		if end := time.Duration(g.GetWindowEnd() - q.quotas.now()); g.GetWindowEnd() != 0 && end < believe {
			believe = max(end, 0)
		}
		q.refuse(Exhausted, believe)
	}
}

// prune moves leases that are used up or over to the returns. The caller holds mu.
func (q *Quota) prune(now int64) {
	var kept []*lease
	all := q.list()
	for _, l := range all {
		if !l.valid(now) {
			l.withdraw()
		}
		if l.settled() {
			q.returns = append(q.returns, &meteringv1.LeaseReturn{Lease: l.id, Spent: l.spent.Load()})
			continue
		}
		kept = append(kept, l)
	}
	if len(kept) != len(all) {
		q.leases.Store(&kept)
	}
}
