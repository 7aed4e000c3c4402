package limit

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestRatesAreKept(t *testing.T) {
	t.Parallel()
	s := NewRates()
	key := RateKey{Subscription: "s1", Quota: 10, Burst: 5, Per: "second"}
	r, err := s.Rate(key)
	require.NoError(t, err)
	again, err := s.Rate(key)
	require.NoError(t, err)
	require.Same(t, r, again, "a new document does not refill it")
	_, err = s.Rate(RateKey{Subscription: "s1", Quota: 10, Per: "fortnight"})
	require.ErrorContains(t, err, "fortnight")

	now := time.Unix(1_900_000_000, 0)
	require.Empty(t, s.Taken(10))
	require.True(t, r.Take(now.UnixNano()).Allowed)
	require.True(t, r.Take(now.UnixNano()).Allowed)
	r.Undo()
	taken := s.Taken(10)
	require.Len(t, taken, 1)
	require.Equal(t, int64(1), taken[0].GetRequests())
	require.Empty(t, s.Taken(10))

	other := NewRates()
	theirs, err := other.Rate(key)
	require.NoError(t, err)
	other.Share(taken, now)
	require.Equal(t, int64(3), theirs.Take(now.UnixNano()).Remaining, "one passed elsewhere, one here")
	other.Share([]*gatewayv1.RateTaken{{Subscription: "s2", Rate: 10, Burst: 5, Per: "second", Requests: 9}}, now)
	require.Equal(t, int64(2), theirs.Take(now.UnixNano()).Remaining, "nobody else's matters")
	other.Share([]*gatewayv1.RateTaken{{Subscription: "s1", Rate: 10, Burst: 5, Per: "second", Requests: 1 << 60}}, now)
	require.True(t, theirs.Take(now.Add(maxDebt*time.Second).UnixNano()).Allowed, "a wrong message does not close it for long")
}

// TestALongBurstIsNotRefilled shares under a limit whose burst takes a century to come back.
func TestALongBurstIsNotRefilled(t *testing.T) {
	t.Parallel()
	s := NewRates()
	key := RateKey{Subscription: "s1", Quota: 1, Burst: 1_000_000, Per: "hour"}
	r, err := s.Rate(key)
	require.NoError(t, err)
	now := time.Unix(1_900_000_000, 0)
	require.Equal(t, int64(999_999), r.Take(now.UnixNano()).Remaining)
	for _, requests := range []int64{1000, 1 << 60} {
		before := r.arrival.Load()
		s.Share([]*gatewayv1.RateTaken{{Subscription: "s1", Rate: 1, Burst: 1_000_000, Per: "hour", Requests: requests}}, now)
		require.Greater(t, r.arrival.Load(), before, "what passed elsewhere comes off")
	}
}

func TestALimitIsTold(t *testing.T) {
	t.Parallel()
	s := NewRates()
	r, err := s.Rate(RateKey{Subscription: "s1", Quota: 10, Per: "second"})
	require.NoError(t, err)
	for range 100 { // as calls do that a second limit refuses
		require.True(t, r.Take(1e18).Allowed)
		r.Undo()
	}
	require.Len(t, s.dirty, 1, "it waits once")
	require.Empty(t, s.Taken(10))
	require.True(t, r.Take(1e18).Allowed)
	require.Len(t, s.dirty, 1)
	require.Equal(t, int64(1), s.Taken(10)[0].GetRequests())
	require.Empty(t, s.dirty)
}

// TestNothingThatPassedIsLeftOut tells while calls pass.
func TestNothingThatPassedIsLeftOut(t *testing.T) {
	t.Parallel()
	s := NewRates()
	r, err := s.Rate(RateKey{Subscription: "s1", Quota: 1e9, Per: "second"})
	require.NoError(t, err)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for range 5000 {
				r.Take(1e18)
			}
		})
	}
	var told int64
	tell := func() {
		for _, taken := range s.Taken(10) {
			told += taken.GetRequests()
		}
	}
	for range 1000 {
		tell()
	}
	calls.Wait()
	tell()
	require.Equal(t, int64(20_000), told)
}

func TestLimitsThatNobodyUsesAreDropped(t *testing.T) {
	t.Parallel()
	s := NewRates()
	limits := map[string]*Rate{}
	for _, name := range []string{"used", "full", "not full"} {
		r, err := s.Rate(RateKey{Subscription: name, Quota: 10, Per: "second"})
		require.NoError(t, err)
		limits[name] = r
	}
	now := time.Unix(1_900_000_000, 0)
	limits["full"].Take(now.Add(-time.Minute).UnixNano())
	limits["not full"].Take(now.UnixNano())
	s.Sweep(map[*Rate]bool{limits["used"]: true}, now)
	require.Len(t, s.all, 2)
	require.NotContains(t, s.all, limits["full"].key)
	s.Sweep(nil, now.Add(time.Second))
	require.Empty(t, s.all)
	require.Len(t, s.Taken(10), 2, "the other gateways still hear of what passed")
}

func TestManyLimitsTakeSeveralMessages(t *testing.T) {
	t.Parallel()
	s := NewRates()
	seen := map[string]bool{}
	for i := range 10 {
		r, err := s.Rate(RateKey{Subscription: string(rune('a' + i)), Quota: 10, Per: "second"})
		require.NoError(t, err)
		r.Take(1e18)
	}
	for _, want := range []int{4, 4, 2, 0} {
		taken := s.Taken(4)
		require.Len(t, taken, want)
		for _, each := range taken {
			seen[each.GetSubscription()] = true
		}
	}
	require.Len(t, seen, 10)
}

// TestSharedLimit checks the stated bound on gateways that exchange at times of their own.
func TestSharedLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gateways := rapid.IntRange(1, 5).Draw(t, "gateways")
		quota := rapid.Uint64Range(1, 100).Draw(t, "quota")
		burst := rapid.Uint64Range(1, 100).Draw(t, "burst")
		const delay = 100 * time.Millisecond
		sets, rates, told := make([]*Rates, gateways), make([]*Rate, gateways), make([]int64, gateways)
		now := int64(1e18)
		for i := range sets {
			sets[i] = NewRates()
			var err error
			rates[i], err = sets[i].Rate(RateKey{Subscription: "s", Quota: quota, Burst: burst, Per: "second"})
			require.NoError(t, err)
			told[i] = now
		}
		var passed []int64
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			now += rapid.Int64Range(0, int64(delay)/8).Draw(t, "gap")
			for i := range sets { // nobody waits longer than delay to tell
				if now-told[i] < int64(delay)/2 {
					continue
				}
				told[i] = now
				taken := sets[i].Taken(10)
				for k := range sets {
					if k != i {
						sets[k].Share(taken, time.Unix(0, now))
					}
				}
			}
			at := rapid.IntRange(0, gateways-1).Draw(t, "gateway")
			for range rapid.IntRange(1, 20).Draw(t, "requests") {
				if rates[at].Take(now).Allowed {
					passed = append(passed, now)
				}
			}
		}
		for i, from := range passed {
			seconds := (time.Duration(now-from) + time.Duration(gateways-1)*delay).Seconds()
			bound := float64(gateways)*float64(burst) + float64(quota)*seconds
			require.LessOrEqual(t, float64(len(passed)-i), bound+1e-6)
		}
	})
}
