package app

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/problem"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// wallet is the window of a prepaid balance.
const wallet = "wallet"

// Bounds of one request.
const (
	maxAsks   = 1_000
	maxLeases = 20_000
)

// Lease grants shares of quotas, takes leases back and renews them, in one transaction. A request that is repeated because its
// answer was lost grants anew; what was granted before is never spent from and becomes free when it has expired.
func (m *Metering) Lease(ctx context.Context, req *meteringv1.LeaseRequest) (*meteringv1.LeaseReply, error) {
	if err := checkLease(req); err != nil {
		return nil, err
	}
	now := m.now().UnixNano()
	asks, err := m.resolve(ctx, req.GetAsks(), now)
	if err != nil {
		return nil, err
	}
	if err := m.ensureAsked(ctx, asks); err != nil {
		return nil, err
	}
	l := &leasing{m: m, req: req, asks: asks, now: now, reply: &meteringv1.LeaseReply{Renewed: map[string]int64{}}}
	if err := m.all(ctx, func(tx pgx.Tx) error { return l.run(ctx, tx) }); err != nil {
		return nil, err
	}
	return l.reply, nil
}

func checkLease(req *meteringv1.LeaseRequest) error {
	var fields problem.Fields
	if req.GetGateway() == "" {
		fields.Add("gateway", "is empty; give the gateway's name")
	}
	if req.GetBoot() == 0 || req.GetBoot() > 1<<62 {
		fields.Add("boot", "%d is not the number of a boot, from 1", req.GetBoot())
	}
	if len(req.GetAsks()) > maxAsks {
		fields.Add("asks", "has %d entries; at most %d are taken", len(req.GetAsks()), maxAsks)
	}
	if n := len(req.GetReturns()) + len(req.GetRenew()); n > maxLeases {
		fields.Add("returns", "has %d entries together with renew; at most %d are taken", n, maxLeases)
	}
	for i, ask := range req.GetAsks() {
		if ask.GetWant() < 1 {
			fields.Add(fmt.Sprintf("asks[%d].want", i), "%d is not 1 or more", ask.GetWant())
		}
		if ask.GetSubscription() == "" || ask.GetMeter() == "" || ask.GetPer() == "" {
			fields.Add(fmt.Sprintf("asks[%d]", i), "does not name a subscription, a meter and a window")
		}
	}
	for i, r := range req.GetReturns() {
		if r.GetSpent() < 0 {
			fields.Add(fmt.Sprintf("returns[%d].spent", i), "%d is negative", r.GetSpent())
		}
	}
	return fields.Err("lease-invalid", "The request for leases is not valid.")
}

// asked is an ask with the quota that it stands for.
type asked struct {
	*meteringv1.LeaseAsk
	// balance is what should be there; nil when there is no such quota, by what is known here.
	balance *wanted
	// need is the most that one call takes.
	need int64
}

