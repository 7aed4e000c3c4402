package domain

import (
	"fmt"

	"github.com/tollgate/tollgate/libs/money"
)

// MaxUnits bounds the units of one call, so that balances cannot overflow.
const MaxUnits = 1 << 50

// Units returns what the quantity of one call counts for on a quota: rounded up to whole units, MaxUnits at most.
func Units(quantity money.Decimal) money.Decimal {
	return quantity.QuoCeil(money.Int(1)).Min(money.Int(MaxUnits)).Round(0)
}

// Balance is a quota in one window, in whole units. Invariant, at every commit: Spent + Leased ≤ Ceiling, and what is leased
// out never exceeds what is free of the quota at that time.
type Balance struct {
	// Quota of the plan in force.
	Quota int64
	// Ceiling is Quota, or what was spent and leased when a plan with a smaller quota took its place.
	Ceiling int64
	// Spent by calls on a lease.
	Spent int64
	// Leased out: granted, and neither spent by a call that has arrived nor given back.
	Leased int64
	// Unleased is spent by calls without a lease: all calls of a soft quota; of a hard one, calls of an earlier plan in the
	// window, and those of a lease that had been given up for lost.
	Unleased int64
}

// Remaining is the number of units neither spent nor leased.
func (b Balance) Remaining() int64 { return max(0, b.Quota-b.Spent-b.Leased-b.Unleased) }

// Used is the number of units spent.
func (b Balance) Used() int64 { return b.Spent + b.Unleased }

// Exhausted says that every unit is spent.
func (b Balance) Exhausted() bool { return b.Used() >= b.Quota }

// WithQuota puts the balance under another quota. What is spent and leased stays so.
func (b Balance) WithQuota(quota int64) Balance {
	b.Quota = quota
	b.Ceiling = max(quota, b.Spent+b.Leased)
	return b
}

// Share returns how many units to grant of those wanted: shares become smaller the less remains for so many gateways, down to what
// one call needs, so that the last unit can be spent wherever a call comes.
func (b Balance) Share(want, need, gateways int64) int64 {
	remaining := b.Remaining()
	fair := max(need, 1, remaining/(4*max(gateways, 1)))
	return max(0, min(want, fair, remaining))
}

// Lease is a share of a balance handed to one gateway.
type Lease struct {
	Granted int64
	// Spent by calls that have arrived.
	Spent int64
	// Returned: the gateway spends from it no longer, and only Promised units come in calls, of which some have.
	Returned bool
	Promised int64
	// Lost: given up, because the gateway can have nothing more to say about it.
	Lost bool
}

// Outstanding is the number of units that are still reserved for it.
func (l Lease) Outstanding() int64 {
	switch {
	case l.Lost:
		return 0
	case l.Returned:
		return max(0, l.Promised-l.Spent)
	}
	return l.Granted - l.Spent
}

// Over says that nothing is reserved any more and nothing will be spent.
func (l Lease) Over() bool { return l.Outstanding() == 0 && (l.Returned || l.Lost) }

// Grant leases units out. It fails when so many do not remain.
func Grant(b Balance, units int64) (Balance, Lease, error) {
	if units <= 0 || units > b.Remaining() {
		return b, Lease{}, fmt.Errorf("%d units cannot be leased of %d that remain", units, b.Remaining())
	}
	b.Leased += units
	return b, Lease{Granted: units}, nil
}

// Spend notes units that a call spent on the lease. More than is reserved for it counts as spent without a lease.
func Spend(b Balance, l Lease, units int64) (Balance, Lease) {
	onLease := min(units, l.Outstanding())
	l.Spent += onLease
	b.Spent += onLease
	b.Leased -= onLease
	b.Unleased += units - onLease
	return b, l
}

// Return ends the lease: promised units are, or will be, in calls; the rest is free at once. A second return changes nothing.
func Return(b Balance, l Lease, promised int64) (Balance, Lease) {
	if l.Returned || l.Lost {
		return b, l
	}
	before := l.Outstanding()
	l.Returned, l.Promised = true, min(max(promised, 0), l.Granted)
	b.Leased -= before - l.Outstanding()
	return b, l
}

// GiveUp ends a lease whose gateway can have nothing more to say about it: what is still reserved is free.
func GiveUp(b Balance, l Lease) (Balance, Lease) {
	b.Leased -= l.Outstanding()
	l.Lost = true
	return b, l
}
