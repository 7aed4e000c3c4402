package limit

import (
	"sync/atomic"

	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// lease is a share of a quota that this gateway may spend. Its units are always somewhere: left, spent, withdrawn, or held by
// a call in flight.
type lease struct {
	id                     string
	granted                int64
	windowEnd              int64
	renewAt                int64 // half of its life is over
	left, spent, withdrawn atomic.Int64
	expiry                 atomic.Int64 // less a margin for clocks that differ
}

// margin is how much before its expiry a lease is not spent from any more: a tenth of its life, at most one second.
func margin(life int64) int64 { return min(life/10, 1e9) }

func newLease(g *meteringv1.LeaseGrant, now int64) *lease {
	l := &lease{id: g.GetLease(), granted: g.GetUnits(), windowEnd: g.GetWindowEnd()}
	l.left.Store(g.GetUnits())
	l.extend(g.GetExpiresAt(), now)
	return l
}

func (l *lease) extend(expiresAt, now int64) {
	l.renewAt = now + (expiresAt-now)/2
	l.expiry.Store(expiresAt - margin(expiresAt-now))
}

func (l *lease) valid(now int64) bool {
	return now < l.expiry.Load() && (l.windowEnd == 0 || now < l.windowEnd)
}

// take moves units from left to a call in flight.
func (l *lease) take(units, now int64) (left int64, ok bool) {
	if !l.valid(now) {
		return 0, false
	}
	for {
		n := l.left.Load()
		if n < units {
			return n, false
		}
		if l.left.CompareAndSwap(n, n-units) {
			return n - units, true
		}
	}
}

// withdraw takes what is left out of use.
func (l *lease) withdraw() { l.withdrawn.Add(l.left.Swap(0)) }

// held is what calls in flight have taken and not settled.
func (l *lease) held() int64 {
	spent, withdrawn, left := l.spent.Load(), l.withdrawn.Load(), l.left.Load()
	return l.granted - spent - withdrawn - left
}

// settled says that no unit of the lease is left or held, for good.
func (l *lease) settled() bool {
	// What is spent or withdrawn stays so: when all is, the order of these loads does not matter.
	return l.spent.Load()+l.withdrawn.Load() == l.granted
}

// Hold is units that a call in flight has taken. The zero Hold holds nothing.
type Hold struct {
	quota *Quota
	lease *lease
	units int64
}

// Lease returns the id of the lease held from.
func (h Hold) Lease() string {
	if h.lease == nil {
		return ""
	}
	return h.lease.id
}

// Quota returns what the units are held of; nil for the zero Hold.
func (h Hold) Quota() *Quota { return h.quota }

// Units returns how many are held.
func (h Hold) Units() int64 { return h.units }

// Settle spends some of the held units and gives the rest back. It is called once.
func (h Hold) Settle(spent int64) {
	if h.lease == nil {
		return
	}
	spent = min(max(spent, 0), h.units)
	if spent > 0 {
		h.lease.spent.Add(spent)
	}
	if rest := h.units - spent; rest > 0 {
		h.lease.left.Add(rest)
	}
}
