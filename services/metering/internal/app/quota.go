package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// QuotaState is a quota in its window of now.
type QuotaState struct {
	Meter string `json:"meter"`
	Per   string `json:"per"`
	// Mode is hard or soft.
	Mode        string    `json:"mode"`
	WindowStart time.Time `json:"windowStart"`
	WindowEnd   time.Time `json:"windowEnd"`
	Quota       int64     `json:"quota"`
	// Spent by calls that have arrived.
	Spent int64 `json:"spent"`
	// Leased to gateways: reserved, and not yet spent by a call that has arrived.
	Leased    int64 `json:"leased"`
	Remaining int64 `json:"remaining"`
	Exhausted bool  `json:"exhausted"`
	// ExhaustedAt is when it will be used up, if it goes on as in the window so far, the newest use weighing four times as much as the
	// oldest; absent when the window ends before, or there is nothing to go by yet, or it is used up.
	ExhaustedAt *time.Time `json:"exhaustedAt,omitempty"`
	// Leases of gateways from which units are spent or may still be.
	Leases []LeaseState `json:"leases"`
}

// LeaseState is a share of a quota that was handed to a gateway.
type LeaseState struct {
	Gateway string `json:"gateway"`
	Boot    uint64 `json:"boot"`
	Granted int64  `json:"granted"`
	// Spent by calls that have arrived.
	Spent int64 `json:"spent"`
	// Outstanding: still reserved for it.
	Outstanding int64     `json:"outstanding"`
	ExpiresAt   time.Time `json:"expiresAt"`
}

// Quotas returns the quotas of a subscription, by its name or id, as they are now.
func (m *Metering) Quotas(ctx context.Context, subscription string) ([]QuotaState, error) {
	now := m.now().UnixNano()
	return acting(ctx, m, func(tx pgx.Tx) ([]QuotaState, error) {
		s, err := store.FindSubscription(ctx, tx, subscription)
		if err != nil {
			return nil, subscriptionNotFound(err, subscription)
		}
		var cache store.Cache
		known, err := cache.Load(ctx, tx, []string{s.ID})
		if err != nil {
			return nil, err
		}
		states := []QuotaState{}
		for _, limit := range known[s.ID].Quotas(now) {
			window, err := known[s.ID].Calendar.Window(limit.GetPer(), now)
			if err != nil {
				return nil, err
			}
			state, err := quotaNow(ctx, tx, newWanted(known[s.ID], limit, window, now), s.StartedAt, now)
			if err != nil {
				return nil, err
			}
			states = append(states, state)
		}
		return states, nil
	})
}

// quotaNow tells how a quota stands.
func quotaNow(ctx context.Context, tx pgx.Tx, w wanted, since, now int64) (QuotaState, error) {
	b, leases, err := balanceNow(ctx, tx, w)
	if err != nil {
		return QuotaState{}, err
	}
	state := quotaState(b, w)
	for _, l := range leases {
		state.Leases = append(state.Leases, LeaseState{
			Gateway: l.Gateway, Boot: uint64(l.Boot), Granted: l.Granted, Spent: l.Spent, Outstanding: l.Domain().Outstanding(),
			ExpiresAt: time.Unix(0, l.ExpiresAt).UTC(),
		})
	}
	samples, err := store.Samples(ctx, tx, w.tenant, w.Subscription, w.Meter, w.window.Start, w.window.End)
	if at, ok := domain.Forecast(b, w.window, since, now, samples); ok {
		state.ExhaustedAt = instant(at)
	}
	return state, err
}

// balanceNow returns the balance that is wanted with its leases, or what it would be if it were made now.
func balanceNow(ctx context.Context, tx pgx.Tx, w wanted) (domain.Balance, []store.Lease, error) {
	found, err := store.FindBalances(ctx, tx, []store.BalanceKey{w.BalanceKey})
	if err != nil {
		return domain.Balance{}, nil, err
	}
	if len(found) > 0 {
		leases, err := store.LeasesOf(ctx, tx, found[0].ID)
		return found[0].Domain().WithQuota(w.quota), leases, err
	}
	start, end := w.unleased()
	used, err := store.BillableUnits(ctx, tx, w.tenant, w.Subscription, w.Meter, start, end)
	return domain.Balance{Quota: w.quota, Ceiling: w.quota, Unleased: used}, nil, err
}

func quotaState(b domain.Balance, w wanted) QuotaState {
	mode := "soft"
	if w.hard {
		mode = "hard"
	}
	return QuotaState{
		Meter: w.Meter, Per: w.Per, Mode: mode, WindowStart: time.Unix(0, w.window.Start).UTC(), WindowEnd: time.Unix(0, w.window.End).UTC(),
		Quota: b.Quota, Spent: b.Used(), Leased: b.Leased, Remaining: b.Remaining(), Exhausted: b.Exhausted(), Leases: []LeaseState{},
	}
}
