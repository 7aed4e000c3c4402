package domain_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/money"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
)

func TestClosed(t *testing.T) {
	t.Parallel()
	p := domain.Period{}
	p.End = at("2026-02-01T00:00:00Z")
	require.True(t, domain.Closed(p, &meteringv1.UsageReply{Sealed: true}).None())
	require.Equal(t, domain.OpenGap, domain.Closed(p, &meteringv1.UsageReply{Sealed: true, OpenGaps: 3}).Cause)
	h := domain.Closed(p, &meteringv1.UsageReply{OpenGaps: 3, Unsealed: map[string]int64{"gw2": 0, "gw1": at("2026-01-31T23:00:00Z").UnixNano()}})
	require.Equal(t, domain.NotSealed, h.Cause)
	require.Contains(t, h.Detail, "gw1 (until 2026-01-31T23:00:00Z), gw2 (never)")
	h = domain.Closed(p, &meteringv1.UsageReply{Behind: []uint32{2}})
	require.Equal(t, domain.NotSealed, h.Cause)
	require.Contains(t, h.Detail, "partition 2 of the stream of calls")
}

// set is calls of one or two segments, as both sides count them.
type set struct{ segments [][]uint64 }

func (s set) reply(segment int) (*meteringv1.CallCounts, []*meteringv1.MeterUsage) {
	var digest uint64
	for _, seq := range s.segments[segment] {
		digest += callset.Digest("gw", 1, seq)
	}
	n := uint64(len(s.segments[segment]))
	counts := &meteringv1.CallCounts{Billable: n, Digest: callset.Hex(digest)}
	if n == 0 {
		return counts, nil
	}
	return counts, []*meteringv1.MeterUsage{{Meter: "calls", Quantity: money.Int(int64(n)).String(), Calls: n, Digest: callset.Hex(digest)}}
}

func (s set) whole() (n uint64, digest string) {
	var sum uint64
	for _, segment := range s.segments {
		for _, seq := range segment {
			n, sum = n+1, sum+callset.Digest("gw", 1, seq)
		}
	}
	return n, callset.Hex(sum)
}

func prove(metered, landed set) domain.Hold {
	n, digest := metered.whole()
	m, landedDigest := landed.whole()
	whole := &meteringv1.UsageReply{Counts: &meteringv1.CallCounts{Billable: n, Digest: digest}}
	proof := &analyticsv1.ProofReply{Answered: n, Stored: n, Metered: n, Landed: m, Agree: true, MeteredDigest: digest, LandedDigest: landedDigest}
	var measured []domain.Measured
	for i := range metered.segments {
		var one domain.Measured
		one.Metered, one.Landed = &meteringv1.UsageReply{}, &meteringv1.CountReply{}
		one.Metered.Counts, one.Metered.Meters = metered.reply(i)
		one.Landed.Counts, one.Landed.Meters = landed.reply(i)
		measured = append(measured, one)
	}
	evidence, hold := domain.Prove(whole, proof, measured)
	if hold.None() != (evidence != nil) {
		panic("evidence without proof")
	}
	return hold
}

// TestProveFindsEveryDifference: the same calls on both sides prove the bill; one call lost, swapped, added or moved does not.
func TestProveFindsEveryDifference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		calls := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 1_000), 2, 20, rapid.ID[uint64]).Draw(t, "calls")
		at := rapid.IntRange(1, len(calls)-1).Draw(t, "change of plan")
		metered := set{[][]uint64{calls[:at], calls[at:]}}
		require.True(t, prove(metered, metered).None())
		first := append([]uint64{}, calls[:at]...)
		second := append([]uint64{}, calls[at:]...)
		switch rapid.IntRange(0, 3).Draw(t, "damage") {
		case 0:
			first = first[1:]
		case 1:
			first[0] = 5_000
		case 2:
			second = append(second, 5_000)
		case 3:
			first, second = first[1:], append(second, first[0])
		}
		require.Equal(t, domain.CountersDiffer, prove(metered, set{[][]uint64{first, second}}).Cause)
	})
}

func TestProveReportsAllDifferences(t *testing.T) {
	t.Parallel()
	whole := &meteringv1.UsageReply{Counts: &meteringv1.CallCounts{Billable: 2, NotBillable: map[string]uint64{"internal": 1}, Digest: "zz"}}
	_, h := domain.Prove(whole, &analyticsv1.ProofReply{Answered: 4, Stored: 3, Landed: 2, Metered: 1, LandedDigest: "b", MeteredDigest: "c", Differences: []string{"gw1 misses 7"}}, nil)
	require.Equal(t, domain.CountersDiffer, h.Cause)
	for _, want := range []string{"answered 4, stored 3, landed 2, metered 1", "gw1 misses 7", "landed 2 calls (digest b), metered 1 (c)", "usage has 3 calls", `"zz" is not a digest`, "the parts of the period have 0"} {
		require.Contains(t, h.Detail, want)
	}
}
