package analytics_test

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// TestEveryFieldIsLanded reads a call as ClickHouse has it.
func TestEveryFieldIsLanded(t *testing.T) {
	t.Parallel()
	f := start(t)
	completed := noon.Add(123456789 * time.Nanosecond)
	f.gateway("gw1").send(t, call("s1", completed, func(c *callsv1.CallRecord) {
		c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "12"}, {Meter: "credits", Value: "0.000000000001"}}
		c.CallUnits, c.LeaseSpends, c.TraceId, c.ErrorReason = "0.5", []*callsv1.LeaseSpend{{Lease: "l1", Units: 1}}, "t1", "none"
	}))
	var id, tenantID, reason, units, meter, template string
	var at time.Time
	var billable bool
	var digest uint64
	var status uint16
	require.NoError(t, f.table.QueryRow(t.Context(), `SELECT call, tenant, completed_at, billable, reason, toString(call_units), toString(quantities[2]), path_template, status, digest FROM calls`).
		Scan(&id, &tenantID, &at, &billable, &reason, &units, &meter, &template, &status, &digest))
	require.Equal(t, "gw1.1.1", id)
	require.Equal(t, tenant, tenantID)
	require.Equal(t, completed, at)
	require.True(t, billable)
	require.Empty(t, reason)
	require.Equal(t, "0.5", units)
	require.Equal(t, "0.000000000001", meter)
	require.Equal(t, "/current/{city}", template)
	require.Equal(t, uint16(200), status)
}

// TestRepeatsAreLandedOnce ships batches again, as they were and with other bounds, and out of order.
func TestRepeatsAreLandedOnce(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	var last place
	const n = 300
	all := calls("s1", noon, n)
	g.batch(all...) // numbers them
	random := rand.New(rand.NewPCG(1, 2))
	publish := func(first, end int) {
		last = f.publish(t, &callsv1.CallBatch{Gateway: g.name, Boot: 1, FirstSeq: uint64(first + 1), Count: uint32(end - first), Calls: all[first:end]})
	}
	for range 60 {
		first := random.IntN(n)
		publish(first, min(n, first+1+random.IntN(40)))
	}
	for first := 0; first < n; first += 50 {
		publish(first, first+50)
	}
	f.await(t, last)
	f.requireEachOnce(t, n)
	require.Equal(t, int64(n), query[int64](t, f, `SELECT floor FROM boots WHERE gateway = 'gw1' AND boot = 1`))
}

// TestARestartGoesOn stops the service and starts it again, with calls shipped meanwhile and others shipped again.
func TestARestartGoesOn(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	first := g.send(t, calls("s1", noon, 10)...)
	f.stop()
	f.publish(t, first)
	second := f.publish(t, g.batch(calls("s1", noon.Add(time.Minute), 5)...))
	f.service, f.stop = f.run(t)
	f.await(t, second)
	f.requireEachOnce(t, 15)
}

// TestTwoReplicasLandOnce runs two replicas and ends the one that lands, several times, under load.
func TestTwoReplicasLandOnce(t *testing.T) {
	t.Parallel()
	f := start(t)
	gateways := []*gateway{f.gateway("gw1"), f.gateway("gw2"), f.gateway("gw3")}
	stop, n := f.stop, 0
	var last [3]place
	for range 4 {
		next, stopNext := f.run(t)
		for i, g := range gateways {
			for range 5 {
				b := g.batch(calls("s1", noon.Add(time.Duration(n)*time.Millisecond), 20)...)
				n += 20
				f.publish(t, b)
				last[i] = f.publish(t, b)
			}
		}
		stop()
		f.service, stop = next, stopNext
	}
	for _, at := range last {
		f.await(t, at)
	}
	f.requireEachOnce(t, n)
	require.Zero(t, query[int](t, f, `SELECT count(*) FROM landings WHERE done_at IS NULL`))
}

// TestALandingAcrossMonths lands calls of two months in one insert.
func TestALandingAcrossMonths(t *testing.T) {
	t.Parallel()
	f := start(t)
	end := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	f.gateway("gw1").send(t, call("s1", end.Add(-1)), call("s1", end), call("s1", end.Add(time.Second)))
	f.requireEachOnce(t, 3)
	var parts uint64
	require.NoError(t, f.table.QueryRow(t.Context(), `SELECT uniqExact(partition) FROM system.parts WHERE database = currentDatabase() AND table = 'calls' AND active`).Scan(&parts))
	require.Equal(t, uint64(2), parts)
}

