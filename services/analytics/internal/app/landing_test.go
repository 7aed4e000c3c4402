package app_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	patience = time.Minute
	gateway  = "gw1"
)

// monthEnd divides the calls of tests: half of each batch completes before, half after, so that an insert makes two parts.
var monthEnd = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)

var errKilled = errors.New("killed")

// warehouse is the real table, whose next insert may be cut short.
type warehouse struct {
	*clickhouse.Table
	// cut is called in place of the next insert.
	cut func(ctx context.Context, token string, calls []clickhouse.Call) error
}

func (w *warehouse) Insert(ctx context.Context, token string, calls []clickhouse.Call) error {
	if cut := w.cut; cut != nil {
		w.cut = nil
		return cut(ctx, token, calls)
	}
	return w.Table.Insert(ctx, token, calls)
}

type fixture struct {
	bus       *bus.Bus
	db        *postgres.DB
	url       string
	table     driver.Conn
	warehouse *warehouse
	app       *app.Analytics
	created   time.Time
	clock     *testkit.Clock
	next      uint64
	calls     []*callsv1.CallRecord
}

func start(t *testing.T) *fixture {
	t.Helper()
	ctx := t.Context()
	f := &fixture{url: testkit.ClickHouse(t), next: 1, clock: testkit.NewClock(monthEnd.Add(time.Hour))}
	var err error
	f.bus, err = bus.Connect(bus.Config{URL: testkit.NATS(t).URL(), Name: "test", Replicas: 1})
	require.NoError(t, err)
	t.Cleanup(f.bus.Close)
	f.db, err = postgres.Open(ctx, postgres.Config{URL: testkit.Postgres(t)})
	require.NoError(t, err)
	t.Cleanup(f.db.Close)
	require.NoError(t, f.db.Migrate(ctx, store.Migrations(), "versions"))
	table, err := clickhouse.Open(ctx, f.url, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, table.Close()) })
	options, err := driver.ParseDSN(f.url)
	require.NoError(t, err)
	f.table, err = driver.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.table.Close()) })
	f.warehouse = &warehouse{Table: table}
	f.app = app.New(app.Deps{
		DB: f.db, Bus: f.bus, Table: table, Clock: f.clock.Now, Logger: testkit.Logger(t), Warehouse: f.warehouse,
	})
	require.NoError(t, f.app.EnsurePartitions(ctx))
	f.created, err = callstream.Created(ctx, f.bus)
	require.NoError(t, err)
	return f
}

// answer makes n more calls, half of them in either month.
func (f *fixture) answer(n int) (first, last int) {
	first = len(f.calls)
	for i := range n {
		at := monthEnd.Add(-time.Minute)
		if i%2 == 1 {
			at = monthEnd.Add(time.Minute)
		}
		f.calls = append(f.calls, &callsv1.CallRecord{
			Seq: f.next, StartedAt: at.UnixNano(), CompletedAt: at.UnixNano(), Tenant: "acme", Api: "api1", Subscription: "s1", Status: 200, Billable: true,
		})
		f.next++
	}
	return first, len(f.calls)
}

// ship publishes calls as one batch.
func (f *fixture) ship(t *testing.T, first, end int) {
	t.Helper()
	data, err := proto.Marshal(&callsv1.CallBatch{
		Gateway: gateway, Boot: 1, FirstSeq: f.calls[first].GetSeq(), Count: uint32(end - first), Calls: f.calls[first:end],
	})
	require.NoError(t, err)
	_, err = f.bus.JS.Publish(t.Context(), bus.CallSubject(bus.Partition(gateway)), data)
	require.NoError(t, err)
}

