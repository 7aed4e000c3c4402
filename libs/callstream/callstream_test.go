package callstream_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const patience = time.Minute

// gateway's partition.
var partition = bus.Partition("gw1")

func batch(first uint64, calls ...*callsv1.CallRecord) *callsv1.CallBatch {
	for i, c := range calls {
		c.Seq = first + uint64(i)
	}
	return &callsv1.CallBatch{Gateway: "gw1", Boot: 1, FirstSeq: first, Count: uint32(len(calls)), Calls: calls}
}

func call() *callsv1.CallRecord {
	return &callsv1.CallRecord{CompletedAt: 1, Tenant: "acme", Subscription: "s1", Billable: true}
}

func TestDecodeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(b *callsv1.CallBatch)
		want   string
	}{
		{"right", func(*callsv1.CallBatch) {}, ""},
		{"a seal", func(b *callsv1.CallBatch) { b.Calls, b.Count, b.FirstSeq = nil, 0, 0 }, ""},
		{"quantities", func(b *callsv1.CallBatch) {
			b.Calls[0].CallUnits = "0.5"
			b.Calls[0].Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "12.000000000001"}}
		}, ""},
		{"no gateway", func(b *callsv1.CallBatch) { b.Gateway = "" }, "gateway is empty"},
		{"another partition", func(b *callsv1.CallBatch) { b.Gateway = "gw2" }, `the gateway "gw2" writes to partition`},
		{"no boot", func(b *callsv1.CallBatch) { b.Boot = 0 }, "is not a counter from 1"},
		{"count", func(b *callsv1.CallBatch) { b.Count = 3 }, "says that it has 3 calls and has 2"},
		{"number 0", func(b *callsv1.CallBatch) { b.FirstSeq = 0 }, "not within 1"},
		{"calls that go on", func(b *callsv1.CallBatch) { b.Calls, b.Count, b.OpenListed, b.OpenSeqs = nil, 0, true, []uint64{1, 7} }, ""},
		{"open calls in disorder", func(b *callsv1.CallBatch) { b.OpenListed, b.OpenSeqs = true, []uint64{7, 7} }, "open_seqs[1] is 7, after 7"},
		{"the open call 0", func(b *callsv1.CallBatch) { b.OpenListed, b.OpenSeqs = true, []uint64{0} }, "open_seqs[0] is 0"},
		{"a hole within", func(b *callsv1.CallBatch) { b.Calls[1].Seq = 9 }, "calls[1] has the sequence number 9; want 2"},
		{"every tenant", func(b *callsv1.CallBatch) { b.Calls[0].Tenant = "*" }, "the tenant is *"},
		{"no tenant", func(b *callsv1.CallBatch) { b.Calls[0].Tenant = "" }, "a subscription and no tenant"},
		{"no time", func(b *callsv1.CallBatch) { b.Calls[0].CompletedAt = 0 }, "completed_at is 0"},
		{"billable with a reason", func(b *callsv1.CallBatch) { b.Calls[0].Reason = callsv1.Reason_REASON_TEST }, "has a reason, and only such"},
		{"free without a reason", func(b *callsv1.CallBatch) { b.Calls[0].Billable = false }, "has a reason, and only such"},
		{"units", func(b *callsv1.CallBatch) { b.Calls[0].CallUnits = "1e3" }, "call_units"},
		{"negative units", func(b *callsv1.CallBatch) { b.Calls[0].CallUnits = "-1" }, "call_units: -1 is negative"},
		{"the meter calls", func(b *callsv1.CallBatch) { b.Calls[0].Quantities = []*callsv1.Quantity{{Meter: "calls", Value: "1"}} }, "given by call_units"},
		{"a meter twice", func(b *callsv1.CallBatch) {
			b.Calls[0].Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "1"}, {Meter: "rows", Value: "1"}}
		}, "is there twice"},
		{"too many decimals", func(b *callsv1.CallBatch) {
			b.Calls[0].Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "0.0000000000001"}}
		}, "13 decimals"},
		{"a negative lease", func(b *callsv1.CallBatch) { b.Calls[0].LeaseSpends = []*callsv1.LeaseSpend{{Lease: "l", Units: -1}} }, "-1 units are negative"},
		{"a null character", func(b *callsv1.CallBatch) { b.Calls[0].Plan = "a\x00" }, "plan contains the character U+0000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := batch(1, call(), call())
			c.change(b)
			data, err := proto.Marshal(b)
			require.NoError(t, err)
			decoded, err := callstream.Decode(partition, data)
			if c.want == "" {
				require.NoError(t, err)
				require.True(t, proto.Equal(b, decoded))
				return
			}
			require.ErrorContains(t, err, c.want)
			require.Nil(t, decoded)
		})
	}
}

func TestReasonCodes(t *testing.T) {
	t.Parallel()
	require.Empty(t, callstream.ReasonCode(callsv1.Reason_REASON_UNSPECIFIED))
	require.Equal(t, "free_plan", callstream.ReasonCode(callsv1.Reason_REASON_FREE_PLAN))
	require.Equal(t, "reason_99", callstream.ReasonCode(99))
}

func FuzzDecode(f *testing.F) {
	for _, b := range []*callsv1.CallBatch{batch(1, call()), batch(7), {Gateway: "gw1", Boot: 1, FirstSeq: 1 << 63, Count: 1, Calls: []*callsv1.CallRecord{{Seq: 1 << 63}}}} {
		data, err := proto.Marshal(b)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte("no batch"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := callstream.Decode(partition, data)
		if err != nil {
			return
		}
		if len(b.GetCalls()) > 0 {
			require.EqualValues(t, len(b.GetCalls()), callstream.Range(b).Count())
		}
		for _, c := range b.GetCalls() {
			units, err := callstream.Units(c)
			require.NoError(t, err)
			require.GreaterOrEqual(t, units.Sign(), 0)
		}
	})
}

