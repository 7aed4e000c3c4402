package app

import (
	"context"
	"math"
	"strconv"

	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/money"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// settlement is what the calls of one transaction do to balances and leases.
type settlement struct {
	a        *application
	balances map[int64]*store.Balance
	// of lists the balances of a subscription.
	of      map[string][]*store.Balance
	leases  map[string]*store.Lease
	changed map[int64]bool
}

// settle moves what calls spent from leased to spent, and counts the units of billable calls that had no lease of a quota.
func (a *application) settle(ctx context.Context) error {
	s, err := a.openSettlement(ctx)
	if err != nil || s == nil {
		return err
	}
	for i := range a.fresh {
		s.settleCall(&a.fresh[i])
	}
	return s.write(ctx)
}

// openSettlement locks the balances and the leases that are concerned; nil when there are none.
func (a *application) openSettlement(ctx context.Context) (*settlement, error) {
	subscriptions, leaseIDs := map[string]bool{}, map[string]bool{}
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for _, c := range a.fresh {
		for _, spend := range c.GetLeaseSpends() {
			leaseIDs[spend.GetLease()] = true
		}
		if c.GetSubscription() != "" && c.GetBillable() {
			subscriptions[c.GetSubscription()] = true
			first, last = min(first, c.GetCompletedAt()), max(last, c.GetCompletedAt())
		}
	}
	if len(subscriptions)+len(leaseIDs) == 0 {
		return nil, nil
	}
	ids := keys(leaseIDs)
	found, err := store.FindLeases(ctx, a.tx, ids)
	if err != nil {
		return nil, err
	}
	balances, err := store.LockBalancesOf(ctx, a.tx, keys(subscriptions), first, last, balancesOf(found))
	if err != nil {
		return nil, err
	}
	leases, err := store.LockLeases(ctx, a.tx, ids)
	if err != nil {
		return nil, err
	}
	s := &settlement{a: a, balances: map[int64]*store.Balance{}, of: map[string][]*store.Balance{}, leases: map[string]*store.Lease{}, changed: map[int64]bool{}}
	for i := range balances {
		b := &balances[i]
		s.balances[b.ID] = b
		s.of[b.Subscription] = append(s.of[b.Subscription], b)
		if reconcile(b, a.known[b.Subscription], a.now.UnixNano()) {
			s.changed[b.ID] = true
		}
	}
	for i := range leases {
		s.leases[leases[i].ID] = &leases[i]
	}
	return s, nil
}

// reconcile puts a balance under the quota of the plan that is in force in its window by now, and says whether that changed it.
func reconcile(b *store.Balance, k *store.Known, now int64) bool {
	if k == nil {
		return false
	}
	limit := k.Quota(b.Meter, b.Per, min(max(now, b.WindowStart), b.WindowEnd-1))
	if limit == nil || store.Units(limit) == b.Quota && store.Hard(limit) == b.Hard {
		return false
	}
	b.Hard = store.Hard(limit)
	b.Set(b.Domain().WithQuota(store.Units(limit)))
	return true
}

// spending is what a call spent on leases of one quota.
type spending struct {
	units   int64
	balance *store.Balance // of the last of the leases
}

type quotaName struct{ meter, per string }

// settleCall settles one call. Its units beyond those that it spent on leases count too, for an upstream may report more than the
// gateway had set aside: for the balance of the leases, or, without any, for that of the window in which it completed.
func (s *settlement) settleCall(c *call) {
	spendings := s.spend(c)
	if !c.GetBillable() || c.GetSubscription() == "" {
		return
	}
	for name, spent := range spendings {
		s.unleased(spent.balance, unitsOf(c, name.meter)-spent.units)
	}
	for _, b := range s.of[c.GetSubscription()] {
		if _, leased := spendings[quotaName{b.Meter, b.Per}]; !leased && b.Window().Contains(c.GetCompletedAt()) {
			s.unleased(b, unitsOf(c, b.Meter))
		}
	}
	s.wantBalances(c)
}

// spend moves what a call spent from leased to spent, and returns it by quota.
func (s *settlement) spend(c *call) map[quotaName]spending {
	spendings := map[quotaName]spending{}
	for _, spend := range c.GetLeaseSpends() {
		l := s.leases[spend.GetLease()]
		if l == nil {
			continue // given up meanwhile: counts as spent without a lease
		}
		b := s.balances[l.BalanceID]
		if b == nil || b.Subscription != c.GetSubscription() {
			continue
		}
		name, units := quotaName{b.Meter, b.Per}, min(spend.GetUnits(), domain.MaxUnits)
		spendings[name] = spending{spendings[name].units + units, b}
		balance, lease := domain.Spend(b.Domain(), l.Domain(), units)
		b.Set(balance)
		l.Set(lease)
		s.changed[b.ID] = true
	}
	return spendings
}

func (s *settlement) unleased(b *store.Balance, units int64) {
	if units > 0 {
		b.Unleased += units
		s.changed[b.ID] = true
	}
}

// wantBalances notes the balances that the call should have counted for and that are not there yet.
func (s *settlement) wantBalances(c *call) {
	k := s.a.known[c.GetSubscription()]
	if k == nil || k.Tenant != c.GetTenant() {
		return
	}
	for _, limit := range k.Quotas(c.GetCompletedAt()) {
		window, err := k.Calendar.Window(limit.GetPer(), c.GetCompletedAt())
		if err != nil || unitsOf(c, store.MeterOf(limit)) == 0 {
			continue
		}
		there := false
		for _, b := range s.of[k.ID] {
			there = there || b.Meter == store.MeterOf(limit) && b.Per == limit.GetPer() && b.WindowStart == window.Start
		}
		if !there {
			s.a.unkept = append(s.a.unkept, newWanted(k, limit, window, c.GetCompletedAt()))
		}
	}
}

// unitsOf returns what a call counts for on a quota of a meter: its quantity, rounded up to whole units.
func unitsOf(c *call, meter string) int64 {
	if meter == callstream.MeterCalls {
		units, err := callstream.Units(c.CallRecord)
		if err != nil {
			return 0 // cannot be: the batch was checked
		}
		return wholeUnits(units)
	}
	for _, q := range c.GetQuantities() {
		if q.GetMeter() == meter {
			value, err := money.Parse(q.GetValue())
			if err != nil {
				return 0
			}
			return wholeUnits(value)
		}
	}
	return 0
}

func wholeUnits(quantity money.Decimal) int64 {
	n, err := strconv.ParseInt(domain.Units(quantity).String(), 10, 64)
	if err != nil {
		return domain.MaxUnits
	}
	return n
}

func (s *settlement) write(ctx context.Context) error {
	var balances []store.Balance
	for _, b := range s.balances {
		if !s.changed[b.ID] {
			continue
		}
		if !b.Exhausted && b.Domain().Exhausted() {
			b.Exhausted = true
			log, err := s.a.log(ctx)
			if err != nil {
				return err
			}
			announce(log, *b)
		}
		balances = append(balances, *b)
	}
	leases := make([]store.Lease, 0, len(s.leases))
	for _, l := range s.leases {
		leases = append(leases, *l)
	}
	if err := store.UpdateBalances(ctx, s.a.tx, balances); err != nil {
		return err
	}
	return store.WriteLeases(ctx, s.a.tx, leases)
}

// announce appends that the last unit of a quota was spent: once a window, so that each window has a stream of its own.
func announce(log *eventlog.Tx, b store.Balance) {
	stream := b.Subscription + "/" + b.Meter + "/" + b.Per + "/" + strconv.FormatInt(b.WindowStart, 10)
	log.AppendFor(b.Tenant, "quota", stream, 0, &meteringv1.QuotaExhausted{
		Subscription: b.Subscription, Meter: b.Meter, PeriodStart: b.WindowStart, PeriodEnd: b.WindowEnd, Quota: uint64(b.Quota),
	})
}

func keys(set map[string]bool) []string {
	list := make([]string, 0, len(set))
	for k := range set {
		list = append(list, k)
	}
	return list
}

func balancesOf(leases []store.Lease) []int64 {
	ids := make([]int64, 0, len(leases))
	for _, l := range leases {
		ids = append(ids, l.BalanceID)
	}
	return ids
}