// land attaches as a new process does and lands what is in the stream, as far as nothing cuts it short.
func (f *fixture) land(ctx context.Context, t *testing.T) error {
	t.Helper()
	l, err := f.app.Attach(ctx, bus.Partition(gateway), f.created)
	if err != nil {
		return err
	}
	stream, err := f.bus.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	last := stream.CachedInfo().State.LastSeq
	if l.Sequence() >= last {
		return nil
	}
	reader, err := callstream.Open(t.Context(), f.bus, bus.Partition(gateway), l.Sequence(), f.created)
	require.NoError(t, err)
	defer reader.Close()
	for l.Sequence() < last {
		messages, err := reader.Take(t.Context(), callstream.Limits{Calls: 1 << 20, Bytes: 8 << 20, Idle: patience})
		require.NoError(t, err)
		if _, err := l.Land(ctx, messages); err != nil {
			return err
		}
	}
	return nil
}

func (f *fixture) requireEachOnce(t *testing.T) {
	t.Helper()
	var rows, distinct uint64
	require.NoError(t, f.table.QueryRow(t.Context(), `SELECT count(), uniqExact(gateway, boot, seq) FROM calls`).Scan(&rows, &distinct))
	require.Equal(t, uint64(len(f.calls)), distinct, "distinct calls")
	require.Equal(t, uint64(len(f.calls)), rows, "rows")
	var pending int
	require.NoError(t, f.db.Pool().QueryRow(t.Context(), `SELECT count(*) FROM landings WHERE done_at IS NULL`).Scan(&pending))
	require.Zero(t, pending)
}

// cuts are the points at which a process may be killed while it lands. Each makes the next landing fail there. late, when it is
// not nil, is what happens after the landing was finished by another process.
var cuts = map[string]func(f *fixture, cancel context.CancelFunc) (late func(ctx context.Context) error){
	"before the manifest": func(_ *fixture, cancel context.CancelFunc) func(context.Context) error {
		cancel()
		return nil
	},
	"after the manifest": func(f *fixture, _ context.CancelFunc) func(context.Context) error {
		f.warehouse.cut = func(context.Context, string, []clickhouse.Call) error { return errKilled }
		return nil
	},
	"after one part of the insert": func(f *fixture, _ context.CancelFunc) func(context.Context) error {
		f.warehouse.cut = func(ctx context.Context, token string, calls []clickhouse.Call) error {
			var part []clickhouse.Call
			for _, c := range calls {
				if c.GetCompletedAt() < monthEnd.UnixNano() {
					part = append(part, c)
				}
			}
			return errors.Join(f.warehouse.Table.Insert(ctx, token, part), errKilled)
		}
		return nil
	},
	"after the insert": func(f *fixture, _ context.CancelFunc) func(context.Context) error {
		f.warehouse.cut = func(ctx context.Context, token string, calls []clickhouse.Call) error {
			return errors.Join(f.warehouse.Table.Insert(ctx, token, calls), errKilled)
		}
		return nil
	},
	"before the manifest is done": func(f *fixture, cancel context.CancelFunc) func(context.Context) error {
		f.warehouse.cut = func(ctx context.Context, token string, calls []clickhouse.Call) error {
			defer cancel()
			return f.warehouse.Table.Insert(ctx, token, calls)
		}
		return nil
	},
	"with the insert on its way": func(f *fixture, _ context.CancelFunc) func(context.Context) error {
		var late func(ctx context.Context) error
		f.warehouse.cut = func(_ context.Context, token string, calls []clickhouse.Call) error {
			late = func(ctx context.Context) error { return f.warehouse.Table.Insert(ctx, token, calls) }
			return errKilled
		}
		return func(ctx context.Context) error {
			if late == nil {
				return nil
			}
			return late(ctx)
		}
	},
}

// TestKilledAtAnyStep cuts a landing short at each step; another process goes on, and the calls are shipped again with other bounds.
func TestKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			first, end := f.answer(40)
			f.ship(t, first, first+10)
			require.NoError(t, f.land(t.Context(), t))
			f.ship(t, first+5, end-5) // with repeats that the manifest drops
			ctx, cancel := context.WithCancel(t.Context())
			late := cut(f, cancel)
			require.Error(t, f.land(ctx, t))
			cancel()
			f.ship(t, first+20, end)
			require.NoError(t, f.land(t.Context(), t))
			f.requireEachOnce(t)
			if late != nil {
				require.NoError(t, late(t.Context()))
				f.requireEachOnce(t)
			}
		})
	}
}

