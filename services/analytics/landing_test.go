package analytics_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
)

// Batches that come repeatedly, with other bounds and in another order, to two replicas one of which is stopped in between, are
// landed once.
func TestEachCallIsLandedOnce(t *testing.T) {
	t.Parallel()
	f := start(t)
	const gateways, calls = 3, 300
	random := rand.New(rand.NewPCG(1, 2))
	var batches []*callsv1.CallBatch
	digest := uint64(0)
	for i := range gateways {
		name := fmt.Sprintf("gw%d", i)
		for range 3 { // the whole of it thrice, cut differently each time
			for first := uint64(1); first <= calls; {
				last := min(first+random.Uint64N(60), calls)
				b := &callsv1.CallBatch{Gateway: name, Boot: 1, FirstSeq: first, Count: uint32(last - first + 1)}
				for seq := first; seq <= last; seq++ {
					c := call("s1", noon.Add(time.Duration(seq)*time.Hour)) // over a month's end
					c.Seq = seq
					b.Calls = append(b.Calls, c)
				}
				batches = append(batches, b)
				first = last + 1
			}
		}
		for seq := range uint64(calls) {
			digest += callset.Digest(name, 1, seq+1)
		}
	}
	random.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	second, _ := f.run(t)
	last := map[int]uint64{}
	for i, b := range batches {
		partition, sequence := f.publish(t, b)
		last[partition] = sequence
		if i == len(batches)/2 {
			f.stop()
		}
	}
	for partition, sequence := range last {
		f.await(t, second, partition, sequence)
	}
	require.EqualValues(t, gateways*calls, f.count(t, `SELECT count() FROM calls`))
	require.EqualValues(t, gateways*calls, f.count(t, `SELECT uniqExact(gateway, boot, seq) FROM calls`))
	require.Equal(t, digest, f.count(t, `SELECT sum(digest) FROM calls`), "the same digest as in Go")
	require.Zero(t, query[int64](t, f.db, `SELECT count(*) FROM landings WHERE done_at IS NULL`))
	require.EqualValues(t, gateways*calls, query[int64](t, f.db, `SELECT sum(calls)::bigint FROM stored`))
}

var errCut = errors.New("the process was killed")

// cut is the real warehouse in a process that is killed at an insert.
type cut struct {
	*clickhouse.Table
	before, after bool
	// forgetful: the token means nothing any more.
	forgetful bool
}

func (c *cut) Insert(ctx context.Context, token string, calls []clickhouse.Call) error {
	if c.before {
		return errCut
	}
	if c.forgetful {
		token += "-forgotten"
	}
	if err := c.Table.Insert(ctx, token, calls); err != nil {
		return err
	}
	if c.after {
		return errCut
	}
	return nil
}

