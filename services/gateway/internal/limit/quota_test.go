package limit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// meter is a strict balance of one quota: it grants what is free, and checks every return.
type meter struct {
	t  testing.TB
	mu sync.Mutex
	// quota = free + leased + spent, always.
	quota, free, spent int64
	leases             map[string]int64
	life               time.Duration
	down               atomic.Bool
	calls, renewals    int
	asked              []int64
}

func newMeter(t testing.TB, quota int64) *meter {
	return &meter{t: t, quota: quota, free: quota, leases: map[string]int64{}, life: time.Minute}
}

func (m *meter) lease(_ context.Context, req *meteringv1.LeaseRequest) (*meteringv1.LeaseReply, error) {
	if m.down.Load() {
		return nil, errors.New("nobody answers")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	for _, r := range req.GetReturns() {
		granted, ok := m.leases[r.GetLease()]
		if !ok || r.GetSpent() < 0 || r.GetSpent() > granted {
			m.t.Errorf("lease %s of %d units (known: %v) returned with %d spent", r.GetLease(), granted, ok, r.GetSpent())
		}
		m.spent += r.GetSpent()
		m.free += granted - r.GetSpent()
		delete(m.leases, r.GetLease())
	}
	reply := &meteringv1.LeaseReply{Renewed: map[string]int64{}}
	for _, id := range req.GetRenew() {
		m.renewals++
		reply.Renewed[id] = time.Now().Add(m.life).UnixNano()
	}
	for _, a := range req.GetAsks() {
		m.asked = append(m.asked, a.GetWant())
		units := min(a.GetWant(), m.free)
		m.free -= units
		g := &meteringv1.LeaseGrant{
			Subscription: a.GetSubscription(), Meter: a.GetMeter(), Per: a.GetPer(), Units: units, ExpiresAt: time.Now().Add(m.life).UnixNano(),
			WindowStart: 1, WindowEnd: time.Now().Add(time.Hour).UnixNano(), Quota: m.quota, Remaining: m.free, Exhausted: units == 0 && len(m.leases) == 0,
		}
		if units > 0 {
			g.Lease = fmt.Sprintf("%s-%d", req.GetGateway(), m.calls)
			m.leases[g.Lease] = units
		}
		reply.Grants = append(reply.Grants, g)
	}
	return reply, nil
}

func (m *meter) sums() (free, spent int64, leases int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.free, m.spent, len(m.leases)
}

func quotas(t testing.TB, m *meter, gateway string) *Quotas {
	t.Helper()
	s := NewQuotas(Config{Gateway: gateway, Boot: 1, Lease: m.lease, Wait: 2 * time.Second, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return s
}

var calls = Key{Subscription: "s", Meter: "calls", Per: "month"}

// More leases than metering takes in one request are told in several; what an unanswered one told is told again.
func TestManyLeasesAreToldInSeveralRequests(t *testing.T) {
	t.Parallel()
	const n = 25_000
	m := newMeter(t, 2*n)
	requests := 0
	s := NewQuotas(Config{Gateway: "gw", Boot: 1, Log: slog.New(slog.DiscardHandler), Lease: func(ctx context.Context, req *meteringv1.LeaseRequest) (*meteringv1.LeaseReply, error) {
		require.LessOrEqual(t, len(req.GetReturns())+len(req.GetRenew()), 20_000, "metering takes no more")
		if requests++; requests == 2 {
			return nil, errors.New("nobody answers")
		}
		return m.lease(ctx, req)
	}})
	for i := range n {
		q := s.Quota(Key{Subscription: fmt.Sprint(i), Meter: "calls", Per: "month"})
		for _, state := range []string{"in use", "used up"} {
			id := fmt.Sprint(i, state)
			m.leases[id] = 1
			m.free--
			l := newLease(&meteringv1.LeaseGrant{Lease: id, Units: 1, ExpiresAt: time.Now().Add(time.Hour).UnixNano()}, time.Now().UnixNano())
			if state == "used up" {
				l.left.Store(0)
				l.spent.Store(1)
			} else {
				l.renewAt = 0
				q.usedAt.Store(time.Now().UnixNano())
			}
			leases := append(q.list(), l)
			q.leases.Store(&leases)
		}
	}
	s.maintain(t.Context())
	s.maintain(t.Context())
	_, spent, leases := m.sums()
	require.EqualValues(t, n, spent)
	require.Equal(t, n, leases)
	require.GreaterOrEqual(t, m.renewals, n)
	require.NoError(t, s.ReturnAll(t.Context()))
	_, _, leases = m.sums()
	require.Zero(t, leases)
}

func TestExactlyTheQuotaPassesOnThreeGateways(t *testing.T) {
	t.Parallel()
	const quota = 1000
	m := newMeter(t, quota)
	var passed atomic.Int64
	var clients sync.WaitGroup
	for g := range 3 {
		q := quotas(t, m, fmt.Sprint("gw", g)).Quota(calls)
		for range 32 {
			clients.Go(func() {
				for refused := 0; refused < 3; {
					h, why := q.Reserve(1)
					if why != Passed {
						refused++
						continue
					}
					passed.Add(1)
					h.Settle(1)
				}
			})
		}
	}
	clients.Wait()
	require.LessOrEqual(t, passed.Load(), int64(quota))
	require.GreaterOrEqual(t, passed.Load(), int64(quota-3*32), "hardly any unit may be stranded")
}

func TestACallThatIsFreeGivesItsUnitBack(t *testing.T) {
	t.Parallel()
	m := newMeter(t, 5)
	s := quotas(t, m, "gw")
	q := s.Quota(calls)
	require.Same(t, q, s.Quota(calls))
	for range 100 {
		h, why := q.Reserve(1)
		require.Equal(t, Passed, why)
		h.Settle(0)
	}
	for range 5 {
		h, why := q.Reserve(1)
		require.Equal(t, Passed, why)
		require.NotEmpty(t, h.Lease())
		h.Settle(1)
	}
	_, why := q.Reserve(1)
	require.Equal(t, Exhausted, why)
	info, ok := q.Info()
	require.True(t, ok)
	require.Equal(t, int64(5), info.Quota)
	require.Zero(t, info.Remaining)
}

func TestTheLeaseGrowsWithTheRate(t *testing.T) {
	t.Parallel()
	m := newMeter(t, 1_000_000)
	q := quotas(t, m, "gw").Quota(calls)
	for range 20_000 {
		h, why := q.Reserve(1)
		require.Equal(t, Passed, why)
		h.Settle(1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Less(t, m.calls, 60, "a lease lasts for more than a few calls")
}

func TestUnusedUnitsGoBackAtShutdownAndSpentOnesAreToldExactly(t *testing.T) {
	t.Parallel()
	m := newMeter(t, 100_000)
	s := NewQuotas(Config{Gateway: "gw", Lease: m.lease, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	q := s.Quota(calls)
	for range 777 {
		h, why := q.Reserve(1)
		require.Equal(t, Passed, why)
		h.Settle(1)
	}
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, s.ReturnAll(context.Background()))
	free, spent, leases := m.sums()
	require.Equal(t, int64(777), spent)
	require.Equal(t, int64(100_000-777), free)
	require.Zero(t, leases)
}

func TestMeteringDownSpendsWhatIsLeased(t *testing.T) {
	t.Parallel()
	m := newMeter(t, 1_000_000)
	q := quotas(t, m, "gw").Quota(calls)
	for range 1000 {
		h, why := q.Reserve(1)
		require.Equal(t, Passed, why)
		h.Settle(1)
	}
	m.down.Store(true)
	passed := 0
	for {
		h, why := q.Reserve(1)
		if why != Passed {
			require.Equal(t, Unavailable, why)
			break
		}
		h.Settle(1)
		passed++
	}
	require.Positive(t, passed)
	m.down.Store(false)
	require.Eventually(t, func() bool {
		h, why := q.Reserve(1)
		h.Settle(1)
		return why == Passed
	}, 10*time.Second, 10*time.Millisecond)
}

func TestNothingIsSpentFromALeaseThatIsOver(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	g := &meteringv1.LeaseGrant{Lease: "l", Units: 10, ExpiresAt: now.Add(10 * time.Second).UnixNano(), WindowEnd: now.Add(5 * time.Second).UnixNano()}
	l := newLease(g, now.UnixNano())
	_, ok := l.take(1, now.UnixNano())
	require.True(t, ok)
	_, ok = l.take(1, now.Add(5*time.Second).UnixNano())
	require.False(t, ok, "the window is over")
	l.windowEnd = 0
	_, ok = l.take(1, now.Add(9*time.Second).UnixNano())
	require.False(t, ok, "less than the margin is left")
	l.withdraw()
	require.Equal(t, int64(1), l.held())
	require.False(t, l.settled())
	Hold{lease: l, units: 1}.Settle(0)
	require.False(t, l.settled(), "the unit is left again, not settled")
	l.withdraw()
	require.True(t, l.settled())
}

func TestLeasesInUseAreRenewedAndIdleOnesReturned(t *testing.T) {
	t.Parallel()
	m := newMeter(t, 10_000)
	m.life = 4 * time.Second
	q := quotas(t, m, "gw").Quota(calls)
	h, why := q.Reserve(1)
	require.Equal(t, Passed, why)
	require.Eventually(t, func() bool { // the held unit keeps its lease alive
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.renewals >= 2
	}, 20*time.Second, 5*time.Millisecond)
	h.Settle(1)
	require.Eventually(t, func() bool {
		free, spent, leases := m.sums()
		return leases == 0 && spent == 1 && free == 9_999
	}, 20*time.Second, 5*time.Millisecond)
}

func TestManyUnitsAtOnce(t *testing.T) {
	t.Parallel()
	m := newMeter(t, 100)
	q := quotas(t, m, "gw").Quota(Key{Subscription: "s", Meter: "rows", Per: "day"})
	for range 4 {
		h, why := q.Reserve(25)
		require.Equal(t, Passed, why)
		h.Settle(10)
	}
	for range 2 {
		h, why := q.Reserve(25)
		require.Equal(t, Passed, why)
		h.Settle(25)
	}
	h, why := q.Reserve(25)
	require.Equal(t, Exhausted, why, "10 units are left")
	h.Settle(1) // the zero Hold holds nothing
}

func BenchmarkReserve(b *testing.B) {
	m := newMeter(b, 1<<60)
	q := quotas(b, m, "gw").Quota(calls)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h, why := q.Reserve(1)
			if why != Passed {
				b.Error(why)
				return
			}
			h.Settle(1)
		}
	})
}