func connect(t *testing.T) (*testkit.NATSServer, *bus.Bus, time.Time) {
	t.Helper()
	server := testkit.NATS(t)
	b, err := bus.Connect(bus.Config{URL: server.URL(), Name: "test"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	created, err := callstream.Created(t.Context(), b)
	require.NoError(t, err)
	return server, b, created
}

func publish(t *testing.T, b *bus.Bus, first uint64) uint64 {
	t.Helper()
	data, err := proto.Marshal(batch(first, call()))
	require.NoError(t, err)
	ack, err := b.JS.Publish(t.Context(), bus.CallSubject(partition), data)
	require.NoError(t, err)
	return ack.Sequence
}

var limits = callstream.Limits{Calls: 3, Bytes: 1 << 20, Idle: time.Second}

func TestReaderGoesOnBehindItsOffset(t *testing.T) {
	t.Parallel()
	_, b, created := connect(t)
	for i := range uint64(5) {
		publish(t, b, i+1)
		_, err := b.JS.Publish(t.Context(), bus.CallSubject((partition+1)%bus.Partitions), []byte("of another partition"))
		require.NoError(t, err)
	}
	_, err := b.JS.Publish(t.Context(), bus.CallSubject(partition), []byte("no batch"))
	require.NoError(t, err)
	r, err := callstream.Open(t.Context(), b, partition, 3, created)
	require.NoError(t, err)
	defer r.Close()
	messages, err := r.Take(t.Context(), limits)
	require.NoError(t, err)
	require.Len(t, messages, 3, "no more than the limit")
	require.EqualValues(t, []uint64{5, 7, 9}, []uint64{messages[0].Sequence, messages[1].Sequence, messages[2].Sequence})
	require.EqualValues(t, 5, messages[2].Batch.GetFirstSeq())
	require.EqualValues(t, 1, messages[2].Pending)
	messages, err = r.Take(t.Context(), limits)
	require.NoError(t, err)
	require.Len(t, messages, 1)
	require.ErrorContains(t, messages[0].Refused, "not a calls.v1.CallBatch")
	messages, err = r.Take(t.Context(), limits)
	require.NoError(t, err)
	require.Empty(t, messages, "nothing comes")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Take(ctx, limits)
	require.ErrorIs(t, err, context.Canceled)
}

func TestNextTellsWhenTheNextMessageCame(t *testing.T) {
	t.Parallel()
	_, b, created := connect(t)
	first := publish(t, b, 1)
	_, err := b.JS.Publish(t.Context(), bus.CallSubject((partition+1)%bus.Partitions), []byte("of another partition"))
	require.NoError(t, err)
	_, found, err := callstream.Next(t.Context(), b, partition, first, created)
	require.NoError(t, err)
	require.False(t, found)
	last := publish(t, b, 2)
	at, found, err := callstream.Next(t.Context(), b, partition, first, created)
	require.NoError(t, err)
	require.True(t, found)
	stream, err := b.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	message, err := stream.GetMsg(t.Context(), last)
	require.NoError(t, err)
	require.Equal(t, message.Time, at)
	_, _, err = callstream.Next(t.Context(), b, partition, first, created.Add(-time.Second))
	require.ErrorIs(t, err, callstream.ErrLost)
}

func TestReaderEndsWithItsStream(t *testing.T) {
	t.Parallel()
	_, b, created := connect(t)
	publish(t, b, 1)
	r, err := callstream.Open(t.Context(), b, partition, 0, created)
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, b.JS.DeleteStream(t.Context(), bus.CallsStream))
	again, err := callstream.Created(t.Context(), b)
	require.NoError(t, err)
	require.NotEqual(t, created, again)
	publish(t, b, 2)
	testkit.Await(t, patience, func() bool {
		messages, err := r.Take(t.Context(), limits)
		for _, m := range messages {
			require.EqualValues(t, 1, m.Batch.GetFirstSeq(), "nothing of another stream")
		}
		return err != nil
	})
	_, err = callstream.Open(t.Context(), b, partition, 0, created)
	require.ErrorContains(t, err, "made anew")
}

func TestReaderNoticesThatTheServerHasForgottenIt(t *testing.T) {
	t.Parallel()
	server, b, created := connect(t)
	publish(t, b, 1)
	r, err := callstream.Open(t.Context(), b, partition, 1, created)
	require.NoError(t, err)
	defer r.Close()
	server.Restart()
	testkit.Await(t, patience, func() bool {
		_, err := r.Take(t.Context(), limits)
		return err != nil
	})
}

func TestEachReadsARange(t *testing.T) {
	t.Parallel()
	_, b, created := connect(t)
	const n = 1200
	var last uint64
	for i := range uint64(n) {
		last = publish(t, b, i+1)
	}
	read := 0
	require.NoError(t, callstream.Each(t.Context(), b, partition, 2, last-1, created, func(m callstream.Message) error {
		read++
		require.EqualValues(t, read+1, m.Sequence)
		return nil
	}))
	require.Equal(t, n-2, read)
	boom := errors.New("boom")
	require.ErrorIs(t, callstream.Each(t.Context(), b, partition, 1, last, created, func(callstream.Message) error { return boom }), boom)
	for name, err := range map[string]error{
		"beyond the end":    callstream.Each(t.Context(), b, partition, 1, last+1, created, nil),
		"of another stream": callstream.Each(t.Context(), b, partition, 1, last, created.Add(-time.Second), nil),
	} {
		require.ErrorIs(t, err, callstream.ErrLost, fmt.Sprint(name))
	}
}
