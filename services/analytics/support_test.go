package analytics_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/analytics"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience bounds the waiting of tests, on a machine that does other things too.
const patience = time.Minute

const (
	tenant   = "acme"
	stranger = "globex"
)

// noon is when the calls of tests complete, or soon after.
var noon = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

type fixture struct {
	*servicetest.Env
	config  analytics.Config
	service *analytics.Analytics
	stop    func()
	db      *postgres.DB
	table   driver.Conn
	ledger  *ledger
	client  *servicetest.Client
	clock   *testkit.Clock
}

// start runs analytics, and a ledger that answers for metering, on a clock that stands an hour after noon.
func start(t testing.TB) *fixture {
	t.Helper()
	return startOn(t, testkit.ClickHouse(t))
}

// startOn is start with a ClickHouse database and changes of the configuration.
func startOn(t testing.TB, clickHouseURL string, change ...func(*analytics.Config)) *fixture {
	t.Helper()
	env := servicetest.New(t)
	f := &fixture{
		Env: env, config: analytics.Config{
			Service: env.Config("analytics"), ClickHouseURL: clickHouseURL, SealKey: base64.StdEncoding.EncodeToString(make([]byte, 32)),
			Notify: notify.Config{MailFrom: "tollgate@example.com", WebhookAllowPrivate: true},
		},
		ledger: &ledger{calls: map[callset.ID]*callsv1.CallRecord{}, watermark: map[uint32]uint64{}},
		clock:  testkit.NewClock(noon.Add(time.Hour)),
	}
	for _, fn := range change {
		fn(&f.config)
	}
	f.ledger.serve(t, env)
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
	// The calls of tests stand at a fixed time; without merges for it, none is over whenever the tests are run.
	require.NoError(t, f.table.Exec(t.Context(), "SYSTEM STOP TTL MERGES calls"))
	f.client = f.Client(f.Token(tenant, "analytics.read", "analytics.write"))
	return f
}

// run runs a replica of analytics on the fixture's databases.
func (f *fixture) run(t testing.TB) (*analytics.Analytics, func()) {
	t.Helper()
	s, err := analytics.New(t.Context(), f.config, service.Deps{
		Bus: f.Bus, Log: testkit.Logger(t), Clock: f.clock.Now,
	})
	require.NoError(t, err)
	return s, f.Run(s)
}

// subscribe makes a subscription known and returns the header that waits for it.
func (f *fixture) subscribe(owner, id, name string) (header, value string) {
	position := f.Emit("subscription", owner, "subscription", id, 0, &subscriptionv1.SubscriptionRequested{
		Subscription: id, Name: name, Account: "a1", Application: "p1", Product: "x1", Plan: "plan", PlanVersion: 1,
	})
	return operation.HeaderAfter, fmt.Sprintf("subscription=%d", position)
}

// query returns one value of Postgres, of all tenants.
func query[V any](t testing.TB, f *fixture, sql string, args ...any) V {
	t.Helper()
	var value V
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), sql, args...).Scan(&value)
	}))
	return value
}

// landed returns the number of rows and of distinct calls in ClickHouse.
func (f *fixture) landed(t testing.TB) (rows, distinct uint64) {
	t.Helper()
	require.NoError(t, f.table.QueryRow(t.Context(), `SELECT count(), uniqExact(gateway, boot, seq) FROM calls`).Scan(&rows, &distinct))
	return rows, distinct
}

// requireEachOnce checks that ClickHouse has so many calls, each once.
func (f *fixture) requireEachOnce(t testing.TB, n int) {
	t.Helper()
	rows, distinct := f.landed(t)
	require.Equal(t, uint64(n), distinct, "distinct calls")
	require.Equal(t, uint64(n), rows, "rows")
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

// place is where a message is in the stream.
type place struct {
	partition int
	sequence  uint64
}

// publish sends a batch; the ledger takes it as metered.
func (f *fixture) publish(t testing.TB, b *callsv1.CallBatch) place {
	t.Helper()
	at := f.ship(t, b)
	f.ledger.add(b, at)
	return at
}

// ship sends a batch that is not metered.
func (f *fixture) ship(t testing.TB, b *callsv1.CallBatch) place {
	t.Helper()
	data, err := proto.Marshal(b)
	require.NoError(t, err)
	return f.shipRaw(t, bus.Partition(b.GetGateway()), data)
}

func (f *fixture) shipRaw(t testing.TB, partition int, data []byte) place {
	t.Helper()
	ack, err := f.Bus.JS.Publish(context.WithoutCancel(t.Context()), bus.CallSubject(partition), data)
	require.NoError(t, err)
	return place{partition, ack.Sequence}
}

// await waits until a message is landed.
func (f *fixture) await(t testing.TB, at place) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, f.service.WaitFor(ctx, at.partition, at.sequence))
}

// send publishes calls and waits until they are landed.
func (g *gateway) send(t testing.TB, calls ...*callsv1.CallRecord) *callsv1.CallBatch {
	t.Helper()
	b := g.batch(calls...)
	g.f.await(t, g.f.publish(t, b))
	return b
}

