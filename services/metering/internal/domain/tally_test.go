package domain_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/money"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
)

func noCalendar(string) *domain.Calendar { return nil }

// What calls amount to does not depend on how they are cut into batches.
func TestTalliesOfPartsAddUpToThatOfTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		whole := domain.NewTally(noCalendar)
		parts := []*domain.Tally{domain.NewTally(noCalendar), domain.NewTally(noCalendar), domain.NewTally(noCalendar)}
		var quantity money.Decimal
		digest, n := uint64(0), rapid.IntRange(0, 40).Draw(t, "calls")
		for i := range n {
			c := &callsv1.CallRecord{
				Seq: uint64(i + 1), Tenant: "acme", CompletedAt: rapid.Int64Range(1, 3*3600e9).Draw(t, "completed"), Billable: true,
				Subscription: rapid.SampledFrom([]string{"", "s1"}).Draw(t, "subscription"),
				Quantities:   []*callsv1.Quantity{{Meter: "rows", Value: strconv.Itoa(rapid.IntRange(0, 9).Draw(t, "whole")) + ".000000000001"}},
			}
			value, err := money.Parse(c.GetQuantities()[0].GetValue())
			require.NoError(t, err)
			quantity = quantity.Add(value)
			digest += callset.Digest("gw1", 1, c.GetSeq())
			require.NoError(t, whole.Add("gw1", 1, c, uint64(i+1)))
			require.NoError(t, parts[rapid.IntRange(0, 2).Draw(t, "part")].Add("gw1", 1, c, uint64(i+1)))
		}
		sum := map[domain.Key]domain.Sum{}
		for _, p := range parts {
			for _, r := range p.Rows() {
				s, there := sum[r.Key]
				if !there {
					s = domain.Sum{First: r.First, Last: r.Last, Sequence: r.Sequence}
				}
				s.Units = s.Units.Add(r.Units)
				s.Quantity, s.Calls, s.Digest = s.Quantity.Add(r.Quantity), s.Calls+r.Calls, s.Digest+r.Digest
				s.First, s.Last, s.Sequence = min(s.First, r.First), max(s.Last, r.Last), min(s.Sequence, r.Sequence)
				sum[r.Key] = s
			}
		}
		var total money.Decimal
		calls, digests := uint64(0), uint64(0)
		rows := whole.Rows()
		require.Len(t, rows, len(sum))
		for _, r := range rows {
			require.True(t, r.Quantity.Equal(sum[r.Key].Quantity))
			require.True(t, r.Units.Equal(sum[r.Key].Units))
			r.Quantity, r.Units = sum[r.Key].Quantity, sum[r.Key].Units
			require.Equal(t, r.Sum, sum[r.Key])
			if r.Meter == callstream.MeterCalls {
				calls, digests = calls+r.Calls, digests+r.Digest
			} else {
				total = total.Add(r.Quantity)
			}
		}
		require.EqualValues(t, n, calls)
		require.Equal(t, digest, digests)
		require.True(t, total.Equal(quantity))
	})
}
