package app

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// wanted is a balance that should be there.
type wanted struct {
	store.BalanceKey
	tenant string
	window domain.Window
	hard   bool
	quota  int64
	// since is when the plan that has the quota came into force.
	since int64
}

// newWanted names the balance of a quota that is in force at an instant of a window.
func newWanted(k *store.Known, limit *catalogv1.Limit, window domain.Window, at int64) wanted {
	w := wanted{
		BalanceKey: store.BalanceKey{Subscription: k.ID, Meter: store.MeterOf(limit), Per: limit.GetPer(), WindowStart: window.Start},
		tenant:     k.Tenant, window: window, hard: store.Hard(limit), quota: store.Units(limit),
	}
	if phase, ok := k.Calendar.Phase(at); ok {
		w.since = phase.From
	}
	return w
}

// unleased is the time of the window whose calls cannot have had a lease: all of it for a soft quota, for a hard one that
// before its plan came into force.
func (w wanted) unleased() (start, end int64) {
	if w.hard {
		return w.window.Start, min(w.since, w.window.End)
	}
	return w.window.Start, w.window.End
}

// ensure makes balances that are not there. What was used in the window before is read from the ledger; that it neither
// misses a call nor counts one twice, nothing is metered meanwhile.
func (m *Metering) ensure(ctx context.Context, all []wanted) error {
	ctx = asService(ctx)
	err := m.all(ctx, func(tx pgx.Tx) error {
		exhausted, err := makeBalances(ctx, tx, all)
		if err != nil || len(exhausted) == 0 {
			return err
		}
		log, flush, err := m.log.Within(ctx, tx)
		if err != nil {
			return err
		}
		for _, b := range exhausted {
			announce(log, b)
		}
		_, err = flush(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("make balances: %w", err)
	}
	return nil
}

// makeBalances makes balances that are not there, and returns those of them that are used up already.
func makeBalances(ctx context.Context, tx pgx.Tx, all []wanted) (exhausted []store.Balance, err error) {
	locked := false
	for _, w := range all {
		b := store.Balance{
			Tenant: w.tenant, Subscription: w.Subscription, Meter: w.Meter, Per: w.Per, WindowStart: w.window.Start, WindowEnd: w.window.End,
			Hard: w.hard, Quota: w.quota, Ceiling: w.quota,
		}
		if start, end := w.unleased(); start < end {
			if !locked {
				if _, err := store.HoldPartitions(ctx, tx); err != nil {
					return nil, err
				}
				locked = true
			}
			if b.Unleased, err = store.BillableUnits(ctx, tx, w.tenant, w.Subscription, w.Meter, start, end); err != nil {
				return nil, err
			}
		}
		b.Exhausted = b.Domain().Exhausted()
		made, err := store.InsertBalance(ctx, tx, b)
		if err != nil {
			return nil, err
		}
		if made && b.Exhausted {
			exhausted = append(exhausted, b)
		}
	}
	return exhausted, nil
}

// The keeper's rounds.
const (
	keeperTick = 250 * time.Millisecond
	gapTick    = 5 * time.Second
	pruneTick  = time.Hour
)

// Keeper keeps balances and leases in order beside the calls: it makes the balances that calls asked for, gives up leases
// of dead gateways, opens gaps, and forgets what is long over. Any number may run at once.
type Keeper struct {
	m     *Metering
	mu    sync.Mutex
	asked map[store.BalanceKey]wanted
	err   error
}

func newKeeper(m *Metering) *Keeper {
	return &Keeper{m: m, asked: map[store.BalanceKey]wanted{}}
}

// want asks for balances.
func (k *Keeper) want(all []wanted) {
	if len(all) == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range all {
		k.asked[w.BalanceKey] = w
	}
}

func (k *Keeper) take() []wanted {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]wanted, 0, len(k.asked))
	for _, w := range k.asked {
		all = append(all, w)
	}
	clear(k.asked)
	return all
}

// Err returns why the keeper does not get on, or nil.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// Run keeps until ctx ends and then returns nil. It outlives failures of the database.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(keeperTick)
	defer ticker.Stop()
	var gaps, pruned time.Time
	for {
		err := k.Round(ctx)
		if err == nil && time.Since(gaps) >= gapTick {
			if _, err = k.m.OpenGaps(ctx); err == nil {
				gaps = time.Now()
			}
		}
		if err == nil && time.Since(pruned) >= pruneTick {
			if err = k.m.prune(ctx); err == nil {
				pruned = time.Now()
			}
		}
		k.note(ctx, err)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (k *Keeper) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	was := k.err
	k.err = err
	k.mu.Unlock()
	if err != nil && (was == nil || was.Error() != err.Error()) {
		k.m.logger.Error("quotas are not kept", "error", err)
	}
}

// Round makes the balances that were asked for and gives up the leases that are lost.
func (k *Keeper) Round(ctx context.Context) error {
	for batch := range slices.Chunk(k.take(), 200) {
		if err := k.m.ensure(ctx, batch); err != nil {
			return err
		}
	}
	return k.m.giveUpLeases(ctx)
}

// giveUpLeases frees what is reserved for leases about which their gateway has nothing more to say.
func (m *Metering) giveUpLeases(ctx context.Context) error {
	err := m.all(ctx, func(tx pgx.Tx) error {
		lost, err := store.SpeechlessLeases(ctx, tx, m.now().UnixNano(), int64(inflight))
		if err != nil || len(lost) == 0 {
			return err
		}
		expiry := map[string]int64{}
		ids := make([]string, 0, len(lost))
		for _, l := range lost {
			expiry[l.ID] = l.ExpiresAt
			ids = append(ids, l.ID)
		}
		balances, err := store.LockBalances(ctx, tx, balancesOf(lost))
		if err != nil {
			return err
		}
		byID := map[int64]*store.Balance{}
		for i := range balances {
			byID[balances[i].ID] = &balances[i]
		}
		leases, err := store.LockLeases(ctx, tx, ids)
		if err != nil {
			return err
		}
		for _, l := range leases {
			b := byID[l.BalanceID]
			if b == nil || l.ExpiresAt != expiry[l.ID] {
				continue // renewed meanwhile
			}
			balance, _ := domain.GiveUp(b.Domain(), l.Domain())
			b.Set(balance)
			if err := store.DeleteLease(ctx, tx, l.ID); err != nil {
				return err
			}
		}
		return store.UpdateBalances(ctx, tx, balances)
	})
	if err != nil {
		return fmt.Errorf("give up leases: %w", err)
	}
	return nil
}

func (m *Metering) prune(ctx context.Context) error {
	err := m.all(ctx, func(tx pgx.Tx) error {
		if err := store.PruneBalances(ctx, tx, m.now()); err != nil {
			return err
		}
		if err := store.PruneGaps(ctx, tx, m.now()); err != nil {
			return err
		}
		return store.DeleteSplits(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("forget what is over: %w", err)
	}
	return nil
}
