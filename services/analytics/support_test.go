package analytics_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/analytics"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience bounds the waiting of tests, on a machine that does other things too.
const patience = time.Minute

const tenant = "acme"

// noon is a time that the calls of tests are near.
var noon = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

type fixture struct {
	*servicetest.Env
	config  analytics.Config
	service *analytics.Analytics
	stop    func()
	clock   *testkit.Clock
	db      *postgres.DB
	table   driver.Conn
}

func start(t testing.TB) *fixture {
	t.Helper()
	env := servicetest.New(t)
	f := &fixture{
		Env: env, clock: testkit.NewClock(noon.Add(time.Hour)),
		config: analytics.Config{Service: env.Config("analytics"), ClickHouseURL: testkit.ClickHouse(t)},
	}
	f.service, f.stop = f.run(t)
	var err error
	f.db, err = postgres.Open(t.Context(), postgres.Config{URL: f.config.Service.PostgresURL})
	require.NoError(t, err)
	t.Cleanup(f.db.Close)
	options, err := driver.ParseDSN(f.config.ClickHouseURL)
	require.NoError(t, err)
	f.table, err = driver.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.table.Close()) })
	return f
}

// run runs a replica of analytics on the fixture's databases.
func (f *fixture) run(t testing.TB) (*analytics.Analytics, func()) {
	t.Helper()
	s, err := analytics.New(t.Context(), f.config, service.Deps{Bus: f.Bus, Log: testkit.Logger(t), Clock: f.clock.Now})
	require.NoError(t, err)
	return s, f.Run(s)
}

// count answers a query of ClickHouse with one number.
func (f *fixture) count(t testing.TB, query string) uint64 {
	t.Helper()
	var n uint64
	require.NoError(t, f.table.QueryRow(t.Context(), query).Scan(&n))
	return n
}

// query returns one value of Postgres, of all tenants.
func query[V any](t testing.TB, db *postgres.DB, sql string, args ...any) V {
	t.Helper()
	var value V
	require.NoError(t, db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), sql, args...).Scan(&value)
	}))
	return value
}

// gateway publishes batches as a gateway does. It is safe for concurrent use.
type gateway struct {
	f    *fixture
	name string
	boot uint64

	mu   sync.Mutex
	next uint64
}

func (f *fixture) gateway(name string) *gateway { return &gateway{f: f, name: name, boot: 1, next: 1} }

// batch makes a batch of the next calls.
func (g *gateway) batch(calls ...*callsv1.CallRecord) *callsv1.CallBatch {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := &callsv1.CallBatch{Gateway: g.name, Boot: g.boot, FirstSeq: g.next, Count: uint32(len(calls)), Calls: calls}
	for _, c := range calls {
		c.Seq = g.next
		g.next++
	}
	return b
}

// publish sends a batch and returns where it is in the stream.
func (f *fixture) publish(t testing.TB, b *callsv1.CallBatch) (partition int, sequence uint64) {
	t.Helper()
	data, err := proto.Marshal(b)
	require.NoError(t, err)
	partition = bus.Partition(b.GetGateway())
	ack, err := f.Bus.JS.Publish(context.WithoutCancel(t.Context()), bus.CallSubject(partition), data)
	require.NoError(t, err)
	return partition, ack.Sequence
}

// send publishes calls and waits until they are landed.
func (g *gateway) send(t testing.TB, calls ...*callsv1.CallRecord) {
	t.Helper()
	g.f.landed(t, g.batch(calls...))
}

func (f *fixture) landed(t testing.TB, b *callsv1.CallBatch) {
	t.Helper()
	partition, sequence := f.publish(t, b)
	f.await(t, f.service, partition, sequence)
}

func (f *fixture) await(t testing.TB, s *analytics.Analytics, partition int, sequence uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.WaitFor(ctx, partition, sequence))
}

// call is a billable call.
func call(subscription string, completed time.Time) *callsv1.CallRecord {
	return &callsv1.CallRecord{
		StartedAt: completed.Add(-time.Millisecond).UnixNano(), CompletedAt: completed.UnixNano(), Tenant: tenant, Api: "api1", ApiVersion: "v1",
		Account: "a1", Application: "p1", Subscription: subscription, Plan: "plan-" + subscription, PlanVersion: 1,
		Method: "GET", Host: "api.example.com", Path: "/current/berlin", PathTemplate: "/current/{city}", Status: 200,
		Responder: callsv1.Responder_RESPONDER_UPSTREAM, Attempts: 1, Billable: true,
	}
}

// meter answers metering.Count as metering would that has applied what is added to it.
type meter struct {
	mu    sync.Mutex
	calls []*callsv1.CallBatch
	at    map[uint32]uint64
}

func (f *fixture) meter(t testing.TB) *meter {
	t.Helper()
	m := &meter{at: map[uint32]uint64{}}
	subscription, err := f.Bus.Conn.Subscribe(bus.RPCSubject("metering.Count"), func(msg *nats.Msg) {
		var req meteringv1.CountRequest
		if err := proto.Unmarshal(msg.Data, &req); err != nil {
			t.Error(err)
		}
		data, err := proto.Marshal(m.count(&req))
		if err != nil {
			t.Error(err)
		}
		_ = msg.Respond(data)
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = subscription.Unsubscribe() })
	return m
}

func (m *meter) add(partition int, sequence uint64, b *callsv1.CallBatch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, b)
	m.at[uint32(partition)] = max(m.at[uint32(partition)], sequence)
}

func (m *meter) count(req *meteringv1.CountRequest) *meteringv1.CountReply {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := &meteringv1.CallCounts{NotBillable: map[string]uint64{}}
	digest := uint64(0)
	for _, b := range m.calls {
		for _, c := range b.GetCalls() {
			if req.GetTenant() != "*" && c.GetTenant() != req.GetTenant() || req.GetSubscription() != "" && c.GetSubscription() != req.GetSubscription() ||
				c.GetCompletedAt() < req.GetStart() || c.GetCompletedAt() >= req.GetEnd() {
				continue
			}
			digest += callset.Digest(b.GetGateway(), b.GetBoot(), c.GetSeq())
			if c.GetBillable() {
				counts.Billable++
			} else {
				counts.NotBillable[callstream.ReasonCode(c.GetReason())]++
			}
		}
	}
	counts.Digest = callset.Hex(digest)
	return &meteringv1.CountReply{Counts: counts, Watermark: m.at}
}

func nano(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func span(from, to time.Time) string { return fmt.Sprintf("from=%s&to=%s", nano(from), nano(to)) }
