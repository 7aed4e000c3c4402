package metering_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

func TestUsageOfAPeriodIsExactToTheNanosecond(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	end := began.AddDate(0, 1, 0)
	g := f.gateway("gw1")
	g.send(t,
		call("s1", began.Add(-1)), call("s1", began), call("s1", began.Add(1)),
		call("s1", end.Add(-1)), call("s1", end), call("s1", end.Add(1)),
		call("s2", began.Add(time.Hour)))
	require.EqualValues(t, 3, f.calls(t, "s1", began, end))
	require.EqualValues(t, 1, f.calls(t, "s1", began.Truncate(time.Hour), began))
	require.EqualValues(t, 2, f.calls(t, "s1", end, end.Truncate(time.Hour).Add(time.Hour)))

	reply, err := f.usage(t, "s1", began, end)
	require.NoError(t, err)
	digest := callset.Hex(callset.Digest("gw1", 1, 2) + callset.Digest("gw1", 1, 3) + callset.Digest("gw1", 1, 4))
	require.Equal(t, digest, reply.GetCounts().GetDigest())
	require.True(t, proto.Equal(&meteringv1.MeterUsage{Meter: "calls", Quantity: "3", Calls: 3, Digest: digest}, reply.GetMeters()[0]))

	testkit.Await(t, patience, func() bool { // an instant that is no boundary is refused, not guessed
		_, err = f.usage(t, "s1", began.Truncate(time.Hour), end.Add(1))
		return problem.From(err).Code == "usage-not-divided"
	})
	require.Equal(t, problem.Invalid, problem.KindOf(err))
}

