package ship_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
	"github.com/tollgate/tollgate/services/gateway/internal/journal"
	"github.com/tollgate/tollgate/services/gateway/internal/ship"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func connect(t testing.TB, s *testkit.NATSServer) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(bus.Config{URL: s.URL(), Name: "gateway", Replicas: 1})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func open(t testing.TB, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(journal.Config{Dir: dir, SegmentBytes: 64 << 10, MaxBytes: 64 << 20, Log: testkit.Logger(t)})
	require.NoError(t, err)
	return j
}

func add(t testing.TB, j *journal.Journal, n int) {
	for range n {
		c := callrecord.Call{Path: "/x", Status: 200}
		payload := c.Append(nil)
		p, err := j.Reserve(len(payload) + callrecord.IdentitySize)
		require.NoError(t, err)
		j.Commit(p, callrecord.AppendIdentity(payload, p.Seq, p.CompletedAt, 1))
	}
}

// received is what a consumer of the stream holds: records by (boot, seq) and the seals, checked on the way.
type received struct {
	seqs    map[uint64]map[uint64]int // boot → seq → times
	last    map[uint64]uint64         // boot → highest seq
	closed  []uint64
	seal    int64
	batches int
	open    []uint64 // as last listed; nil before
	openAt  int64
}

// receive reads the whole stream and checks what every batch promises.
func receive(t testing.TB, b *bus.Bus) received {
	t.Helper()
	got := received{seqs: map[uint64]map[uint64]int{}, last: map[uint64]uint64{}}
	stream, err := b.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	consumer, err := stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	require.NoError(t, err)
	for got.batches < int(info.State.Msgs) {
		msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
		require.NoError(t, err)
		var m callsv1.CallBatch
		require.NoError(t, proto.Unmarshal(msg.Data(), &m))
		require.Empty(t, m.ProtoReflect().GetUnknown())
		got.take(t, &m)
	}
	return got
}

func (r *received) take(t testing.TB, m *callsv1.CallBatch) {
	r.batches++
	require.Equal(t, "gw1", m.GetGateway())
	require.Len(t, m.GetCalls(), int(m.GetCount()))
	require.LessOrEqual(t, m.GetCount(), uint32(1000))
	if r.seqs[m.GetBoot()] == nil {
		r.seqs[m.GetBoot()] = map[uint64]int{}
	}
	if m.GetOpenListed() {
		r.open, r.openAt = append([]uint64{}, m.GetOpenSeqs()...), m.GetSealedUntil()
	}
	for i, c := range m.GetCalls() {
		require.Equal(t, m.GetFirstSeq()+uint64(i), c.GetSeq())
		if r.seqs[m.GetBoot()][c.GetSeq()] == 0 {
			require.GreaterOrEqual(t, c.GetCompletedAt(), r.seal, "seq %d completed before a seal that did not include it", c.GetSeq())
		}
		r.seqs[m.GetBoot()][c.GetSeq()]++
		r.last[m.GetBoot()] = max(r.last[m.GetBoot()], c.GetSeq())
	}
	r.seal = max(r.seal, m.GetSealedUntil())
	if m.GetBootClosed() {
		require.NotContains(t, r.closed, m.GetBoot())
		r.closed = append(r.closed, m.GetBoot())
	}
}

// requireWhole checks that a boot's records are there, from 1 to n.
func (r received) requireWhole(t testing.TB, boot uint64, n int) {
	t.Helper()
	require.Len(t, r.seqs[boot], n)
	for seq := uint64(1); seq <= uint64(n); seq++ {
		require.Positive(t, r.seqs[boot][seq], "seq %d is missing", seq)
	}
}

func runShipper(t testing.TB, s *ship.Shipper) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func TestEverythingIsShippedSealedAndClosed(t *testing.T) {
	t.Parallel()
	b := connect(t, testkit.NATS(t))
	dir := t.TempDir()
	j := open(t, dir)
	s := ship.New("gw1", j, b, testkit.Logger(t))
	stop := runShipper(t, s)
	defer stop()
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() { add(t, j, 2000) })
	}
	writers.Wait()
	testkit.Await(t, 10*time.Second, func() bool { return s.Unshipped() == 0 })
	after := j.Mark().Time
	testkit.Await(t, 10*time.Second, func() bool { return receive(t, b).seal >= after }) // an idle gateway seals on
	stop()
	add(t, j, 5)
	closed, err := s.Finish(t.Context())
	require.NoError(t, err)
	require.True(t, closed)
	require.NoError(t, j.Close())
	require.NoError(t, j.RemoveAll())
	got := receive(t, b)
	got.requireWhole(t, j.Boot(), 8005)
	require.Equal(t, []uint64{j.Boot()}, got.closed)
	for seq, times := range got.seqs[j.Boot()] {
		require.Equal(t, 1, times, seq)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	require.NoError(t, err)
	require.Empty(t, files)
}