// TestKilledAgainAndAgain ships batches with any bounds and cuts landings short at any step, many times.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	f := start(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	names := []string{"before the manifest", "after the manifest", "after one part of the insert", "after the insert", "before the manifest is done", "with the insert on its way"}
	for range 40 {
		first, end := f.answer(1 + random.IntN(30))
		f.ship(t, max(0, first-random.IntN(20)), end)
		f.ship(t, random.IntN(end), end)
		ctx, cancel := context.WithCancel(t.Context())
		var late func(context.Context) error
		if cut := random.IntN(len(names) + 1); cut < len(names) {
			late = cuts[names[cut]](f, cancel)
		}
		_ = f.land(ctx, t) // killed, or not
		f.warehouse.cut = nil
		cancel()
		if late != nil {
			require.NoError(t, late(t.Context()))
		}
	}
	require.NoError(t, f.land(t.Context(), t))
	f.requireEachOnce(t)
}

// TestALandingCutShortIsFinishedFromARestoredStream: a backup was made between a manifest and its insert. The stream that is restored
// was made anew, with the same messages.
func TestALandingCutShortIsFinishedFromARestoredStream(t *testing.T) {
	t.Parallel()
	for _, cut := range []string{"after the manifest", "after one part of the insert", "after the insert"} {
		t.Run(cut, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			first, end := f.answer(40)
			f.ship(t, first, first+10)
			require.NoError(t, f.land(t.Context(), t))
			f.ship(t, first+5, end)
			cuts[cut](f, func() {})
			require.ErrorIs(t, f.land(t.Context(), t), errKilled)
			f.makeStreamAnew(t)
			f.ship(t, first, first+10)
			f.ship(t, first+5, end)
			more, last := f.answer(5)
			f.ship(t, more, last)
			require.NoError(t, f.land(t.Context(), t))
			f.requireEachOnce(t)
		})
	}
}

// TestALandingCutShortIsNotFinishedFromOtherMessages: the stream was lost, and others came to the sequences of a manifest. What is in
// them is landed, once.
func TestALandingCutShortIsNotFinishedFromOtherMessages(t *testing.T) {
	t.Parallel()
	others := map[string]func(f *fixture){
		"of the partition": func(f *fixture) {
			first, end := f.answer(10)
			for _, c := range f.calls[first:end] {
				c.CompletedAt += int64(time.Second)
			}
			f.ship(t, first, end)
		},
		"of another": func(f *fixture) {
			_, err := f.bus.JS.Publish(t.Context(), bus.CallSubject((bus.Partition(gateway)+1)%bus.Partitions), []byte("of another partition"))
			require.NoError(t, err)
			first, end := f.answer(10)
			f.ship(t, first, end)
		},
		"of another alone": func(f *fixture) {
			_, err := f.bus.JS.Publish(t.Context(), bus.CallSubject((bus.Partition(gateway)+1)%bus.Partitions), []byte("of another partition"))
			require.NoError(t, err)
			_, err = f.app.Attach(t.Context(), bus.Partition(gateway), f.created)
			require.NoError(t, err)
			first, end := f.answer(10)
			f.ship(t, first, end)
		},
	}
	for name, publish := range others {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			first, end := f.answer(10)
			f.ship(t, first, end)
			cuts["after the manifest"](f, func() {})
			require.ErrorIs(t, f.land(t.Context(), t), errKilled)
			f.calls = nil // lost with the stream; their numbers stay taken
			f.makeStreamAnew(t)
			publish(f)
			require.NoError(t, f.land(t.Context(), t))
			f.requireEachOnce(t)
		})
	}
}

// makeStreamAnew deletes the stream and makes an empty one.
func (f *fixture) makeStreamAnew(t *testing.T) {
	t.Helper()
	require.NoError(t, f.bus.JS.DeleteStream(t.Context(), bus.CallsStream))
	testkit.Await(t, patience, func() (err error) { // the server may still be deleting the directory
		f.created, err = callstream.Created(t.Context(), f.bus)
		return err
	})
}

