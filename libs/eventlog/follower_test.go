package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/postgres/postgrestest"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
)

// effects makes tables in which an event that is applied twice, not at all or out of order shows.
const effects = `
CREATE TABLE seen (n bigserial, position bigint PRIMARY KEY, tenant_id text NOT NULL, stream_id text NOT NULL);
CREATE TABLE total (positions bigint NOT NULL);
INSERT INTO total VALUES (0)`

// note applies an event to the tables of effects, in two statements.
func note(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	if _, err := tx.Exec(ctx, `INSERT INTO seen (position, tenant_id, stream_id) VALUES ($1, $2, $3)`, e.Position, e.Tenant, e.StreamID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE total SET positions = positions + $1`, e.Position)
	return err
}

// requireEffects checks that each of n events was applied once, in order.
func requireEffects(tb testing.TB, db *postgres.DB, n uint64) {
	tb.Helper()
	require.Equal(tb, n, query[uint64](tb, db, `SELECT count(*) FROM seen`))
	require.Equal(tb, n, query[uint64](tb, db, `SELECT coalesce(max(position), 0) FROM seen`))
	require.Equal(tb, n*(n+1)/2, query[uint64](tb, db, `SELECT positions FROM total`))
	require.Zero(tb, query[int](tb, db, `SELECT count(*) FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM seen) s WHERE before >= position`))
}

// source is a log with its replica, and a relay that runs.
type source struct {
	log   *eventlog.Log
	db    *postgres.DB
	relay *eventlog.Relay
	nats  *testkit.NATSServer
	js    jetstream.JetStream
	stop  func() // stops the relay
}

func newSource(tb testing.TB, events int) *source {
	tb.Helper()
	s := &source{db: openDB(tb, 6), nats: testkit.NATS(tb)}
	s.log, s.js = newLog(tb, s.db), s.nats.JetStream()
	s.relay = newRelay(tb, s.log, s.js)
	s.stop = start(tb, s.relay.Run)
	s.grow(tb, "first", events)
	return s
}

// grow appends and waits for the replica.
func (s *source) grow(tb testing.TB, prefix string, events int) {
	tb.Helper()
	fill(tb, s.log, prefix, events)
	awaitReplica(tb, s.log, s.relay, s.js)
}

func (s *source) follower(tb testing.TB, db *postgres.DB, change func(*eventlog.FollowerConfig)) *eventlog.Follower {
	tb.Helper()
	config := eventlog.FollowerConfig{
		Name: "plans", Follow: "catalog", DB: db, JS: s.js, Logger: testkit.Logger(tb), Handle: note, BatchSize: 50,
		HaltRetry: 20 * time.Millisecond,
	}
	if change != nil {
		change(&config)
	}
	follower, err := eventlog.NewFollower(config)
	require.NoError(tb, err)
	return follower
}

func waitFor(tb testing.TB, follower *eventlog.Follower, position uint64) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	require.NoError(tb, follower.WaitFor(ctx, position), "follower: %v", follower.Err())
}

func followerDB(tb testing.TB) *postgres.DB {
	tb.Helper()
	db := openDB(tb, 6)
	execute(tb, db, effects)
	return db
}

func TestFollower(t *testing.T) {
	t.Parallel()
	s := newSource(t, 230)
	db := followerDB(t)
	var first atomic.Pointer[eventlog.Event]
	var acting atomic.Pointer[principal.Principal]
	follower := s.follower(t, db, func(c *eventlog.FollowerConfig) {
		c.Handle = func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			p, _ := principal.From(ctx)
			acting.Store(&p)
			first.CompareAndSwap(nil, &e)
			return note(ctx, tx, e)
		}
	})
	stop := start(t, follower.Run)
	waitFor(t, follower, 230)
	s.grow(t, "live", 3)
	waitFor(t, follower, 233)
	requireEffects(t, db, 233)
	require.NoError(t, follower.Err())
	require.Equal(t, eventlog.Status{Position: 233}, follower.Status())
	require.Equal(t, principal.Service("plans", tenant), *acting.Load())
	stored, err := s.log.Read(t.Context(), 0, 1)
	require.NoError(t, err)
	require.Equal(t, stored[0].ID, first.Load().ID)
	require.Equal(t, stored[0].RecordedAt, first.Load().RecordedAt)
	require.Equal(t, stored[0].Raw, first.Load().Raw)

	stop()
	s.grow(t, "later", 10)
	follower = s.follower(t, db, nil)
	start(t, follower.Run)
	waitFor(t, follower, 243)
	requireEffects(t, db, 243)

	short, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, follower.WaitFor(short, 1000), "has applied log catalog up to position 243, not yet 1000")
}

// TestFollowerBrokenAtEachStatement breaks the follower's connection to its database at each request that it makes.
func TestFollowerBrokenAtEachStatement(t *testing.T) {
	t.Parallel()
	const events = 4
	s := newSource(t, events)
	direct := followerDB(t)
	requests := 0
	run := func(t *testing.T, cutAt int, deliver bool) {
		require.NoError(t, s.follower(t, direct, nil).Reset(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM seen; UPDATE total SET positions = 0`)
			return err
		}))
		proxy, url := postgrestest.NewURLProxy(t, direct.Pool().Config().ConnConfig.ConnString())
		follower := s.follower(t, openURL(t, url, 2), func(c *eventlog.FollowerConfig) { c.BatchSize = 3 })
		before := proxy.Requests()
		if cutAt > 0 {
			proxy.CutAt(cutAt, deliver)
		}
		stop := start(t, follower.Run)
		waitFor(t, follower, events)
		stop()
		requireEffects(t, direct, events)
		requests = proxy.Requests() - before
		if cutAt > 0 {
			require.Equal(t, 1, proxy.Cuts())
		}
	}
	require.NoError(t, s.follower(t, direct, nil).Migrate(t.Context()))
	run(t, 0, false)
	total := requests
	require.Greater(t, total, 3*events, "begin, offset, two statements an event, commit")
	for n := 1; n <= total; n++ {
		t.Run(fmt.Sprintf("request %d lost", n), func(t *testing.T) { run(t, n, false) })
		t.Run(fmt.Sprintf("answer %d lost", n), func(t *testing.T) { run(t, n, true) })
	}
}

