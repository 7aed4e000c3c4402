package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/testkit"
)

// restore makes the database what it was at a position, as restoring a backup does.
func restore(tb testing.TB, s *source, position int) {
	tb.Helper()
	execute(tb, s.db, `ALTER TABLE events DISABLE TRIGGER events_are_final`,
		fmt.Sprintf(`DELETE FROM events WHERE position > %d`, position),
		`ALTER TABLE events ENABLE TRIGGER events_are_final`,
		fmt.Sprintf(`UPDATE log_head SET position = %d, epoch = 1`, position))
}

func TestRestoredLog(t *testing.T) {
	t.Parallel()
	s := newSource(t, 60)
	early, late := followerDB(t), followerDB(t)
	behind := s.follower(t, early, nil)
	stop := start(t, behind.Run)
	waitFor(t, behind, 60)
	stop()
	s.grow(t, "lost", 40)
	ahead := s.follower(t, late, nil)
	start(t, ahead.Run)
	waitFor(t, ahead, 100)

	s.stop()
	restore(t, s, 80)
	relay := newRelay(t, s.log, s.js)
	s.relay = relay
	s.stop = start(t, relay.Run)
	testkit.Await(t, patience, func() bool { return errors.Is(relay.Err(), eventlog.ErrDiverged) })
	require.ErrorContains(t, relay.Err(), "ends at position 80, its replica at 100: after restoring a backup begin a new epoch")
	fill(t, s.log, "other", 50) // even when the log has outgrown the replica
	testkit.Await(t, patience, func() bool {
		return relay.Err() != nil && errors.Is(relay.Err(), eventlog.ErrDiverged)
	})

	epoch, err := relay.BeginEpoch(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, epoch)
	awaitReplica(t, s.log, relay, s.js)
	s.grow(t, "new", 10) // positions 131 to 140, of epoch 2

	// 60 was before the backup: what this one has applied is still so.
	start(t, behind.Run)
	waitFor(t, behind, 140)
	requireEffects(t, early, 140)

	// The other one has applied events that are gone, and knows although their successors are of the same epoch.
	testkit.Await(t, patience, func() bool { return errors.Is(ahead.Err(), eventlog.ErrEpoch) })
	requireEffects(t, late, 100)
}

// TestFollowerRefusesALostHistory has applied positions that came again with other events.
func TestFollowerRefusesALostHistory(t *testing.T) {
	t.Parallel()
	s := newSource(t, 100)
	db := followerDB(t)
	follower := s.follower(t, db, nil)
	stop := start(t, follower.Run)
	waitFor(t, follower, 100)
	s.stop()
	restore(t, s, 80)
	epoch, err := s.relay.BeginEpoch(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, epoch)
	s.stop = start(t, s.relay.Run)
	s.grow(t, "other", 50)

	testkit.Await(t, patience, func() bool { return errors.Is(follower.Err(), eventlog.ErrEpoch) })
	require.ErrorContains(t, follower.Err(), "of epoch 1 at position 100 of log catalog, where the replica holds event")
	requireEffects(t, db, 100)
	stop()

	require.NoError(t, follower.Reset(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM seen; UPDATE total SET positions = 0`)
		return err
	}))
	start(t, follower.Run)
	waitFor(t, follower, 130)
	requireEffects(t, db, 130)
	require.EqualValues(t, 2, query[int](t, db, `SELECT epoch FROM follow_offset`))
}

// TestFollowerRefusesAnOlderEpoch reads a replica from before the restoration, as of a broker that was restored too.
func TestFollowerRefusesAnOlderEpoch(t *testing.T) {
	t.Parallel()
	s := newSource(t, 20)
	db := followerDB(t)
	follower := s.follower(t, db, nil)
	stop := start(t, follower.Run)
	waitFor(t, follower, 20)
	stop()
	execute(t, db, `UPDATE follow_offset SET epoch = 2`)
	start(t, follower.Run)
	testkit.Await(t, patience, func() bool { return errors.Is(follower.Err(), eventlog.ErrEpoch) })
	requireEffects(t, db, 20)
}

func TestRelayRefusesADatabaseFromBeforeARestoration(t *testing.T) {
	t.Parallel()
	s := newSource(t, 20)
	_, err := s.relay.BeginEpoch(t.Context())
	require.NoError(t, err)
	s.grow(t, "x", 5)
	stream, err := s.js.Stream(t.Context(), "EV_CATALOG")
	require.NoError(t, err)
	require.Equal(t, "2", stream.CachedInfo().Config.Metadata["tollgate.epoch"], "an event of a new epoch is in a new replica")
	s.stop()
	execute(t, s.db, `UPDATE log_head SET epoch = 1`)
	relay := newRelay(t, s.log, s.js)
	start(t, relay.Run)
	testkit.Await(t, patience, func() bool { return errors.Is(relay.Err(), eventlog.ErrDiverged) })
	require.ErrorContains(t, relay.Err(), "log catalog is of epoch 1, its replica of epoch 2")
	epoch, err := relay.BeginEpoch(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 3, epoch, "above both")
}
