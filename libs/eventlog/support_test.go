package eventlog_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience bounds the waiting of tests, on a machine that does other things too.
const patience = time.Minute

const tenant = "acme"

// openDB opens a fresh database.
func openDB(tb testing.TB, conns int32) *postgres.DB {
	tb.Helper()
	return openURL(tb, testkit.Database(tb, "eventlog"), conns)
}

func openURL(tb testing.TB, url string, conns int32) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(tb.Context(), postgres.Config{URL: url, MaxConns: conns})
	require.NoError(tb, err)
	tb.Cleanup(db.Close)
	return db
}

// newLog makes an empty log in db.
func newLog(tb testing.TB, db *postgres.DB) *eventlog.Log {
	tb.Helper()
	log, err := eventlog.New(db, eventlog.Config{Name: "catalog"})
	require.NoError(tb, err)
	require.NoError(tb, log.Migrate(tb.Context()))
	return log
}

// as is a context in which a member of a tenant acts.
func as(ctx context.Context, tenant string) context.Context {
	return principal.With(ctx, principal.Principal{Tenant: tenant, Subject: "member:m1"})
}

func created(name string) *catalogv1.APICreated {
	return &catalogv1.APICreated{Api: "id-" + name, Name: name}
}

func changed(id string) *catalogv1.APIChanged { return &catalogv1.APIChanged{Api: id} }

// appendTo executes one command that appends events to a stream.
func appendTo(ctx context.Context, log *eventlog.Log, stream string, expected uint64, events ...proto.Message) (uint64, error) {
	result, err := eventlog.Execute(ctx, log, func(_ context.Context, tx *eventlog.Tx) (string, error) {
		tx.Append("api", stream, expected, events...)
		return "done", nil
	})
	return result.Position, err
}

// fill appends n events, each to a stream of its own, a hundred in a command.
func fill(tb testing.TB, log *eventlog.Log, prefix string, n int) {
	tb.Helper()
	for from := 0; from < n; from += 100 {
		_, err := eventlog.Execute(as(tb.Context(), tenant), log, func(_ context.Context, tx *eventlog.Tx) (int, error) {
			for i := from; i < min(from+100, n); i++ {
				name := fmt.Sprintf("%s-%d", prefix, i)
				tx.Append("api", name, 0, created(name))
			}
			return 0, nil
		})
		require.NoError(tb, err)
	}
}

// readAll returns the whole log.
func readAll(tb testing.TB, log *eventlog.Log) []eventlog.Event {
	tb.Helper()
	var all []eventlog.Event
	for {
		after := uint64(len(all))
		events, err := log.Read(tb.Context(), after, 1000)
		require.NoError(tb, err)
		if len(events) == 0 {
			return all
		}
		all = append(all, events...)
	}
}

// start runs something until the test ends or stop is called, which waits for its end.
func start(tb testing.TB, run func(context.Context) error) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(tb, <-done)
	}
	tb.Cleanup(stop)
	return stop
}

func newRelay(tb testing.TB, log *eventlog.Log, js jetstream.JetStream) *eventlog.Relay {
	tb.Helper()
	relay, err := eventlog.NewRelay(log, js, eventlog.RelayConfig{Logger: testkit.Logger(tb)})
	require.NoError(tb, err)
	return relay
}

// awaitReplica waits until the replica is as long as the log and checks that they are equal.
func awaitReplica(tb testing.TB, log *eventlog.Log, relay *eventlog.Relay, js jetstream.JetStream) {
	tb.Helper()
	head, err := log.Head(tb.Context())
	require.NoError(tb, err)
	testkit.Await(tb, patience, func() error {
		stream, err := js.Stream(tb.Context(), eventlog.ReplicaName(log.Name()))
		if err != nil {
			return err
		}
		if last := stream.CachedInfo().State.LastSeq; last != head {
			return fmt.Errorf("the replica ends at %d, the log at %d; relay: %w", last, head, relay.Err())
		}
		return nil
	})
	audit, err := relay.Audit(tb.Context())
	require.NoError(tb, err)
	require.Empty(tb, audit.Differences)
	require.Equal(tb, eventlog.Audit{LogEnd: head, ReplicaEnd: head, Compared: head}, audit)
}

// execute runs statements for all tenants.
func execute(tb testing.TB, db *postgres.DB, statements ...string) {
	tb.Helper()
	require.NoError(tb, db.InTenant(tb.Context(), "*", func(tx pgx.Tx) error {
		_, err := tx.Exec(tb.Context(), strings.Join(statements, ";"))
		return err
	}))
}

// query returns one value.
func query[V any](tb testing.TB, db *postgres.DB, sql string, args ...any) V {
	tb.Helper()
	var value V
	require.NoError(tb, db.InTenant(tb.Context(), "*", func(tx pgx.Tx) error {
		return tx.QueryRow(tb.Context(), sql, args...).Scan(&value)
	}))
	return value
}
