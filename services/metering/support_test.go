package metering_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/metering"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// patience bounds the waiting of tests, on a machine that does other things too.
const patience = time.Minute

const tenant = "acme"

// began is when the subscriptions of tests begin: at no full minute.
var began = time.Date(2026, 3, 10, 9, 17, 23, 1, time.UTC)

type fixture struct {
	*servicetest.Env
	config  metering.Config
	service *metering.Metering
	stop    func()
	clock   *testkit.Clock
	db      *postgres.DB
	// versions of the streams of other services' logs.
	versions map[string]uint64
}

// start runs metering on a clock that stands at a time after began.
func start(t testing.TB) *fixture {
	t.Helper()
	env := servicetest.New(t)
	f := &fixture{
		Env: env, config: metering.Config{Service: env.Config("metering")}, clock: testkit.NewClock(began.Add(time.Hour)),
		versions: map[string]uint64{},
	}
	f.service, f.stop = f.run(t)
	var err error
	f.db, err = postgres.Open(t.Context(), postgres.Config{URL: f.config.Service.PostgresURL})
	require.NoError(t, err)
	t.Cleanup(f.db.Close)
	return f
}

// run runs a replica of metering on the fixture's database.
func (f *fixture) run(t testing.TB) (*metering.Metering, func()) {
	t.Helper()
	s, err := metering.New(t.Context(), f.config, service.Deps{Bus: f.Bus, Log: testkit.Logger(t), Clock: f.clock.Now})
	require.NoError(t, err)
	return s, f.Run(s)
}

func (f *fixture) emit(log, streamType, id string, events ...proto.Message) uint64 {
	key := log + "/" + streamType + "/" + id
	position := f.Emit(log, tenant, streamType, id, f.versions[key], events...)
	f.versions[key] += uint64(len(events))
	return position
}

// subscribe publishes a plan and makes a subscription to it that began at began.
func (f *fixture) subscribe(t testing.TB, id string, spec *catalogv1.PlanSpec) {
	t.Helper()
	f.plan("plan-"+id, 1, spec)
	position := f.emit("subscription", "subscription", id,
		&subscriptionv1.SubscriptionRequested{Subscription: id, Name: "name-of-" + id, Account: "a1", Application: "p1", Product: "x1", Plan: "plan-" + id, PlanVersion: 1},
		&subscriptionv1.SubscriptionActivated{Subscription: id, StartedAt: began.UnixNano(), TimeZone: spec.GetPeriod().GetTimeZone()})
	f.followed(t, "subscription", position)
}

func (f *fixture) plan(id string, version uint32, spec *catalogv1.PlanSpec) {
	f.emit("catalog", "plan", id, &catalogv1.PlanPublished{Plan: id, Product: "x1", Name: id, Version: version, Spec: spec})
}

// followed waits until metering has applied a log up to a position.
func (f *fixture) followed(t testing.TB, log string, position uint64) {
	t.Helper()
	f.Client(f.Token(tenant, "metering.read")).Do("GET", "/metering/v1/quotas?subscription=none", nil, operation.HeaderAfter, fmt.Sprintf("%s=%d", log, position))
	testkit.Await(t, patience, func() bool {
		return query[int64](t, f.db, `SELECT coalesce(max(position), 0) FROM follow_offset WHERE log = $1`, log) >= int64(position)
	})
}

// query returns one value, of all tenants.
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

// send publishes calls and waits until they are metered.
func (g *gateway) send(t testing.TB, calls ...*callsv1.CallRecord) {
	t.Helper()
	g.f.metered(t, g.batch(calls...))
}

func (f *fixture) metered(t testing.TB, b *callsv1.CallBatch) {
	t.Helper()
	partition, sequence := f.publish(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, f.service.WaitFor(ctx, partition, sequence))
}

// seal says that everything before a time is there.
func (g *gateway) seal(t testing.TB, until time.Time) {
	t.Helper()
	b := g.batch()
	b.SealedUntil = until.UnixNano()
	g.f.metered(t, b)
}

// call is a billable call.
func call(subscription string, completed time.Time) *callsv1.CallRecord {
	return &callsv1.CallRecord{
		StartedAt: completed.Add(-time.Millisecond).UnixNano(), CompletedAt: completed.UnixNano(), Tenant: tenant, Api: "api1", ApiVersion: "v1",
		Account: "a1", Application: "p1", Subscription: subscription, Plan: "plan-" + subscription, PlanVersion: 1,
		Method: "GET", Status: 200, Responder: callsv1.Responder_RESPONDER_UPSTREAM, Billable: true,
	}
}

func (f *fixture) usage(t testing.TB, subscription string, from, to time.Time) (*meteringv1.UsageReply, error) {
	t.Helper()
	reply := &meteringv1.UsageReply{}
	err := operation.Call(t.Context(), f.Bus, "metering.Usage", &meteringv1.UsageRequest{
		Tenant: tenant, Subscription: subscription, Start: from.UnixNano(), End: to.UnixNano(),
	}, reply)
	return reply, err
}

// calls is the number of billable calls of a subscription between two instants.
func (f *fixture) calls(t testing.TB, subscription string, from, to time.Time) uint64 {
	t.Helper()
	reply, err := f.usage(t, subscription, from, to)
	require.NoError(t, err)
	return reply.GetCounts().GetBillable()
}

func (f *fixture) lease(t testing.TB, req *meteringv1.LeaseRequest) *meteringv1.LeaseReply {
	t.Helper()
	reply := &meteringv1.LeaseReply{}
	require.NoError(t, operation.Call(t.Context(), f.Bus, "metering.Lease", req, reply))
	return reply
}
