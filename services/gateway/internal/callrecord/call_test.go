package callrecord

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

func encode(c *Call) []byte {
	return AppendIdentity(c.Append(nil), c.Seq, c.CompletedAt, c.BytesOut)
}

func drawCall(t *rapid.T) *Call {
	text := rapid.StringN(0, 40, 60)
	c := &Call{
		Seq: rapid.Uint64().Draw(t, "seq"), StartedAt: rapid.Int64().Draw(t, "started"), CompletedAt: rapid.Int64().Draw(t, "completed"),
		Tenant: text.Draw(t, "tenant"), API: text.Draw(t, "api"), APIVersion: text.Draw(t, "version"), Operation: text.Draw(t, "operation"),
		Account: text.Draw(t, "account"), Application: text.Draw(t, "application"), Credential: text.Draw(t, "credential"),
		Subscription: text.Draw(t, "subscription"), Product: text.Draw(t, "product"), Plan: text.Draw(t, "plan"),
		PlanVersion: rapid.Uint32().Draw(t, "planVersion"), APIRevision: rapid.Uint64().Draw(t, "apiRevision"), EntitlementRevision: rapid.Uint64().Draw(t, "entRevision"),
		Method: text.Draw(t, "method"), Host: text.Draw(t, "host"), PathTemplate: text.Draw(t, "template"), Path: text.Draw(t, "path"),
		Status: rapid.IntRange(0, 999).Draw(t, "status"), Responder: callsv1.Responder(rapid.IntRange(0, 3).Draw(t, "responder")), ErrorReason: text.Draw(t, "error"),
		TotalMicros: rapid.Uint64().Draw(t, "total"), UpstreamMicros: rapid.Uint64().Draw(t, "upstream"), GatewayMicros: rapid.Uint64().Draw(t, "gateway"),
		BytesIn: rapid.Uint64().Draw(t, "in"), BytesOut: rapid.Uint64().Draw(t, "out"), CacheStatus: text.Draw(t, "cache"), Attempts: rapid.Uint32().Draw(t, "attempts"),
		Target: text.Draw(t, "target"), ClientAddress: text.Draw(t, "client"), UserAgent: text.Draw(t, "agent"), TraceID: text.Draw(t, "trace"),
		UsageSource: text.Draw(t, "usage"), EndReason: text.Draw(t, "end"), Billable: rapid.Bool().Draw(t, "billable"),
		Reason: callsv1.Reason(rapid.IntRange(0, 8).Draw(t, "reason")), CallUnits: text.Draw(t, "units"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "quantities") {
		c.AddQuantity(Quantity{text.Draw(t, "meter"), text.Draw(t, "value")})
	}
	for range rapid.IntRange(0, 3).Draw(t, "spends") {
		c.AddSpend(Spend{text.Draw(t, "lease"), rapid.Int64().Draw(t, "leased")})
	}
	return c
}

func TestTheEncodingIsThatOfTheGeneratedCode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := drawCall(t)
		var decoded callsv1.CallRecord
		require.NoError(t, proto.Unmarshal(encode(c), &decoded))
		require.Empty(t, decoded.ProtoReflect().GetUnknown())
		require.True(t, proto.Equal(c.Proto(), &decoded), "want %v, got %v", c.Proto(), &decoded)
	})
}

func TestEveryFieldIsEncoded(t *testing.T) {
	t.Parallel()
	// A field added to the message and forgotten here would stay empty.
	c := &Call{
		Seq: 1, StartedAt: 1, CompletedAt: 1, Tenant: "x", API: "x", APIVersion: "x", Operation: "x", Account: "x", Application: "x", Credential: "x",
		Subscription: "x", Product: "x", Plan: "x", PlanVersion: 1, APIRevision: 1, EntitlementRevision: 1, Method: "x", Host: "x", PathTemplate: "x", Path: "x",
		Status: 1, Responder: 1, ErrorReason: "x", TotalMicros: 1, UpstreamMicros: 1, GatewayMicros: 1, BytesIn: 1, BytesOut: 1, CacheStatus: "x", Attempts: 1,
		Target: "x", ClientAddress: "x", UserAgent: "x", TraceID: "x", UsageSource: "x", EndReason: "x", Billable: true, Reason: 1, CallUnits: "x",
	}
	c.AddQuantity(Quantity{"x", "1"})
	c.AddSpend(Spend{"x", 1})
	var decoded callsv1.CallRecord
	require.NoError(t, proto.Unmarshal(encode(c), &decoded))
	fields := decoded.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		require.True(t, decoded.ProtoReflect().Has(fields.Get(i)), "field %s is not encoded", fields.Get(i).Name())
	}
}

