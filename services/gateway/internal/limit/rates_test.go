package limit

import (
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