// resolve finds the quotas that are asked for.
func (m *Metering) resolve(ctx context.Context, asks []*meteringv1.LeaseAsk, now int64) ([]asked, error) {
	resolved := make([]asked, len(asks))
	ids := map[string]bool{}
	for i, ask := range asks {
		resolved[i] = asked{LeaseAsk: ask}
		if ask.GetPer() != wallet {
			ids[ask.GetSubscription()] = true
		}
	}
	if len(ids) == 0 {
		return resolved, nil
	}
	var known map[string]*store.Known
	err := m.all(ctx, func(tx pgx.Tx) (err error) {
		known, err = m.cache.Load(ctx, tx, keys(ids))
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range resolved {
		k := known[resolved[i].GetSubscription()]
		if k == nil || k.State != store.Active {
			continue
		}
		limit := k.Quota(resolved[i].GetMeter(), resolved[i].GetPer(), now)
		if limit == nil {
			continue
		}
		window, err := k.Calendar.Window(limit.GetPer(), now)
		if err != nil {
			return nil, err
		}
		w := newWanted(k, limit, window, now)
		resolved[i].balance, resolved[i].need = &w, int64(max(1, min(limit.GetReserve(), 1<<50)))
	}
	return resolved, nil
}

// ensureAsked makes the balances that are asked for and not there.
func (m *Metering) ensureAsked(ctx context.Context, asks []asked) error {
	var names []store.BalanceKey
	missing := map[store.BalanceKey]wanted{}
	for _, a := range asks {
		if a.balance != nil {
			names = append(names, a.balance.BalanceKey)
			missing[a.balance.BalanceKey] = *a.balance
		}
	}
	if len(names) == 0 {
		return nil
	}
	err := m.all(ctx, func(tx pgx.Tx) error {
		found, err := store.FindBalances(ctx, tx, names)
		for _, b := range found {
			delete(missing, b.Key())
		}
		return err
	})
	if err != nil || len(missing) == 0 {
		return err
	}
	all := make([]wanted, 0, len(missing))
	for _, w := range missing {
		all = append(all, w)
	}
	return m.ensure(ctx, all)
}

// leasing is the transaction of one request.
type leasing struct {
	m        *Metering
	req      *meteringv1.LeaseRequest
	asks     []asked
	now      int64
	reply    *meteringv1.LeaseReply
	balances map[int64]*store.Balance
	byKey    map[store.BalanceKey]*store.Balance
	leases   map[string]*store.Lease
	changed  []store.Lease
}

func (l *leasing) run(ctx context.Context, tx pgx.Tx) error {
	l.reply.Grants, l.changed = nil, nil
	if err := l.lock(ctx, tx); err != nil {
		return err
	}
	l.takeBack()
	l.renew()
	if err := l.grant(ctx, tx); err != nil {
		return err
	}
	balances := make([]store.Balance, 0, len(l.balances))
	for _, b := range l.balances {
		balances = append(balances, *b)
	}
	if err := store.UpdateBalances(ctx, tx, balances); err != nil {
		return err
	}
	return store.WriteLeases(ctx, tx, l.changed)
}

// lock locks the balances and the leases that are concerned, in this order.
func (l *leasing) lock(ctx context.Context, tx pgx.Tx) error {
	ids := append([]string(nil), l.req.GetRenew()...)
	for _, r := range l.req.GetReturns() {
		ids = append(ids, r.GetLease())
	}
	found, err := store.FindLeases(ctx, tx, ids)
	if err != nil {
		return err
	}
	var names []store.BalanceKey
	for _, a := range l.asks {
		if a.balance != nil {
			names = append(names, a.balance.BalanceKey)
		}
	}
	asked, err := store.FindBalances(ctx, tx, names)
	if err != nil {
		return err
	}
	balanceIDs := balancesOf(found)
	for _, b := range asked {
		balanceIDs = append(balanceIDs, b.ID)
	}
	balances, err := store.LockBalances(ctx, tx, balanceIDs)
	if err != nil {
		return err
	}
	l.balances, l.byKey = map[int64]*store.Balance{}, map[store.BalanceKey]*store.Balance{}
	for i := range balances {
		l.balances[balances[i].ID], l.byKey[balances[i].Key()] = &balances[i], &balances[i]
	}
	leases, err := store.LockLeases(ctx, tx, ids)
	l.leases = map[string]*store.Lease{}
	for i := range leases {
		l.leases[leases[i].ID] = &leases[i]
	}
	return err
}

// own returns a lease of the asking gateway.
func (l *leasing) own(id string) (*store.Lease, *store.Balance) {
	lease := l.leases[id]
	if lease == nil || lease.Gateway != l.req.GetGateway() {
		return nil, nil
	}
	return lease, l.balances[lease.BalanceID]
}

func (l *leasing) takeBack() {
	for _, r := range l.req.GetReturns() {
		lease, b := l.own(r.GetLease())
		if lease == nil || b == nil {
			continue // it is over
		}
		if r.GetSpent() > lease.Granted {
			l.m.logger.Warn("a gateway says that it has spent more than it was granted", "gateway", lease.Gateway, "lease", lease.ID, "granted", lease.Granted, "spent", r.GetSpent())
		}
		balance, returned := domain.Return(b.Domain(), lease.Domain(), r.GetSpent())
		b.Set(balance)
		lease.Set(returned)
		l.changed = append(l.changed, *lease)
	}
}

func (l *leasing) renew() {
	for _, id := range l.req.GetRenew() {
		lease, b := l.own(id)
		if lease == nil || b == nil || lease.Returned {
			continue
		}
		lease.ExpiresAt = max(lease.ExpiresAt, min(l.now+int64(LeaseLife), b.WindowEnd))
		l.reply.Renewed[id] = lease.ExpiresAt
		l.changed = append(l.changed, *lease)
	}
}

func (l *leasing) grant(ctx context.Context, tx pgx.Tx) error {
	if len(l.asks) == 0 {
		return nil
	}
	gateway := l.req.GetGateway()
	if err := store.EnsureBoot(ctx, tx, gateway, int64(l.req.GetBoot()), bus.Partition(gateway), l.m.now()); err != nil {
		return err
	}
	gateways, err := store.CountLive(ctx, tx, l.m.now().Add(-live))
	if err != nil {
		return err
	}
	for _, a := range l.asks {
		g := &meteringv1.LeaseGrant{Subscription: a.GetSubscription(), Meter: a.GetMeter(), Per: a.GetPer()}
		l.reply.Grants = append(l.reply.Grants, g)
		if a.GetPer() == wallet {
			g.Exhausted = true // there is no wallet yet: nothing can be paid from it
			continue
		}
		if a.balance == nil || l.byKey[a.balance.BalanceKey] == nil {
			continue
		}
		if err := l.grantFrom(l.byKey[a.balance.BalanceKey], a, gateways, g); err != nil {
			return err
		}
	}
	return nil
}

func (l *leasing) grantFrom(b *store.Balance, a asked, gateways int64, g *meteringv1.LeaseGrant) error {
	if b.Quota != a.balance.quota || b.Hard != a.balance.hard {
		b.Hard = a.balance.hard
		b.Set(b.Domain().WithQuota(a.balance.quota))
	}
	if units := b.Domain().Share(a.GetWant(), a.need, gateways); units > 0 {
		balance, lease, err := domain.Grant(b.Domain(), units)
		if err != nil {
			return err
		}
		b.Set(balance)
		row := store.Lease{
			ID: newID(), Tenant: b.Tenant, BalanceID: b.ID, Gateway: l.req.GetGateway(), Boot: int64(l.req.GetBoot()),
			ExpiresAt: min(l.now+int64(LeaseLife), b.WindowEnd),
		}
		row.Set(lease)
		l.changed = append(l.changed, row)
		g.Lease, g.Units, g.ExpiresAt = row.ID, units, row.ExpiresAt
	}
	g.WindowStart, g.WindowEnd, g.Quota = b.WindowStart, b.WindowEnd, b.Quota
	g.Remaining, g.Exhausted = b.Domain().Remaining(), b.Domain().Exhausted()
	return nil
}