func TestWhatClientsSendIsBoundedAndValid(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"long": strings.Repeat("a", 100_000), "split rune": strings.Repeat("a", maxUserAgent-1) + "é", "invalid": "caf\xe9\xff", "runes": strings.Repeat("€", 5000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &Call{Path: text, Host: text, UserAgent: text, TraceID: text, Method: text, PathTemplate: text, Operation: text, Target: text, ClientAddress: text}
			b := encode(c)
			require.LessOrEqual(t, len(b), MaxSize)
			var decoded callsv1.CallRecord
			require.NoError(t, proto.Unmarshal(b, &decoded))
			require.True(t, utf8.ValidString(decoded.GetUserAgent()))
			require.LessOrEqual(t, len(decoded.GetPath()), maxPath)
		})
	}
}

func TestTheLargestRecordFits(t *testing.T) {
	t.Parallel()
	id, long := strings.Repeat("i", MaxID), strings.Repeat("x", 10_000)
	c := &Call{
		StartedAt: -1, Tenant: id, API: id, APIVersion: id, Operation: long, Account: id, Application: id, Credential: id, Subscription: id, Product: id, Plan: id,
		PlanVersion: 1 << 31, APIRevision: 1 << 63, EntitlementRevision: 1 << 63, Method: long, Host: long, PathTemplate: long, Path: long, Status: 999,
		Responder: 3, ErrorReason: id, TotalMicros: 1 << 63, UpstreamMicros: 1 << 63, GatewayMicros: 1 << 63, BytesIn: 1 << 63, CacheStatus: id, Attempts: 1 << 31,
		Target: long, ClientAddress: long, UserAgent: long, TraceID: long, UsageSource: id, EndReason: id, Billable: true, Reason: 8, CallUnits: id,
	}
	for range MaxQuantities {
		c.AddQuantity(Quantity{id, strings.Repeat("9", MaxQuantity)})
	}
	for range MaxSpends {
		c.AddSpend(Spend{id, -1})
	}
	require.LessOrEqual(t, len(c.Append(nil))+IdentitySize, MaxSize)
}

func TestAnInterruptedCallIsNotBilled(t *testing.T) {
	t.Parallel()
	var decoded callsv1.CallRecord
	require.NoError(t, proto.Unmarshal(Interrupted(nil, 7, 99), &decoded))
	require.Equal(t, uint64(7), decoded.GetSeq())
	require.Equal(t, int64(99), decoded.GetCompletedAt())
	require.False(t, decoded.GetBillable())
	require.Equal(t, callsv1.Reason_REASON_INTERNAL, decoded.GetReason())
}

func TestQuantitiesAndSpendsAreBounded(t *testing.T) {
	t.Parallel()
	var c Call
	for range MaxQuantities {
		require.True(t, c.AddQuantity(Quantity{"m", "1"}))
	}
	require.False(t, c.AddQuantity(Quantity{"m", "1"}))
	for range MaxSpends {
		require.True(t, c.AddSpend(Spend{"l", 1}))
	}
	require.False(t, c.AddSpend(Spend{"l", 1}))
	c.ClearSpends()
	require.Empty(t, c.Spends())
}

func BenchmarkEncode(b *testing.B) {
	c := &Call{
		StartedAt: 1, Tenant: "0198c0de-0000-7000-8000-000000000001", API: "0198c0de-0000-7000-8000-000000000002", APIVersion: "0198c0de-0000-7000-8000-000000000003",
		Operation: "getCurrent", Account: "0198c0de-0000-7000-8000-000000000004", Application: "0198c0de-0000-7000-8000-000000000005", Method: "GET",
		Subscription: "0198c0de-0000-7000-8000-000000000006", Host: "api.example.com", Path: "/weather/v1/current/berlin", PathTemplate: "/weather/v1/current/{city}",
		Status: 200, UserAgent: "curl/8", ClientAddress: "192.0.2.1", Billable: true,
	}
	buffer := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buffer = AppendIdentity(c.Append(buffer[:0]), 1, 2, 3)
	}
}
