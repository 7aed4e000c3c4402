package app

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/callstream"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// TestItIsKnownWhenTheCallBeforeAHoleBegan, whichever way batches come, and after each was stored. Call n begins at n.
func TestItIsKnownWhenTheCallBeforeAHoleBegan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := bootKey{"gw1", 1}
		row := store.Boot{Gateway: key.gateway, Boot: 1}
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			b, err := loadBoot(row)
			require.NoError(t, err)
			c := &claim{boots: map[bootKey]*boot{key: b}, stored: map[storedKey]*store.Stored{}}
			first, n := rapid.Uint64Range(1, 60).Draw(t, "first"), rapid.Uint64Range(1, 12).Draw(t, "calls")
			batch := &callsv1.CallBatch{Gateway: key.gateway, Boot: key.boot, FirstSeq: first, Count: uint32(n)}
			for seq := first; seq < first+n; seq++ {
				batch.Calls = append(batch.Calls, &callsv1.CallRecord{Seq: seq, StartedAt: int64(seq), CompletedAt: 1000})
			}
			c.receive(callstream.Message{Sequence: 1, Batch: batch})
			for _, hole := range b.set.Holes() {
				require.Equal(t, int64(hole.First-1), b.started[hole.First-1], "%v", hole)
			}
			row = b.row()
		}
	})
}

// An answer that streams at a seal completes after it: it concerns no period that ends before.
func TestCallsThatGoOnCompleteAfterTheSeal(t *testing.T) {
	t.Parallel()
	key := bootKey{"gw1", 1}
	c := &claim{boots: map[bootKey]*boot{}, stored: map[storedKey]*store.Stored{}}
	for _, seq := range []uint64{1, 4, 6} { // 2, 3 and 5 are missing
		c.receive(callstream.Message{Sequence: seq, Batch: &callsv1.CallBatch{
			Gateway: key.gateway, Boot: key.boot, FirstSeq: seq, Count: 1, Calls: []*callsv1.CallRecord{{Seq: seq, StartedAt: int64(seq), CompletedAt: 1000}},
		}})
	}
	list := func(seal int64, open ...uint64) {
		c.receive(callstream.Message{Sequence: 9, Batch: &callsv1.CallBatch{Gateway: key.gateway, Boot: key.boot, FirstSeq: 7, SealedUntil: seal, OpenListed: true, OpenSeqs: open}})
	}
	list(2000, 2, 5)
	require.Equal(t, []int64{1, 2000, 6}, c.boots[key].row().Started, "3 is lost")
	list(3000, 2, 3)
	require.Equal(t, []int64{3000, 2000, 6}, c.boots[key].row().Started, "5 went on at 2000")
	loaded, err := loadBoot(c.boots[key].row())
	require.NoError(t, err)
	require.EqualValues(t, 3000, loaded.started[1])
}
