package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestAppendAndLoad(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC))
	db := openDB(t, 4)
	log, err := eventlog.New(db, eventlog.Config{Name: "catalog", Clock: clock.Now})
	require.NoError(t, err)
	require.NoError(t, log.Migrate(t.Context()))
	ctx := principal.WithCommand(as(t.Context(), tenant), principal.Command{
		Reason: "asked for", CorrelationID: "c1", TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	})

	position, err := appendTo(ctx, log, "weather", 0, created("weather"), changed("weather"))
	require.NoError(t, err)
	require.EqualValues(t, 2, position)
	position, err = appendTo(ctx, log, "weather", 2, changed("weather"))
	require.NoError(t, err)
	require.EqualValues(t, 3, position)

	var events []eventlog.Event
	_, err = eventlog.Execute(ctx, log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
		events, err = tx.Load(ctx, "api", "weather")
		return len(events), err
	})
	require.NoError(t, err)
	require.Len(t, events, 3)
	first := events[0]
	require.NotEmpty(t, first.ID)
	require.True(t, proto.Equal(created("weather"), first.Payload))
	first.ID, first.Payload = "", nil
	raw, err := proto.Marshal(created("weather"))
	require.NoError(t, err)
	require.Equal(t, eventlog.Event{
		Log: "catalog", Epoch: 1, Position: 1, StreamType: "api", StreamID: "weather", Version: 1, Type: "catalog.v1.APICreated",
		Raw: raw, Tenant: tenant, Actor: "member:m1", Reason: "asked for", CorrelationID: "c1",
		TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		RecordedAt:  time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC),
	}, first)
	count := eventlog.Fold(events, 0, func(n int, _ proto.Message) int { return n + 1 })
	require.Equal(t, 3, count)
}

func TestLoadSeesWhatTheCommandAppended(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	ctx := as(t.Context(), tenant)
	_, err := appendTo(ctx, log, "weather", 0, created("weather"))
	require.NoError(t, err)
	result, err := eventlog.Execute(ctx, log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
		tx.Append("api", "weather", 1, changed("weather"))
		events, err := tx.Load(ctx, "api", "weather")
		if err != nil {
			return 0, err
		}
		tx.Append("api", "weather", uint64(len(events)), changed("weather"))
		return len(events), nil
	})
	require.NoError(t, err)
	require.Equal(t, eventlog.Result[int]{Value: 2, Position: 3}, result)
}

func TestAppendRefusesWhatCannotBeRight(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	ctx := as(t.Context(), tenant)
	tests := map[string]struct {
		append func(tx *eventlog.Tx)
		want   string
		kind   problem.Kind
	}{
		"stream type": {func(tx *eventlog.Tx) { tx.Append("API", "a", 0, created("a")) }, "stream type is not a name", problem.Internal},
		"empty id":    {func(tx *eventlog.Tx) { tx.Append("api", "", 0, created("a")) }, "stream id is not usable", problem.Internal},
		"id with a line break": {
			func(tx *eventlog.Tx) { tx.Append("api", "a\r\nb", 0, created("a")) }, "stream id is not usable", problem.Internal,
		},
		"nil event": {func(tx *eventlog.Tx) { tx.Append("api", "a", 0, nil) }, "an event is nil", problem.Internal},
		"no tenant": {func(tx *eventlog.Tx) { tx.AppendFor("", "api", "a", 0, created("a")) }, "no tenant given", problem.Internal},
		"too large": {
			func(tx *eventlog.Tx) { tx.Append("api", "a", 0, created(strings.Repeat("x", eventlog.MaxPayload))) },
			fmt.Sprintf("bytes long; the most is %d.", eventlog.MaxPayload), problem.TooLarge,
		},
		"all together too large": {func(tx *eventlog.Tx) {
			for i := range 9 {
				tx.Append("api", "a", uint64(i), created(strings.Repeat("x", eventlog.MaxPayload/2-1000)))
			}
		}, "split it into several commands", problem.TooLarge},
		"version that is not there": {
			func(tx *eventlog.Tx) { tx.Append("api", "a", 7, created("a")) }, "has no event of the expected version", problem.Internal,
		},
		"version twice in a command": {func(tx *eventlog.Tx) {
			tx.Append("api", "a", 0, created("a"))
			tx.Append("api", "a", 0, created("a"))
		}, "already appended up to version 1", problem.Internal},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := eventlog.Execute(ctx, log, func(_ context.Context, tx *eventlog.Tx) (int, error) {
				test.append(tx)
				return 0, nil
			})
			require.ErrorContains(t, err, test.want)
			require.Equal(t, test.kind, problem.KindOf(err))
			require.Zero(t, mustHead(t, log))
		})
	}
}