// TestWhatRunCouldNotShipIsShippedByFinish ends Run while it tries to publish what it has read.
func TestWhatRunCouldNotShipIsShippedByFinish(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	b := connect(t, server)
	require.NoError(t, b.Await(t.Context()))
	_, err := b.EnsureCalls(t.Context())
	require.NoError(t, err)
	j := open(t, t.TempDir())
	s := ship.New("gw1", j, b, testkit.Logger(t))
	server.Shutdown()
	add(t, j, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	testkit.Await(t, time.Minute, func() bool { return s.Failures() > 0 })
	cancel()
	require.NoError(t, <-done)
	server.Start()
	testkit.Await(t, time.Minute, func() error {
		_, err := b.Conn.RTT()
		return err
	})
	closed, err := s.Finish(t.Context())
	require.NoError(t, err)
	require.True(t, closed)
	require.Zero(t, s.Unshipped())
	got := receive(t, b)
	require.Len(t, got.seqs[j.Boot()], 10)
	require.Equal(t, []uint64{j.Boot()}, got.closed)
	require.NoError(t, j.Close())
}

func TestAfterACrashTheRestIsShippedAndTheBootClosedFirst(t *testing.T) {
	t.Parallel()
	b := connect(t, testkit.NATS(t))
	dir := t.TempDir()
	first := open(t, dir)
	s := ship.New("gw1", first, b, testkit.Logger(t))
	stop := runShipper(t, s)
	add(t, first, 3000)
	testkit.Await(t, 10*time.Second, func() bool { return s.Unshipped() == 0 })
	before, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	require.NoError(t, err)
	add(t, first, 700)
	testkit.Await(t, 10*time.Second, func() bool { return s.Unshipped() == 0 })
	stop()
	add(t, first, 300)
	require.NoError(t, first.Close())
	// Killed between the acknowledgement and the checkpoint.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "checkpoint"), before, 0o600))

	second := open(t, dir)
	s = ship.New("gw1", second, b, testkit.Logger(t))
	stop = runShipper(t, s)
	add(t, second, 10)
	testkit.Await(t, 10*time.Second, func() bool {
		got := receive(t, b)
		return len(got.closed) == 1 && got.last[second.Boot()] == 10
	})
	stop()
	got := receive(t, b)
	got.requireWhole(t, first.Boot(), 4000)
	got.requireWhole(t, second.Boot(), 10)
	require.Equal(t, []uint64{first.Boot()}, got.closed)
	requireKnownBeforeClosed(t, b, first.Boot(), second.Boot())
	require.NoError(t, second.Close())

	third := open(t, dir)
	require.Equal(t, []uint64{second.Boot()}, third.EarlierBoots(), "the first boot's files are gone")
	require.NoError(t, third.Close())
}

// requireKnownBeforeClosed checks that a boot is heard of before an earlier one is closed: else there is a time in which the gateway
// counts as ended although it serves.
func requireKnownBeforeClosed(t testing.TB, b *bus.Bus, earlier, next uint64) {
	t.Helper()
	stream, err := b.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	known := false
	for sequence := uint64(1); ; sequence++ {
		raw, err := stream.GetMsg(t.Context(), sequence)
		require.NoError(t, err)
		var m callsv1.CallBatch
		require.NoError(t, proto.Unmarshal(raw.Data, &m))
		known = known || m.GetBoot() == next
		if m.GetBoot() == earlier && m.GetBootClosed() {
			require.True(t, known, "boot %d is closed before %d is known", earlier, next)
			return
		}
	}
}

func TestSeveralCrashesWithTheBusDown(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	dir := t.TempDir()
	b := connect(t, server)
	_, err := b.EnsureCalls(t.Context())
	require.NoError(t, err)
	server.Shutdown()
	var boots []uint64
	for i := range 3 {
		j := open(t, dir)
		boots = append(boots, j.Boot())
		s := ship.New("gw1", j, b, testkit.Logger(t))
		stop := runShipper(t, s)
		add(t, j, 100+i)
		testkit.Await(t, 10*time.Second, func() bool { return s.Failures() > 0 })
		stop()
		require.NoError(t, j.Close())
	}
	server.Start()
	j := open(t, dir)
	s := ship.New("gw1", j, b, testkit.Logger(t))
	closed, err := s.Finish(t.Context())
	require.NoError(t, err)
	require.True(t, closed)
	require.NoError(t, j.Close())
	got := receive(t, b)
	for i, boot := range boots {
		got.requireWhole(t, boot, 100+i)
	}
	require.Equal(t, append(boots, j.Boot()), got.closed)
}

func TestStreamedAnswersAreShippedWhenTheyEnd(t *testing.T) {
	t.Parallel()
	b := connect(t, testkit.NATS(t))
	dir := t.TempDir()
	j := open(t, dir)
	s := ship.New("gw1", j, b, testkit.Logger(t))
	stop := runShipper(t, s)
	begin := func() journal.Place {
		c := callrecord.Call{Path: "/stream", EndReason: callrecord.EndGatewayKilled, Reason: callsv1.Reason_REASON_INTERNAL}
		payload := c.Append(nil)
		p, err := j.ReserveOpening(len(payload) + callrecord.IdentitySize)
		require.NoError(t, err)
		j.CommitOpened(p, callrecord.AppendIdentity(payload, p.Seq, p.CompletedAt, 0))
		return p
	}
	add(t, j, 1)
	ended, cut := begin(), begin() // 2 and 3
	add(t, j, 10)
	testkit.Await(t, 10*time.Second, func() bool { return s.Unshipped() == 0 })
	require.NotContains(t, receive(t, b).seqs[j.Boot()], uint64(2))
	// They are listed as going on: they are not missing, and complete after the seal.
	testkit.Await(t, 10*time.Second, func() bool { return slices.Equal([]uint64{2, 3}, receive(t, b).open) })
	openAt := receive(t, b).openAt
	p, err := j.ReserveFinal(ended, callrecord.IdentitySize)
	require.NoError(t, err)
	j.Commit(p, callrecord.AppendIdentity(nil, p.Seq, p.CompletedAt, 7))
	j.Closed(ended)
	require.GreaterOrEqual(t, p.CompletedAt, openAt)
	testkit.Await(t, 10*time.Second, func() bool { return slices.Equal([]uint64{3}, receive(t, b).open) })
	testkit.Await(t, 10*time.Second, func() bool { return s.Unshipped() == 0 })
	stop()
	require.NoError(t, j.Close())
	require.Contains(t, receive(t, b).seqs[j.Boot()], uint64(2))

	next := open(t, dir)
	_, err = ship.New("gw1", next, b, testkit.Logger(t)).Finish(t.Context())
	require.NoError(t, err)
	require.NoError(t, next.Close())
	got := receive(t, b)
	got.requireWhole(t, j.Boot(), 13) // the one that was cut too, as interrupted
	require.Equal(t, uint64(3), cut.Seq)
}

// Once no answer streams any more that is said too, and then nothing.
func TestTheLastStreamedAnswerIsTakenOffTheList(t *testing.T) {
	t.Parallel()
	b := connect(t, testkit.NATS(t))
	j := open(t, t.TempDir())
	defer func() { require.NoError(t, j.Close()) }()
	require.NoError(t, b.Await(t.Context()))
	_, err := b.EnsureCalls(t.Context())
	require.NoError(t, err)
	defer runShipper(t, ship.New("gw1", j, b, testkit.Logger(t)))()
	opened, err := j.ReserveOpening(callrecord.IdentitySize)
	require.NoError(t, err)
	j.CommitOpened(opened, callrecord.AppendIdentity(nil, opened.Seq, opened.CompletedAt, 0))
	testkit.Await(t, 10*time.Second, func() bool { return slices.Equal([]uint64{1}, receive(t, b).open) })
	p, err := j.ReserveFinal(opened, callrecord.IdentitySize)
	require.NoError(t, err)
	j.Commit(p, callrecord.AppendIdentity(nil, p.Seq, p.CompletedAt, 7))
	j.Closed(opened)
	testkit.Await(t, 10*time.Second, func() bool {
		got := receive(t, b)
		return len(got.open) == 0 && got.last[j.Boot()] == 1
	})
}

func BenchmarkShip(b *testing.B) {
	server := connect(b, testkit.NATS(b))
	j := open(b, b.TempDir())
	s := ship.New("gw1", j, server, testkit.Logger(b))
	b.ReportAllocs()
	for b.Loop() {
		add(b, j, 1000)
		_, err := s.Finish(context.Background())
		require.NoError(b, err)
	}
	b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "records/s")
	require.NoError(b, j.Close())
}