// TestFollowerKilled ends followers at random moments, two copies at once, and their connections too.
func TestFollowerKilled(t *testing.T) {
	t.Parallel()
	s := newSource(t, 600)
	url := testkit.Database(t, "eventlog")
	db := openURL(t, url, 12)
	execute(t, db, effects)
	kill, spare := killConnections(t, openURL(t, url, 1))
	var reached uint64
	for reached < 600 {
		var stops []func()
		var copies []*eventlog.Follower
		for range 2 {
			follower := s.follower(t, db, func(c *eventlog.FollowerConfig) { c.BatchSize = 20 })
			copies = append(copies, follower)
			stops = append(stops, start(t, follower.Run))
		}
		waitFor(t, copies[0], min(reached+30, 600))
		kill()
		waitFor(t, copies[1], min(reached+60, 600))
		for i, stop := range stops {
			stop()
			reached = max(reached, copies[i].Position())
		}
	}
	spare()
	requireEffects(t, db, 600)
}

func TestTwoCopiesOfAFollower(t *testing.T) {
	t.Parallel()
	s := newSource(t, 400)
	db := followerDB(t)
	var copies []*eventlog.Follower
	for range 2 {
		follower := s.follower(t, db, func(c *eventlog.FollowerConfig) { c.BatchSize = 7 })
		copies = append(copies, follower)
		start(t, follower.Run)
	}
	s.grow(t, "live", 200)
	for _, follower := range copies {
		waitFor(t, follower, 600)
	}
	requireEffects(t, db, 600)
}

// TestFollowerOutlivesTheBroker loses the replica in several ways while the follower runs.
func TestFollowerOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, s *source){
		"server restarted": func(_ *testing.T, s *source) { s.nats.Restart() },
		"stream deleted": func(t *testing.T, s *source) {
			require.NoError(t, s.js.DeleteStream(t.Context(), "EV_CATALOG"))
		},
		"store lost": func(t *testing.T, s *source) {
			s.nats.Shutdown()
			require.NoError(t, os.RemoveAll(s.nats.StoreDir()))
			s.nats.Start()
		},
	}
	for name, lose := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t, 100)
			db := followerDB(t)
			follower := s.follower(t, db, nil)
			start(t, follower.Run)
			waitFor(t, follower, 100)
			lose(t, s)
			s.grow(t, "after", 100)
			waitFor(t, follower, 200)
			requireEffects(t, db, 200)
		})
	}
}