// TestARefusedMessageIsKeptAside: it is neither landed nor in the way, and what it has stays missing.
func TestARefusedMessageIsKeptAside(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	g.send(t, call("s1", noon))
	wrong := g.batch(call("s1", noon))
	wrong.Calls[0].Reason = callsv1.Reason_REASON_TEST // and billable
	f.ship(t, wrong)
	f.shipRaw(t, bus.Partition("gw1"), []byte("no batch"))
	g.send(t, call("s1", noon))
	f.requireEachOnce(t, 2)
	require.Equal(t, 2, query[int](t, f, `SELECT count(*) FROM refused_messages`))
	p := f.prove(t, tenant, "", noon, noon.Add(time.Hour))
	require.False(t, p.GetAgree())
	require.Equal(t, uint64(3), p.GetAnswered())
	require.Equal(t, uint64(2), p.GetStored())
	require.Contains(t, p.GetDifferences()[0], "gw1.1.2")
}

// TestAStreamMadeAnewIsReadFromItsFirstMessage: what was received before is known by its identity.
func TestAStreamMadeAnewIsReadFromItsFirstMessage(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	first := g.send(t, calls("s1", noon, 3)...)
	require.NoError(t, f.Bus.JS.DeleteStream(t.Context(), bus.CallsStream))
	// The server may still be deleting the directory: the service tries again, too.
	testkit.Await(t, patience, func() error { _, err := f.Bus.EnsureCalls(t.Context()); return err })
	f.publish(t, first)
	at := f.publish(t, g.batch(calls("s1", noon, 2)...))
	testkit.Await(t, patience, func() error {
		if rows, _ := f.landed(t); rows != 5 {
			return fmt.Errorf("%d calls are landed", rows)
		}
		return nil
	})
	require.Equal(t, uint64(2), at.sequence)
	f.requireEachOnce(t, 5)
}

// TestEnginesThatGoAway kills the ClickHouse engine and restarts NATS while calls are landed.
func TestEnginesThatGoAway(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	clickHouseURL, err := server.CreateDatabase(t.Context(), "analytics")
	require.NoError(t, err)
	f := startOn(t, clickHouseURL)
	g := f.gateway("gw1")
	var last place
	n := 0
	for round := range 6 {
		for range 5 {
			b := g.batch(calls("s1", noon.Add(time.Duration(n)*time.Millisecond), 200)...)
			n += 200
			f.publish(t, b)
			last = f.publish(t, b)
		}
		switch round {
		case 1, 3:
			require.NoError(t, syscall.Kill(server.Pid(), syscall.SIGKILL))
		case 2:
			f.NATS.Restart()
			require.NoError(t, f.Bus.Await(t.Context()))
		}
	}
	f.await(t, last)
	f.requireEachOnce(t, n)
	require.True(t, f.prove(t, tenant, "s1", noon, noon.Add(time.Hour)).GetAgree())

	require.NoError(t, server.Stop(t.Context()))
	answer := f.client.Do("GET", "/analytics/v1/calls", nil)
	require.Equal(t, 503, answer.Status, answer.Body)
	require.Contains(t, answer.Body, "clickhouse-unavailable")
}

// BenchmarkLanding measures how many calls a second one partition lands.
func BenchmarkLanding(b *testing.B) {
	f := start(b)
	g := f.gateway("gw1")
	const size = 1000
	batches := make([][]byte, b.N)
	for i := range batches {
		data, err := proto.Marshal(g.batch(calls("s1", noon, size)...))
		require.NoError(b, err)
		batches[i] = data
	}
	b.ResetTimer()
	var last place
	for _, data := range batches {
		last = f.shipRaw(b, bus.Partition("gw1"), data)
	}
	f.await(b, last)
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "calls/s")
}

// TestOldMessagesLeaveTheStream has what is landed and metered deleted from the stream in time, and nothing else.
func TestOldMessagesLeaveTheStream(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	g.send(t, calls("s1", noon, 3)...)
	g.send(t, calls("s1", noon, 3)...)
	unmetered := f.ship(t, g.batch(calls("s1", noon, 2)...))
	f.await(t, unmetered)
	f.stop()
	f.clock.Advance(time.Since(f.clock.Now()) + 48*time.Hour)
	f.config.KeepMessages = 24 * time.Hour
	f.service, f.stop = f.run(t)
	stream, err := f.Bus.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	testkit.Await(t, patience, func() error {
		info, err := stream.Info(t.Context())
		if err == nil && info.State.Msgs != 1 {
			err = fmt.Errorf("%d messages are in the stream", info.State.Msgs)
		}
		return err
	})
	_, err = stream.GetMsg(t.Context(), unmetered.sequence)
	require.NoError(t, err, "the one that is not metered stays")
	g.send(t, calls("s1", noon, 2)...)
	f.requireEachOnce(t, 10)
}
