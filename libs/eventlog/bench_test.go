package eventlog_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/testkit"
)

// syncedDB opens a database of a server that syncs, as in production.
func syncedDB(b *testing.B, conns int32) *postgres.DB {
	b.Helper()
	url, err := testkit.PostgresServer(b, testkit.Fsync()).CreateDatabase(b.Context(), "bench")
	require.NoError(b, err)
	return openURL(b, url, conns)
}

// BenchmarkAppend measures commands of one event each, to streams of their own.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			log := newLog(b, syncedDB(b, int32(writers)+2))
			for w := range writers { // connections and their statements
				_, err := appendTo(as(b.Context(), tenant), log, fmt.Sprintf("warm-%d", w), 0, created("warm"))
				require.NoError(b, err)
			}
			took := make([][]time.Duration, writers)
			var group errgroup.Group
			b.ResetTimer()
			for w := range writers {
				group.Go(func() error {
					for i := w; i < b.N; i += writers {
						name, begun := fmt.Sprintf("%d", i), time.Now()
						if _, err := appendTo(as(b.Context(), tenant), log, name, 0, created(name)); err != nil {
							return err
						}
						took[w] = append(took[w], time.Since(begun))
					}
					return nil
				})
			}
			require.NoError(b, group.Wait())
			b.StopTimer()
			all := slices.Concat(took...)
			slices.Sort(all)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkRelay measures the filling of a replica.
func BenchmarkRelay(b *testing.B) {
	for name, options := range map[string][]testkit.NATSOption{"sync=always": {testkit.SyncAlways()}, "sync=default": nil} {
		b.Run(name, func(b *testing.B) {
			log := newLog(b, openDB(b, 4))
			fill(b, log, "x", b.N)
			js := testkit.NATS(b, options...).JetStream()
			relay := newRelay(b, log, js)
			b.ResetTimer()
			start(b, relay.Run)
			testkit.Await(b, 10*patience, func() bool { return relay.Published() == uint64(b.N) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkFollow measures a handler of one statement, on a database that syncs.
func BenchmarkFollow(b *testing.B) {
	s := newSource(b, b.N)
	db := syncedDB(b, 4)
	execute(b, db, effects)
	follower := s.follower(b, db, func(c *eventlog.FollowerConfig) {
		c.BatchSize = 500
		c.Handle = func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			_, err := tx.Exec(ctx, `INSERT INTO seen (position, tenant_id, stream_id) VALUES ($1, $2, $3)`, e.Position, e.Tenant, e.StreamID)
			return err
		}
	})
	b.ResetTimer()
	start(b, follower.Run)
	waitFor(b, follower, uint64(b.N))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRebuild measures a projection of two statements an event.
func BenchmarkRebuild(b *testing.B) {
	db := openDB(b, 4)
	log := newLog(b, db)
	execute(b, db, listTables)
	fill(b, log, "x", b.N)
	b.ResetTimer()
	rebuilt, err := log.Rebuild(b.Context(), lists)
	require.NoError(b, err)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	require.NoError(b, rebuilt.Close(b.Context()))
}