// TestFollowerMissesMessages makes the client drop the last message: it is not lost, although no other one comes after it.
func TestFollowerMissesMessages(t *testing.T) {
	t.Parallel()
	s := newSource(t, 1)
	slow := make(chan struct{}, 100)
	js := s.nats.JetStream(nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrSlowConsumer) {
			slow <- struct{}{}
		}
	}))
	db := followerDB(t)
	follower := s.follower(t, db, func(c *eventlog.FollowerConfig) {
		c.JS, c.BatchSize = js, 2 // a buffer of four messages, which the server's heartbeats fill
		c.Handle = func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			if e.Position == 1 {
				select {
				case <-slow:
				case <-ctx.Done():
					return ctx.Err()
				}
				fill(t, s.log, "dropped", 1)
				awaitReplica(t, s.log, s.relay, s.js)
			}
			return note(ctx, tx, e)
		}
	})
	start(t, follower.Run)
	waitFor(t, follower, 2)
	requireEffects(t, db, 2)
}

func TestFollowerBeforeItsLog(t *testing.T) {
	t.Parallel()
	s := &source{db: openDB(t, 4), nats: testkit.NATS(t)}
	s.js = s.nats.JetStream()
	db := followerDB(t)
	follower := s.follower(t, db, nil)
	start(t, follower.Run)
	testkit.Await(t, patience, func() bool {
		return errors.Is(follower.Err(), jetstream.ErrStreamNotFound) && errors.Is(follower.Err(), eventlog.ErrNoLog)
	})
	s.log = newLog(t, s.db)
	s.relay = newRelay(t, s.log, s.js)
	start(t, s.relay.Run)
	fill(t, s.log, "x", 3)
	waitFor(t, follower, 3)
	requireEffects(t, db, 3)
}

// TestFollowerOfATruncatedReplica is ahead of it: it waits for the relay.
func TestFollowerOfATruncatedReplica(t *testing.T) {
	t.Parallel()
	s := newSource(t, 50)
	db := followerDB(t)
	follower := s.follower(t, db, nil)
	stop := start(t, follower.Run)
	waitFor(t, follower, 50)
	stop()
	s.stop()
	require.NoError(t, s.js.DeleteStream(t.Context(), "EV_CATALOG"))
	require.NoError(t, s.relay.Rebuild(t.Context())) // empty: no relay runs

	start(t, follower.Run)
	testkit.Await(t, patience, func() bool { return follower.Err() != nil })
	require.ErrorContains(t, follower.Err(), "waiting for its relay")
	fill(t, s.log, "more", 10)
	start(t, s.relay.Run)
	waitFor(t, follower, 60)
	requireEffects(t, db, 60)
}

// TestFollowerReacts appends to the follower's own log what each event leads to, exactly once.
func TestFollowerReacts(t *testing.T) {
	t.Parallel()
	s := newSource(t, 30)
	db := openDB(t, 6)
	own, err := eventlog.New(db, eventlog.Config{Name: "subscription"})
	require.NoError(t, err)
	require.NoError(t, own.Migrate(t.Context()))
	var failures atomic.Int32
	follower := s.follower(t, db, func(c *eventlog.FollowerConfig) {
		c.Handle = func(ctx context.Context, pgtx pgx.Tx, e eventlog.Event) error {
			tx, flush, err := own.Within(ctx, pgtx)
			if err != nil {
				return err
			}
			events, err := tx.Load(ctx, "reaction", "all")
			if err != nil {
				return err
			}
			if e.Position == 17 && failures.Add(1) <= 2 { // another command is faster, twice
				if _, err := eventlog.Execute(as(ctx, tenant), own, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
					tx.Append("reaction", "all", uint64(len(events)), changed("other"))
					return 0, nil
				}); err != nil {
					return err
				}
			}
			tx.Append("reaction", "all", uint64(len(events)), changed(e.StreamID))
			_, err = flush(ctx)
			return err
		}
		c.BatchSize = 1
	})
	start(t, follower.Run)
	waitFor(t, follower, 30)
	reactions := readAll(t, own)
	require.Len(t, reactions, 32)
	causes, err := s.log.Read(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Equal(t, causes[0].ID, reactions[0].CausationID)
	require.Equal(t, "service:plans", reactions[0].Actor)
	require.Equal(t, tenant, reactions[0].Tenant)
}