// TestOnlyOneLandsAMessage: a process that has lost its partition without knowing lands nothing.
func TestOnlyOneLandsAMessage(t *testing.T) {
	t.Parallel()
	f := start(t)
	first, end := f.answer(10)
	partition := bus.Partition(gateway)
	stale, err := f.app.Attach(t.Context(), partition, f.created)
	require.NoError(t, err)
	f.ship(t, first, end)
	reader, err := callstream.Open(t.Context(), f.bus, partition, 0, f.created)
	require.NoError(t, err)
	defer reader.Close()
	messages, err := reader.Take(t.Context(), callstream.Limits{Calls: 100, Bytes: 1 << 20, Idle: patience})
	require.NoError(t, err)
	require.NoError(t, f.land(t.Context(), t))
	_, err = stale.Land(t.Context(), messages)
	require.ErrorIs(t, err, app.ErrSuperseded)
	f.requireEachOnce(t)
}

// TestRefusedMessagesAreTriedAgain: an older build could not use a message, and was killed while it landed the others with it.
func TestRefusedMessagesAreTriedAgain(t *testing.T) {
	t.Parallel()
	for _, refused := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("message %d", refused), func(t *testing.T) {
			t.Parallel()
			f := start(t)
			partition := bus.Partition(gateway)
			for range 3 {
				first, end := f.answer(10)
				f.ship(t, first, end)
			}
			older, err := f.app.Attach(t.Context(), partition, f.created)
			require.NoError(t, err)
			reader, err := callstream.Open(t.Context(), f.bus, partition, 0, f.created)
			require.NoError(t, err)
			defer reader.Close()
			messages, err := reader.Take(t.Context(), callstream.Limits{Calls: 30, Bytes: 1 << 20, Idle: patience, Fill: patience})
			require.NoError(t, err)
			require.Len(t, messages, 3)
			messages[refused].Batch, messages[refused].Refused = nil, errors.New("not known to this build")
			f.warehouse.cut = func(context.Context, string, []clickhouse.Call) error { return errKilled }
			_, err = older.Land(t.Context(), messages)
			require.ErrorIs(t, err, errKilled)

			newer, err := f.app.Attach(t.Context(), partition, f.created)
			require.NoError(t, err)
			f.warehouse.cut = func(ctx context.Context, token string, calls []clickhouse.Call) error {
				return errors.Join(f.warehouse.Table.Insert(ctx, token, calls), errKilled)
			}
			_, err = newer.RetryRefused(t.Context())
			require.ErrorIs(t, err, errKilled)
			newer, err = f.app.Attach(t.Context(), partition, f.created)
			require.NoError(t, err)
			_, err = newer.RetryRefused(t.Context())
			require.NoError(t, err)
			require.Equal(t, uint64(3), newer.Sequence())
			f.requireEachOnce(t)
			again, err := newer.RetryRefused(t.Context())
			require.NoError(t, err)
			require.Zero(t, again)
		})
	}
}

// TestAllRefusedMessagesAreTriedAgain, however many there are before them that still cannot be used.
func TestAllRefusedMessagesAreTriedAgain(t *testing.T) {
	t.Parallel()
	f := start(t)
	partition := bus.Partition(gateway)
	const before = 1000
	for range before {
		_, err := f.bus.JS.PublishAsync(bus.CallSubject(partition), []byte("no batch"))
		require.NoError(t, err)
	}
	<-f.bus.JS.PublishAsyncComplete()
	first, end := f.answer(10)
	f.ship(t, first, end)
	l, err := f.app.Attach(t.Context(), partition, f.created)
	require.NoError(t, err)
	_, err = l.Land(t.Context(), []callstream.Message{{Sequence: before + 1, Refused: errors.New("not known to this build")}})
	require.NoError(t, err)
	_, err = f.db.Pool().Exec(t.Context(), `INSERT INTO refused_messages SELECT partition, generation, n, cause, refused_at FROM refused_messages, generate_series(1, $1::int) AS n`, before)
	require.NoError(t, err)
	n, err := l.RetryRefused(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	f.requireEachOnce(t)
}
