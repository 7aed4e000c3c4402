package metering_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/received"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// An answer that streams has its number and no end: it is not missing, and belongs to the time after the seal at which it still streamed.
func TestAnswersThatStreamAreNotMissing(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	end := began.AddDate(0, 1, 0)
	g := f.gateway("gw1")
	g.send(t, call("s1", began.Add(time.Minute)))
	first, lost, second := g.batch(call("s1", end.Add(time.Hour))), g.batch(call("s1", began.Add(2*time.Minute))), g.batch(call("s1", end.Add(2*time.Hour)))
	g.send(t, call("s1", began.Add(3*time.Minute)))
	require.EqualValues(t, 1, f.openGaps(t, began, end))
	open := func(sealed time.Time, seqs ...uint64) {
		b := g.batch()
		b.SealedUntil, b.OpenListed, b.OpenSeqs = sealed.UnixNano(), true, seqs
		f.metered(t, b)
	}
	open(end, 2, 4)
	require.EqualValues(t, 1, f.openGaps(t, began, end), "3 is not among them")
	f.metered(t, lost)
	require.EqualValues(t, 1, f.openGaps(t, began, end), "not said again")
	open(end.Add(time.Minute), 2, 4)
	require.Zero(t, f.openGaps(t, began, end))
	require.EqualValues(t, 1, f.openGaps(t, end, end.AddDate(0, 1, 0)), "they may end in the next period")
	f.clock.Advance(2 * time.Minute)
	f.metered(t, second)
	open(end.Add(2*time.Minute), 2)
	f.metered(t, first)
	require.Zero(t, f.openGaps(t, end, end.AddDate(0, 1, 0)))
	require.EqualValues(t, 3, f.calls(t, "s1", began, end))
	require.EqualValues(t, 2, f.calls(t, "s1", end, end.AddDate(0, 1, 0)))
	require.Zero(t, query[int64](t, f.db, `SELECT count(*) FROM gaps`))

	// One that is taken off the list and does not come is missing, and a gap after a minute.
	g.batch(call("s1", end))
	g.send(t, call("s1", began.Add(4*time.Minute)))
	open(end.Add(3*time.Minute), 6)
	f.clock.Advance(2 * time.Minute)
	open(end.Add(4 * time.Minute))
	require.EqualValues(t, 1, f.openGaps(t, began, end))
	f.clock.Advance(2 * time.Minute)
	testkit.Await(t, patience, func() bool {
		return query[int64](t, f.db, `SELECT count(*) FROM gaps WHERE opened_at IS NOT NULL`) == 1
	})
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type LIKE 'metering.v1.Gap%'`), "of the one that is lost")
}

// What is missing concerns a period as received.Gap says.
func TestWhichPeriodsAGapConcerns(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	start, end := began.UnixNano(), began.AddDate(0, 1, 0).UnixNano()
	want := uint64(0)
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		for _, after := range []int64{0, start, end - 1, end} {
			for _, closedAt := range []int64{0, start - received.Slack, start - received.Slack + 1, end} {
				for _, waived := range []int64{0, start, start + 1, end} {
					name := fmt.Sprintf("gw-%d-%d-%d", after, closedAt, waived)
					_, err := tx.Exec(t.Context(), `WITH g AS (INSERT INTO gateways (gateway, partition, first_seen_at, seen_at, waived_until) VALUES ($1, 0, now(), now(), $4) RETURNING gateway),
						b AS (INSERT INTO boots (gateway, boot, closed_at) SELECT gateway, 1, $3 FROM g RETURNING gateway)
						INSERT INTO gaps (gateway, boot, first_seq, last_seq, after, noticed_at) SELECT gateway, 1, 1, 2, $2, now() FROM b`, name, after, closedAt, waived)
					if err != nil {
						return err
					}
					if (received.Gap{After: after, BootClosedAt: closedAt, WaivedUntil: waived}).Concerns(start, end) {
						want++
					}
				}
			}
		}
		return nil
	}))
	require.Positive(t, want)
	require.Equal(t, want, f.openGaps(t, began, began.AddDate(0, 1, 0)))
}

// A gateway may be known from a message alone that is not applied yet.
func TestAPeriodIsOpenWhileMessagesOfBeforeItsEndAreNotApplied(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	end := time.Now().Add(24 * time.Hour).Truncate(time.Hour)
	known, unknown := f.gateway("gw1"), f.gateway("gw2")
	partition := bus.Partition("gw2")
	require.NotEqual(t, bus.Partition("gw1"), partition)
	known.seal(t, end)
	reply, err := f.usage(t, "s1", began, end)
	require.NoError(t, err)
	require.True(t, reply.GetSealed())
	var held holds
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT FROM partitions WHERE partition = $1 FOR UPDATE`, partition); err != nil {
			return err
		}
		f.publish(t, unknown.batch(call("s1", began.Add(time.Minute))))
		reply, err = f.usage(t, "s1", began, end)
		f.Client(f.operator()).Must("GET", fmt.Sprintf("/metering/v1/periods/holds?from=%s&to=%s", began.Format(time.RFC3339Nano), end.UTC().Format(time.RFC3339Nano)), nil, &held)
		return err
	}))
	require.False(t, reply.GetSealed())
	require.Equal(t, []uint32{uint32(partition)}, reply.GetBehind())
	require.False(t, held.Sealed)
	require.Equal(t, "partition", held.Holds[0].Kind)
	unknown.seal(t, end)
	reply, err = f.usage(t, "s1", began, end)
	require.NoError(t, err)
	require.True(t, reply.GetSealed())
	require.EqualValues(t, 1, reply.GetCounts().GetBillable())
}
