package eventlog_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestTransientFailuresAreTriedAgain(t *testing.T) {
	t.Parallel()
	s := newSource(t, 20)
	for name, failure := range map[string]error{
		"deadlock":     &pgconn.PgError{Code: "40P01"},
		"conflict":     eventlog.ErrConflict,
		"unavailable":  problem.NewUnavailable("x", "x"),
		"out of space": &pgconn.PgError{Code: "53100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := followerDB(t)
			var failures atomic.Int32
			follower := s.follower(t, db, func(c *eventlog.FollowerConfig) {
				c.OnFailure = eventlog.Park
				c.Handle = func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
					if e.Position == 10 && failures.Add(1) <= 3 {
						return errors.Join(note(ctx, tx, e), failure)
					}
					return note(ctx, tx, e)
				}
			})
			start(t, follower.Run)
			waitFor(t, follower, 20)
			requireEffects(t, db, 20)
			require.NoError(t, follower.Err())
			parked, err := follower.Parked(t.Context())
			require.NoError(t, err)
			require.Empty(t, parked)
		})
	}
}

func TestUnknownTypesAreSkippedAndCounted(t *testing.T) {
	t.Parallel()
	s := newSource(t, 5)
	insertUnknown(t, s)
	s.grow(t, "after", 5)
	db := followerDB(t)
	follower := s.follower(t, db, nil)
	start(t, follower.Run)
	waitFor(t, follower, 11)
	require.Equal(t, eventlog.Status{Position: 11, Skipped: 1}, follower.Status())
	require.Equal(t, 10, query[int](t, db, `SELECT count(*) FROM seen WHERE position <> 6`))

	_, err := load(as(t.Context(), tenant), s.log, "api", "future")
	require.ErrorIs(t, err, eventlog.ErrUnknownType, "an own aggregate cannot be decided on without it")
	events, err := s.log.Read(t.Context(), 5, 1)
	require.NoError(t, err)
	require.Nil(t, events[0].Payload)
}

// insertUnknown appends an event as a newer build would.
func insertUnknown(tb testing.TB, s *source) {
	tb.Helper()
	execute(tb, s.db, `UPDATE log_head SET position = position + 1`,
		`INSERT INTO events SELECT position, 1, 'e', 'acme', 'api', 'future', 1, 'catalog.v9.SomethingNew', '\x0801', '{}', now() FROM log_head`)
}

func TestHaltedFollower(t *testing.T) {
	t.Parallel()
	s := newSource(t, 20)
	for name, poison := range map[string]func() error{
		"error": func() error { return errors.New("no rate for this plan") },
		"panic": func() error { panic("no rate for this plan") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := followerDB(t)
			var mended atomic.Bool
			follower := s.follower(t, db, func(c *eventlog.FollowerConfig) {
				c.Handle = func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
					if err := note(ctx, tx, e); err != nil {
						return err
					}
					if e.Position == 13 && !mended.Load() {
						return poison()
					}
					return nil
				}
			})
			stop := start(t, follower.Run)
			waitFor(t, follower, 12)
			testkit.Await(t, patience, func() bool { return follower.Err() != nil })
			require.ErrorContains(t, follower.Err(), "halted: apply event 13 (catalog.v1.APICreated)")
			require.ErrorContains(t, follower.Err(), "no rate for this plan")
			requireEffects(t, db, 12)
			stop() // and start again: it halts at the same event

			stop = start(t, follower.Run)
			testkit.Await(t, patience, func() bool { return follower.Err() != nil })
			requireEffects(t, db, 12)
			mended.Store(true)
			waitFor(t, follower, 20)
			requireEffects(t, db, 20)
			testkit.Await(t, patience, func() bool { return follower.Err() == nil })
			stop()
		})
	}
}

func TestParkedEvents(t *testing.T) {
	t.Parallel()
	s := newSource(t, 60)
	db := followerDB(t)
	execute(t, db, `ALTER TABLE total ADD CONSTRAINT small CHECK (positions < 1000000)`)
	var mended atomic.Bool
	follower := s.follower(t, db, func(c *eventlog.FollowerConfig) {
		c.OnFailure = eventlog.Park
		c.Handle = func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			if err := note(ctx, tx, e); err != nil {
				return err
			}
			switch {
			case mended.Load():
				return nil
			case e.Position == 1 || e.Position == 33 || e.Position == 34:
				return errors.New("broken")
			case e.Position == 60: // the transaction fails in the database
				_, err := tx.Exec(ctx, `UPDATE total SET positions = 1000000`)
				return err
			}
			return nil
		}
	})
	start(t, follower.Run)
	waitFor(t, follower, 60)
	parked, err := follower.Parked(t.Context())
	require.NoError(t, err)
	require.Len(t, parked, 4)
	for i, position := range []uint64{1, 33, 34, 60} {
		require.Equal(t, position, parked[i].Position)
		require.Equal(t, tenant, parked[i].Tenant)
		require.Equal(t, "catalog.v1.APICreated", parked[i].Type)
		require.Equal(t, 1, parked[i].Attempts)
	}
	require.Contains(t, parked[0].Error, "broken")
	require.Contains(t, parked[3].Error, "small")
	require.EqualValues(t, 4, follower.Status().Parked)
	require.Equal(t, 56, query[int](t, db, `SELECT count(*) FROM seen`))

	require.ErrorContains(t, follower.Replay(t.Context(), 33), "broken")
	parked, err = follower.Parked(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, parked[1].Attempts, "a failed replay stays parked")

	mended.Store(true)
	for _, position := range []uint64{1, 33, 34, 60} {
		require.NoError(t, follower.Replay(t.Context(), position))
	}
	require.Equal(t, 60, query[int](t, db, `SELECT count(*) FROM seen`))
	require.Equal(t, 60*61/2, query[int](t, db, `SELECT positions FROM total`))
	err = follower.Replay(t.Context(), 33)
	require.Equal(t, problem.NotFound, problem.KindOf(err), "each is replayed once")
}

// An event is parked whatever the text of its error.
func TestParkedErrorsAreText(t *testing.T) {
	t.Parallel()
	s := newSource(t, 3)
	db := followerDB(t)
	follower := s.follower(t, db, func(c *eventlog.FollowerConfig) {
		c.OnFailure = eventlog.Park
		c.Handle = func(_ context.Context, _ pgx.Tx, _ eventlog.Event) error {
			return errors.New("x\x00\xff" + strings.Repeat("ü", 4000))
		}
	})
	start(t, follower.Run)
	waitFor(t, follower, 3)
	parked, err := follower.Parked(t.Context())
	require.NoError(t, err)
	require.Len(t, parked, 3)
	require.True(t, strings.HasSuffix(parked[0].Error, "üü"))
}
