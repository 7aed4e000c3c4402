package callrecord

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// Field numbers of calls.v1.CallRecord. The test compares the encoding with the generated code, so that a number cannot
// drift.
const (
	fieldSeq = iota + 1
	fieldStartedAt
	fieldCompletedAt
	fieldTenant
	fieldAPI
	fieldAPIVersion
	fieldOperation
	fieldAccount
	fieldApplication
	fieldCredential
	fieldSubscription
	fieldProduct
	fieldPlan
	fieldPlanVersion
	fieldAPIRevision
	fieldEntitlementRevision
	fieldMethod
	fieldHost
	fieldPathTemplate
	fieldPath
	fieldStatus
	fieldResponder
	fieldErrorReason
	fieldTotalMicros
	fieldUpstreamMicros
	fieldGatewayMicros
	fieldBytesIn
	fieldBytesOut
	fieldCacheStatus
	fieldAttempts
	fieldTarget
	fieldClientAddress
	fieldUserAgent
	fieldTraceID
	fieldQuantities
	fieldUsageSource
	fieldEndReason
	fieldBillable
	fieldReason
	fieldCallUnits
	fieldLeaseSpends
)

// IdentitySize bounds what AppendIdentity adds.
const IdentitySize = 2*(2+10) + 9

// Append appends the encoding of everything but seq, completed_at and bytes_out: these are known only once the record's
// place in the journal is, see AppendIdentity. (Protobuf allows fields in any order.)
func (c *Call) Append(b []byte) []byte {
	b = appendFixed(b, fieldStartedAt, c.StartedAt)
	b = appendString(b, fieldTenant, c.Tenant)
	b = appendString(b, fieldAPI, c.API)
	b = appendString(b, fieldAPIVersion, c.APIVersion)
	b = appendString(b, fieldOperation, clip(c.Operation, maxText))
	b = appendString(b, fieldAccount, c.Account)
	b = appendString(b, fieldApplication, c.Application)
	b = appendString(b, fieldCredential, c.Credential)
	b = appendString(b, fieldSubscription, c.Subscription)
	b = appendString(b, fieldProduct, c.Product)
	b = appendString(b, fieldPlan, c.Plan)
	b = appendUint(b, fieldPlanVersion, uint64(c.PlanVersion))
	b = appendUint(b, fieldAPIRevision, c.APIRevision)
	b = appendUint(b, fieldEntitlementRevision, c.EntitlementRevision)
	b = appendString(b, fieldMethod, clip(c.Method, maxMethod))
	b = appendString(b, fieldHost, clip(c.Host, maxHost))
	b = appendString(b, fieldPathTemplate, clip(c.PathTemplate, maxPath))
	b = appendString(b, fieldPath, clip(c.Path, maxPath))
	b = appendUint(b, fieldStatus, uint64(c.Status))
	b = appendUint(b, fieldResponder, uint64(c.Responder))
	b = appendString(b, fieldErrorReason, c.ErrorReason)
	b = appendUint(b, fieldTotalMicros, c.TotalMicros)
	b = appendUint(b, fieldUpstreamMicros, c.UpstreamMicros)
	b = appendUint(b, fieldGatewayMicros, c.GatewayMicros)
	b = appendUint(b, fieldBytesIn, c.BytesIn)
	b = appendString(b, fieldCacheStatus, c.CacheStatus)
	b = appendUint(b, fieldAttempts, uint64(c.Attempts))
	b = appendString(b, fieldTarget, clip(c.Target, maxText))
	b = appendString(b, fieldClientAddress, clip(c.ClientAddress, maxText))
	b = appendString(b, fieldUserAgent, clip(c.UserAgent, maxUserAgent))
	b = appendString(b, fieldTraceID, clip(c.TraceID, maxTraceID))
	return c.appendCharge(b)
}

func (c *Call) appendCharge(b []byte) []byte {
	for _, q := range c.Quantities() {
		size := sizeString(1, q.Meter) + sizeString(2, q.Value)
		b = protowire.AppendTag(b, fieldQuantities, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = appendString(b, 1, q.Meter)
		b = appendString(b, 2, q.Value)
	}
	b = appendString(b, fieldUsageSource, c.UsageSource)
	b = appendString(b, fieldEndReason, c.EndReason)
	if c.Billable {
		b = appendUint(b, fieldBillable, 1)
	}
	b = appendUint(b, fieldReason, uint64(c.Reason))
	b = appendString(b, fieldCallUnits, c.CallUnits)
	for _, s := range c.Spends() {
		size := sizeString(1, s.Lease) + sizeUint(2, uint64(s.Units))
		b = protowire.AppendTag(b, fieldLeaseSpends, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(size))
		b = appendString(b, 1, s.Lease)
		b = appendUint(b, 2, uint64(s.Units))
	}
	return b
}

// AppendIdentity appends seq, completed_at and bytes_out, at most IdentitySize bytes.
func AppendIdentity(b []byte, seq uint64, completedAt int64, bytesOut uint64) []byte {
	b = appendUint(b, fieldSeq, seq)
	b = appendFixed(b, fieldCompletedAt, completedAt)
	return appendUint(b, fieldBytesOut, bytesOut)
}

// EndGatewayKilled is the end_reason of a call that was in the making when the process was killed.
const EndGatewayKilled = "gateway_killed"

// Interrupted appends the encoding of a call of which nothing but its identity is known.
func Interrupted(b []byte, seq uint64, completedAt int64) []byte {
	c := Call{StartedAt: completedAt, Responder: callsv1.Responder_RESPONDER_GATEWAY, EndReason: EndGatewayKilled, Reason: callsv1.Reason_REASON_INTERNAL}
	return AppendIdentity(c.Append(b), seq, completedAt, 0)
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, v)
}

func appendFixed(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return binary.LittleEndian.AppendUint64(b, uint64(v))
}

func sizeString(field protowire.Number, s string) int {
	if s == "" {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeBytes(len(s))
}

func sizeUint(field protowire.Number, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(field) + protowire.SizeVarint(v)
}

// clip returns s, or its longest prefix of at most limit bytes, as valid UTF-8: protobuf strings must be, and what clients
// send need not be. Only an invalid text allocates.
func clip(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if r, size := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && size == 1 {
			s = s[:len(s)-1]
		}
	}
	if isASCII(s) || utf8.ValidString(s) {
		return s
	}
	clean := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := s[i]; c < utf8.RuneSelf {
			clean = append(clean, c)
		} else {
			clean = append(clean, '?')
		}
	}
	return string(clean)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