func TestALandingThatIsCutShortIsFinished(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		before, after bool
		// times is how often the process is killed.
		times     int
		forgetful bool
	}{
		{"before the insert", true, false, 1, false},
		{"after the insert", false, true, 1, false},
		{"after the insert, each time", false, true, 4, false},
		{"after the insert, and the token is forgotten", false, true, 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t)
			f.stop()
			table, err := clickhouse.Open(t.Context(), f.config.ClickHouseURL)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, table.Close()) })
			house := &cut{Table: table}
			use := app.New(app.Deps{DB: f.db, Bus: f.Bus, Table: table, Clock: f.clock.Now, Logger: testkit.Logger(t), Warehouse: house})
			g := f.gateway("gw1")
			partition := bus.Partition("gw1")
			created, err := callstream.Created(t.Context(), f.Bus)
			require.NoError(t, err)

			first := g.batch(call("s1", noon), call("s1", noon))
			second := g.batch(call("s1", noon), call("s1", noon.Add(24*time.Hour))) // in two months
			overlap := &callsv1.CallBatch{Gateway: "gw1", Boot: 1, FirstSeq: 2, Count: 2, Calls: []*callsv1.CallRecord{first.Calls[1], second.Calls[0]}}
			f.publish(t, first)
			l, err := use.Attach(t.Context(), partition, created)
			require.NoError(t, err)
			_, err = l.Land(t.Context(), take(t, f, partition, l.Sequence(), created))
			require.NoError(t, err)

			// One message repeats a call that is landed and one of its own landing.
			f.publish(t, second)
			f.publish(t, overlap)
			house.before, house.after = c.before, c.after
			_, err = l.Land(t.Context(), take(t, f, partition, l.Sequence(), created))
			require.ErrorIs(t, err, errCut)
			house.forgetful = c.forgetful
			for range c.times - 1 {
				_, err = use.Attach(t.Context(), partition, created)
				require.ErrorIs(t, err, errCut)
			}
			f.publish(t, overlap)
			_, err = l.Land(t.Context(), take(t, f, partition, l.Sequence(), created))
			require.Error(t, err, "nothing is begun before what was cut short is finished")
			house.before, house.after = false, false
			l, err = use.Attach(t.Context(), partition, created)
			require.NoError(t, err)
			landed, err := l.Land(t.Context(), take(t, f, partition, l.Sequence(), created))
			require.NoError(t, err)
			require.Equal(t, app.Landed{Repeats: 2}, landed)
			f.publish(t, g.batch(call("s1", noon)))
			_, err = l.Land(t.Context(), take(t, f, partition, l.Sequence(), created))
			require.NoError(t, err)
			require.EqualValues(t, 5, f.count(t, `SELECT count() FROM calls`))
			require.EqualValues(t, 5, f.count(t, `SELECT uniqExact(gateway, boot, seq) FROM calls`))
			require.EqualValues(t, 5, query[int64](t, f.db, `SELECT sum(calls)::bigint FROM stored`))
		})
	}
}

// take reads what is in a partition behind a message.
func take(t *testing.T, f *fixture, partition int, after uint64, created time.Time) []callstream.Message {
	t.Helper()
	r, err := callstream.Open(t.Context(), f.Bus, partition, after, created)
	require.NoError(t, err)
	defer r.Close()
	messages, err := r.Take(t.Context(), callstream.Limits{Calls: 1000, Bytes: 1 << 20, Fill: 100 * time.Millisecond})
	require.NoError(t, err)
	return messages
}

func TestARepeatedInsertDoesNothing(t *testing.T) {
	t.Parallel()
	f := start(t)
	table, err := clickhouse.Open(t.Context(), f.config.ClickHouseURL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, table.Close()) })
	var calls []clickhouse.Call
	for i := range 5000 {
		c := call("s1", noon.Add(time.Duration(i%40)*24*time.Hour)) // in three months
		c.Seq = uint64(i + 1)
		calls = append(calls, clickhouse.Call{Gateway: "gw1", Boot: 1, CallRecord: c})
	}
	for range 3 {
		require.NoError(t, table.Insert(t.Context(), "token", calls))
	}
	require.EqualValues(t, 5000, f.count(t, `SELECT count() FROM calls`))
	require.NoError(t, table.Insert(t.Context(), "other", calls[:1]))
	require.EqualValues(t, 5001, f.count(t, `SELECT count() FROM calls`), "the token tells, not the content")
	require.ErrorContains(t, table.Insert(t.Context(), "large", make([]clickhouse.Call, clickhouse.MaxBlock+1)), "more than a block")
}

func TestAStreamMadeAnewIsReadFromItsFirstMessage(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	first := g.batch(call("s1", noon), call("s1", noon))
	f.landed(t, first)
	require.NoError(t, f.Bus.JS.DeleteStream(t.Context(), bus.CallsStream))
	_, err := f.Bus.EnsureCalls(t.Context())
	require.NoError(t, err)
	f.publish(t, first)
	f.publish(t, g.batch(call("s1", noon)))
	testkit.Await(t, patience, func() bool { return f.count(t, `SELECT count() FROM calls`) == 3 })
	require.EqualValues(t, 2, query[int64](t, f.db, `SELECT max(generation) FROM partitions`))
}

