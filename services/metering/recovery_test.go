package metering_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

func TestMeteringOutlivesNATS(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	g := f.gateway("gw1")
	g.send(t, call("s1", began))
	f.NATS.Restart()
	batch := g.batch(call("s1", began.Add(1)))
	testkit.Await(t, patience, func() error { return f.Bus.Conn.FlushTimeout(time.Second) })
	f.metered(t, batch)
	require.EqualValues(t, 2, f.calls(t, "s1", began, began.AddDate(0, 1, 0)))
}

// A message that could not be used is tried again when a process attaches: a newer build may know how to.
func TestARefusedMessageIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	g := f.gateway("gw1")
	partition := bus.Partition("gw1")
	g.send(t, call("s1", began))
	f.stop()
	const useless = 1000 // more than are looked up at once, with the one that can be used
	for range useless {
		_, err := f.Bus.JS.Publish(t.Context(), bus.CallSubject(partition), []byte("no batch"))
		require.NoError(t, err)
	}
	_, refused := f.publish(t, g.batch(call("s1", began.Add(1)), call("s1", began.Add(2))))
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error { // as a build left it that refused it
		_, err := tx.Exec(t.Context(), `INSERT INTO refused_messages SELECT partition, generation, n, 'unknown', now()
			FROM partitions, generate_series($2::bigint - $3, $2::bigint) AS n WHERE partition = $1`, partition, int64(refused), useless)
		if err == nil {
			_, err = tx.Exec(t.Context(), `UPDATE partitions SET sequence = $2 WHERE partition = $1`, partition, int64(refused))
		}
		return err
	}))
	f.service, _ = f.run(t)
	g.send(t, call("s1", began.Add(3)))
	require.EqualValues(t, 4, f.calls(t, "s1", began, began.AddDate(0, 1, 0)))
	require.EqualValues(t, useless, query[int64](t, f.db, `SELECT count(*) FROM refused_messages`))
	require.EqualValues(t, 4, query[int64](t, f.db, `SELECT floor FROM boots`))
}

// BenchmarkMetering measures the way from the stream into the ledger, with Postgres and NATS on this machine.
func BenchmarkMetering(b *testing.B) {
	f := start(b)
	g := f.gateway("gw1")
	const batch = 1000
	metered := 0
	for b.Loop() {
		var partition int
		var sequence uint64
		for range 50 {
			calls := make([]*callsv1.CallRecord, batch)
			for i := range calls {
				calls[i] = call(fmt.Sprintf("s%d", i%50), began.Add(time.Duration(metered+i)*time.Millisecond))
			}
			partition, sequence = f.publish(b, g.batch(calls...))
			metered += batch
		}
		require.NoError(b, f.service.WaitFor(b.Context(), partition, sequence))
	}
	b.ReportMetric(float64(metered)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkLease measures one ask and one return, over NATS.
func BenchmarkLease(b *testing.B) {
	f := start(b)
	f.subscribe(b, "s1", hard(1<<40, "month"))
	lease := ""
	for b.Loop() {
		req := &meteringv1.LeaseRequest{Gateway: "gw1", Boot: 1, Asks: ask("s1", "month", 10)}
		if lease != "" {
			req.Returns = []*meteringv1.LeaseReturn{{Lease: lease}}
		}
		reply := &meteringv1.LeaseReply{}
		require.NoError(b, operation.Call(b.Context(), f.Bus, "metering.Lease", req, reply))
		lease = reply.GetGrants()[0].GetLease()
	}
}