func mustHead(tb testing.TB, log *eventlog.Log) uint64 {
	tb.Helper()
	head, err := log.Head(tb.Context())
	require.NoError(tb, err)
	return head
}

func TestAppendLargestEvent(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	large := created(strings.Repeat("x", eventlog.MaxPayload/2-100)) // id and name
	for i := range 3 {
		_, err := appendTo(as(t.Context(), tenant), log, string(rune('a'+i)), 0, large)
		require.NoError(t, err)
	}
	events, err := log.Read(t.Context(), 0, 100)
	require.NoError(t, err)
	require.Len(t, events, 2, "pages are bounded by bytes too")
	require.Len(t, readAll(t, log), 3)
}

func TestEventsAreFinal(t *testing.T) {
	t.Parallel()
	db := openDB(t, 4)
	log := newLog(t, db)
	fill(t, log, "x", 1)
	for _, statement := range []string{`UPDATE events SET type = 'x'`, `DELETE FROM events`} {
		err := db.InTenant(t.Context(), "*", func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), statement)
			return err
		})
		require.ErrorContains(t, err, "events are never changed or deleted")
	}
}

func TestRolledBackCommandLeavesNothing(t *testing.T) {
	t.Parallel()
	db := openDB(t, 4)
	log := newLog(t, db)
	execute(t, db, `CREATE TABLE names (name text PRIMARY KEY)`)
	broken := errors.New("broken")
	_, err := eventlog.Execute(as(t.Context(), tenant), log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
		tx.Append("api", "a", 0, created("a"))
		_, err := tx.Exec(ctx, `INSERT INTO names VALUES ('a')`)
		return 0, errors.Join(err, broken)
	})
	require.ErrorIs(t, err, broken)
	require.Zero(t, mustHead(t, log))
	require.Zero(t, query[int](t, db, `SELECT count(*) FROM names`))
}

func TestOneLogADatabase(t *testing.T) {
	t.Parallel()
	db := openDB(t, 4)
	newLog(t, db)
	other, err := eventlog.New(db, eventlog.Config{Name: "billing"})
	require.NoError(t, err)
	require.ErrorContains(t, other.Migrate(t.Context()), `the database holds the log "catalog"`)
}

func TestLogWithoutTables(t *testing.T) {
	t.Parallel()
	log, err := eventlog.New(openDB(t, 2), eventlog.Config{Name: "catalog"})
	require.NoError(t, err)
	_, err = appendTo(as(t.Context(), tenant), log, "a", 0, created("a"))
	require.Error(t, err)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	_, err := eventlog.New(nil, eventlog.Config{Name: "Not A Name"})
	require.ErrorContains(t, err, `eventlog.name: "Not A Name" is not a name`)
	_, err = eventlog.NewFollower(eventlog.FollowerConfig{Name: "x", OnFailure: 9, BatchSize: 501})
	for _, field := range []string{"follow:", "db:", "js:", "logger:", "handle:", "onFailure:", "batchSize:"} {
		require.ErrorContains(t, err, "follower."+field)
	}
	_, err = eventlog.NewRelay(nil, nil, eventlog.RelayConfig{Replicas: 7})
	require.ErrorContains(t, err, "relay.replicas: 7")
	require.ErrorContains(t, err, "relay.logger")
}