func TestAMessageThatContradictsItselfIsNotLanded(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	wrong := g.batch(call("s1", noon))
	wrong.Calls[0].CallUnits = "many"
	f.landed(t, wrong)
	g.send(t, call("s1", noon))
	require.EqualValues(t, 1, f.count(t, `SELECT count() FROM calls`))
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM refused_messages`))
}

// The columns that the driver is told of are those of the table.
func TestColumnsAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	full := call("s1", noon.Add(123456789))
	full.Operation, full.Credential, full.Product = "getCurrent", "c1", "x1"
	full.ApiRevision, full.EntitlementRevision = 7, 8
	full.ErrorReason, full.CacheStatus, full.Target, full.UsageSource, full.EndReason = "none", "hit", "http://10.0.0.1", "header", "done"
	full.TotalMicros, full.UpstreamMicros, full.GatewayMicros, full.BytesIn, full.BytesOut = 1, 2, 3, 4, 1<<63
	full.ClientAddress, full.UserAgent, full.TraceId, full.CallUnits = "192.0.2.1", "curl\t'x'\\", "t1", "0.5"
	full.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "12.000000000001"}, {Meter: "bytes", Value: "99999999999999999999"}}
	full.LeaseSpends = []*callsv1.LeaseSpend{{Lease: "l1", Units: 3}}
	g.send(t, full, &callsv1.CallRecord{CompletedAt: noon.UnixNano(), Reason: callsv1.Reason_REASON_INTERNAL})
	var shown map[string]any
	f.Client(f.Token(tenant, "analytics.read")).Must("GET", "/analytics/v1/calls/gw1.1.1", nil, &shown)
	require.Equal(t, map[string]any{
		"id": "gw1.1.1", "startedAt": "2026-03-31T12:00:00.122456789Z", "completedAt": "2026-03-31T12:00:00.123456789Z",
		"api": map[string]any{"id": "api1"}, "apiVersion": map[string]any{"id": "v1"}, "operation": "getCurrent",
		"account": map[string]any{"id": "a1"}, "application": map[string]any{"id": "p1"}, "credential": "c1", "subscription": map[string]any{"id": "s1"},
		"product": "x1", "plan": "plan-s1", "planVersion": 1.0, "apiRevision": 7.0, "entitlementRevision": 8.0,
		"method": "GET", "host": "api.example.com", "pathTemplate": "/current/{city}", "path": "/current/berlin", "status": 200.0, "responder": "upstream",
		"errorReason": "none", "totalMicros": 1.0, "upstreamMicros": 2.0, "gatewayMicros": 3.0, "bytesIn": 4.0, "bytesOut": float64(1 << 63),
		"cacheStatus": "hit", "attempts": 1.0, "target": "http://10.0.0.1", "clientAddress": "192.0.2.1", "userAgent": "curl\t'x'\\", "traceId": "t1",
		"quantities": []any{
			map[string]any{"meter": "calls", "value": "0.5"}, map[string]any{"meter": "rows", "value": "12.000000000001"},
			map[string]any{"meter": "bytes", "value": "99999999999999999999"},
		},
		"usageSource": "header", "endReason": "done", "billable": true,
	}, shown)
	require.EqualValues(t, 3, f.count(t, `SELECT toUInt64(lease_units[1]) FROM calls WHERE leases = ['l1']`))
	require.EqualValues(t, 1, f.count(t, `SELECT count() FROM calls WHERE tenant = '' AND reason = 'internal'`))
	require.EqualValues(t, 1000, f.count(t, `SELECT toUInt64(extract(engine_full, 'non_replicated_deduplication_window = ([0-9]+)')) FROM system.tables WHERE name = 'calls' AND database = currentDatabase()`))
}

// BenchmarkLanding measures the way from the stream into ClickHouse, with Postgres, NATS and ClickHouse on this machine.
func BenchmarkLanding(b *testing.B) {
	f := start(b)
	g := f.gateway("gw1")
	const batch = 1000
	landed := 0
	for b.Loop() {
		var partition int
		var sequence uint64
		for range 50 {
			calls := make([]*callsv1.CallRecord, batch)
			for i := range calls {
				calls[i] = call(fmt.Sprintf("s%d", i%50), noon.Add(time.Duration(landed+i)*time.Millisecond))
			}
			partition, sequence = f.publish(b, g.batch(calls...))
			landed += batch
		}
		f.await(b, f.service, partition, sequence)
	}
	b.ReportMetric(float64(landed)/b.Elapsed().Seconds(), "calls/s")
	require.EqualValues(b, landed, f.count(b, `SELECT count() FROM calls`))
}