// call is a billable call of the tenant.
func call(subscription string, completed time.Time, change ...func(*callsv1.CallRecord)) *callsv1.CallRecord {
	c := &callsv1.CallRecord{
		StartedAt: completed.Add(-time.Millisecond).UnixNano(), CompletedAt: completed.UnixNano(), Tenant: tenant, Api: "api1", ApiVersion: "v1",
		Operation: "getCurrent", Account: "a1", Application: "p1", Subscription: subscription, Plan: "plan", PlanVersion: 1,
		Method: "GET", Host: "api.example.com", PathTemplate: "/current/{city}", Path: "/current/Berlin", Status: 200,
		Responder: callsv1.Responder_RESPONDER_UPSTREAM, TotalMicros: 1200, UpstreamMicros: 1000, GatewayMicros: 200, Attempts: 1, Billable: true,
	}
	for _, fn := range change {
		fn(c)
	}
	return c
}

func rejected(c *callsv1.CallRecord) {
	c.Status, c.Responder, c.Billable, c.Reason = 429, callsv1.Responder_RESPONDER_GATEWAY, false, callsv1.Reason_REASON_GATEWAY_REJECTED
}

// calls makes n calls of a subscription, a second apart.
func calls(subscription string, from time.Time, n int) []*callsv1.CallRecord {
	all := make([]*callsv1.CallRecord, n)
	for i := range all {
		all[i] = call(subscription, from.Add(time.Duration(i)*time.Second))
	}
	return all
}

// ledger answers metering's internal call Count from the calls that it was told.
type ledger struct {
	mu        sync.Mutex
	calls     map[callset.ID]*callsv1.CallRecord
	watermark map[uint32]uint64
}

func (l *ledger) add(b *callsv1.CallBatch, at place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range b.GetCalls() {
		l.calls[callset.ID{Gateway: b.GetGateway(), Boot: b.GetBoot(), Seq: c.GetSeq()}] = c
	}
	l.watermark[uint32(at.partition)] = max(at.sequence, l.watermark[uint32(at.partition)])
}

func (l *ledger) forget(id callset.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, id)
}

func (l *ledger) count(_ context.Context, r *meteringv1.CountRequest) (*meteringv1.CountReply, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	reply := &meteringv1.CountReply{Counts: &meteringv1.CallCounts{NotBillable: map[string]uint64{}}, Watermark: map[uint32]uint64{}}
	for partition, sequence := range l.watermark {
		reply.Watermark[partition] = sequence
	}
	meters, digests, all := map[string]*meteringv1.MeterUsage{}, map[string]uint64{}, uint64(0)
	for id, c := range l.calls {
		if r.GetTenant() != principal.AllTenants && c.GetTenant() != r.GetTenant() || r.GetSubscription() != "" && c.GetSubscription() != r.GetSubscription() ||
			c.GetCompletedAt() < r.GetStart() || c.GetCompletedAt() >= r.GetEnd() {
			continue
		}
		digest := callset.Digest(id.Gateway, id.Boot, id.Seq)
		all += digest
		if !c.GetBillable() {
			reply.Counts.NotBillable[callstream.ReasonCode(c.GetReason())]++
			continue
		}
		reply.Counts.Billable++
		units := c.GetCallUnits()
		if units == "" {
			units = "1"
		}
		for _, q := range append([]*callsv1.Quantity{{Meter: callstream.MeterCalls, Value: units}}, c.GetQuantities()...) {
			m := meters[q.GetMeter()]
			if m == nil {
				m = &meteringv1.MeterUsage{Meter: q.GetMeter(), Quantity: "0"}
				meters[q.GetMeter()] = m
				reply.Meters = append(reply.Meters, m)
			}
			if err := addTo(m, q.GetValue()); err != nil {
				return nil, err
			}
			digests[m.GetMeter()] += digest
			m.Digest = callset.Hex(digests[m.GetMeter()])
		}
	}
	reply.Counts.Digest = callset.Hex(all)
	return reply, nil
}

func addTo(m *meteringv1.MeterUsage, value string) error {
	sum, err := money.Parse(m.GetQuantity())
	if err != nil {
		return err
	}
	more, err := money.Parse(value)
	if err != nil {
		return err
	}
	m.Quantity, m.Calls = sum.Add(more).Trim().String(), m.GetCalls()+1
	return nil
}

// serve answers until the test ends.
func (l *ledger) serve(t testing.TB, env *servicetest.Env) {
	t.Helper()
	api, err := operation.New(operation.Config{
		Service: "metering", Title: "Metering", Log: testkit.Logger(t),
		Verify: func(string) (principal.Principal, error) { return principal.Principal{}, errors.New("no tokens here") },
	})
	require.NoError(t, err)
	operation.RPC(api, "metering.Count", l.count)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- api.ServeNATS(ctx, env.Bus, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}
