package limit

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBurstThenRate(t *testing.T) {
	t.Parallel()
	r, err := NewRate(10, 20, "second")
	require.NoError(t, err)
	now := int64(1e18)
	for i := range 20 {
		s := r.Take(now)
		require.True(t, s.Allowed)
		require.Equal(t, int64(19-i), s.Remaining)
	}
	s := r.Take(now)
	require.False(t, s.Allowed)
	require.Equal(t, int64(100*time.Millisecond), s.Retry)
	require.Equal(t, int64(2*time.Second), s.Reset)
	require.False(t, r.Take(now+s.Retry-1).Allowed)
	require.True(t, r.Take(now+s.Retry).Allowed)
	require.False(t, r.Take(now+s.Retry).Allowed)
	r.Undo()
	require.True(t, r.Take(now+s.Retry).Allowed)
}

func TestNeverMoreThanTheLimitInAnyWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		quota := rapid.Uint64Range(1, 50).Draw(t, "quota")
		burst := rapid.Uint64Range(1, 50).Draw(t, "burst")
		r, err := NewRate(quota, burst, "second")
		require.NoError(t, err)
		now := int64(1e18)
		var passed []int64
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			now += rapid.Int64Range(0, int64(200*time.Millisecond)).Draw(t, "gap")
			if r.Take(now).Allowed {
				passed = append(passed, now)
			}
		}
		for i, from := range passed {
			for k := i; k < len(passed); k++ {
				allowed := float64(burst) + float64(passed[k]-from)*float64(quota)/1e9
				require.LessOrEqual(t, float64(k-i+1), math.Floor(allowed)+1e-9)
			}
		}
	})
}

func TestConcurrentTakesAreExact(t *testing.T) {
	t.Parallel()
	r, err := NewRate(1, 1000, "hour")
	require.NoError(t, err)
	var passed atomic.Int64
	var takers sync.WaitGroup
	for range 8 {
		takers.Go(func() {
			for range 1000 {
				if r.Take(1e18).Allowed {
					passed.Add(1)
				}
			}
		})
	}
	takers.Wait()
	require.Equal(t, int64(1000), passed.Load())
}

func TestRatesThatAreWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		quota, burst uint64
		per          string
	}{
		"none": {0, 0, "second"}, "too fast": {2e9, 0, "second"}, "unit": {1, 0, "day"}, "burst": {1, 1 << 60, "second"}, "long burst": {1, 1e9, "hour"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewRate(c.quota, c.burst, c.per)
			require.Error(t, err)
		})
	}
	a, _ := NewRate(5, 0, "minute")
	b, _ := NewRate(5, 5, "minute")
	require.True(t, a.Same(b))
}

func BenchmarkRate(b *testing.B) {
	r, err := NewRate(1_000_000_000, 1_000_000_000, "second")
	require.NoError(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Take(time.Now().UnixNano())
		}
	})
}
