package received_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/received"
)

func r(first, last uint64) received.Range { return received.Range{First: first, Last: last} }

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		before       []received.Range
		add          received.Range
		fresh, holes []received.Range
		floor        uint64
	}{
		{"the first", nil, r(1, 10), []received.Range{r(1, 10)}, nil, 10},
		{"the next", []received.Range{r(1, 10)}, r(11, 20), []received.Range{r(11, 20)}, nil, 20},
		{"a repeat", []received.Range{r(1, 10)}, r(3, 7), nil, nil, 10},
		{"a repeat with other bounds", []received.Range{r(1, 10)}, r(6, 15), []received.Range{r(11, 15)}, nil, 15},
		{"a hole", []received.Range{r(1, 10)}, r(12, 20), []received.Range{r(12, 20)}, []received.Range{r(11, 11)}, 10},
		{"a hole is filled", []received.Range{r(1, 10), r(12, 20)}, r(11, 11), []received.Range{r(11, 11)}, nil, 20},
		{"over two holes", []received.Range{r(1, 3), r(5, 6), r(9, 9)}, r(2, 12), []received.Range{r(4, 4), r(7, 8), r(10, 12)}, nil, 12},
		{"between, touching neither", []received.Range{r(1, 1), r(9, 9)}, r(4, 5), []received.Range{r(4, 5)}, []received.Range{r(2, 3), r(6, 8)}, 1},
		{"the beginning comes last", []received.Range{r(4, 9)}, r(1, 3), []received.Range{r(1, 3)}, nil, 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var s received.Set
			for _, b := range c.before {
				s, _ = s.Merge(b)
			}
			merged, fresh := s.Merge(c.add)
			require.Equal(t, c.fresh, fresh)
			require.Equal(t, c.holes, merged.Holes())
			require.Equal(t, c.floor, merged.Floor())
		})
	}
}

func TestSetIsAsASetOfSingleNumbers(t *testing.T) {
	t.Parallel()
	const most = 60
	rapid.Check(t, func(t *rapid.T) {
		var s received.Set
		naive := map[uint64]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "merges") {
			first := rapid.Uint64Range(1, most).Draw(t, "first")
			add := r(first, rapid.Uint64Range(first, min(most, first+12)).Draw(t, "last"))
			before := s
			var fresh []received.Range
			s, fresh = s.Merge(add)
			require.Equal(t, uint64(len(naive)), before.Count(), "the set merged into is not changed")
			isFresh := map[uint64]bool{}
			for _, f := range fresh {
				for n := f.First; n <= f.Last; n++ {
					isFresh[n] = true
				}
			}
			for n := add.First; n <= add.Last; n++ {
				require.Equal(t, !naive[n], isFresh[n], "%d", n)
				delete(isFresh, n)
				naive[n] = true
			}
			require.Empty(t, isFresh, "nothing outside the merged range is new")
		}
		check(t, s, naive, most)
		first := rapid.Uint64Range(1, most).Draw(t, "asked")
		asked := r(first, rapid.Uint64Range(first, most).Draw(t, "asked last"))
		missing := map[uint64]bool{}
		for _, m := range s.Missing(asked) {
			for n := m.First; n <= m.Last; n++ {
				missing[n] = true
			}
		}
		for n := uint64(1); n <= most; n++ {
			require.Equal(t, asked.Contains(n) && !naive[n], missing[n], "%d", n)
		}
		given := map[uint64]bool{}
		for range rapid.IntRange(0, 40).Draw(t, "given") {
			given[rapid.Uint64Range(1, most).Draw(t, "one")] = true
		}
		only := true
		for n := range missing {
			only = only && given[n]
		}
		require.Equal(t, only, s.MissingOnly(asked, slices.Sorted(maps.Keys(given))))
		floor, above := s.Stored()
		loaded, err := received.Load(floor, above)
		require.NoError(t, err)
		check(t, loaded, naive, most)
	})
}

func check(t *rapid.T, s received.Set, naive map[uint64]bool, most uint64) {
	var highest uint64
	for n := uint64(0); n <= most+1; n++ {
		require.Equal(t, naive[n], s.Contains(n), "%d", n)
		if naive[n] {
			highest = n
		}
	}
	require.Equal(t, highest, s.Highest())
	require.Equal(t, uint64(len(naive)), s.Count())
	var missing uint64
	for _, h := range s.Holes() {
		require.True(t, h.Last < highest)
		missing += h.Count()
	}
	require.Equal(t, highest, s.Count()+missing)
	require.True(t, !naive[s.Floor()+1])
}

func TestLoadRefusesWhatMergeNeverMakes(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string][]int64{
		"touches the floor": {6, 7}, "overlaps": {8, 12, 12, 13}, "touches": {8, 9, 10, 11}, "backwards": {9, 8}, "half a range": {9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := received.Load(5, stored)
			require.ErrorContains(t, err, "load received numbers")
		})
	}
	_, err := received.Load(-1, nil)
	require.Error(t, err)
}

func TestCheck(t *testing.T) {
	t.Parallel()
	require.NoError(t, r(1, received.Max).Check())
	for _, wrong := range []received.Range{r(0, 1), r(2, 1), r(1, received.Max+1)} {
		require.ErrorContains(t, wrong.Check(), "ascending order")
	}
}

func BenchmarkMergeNext(b *testing.B) {
	var s received.Set
	n := uint64(0)
	for b.Loop() {
		s, _ = s.Merge(r(n+1, n+1000))
		n += 1000
	}
}

// BenchmarkMissing looks at one hole of many, as a consumer does of a gateway that streams many answers at once.
func BenchmarkMissing(b *testing.B) {
	var s received.Set
	const holes = 2000
	for n := range uint64(holes) {
		s, _ = s.Merge(r(2*n+2, 2*n+2))
	}
	for b.Loop() {
		require.Len(b, s.Missing(r(2*holes-1, 2*holes-1)), 1)
	}
}

func TestGapsConcern(t *testing.T) {
	t.Parallel()
	const start, end = 1_000 * received.Slack, 2_000 * received.Slack
	for _, c := range []struct {
		name     string
		gap      received.Gap
		concerns bool
	}{
		{"before the end, of an open boot", received.Gap{After: start - 5}, true},
		{"at an unknown time", received.Gap{}, true},
		{"after the end", received.Gap{After: end}, false},
		{"of a boot that ended before", received.Gap{After: 5, BootClosedAt: start - 2*received.Slack}, false},
		{"of a boot that ended within", received.Gap{After: 5, BootClosedAt: start + 5}, true},
		{"waived", received.Gap{After: start + 5, WaivedUntil: start + 6}, false},
		{"not waived", received.Gap{After: start + 5, WaivedUntil: start + 5}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.concerns, c.gap.Concerns(start, end))
		})
	}
}

func TestMissingOnlyOfALongRange(t *testing.T) {
	t.Parallel()
	var s received.Set
	require.False(t, s.MissingOnly(received.Range{First: 1, Last: received.Max}, []uint64{1, 2, 3}))
	require.False(t, s.MissingOnly(received.Range{First: 3, Last: received.Max}, []uint64{1, 2, 3}))
}