// What is read of the ledger neither waits for what is being metered nor holds it up.
func TestCountingHoldsNothingUp(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	f.gateway("gw1").send(t, call("s1", began))
	from, to := began.Truncate(time.Hour), began.Truncate(time.Hour).Add(time.Hour)
	count := &meteringv1.CountReply{}
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT FROM partitions FOR UPDATE`); err != nil { // as one that applies calls
			return err
		}
		require.EqualValues(t, 1, f.calls(t, "s1", began, began.AddDate(0, 1, 0)))
		return operation.Call(t.Context(), f.Bus, "metering.Count", &meteringv1.CountRequest{Tenant: "*", Start: from.UnixNano(), End: to.UnixNano()}, count)
	}))
	require.EqualValues(t, 1, count.GetCounts().GetBillable())

	err := operation.Call(t.Context(), f.Bus, "metering.Count", &meteringv1.CountRequest{Tenant: "*", End: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()}, count)
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	require.Contains(t, problem.From(err).Errors[0].Message, "more than 400 days")
}

func TestQuantitiesAndReasons(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	when := began.Add(10 * time.Minute)
	rows := func(value, units string) *callsv1.CallRecord {
		c := call("s1", when)
		c.Quantities, c.CallUnits = []*callsv1.Quantity{{Meter: "rows", Value: value}}, units
		return c
	}
	rejected := call("s1", when)
	rejected.Billable, rejected.Reason = false, callsv1.Reason_REASON_GATEWAY_REJECTED
	anonymous := &callsv1.CallRecord{CompletedAt: when.UnixNano(), Reason: callsv1.Reason_REASON_INTERNAL}
	f.gateway("gw1").send(t, rows("12", ""), rows("0.000000000001", "0.5"), rejected, call("s1", when), anonymous)

	reply, err := f.usage(t, "s1", began, began.AddDate(0, 1, 0))
	require.NoError(t, err)
	require.Len(t, reply.GetMeters(), 2)
	require.Equal(t, "2.5", reply.GetMeters()[0].GetQuantity())
	require.EqualValues(t, 3, reply.GetMeters()[0].GetCalls())
	require.Equal(t, "rows", reply.GetMeters()[1].GetMeter())
	require.Equal(t, "12.000000000001", reply.GetMeters()[1].GetQuantity())
	require.EqualValues(t, 2, reply.GetMeters()[1].GetCalls())
	require.Equal(t, map[string]uint64{"gateway_rejected": 1}, reply.GetCounts().GetNotBillable())

	count := &meteringv1.CountReply{}
	from, to := began.Truncate(time.Hour), began.Truncate(time.Hour).Add(time.Hour)
	require.NoError(t, operation.Call(t.Context(), f.Bus, "metering.Count", &meteringv1.CountRequest{Tenant: "*", Start: from.UnixNano(), End: to.UnixNano()}, count))
	require.EqualValues(t, 3, count.GetCounts().GetBillable())
	require.Equal(t, map[string]uint64{"gateway_rejected": 1, "internal": 1}, count.GetCounts().GetNotBillable())
	require.Len(t, count.GetWatermark(), bus.Partitions)

	var report struct {
		TimeZone string
		Totals   []struct{ Meter, Reason, Quantity string }
		Slices   []struct {
			Start    time.Time
			Quantity string
		}
	}
	f.Client(f.Token(tenant, "metering.read")).Must("GET", "/metering/v1/usage?subscription=name-of-s1&by=hour&from="+from.Format(time.RFC3339)+"&to="+to.Format(time.RFC3339), nil, &report)
	require.Len(t, report.Totals, 3)
	require.Equal(t, "2.5", report.Totals[0].Quantity)
	require.Equal(t, from, report.Slices[0].Start)
}

func TestWhatMeteringHearsOfLateDividesWhatItHasMetered(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.plan("plan-s1", 1, &catalogv1.PlanSpec{})
	f.plan("plan-s1", 2, &catalogv1.PlanSpec{})
	g, other := f.gateway("gw1"), f.gateway("gw2")
	changed := began.Add(11 * time.Minute).Add(7)
	ended := began.Add(20 * time.Minute)
	instants := []time.Time{began.Add(-1), began, changed.Add(-1), changed, changed.Add(1), ended.Add(-1), ended}
	for _, at := range instants { // before anything is known of the subscription
		c := call("s1", at)
		c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "1.5"}}
		g.send(t, c, call("s2", at))
		other.send(t, call("s1", at))
	}
	again := g.batch()
	again.FirstSeq, again.Count, again.Calls = 1, 1, []*callsv1.CallRecord{call("s1", instants[0])}
	again.Calls[0].Seq = 1
	f.metered(t, again)
	_, err := f.usage(t, "s1", began, changed)
	require.Equal(t, problem.Invalid, problem.KindOf(err))

	position := f.emit("subscription", "subscription", "s1",
		&subscriptionv1.SubscriptionRequested{Subscription: "s1", Name: "s1", Plan: "plan-s1", PlanVersion: 1},
		&subscriptionv1.SubscriptionActivated{Subscription: "s1", StartedAt: began.UnixNano()},
		&subscriptionv1.SubscriptionPlanChanged{Subscription: "s1", FromPlan: "plan-s1", FromPlanVersion: 1, Plan: "plan-s1", PlanVersion: 2, EffectiveAt: changed.UnixNano()},
		&subscriptionv1.SubscriptionCancelled{Subscription: "s1", EndedAt: ended.UnixNano()})
	f.followed(t, "subscription", position)
	usage := func(from, to time.Time) *meteringv1.UsageReply {
		var reply *meteringv1.UsageReply
		testkit.Await(t, patience, func() (err error) {
			reply, err = f.usage(t, "s1", from, to)
			return err
		})
		return reply
	}
	require.EqualValues(t, 2, usage(began.Truncate(time.Hour), began).GetCounts().GetBillable())
	require.EqualValues(t, 4, usage(began, changed).GetCounts().GetBillable())
	require.EqualValues(t, 6, usage(changed, ended).GetCounts().GetBillable())
	require.EqualValues(t, 2, usage(ended, began.Truncate(time.Hour).Add(time.Hour)).GetCounts().GetBillable())
	require.Equal(t, "4.5", usage(changed, ended).GetMeters()[1].GetQuantity())
	whole := usage(began.Truncate(time.Hour), began.Truncate(time.Hour).Add(time.Hour))
	require.EqualValues(t, 14, whole.GetCounts().GetBillable())
	digest := uint64(0)
	for i := range instants {
		digest += callset.Digest("gw1", 1, uint64(2*i+1)) + callset.Digest("gw2", 1, uint64(i+1))
	}
	require.Equal(t, callset.Hex(digest), whole.GetCounts().GetDigest())
}

// Batches that come repeatedly, with other bounds and in another order, to two replicas one of which is stopped in between, count
// each call once.
func TestEachCallCountsOnce(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	const gateways, calls = 3, 400
	random := rand.New(rand.NewPCG(1, 2))
	var batches []*callsv1.CallBatch
	digest := uint64(0)
	for i := range gateways {
		name := fmt.Sprintf("gw%d", i)
		record := func(seq uint64) *callsv1.CallRecord {
			c := call("s1", began.Add(time.Duration(seq)*time.Second))
			c.Seq = seq
			return c
		}
		for range 3 { // the whole of it thrice, cut differently each time
			for first := uint64(1); first <= calls; {
				last := min(first+random.Uint64N(60), calls)
				b := &callsv1.CallBatch{Gateway: name, Boot: 1, FirstSeq: first, Count: uint32(last - first + 1)}
				for seq := first; seq <= last; seq++ {
					b.Calls = append(b.Calls, record(seq))
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
		require.NoError(t, second.WaitFor(t.Context(), partition, sequence))
	}
	reply, err := f.usage(t, "s1", began, began.AddDate(0, 1, 0))
	require.NoError(t, err)
	require.EqualValues(t, gateways*calls, reply.GetCounts().GetBillable())
	require.Equal(t, callset.Hex(digest), reply.GetCounts().GetDigest())
	require.Zero(t, reply.GetOpenGaps())
	require.EqualValues(t, gateways*calls, query[int64](t, f.db, `SELECT sum(floor)::bigint FROM boots`))
}

func TestAStreamMadeAnewIsReadFromItsFirstMessage(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	g := f.gateway("gw1")
	first := g.batch(call("s1", began), call("s1", began.Add(1)))
	f.metered(t, first)
	require.NoError(t, f.Bus.JS.DeleteStream(t.Context(), bus.CallsStream))
	// The server may still be deleting the directory: the service tries again, too.
	testkit.Await(t, patience, func() error { _, err := f.Bus.EnsureCalls(t.Context()); return err })
	f.publish(t, first) // shipped again from the journal
	f.publish(t, g.batch(call("s1", began.Add(2))))
	testkit.Await(t, patience, func() bool { return f.calls(t, "s1", began, began.AddDate(0, 1, 0)) == 3 })
	require.EqualValues(t, 2, query[int64](t, f.db, `SELECT max(generation) FROM partitions`))
}

func TestSealsWaiversAndGaps(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	end := began.AddDate(0, 1, 0)
	first, second := f.gateway("gw1"), f.gateway("gw2")
	first.send(t, call("s1", began.Add(time.Minute)))
	first.seal(t, end)
	second.seal(t, end.Add(-1))
	reply, err := f.usage(t, "s1", began, end)
	require.NoError(t, err)
	require.False(t, reply.GetSealed())
	require.Equal(t, map[string]int64{"gw2": end.Add(-1).UnixNano()}, reply.GetUnsealed())

	operator := f.Client(f.operator())
	waive := fmt.Sprintf(`{"until":%q,"reason":"the machine burnt"}`, end.Format(time.RFC3339Nano))
	require.Equal(t, 400, operator.Do("POST", "/metering/v1/gateways/gw2/waive", waive).Status, "what lies ahead cannot be waived")
	f.clock.Set(end.Add(time.Hour))
	require.Equal(t, 400, operator.Do("POST", "/metering/v1/gateways/gw2/waive", fmt.Sprintf(`{"until":%q}`, end.Format(time.RFC3339Nano))).Status, "a reason is asked for")
	require.Equal(t, 404, operator.Do("POST", "/metering/v1/gateways/gw9/waive", waive).Status)
	require.Equal(t, 403, f.Client(f.Token(tenant, "metering.operate")).Do("POST", "/metering/v1/gateways/gw2/waive", waive).Status)
	operator.Must("POST", "/metering/v1/gateways/gw2/waive", waive, nil)
	operator.Must("POST", "/metering/v1/gateways/gw2/waive", waive, nil)
	reply, err = f.usage(t, "s1", began, end)
	require.NoError(t, err)
	require.True(t, reply.GetSealed())
	require.EqualValues(t, 1, query[int64](t, f.db, `SELECT count(*) FROM events WHERE type = 'metering.v1.GatewayWaived'`))

	// A hole becomes a gap after a minute, and is closed when its calls come in.
	lost := first.batch(call("s1", began.Add(2*time.Minute)), call("s1", began.Add(3*time.Minute)))
	first.send(t, call("s1", began.Add(4*time.Minute)))
	require.EqualValues(t, 1, f.openGaps(t, began, end), "what is missing is missing before it is called a gap")
	require.EqualValues(t, 0, f.openGaps(t, began.Truncate(time.Hour).Add(-time.Hour), began.Truncate(time.Hour)), "an earlier time is not concerned")
	f.clock.Advance(2 * time.Minute)
	var gaps struct {
		Items []struct {
			Gateway           string
			First, Last, Boot uint64
		}
	}
	testkit.Await(t, patience, func() bool {
		operator.Must("GET", "/metering/v1/gaps", nil, &gaps)
		return len(gaps.Items) == 1
	})
	require.EqualValues(t, 2, gaps.Items[0].First)
	require.EqualValues(t, 3, gaps.Items[0].Last)
	f.metered(t, lost)
	require.Zero(t, f.openGaps(t, began, end))
	operator.Must("GET", "/metering/v1/gaps", nil, &gaps)
	require.Empty(t, gaps.Items)
	operator.Must("GET", "/metering/v1/gaps?all=true", nil, &gaps)
	require.Len(t, gaps.Items, 1)
	require.EqualValues(t, 2, query[int64](t, f.db, `SELECT count(*) FROM events WHERE stream_type = 'gateway' AND stream_id = 'gw1'`))

	closing := first.batch()
	closing.BootClosed = true
	f.metered(t, closing)
	var gateways struct {
		Items []struct {
			Gateway     string
			SealedUntil string
			Boots       []struct {
				Floor  uint64
				Closed bool
			}
		}
	}
	operator.Must("GET", "/metering/v1/gateways", nil, &gateways)
	require.Len(t, gateways.Items, 2)
	require.Empty(t, gateways.Items[0].SealedUntil, "nothing more can come of it")
	require.EqualValues(t, 4, gateways.Items[0].Boots[0].Floor)
	require.True(t, gateways.Items[0].Boots[0].Closed)
}

func (f *fixture) openGaps(t *testing.T, from, to time.Time) uint64 {
	t.Helper()
	reply, err := f.usage(t, "s1", from, to)
	require.NoError(t, err)
	return reply.GetOpenGaps()
}

func TestAMessageThatContradictsItselfIsKeptAsAGap(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	g := f.gateway("gw1")
	g.send(t, call("s1", began))
	wrong := g.batch(call("s1", began.Add(1)))
	wrong.Calls[0].CallUnits = "many"
	f.metered(t, wrong)
	ack, err := f.Bus.JS.Publish(t.Context(), bus.CallSubject(bus.Partition("gw1")), []byte("no batch"))
	require.NoError(t, err)
	require.NoError(t, f.service.WaitFor(t.Context(), bus.Partition("gw1"), ack.Sequence))
	g.send(t, call("s1", began.Add(2)))
	reply, err := f.usage(t, "s1", began, began.AddDate(0, 1, 0))
	require.NoError(t, err)
	require.EqualValues(t, 2, reply.GetCounts().GetBillable())
	require.EqualValues(t, 1, reply.GetOpenGaps())
	require.EqualValues(t, 2, query[int64](t, f.db, `SELECT count(*) FROM refused_messages`))
}
