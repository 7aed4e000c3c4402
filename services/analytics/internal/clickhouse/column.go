package clickhouse

import (
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tollgate/tollgate/libs/callstream"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// Call is a call with the rest of its identity.
type Call struct {
	Gateway string
	Boot    uint64
	// Partition and Sequence are of the message that it came with.
	Partition int
	Sequence  uint64
	// RetentionDays is how long it is kept.
	RetentionDays uint16
	*callsv1.CallRecord
}

// column is a column of the table and what is in it.
type column struct {
	name, kind string
	// values returns the column of calls, as a slice that the driver takes.
	values func(calls []Call) any
}

const (
	text    = "String"
	lowText = "LowCardinality(String)"
	instant = "DateTime64(9, 'UTC')"
	decimal = "Decimal(38, 12)"
	number  = "UInt64"
)

func of[V any](name, kind string, value func(c *Call) V) column {
	return column{name: name, kind: kind, values: func(calls []Call) any {
		all := make([]V, len(calls))
		for i := range calls {
			all[i] = value(&calls[i])
		}
		return all
	}}
}

func at(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }

// columns are those of the table that are inserted, in its order.
var columns = []column{
	of("gateway", lowText, func(c *Call) string { return c.Gateway }),
	of("boot", number, func(c *Call) uint64 { return c.Boot }),
	of("seq", number, func(c *Call) uint64 { return c.GetSeq() }),
	of("started_at", instant, func(c *Call) time.Time { return at(c.GetStartedAt()) }),
	of("completed_at", instant, func(c *Call) time.Time { return at(c.GetCompletedAt()) }),
	of("tenant", lowText, func(c *Call) string { return c.GetTenant() }),
	of("api", lowText, func(c *Call) string { return c.GetApi() }),
	of("api_version", lowText, func(c *Call) string { return c.GetApiVersion() }),
	of("operation", lowText, func(c *Call) string { return c.GetOperation() }),
	of("account", text, func(c *Call) string { return c.GetAccount() }),
	of("application", text, func(c *Call) string { return c.GetApplication() }),
	of("credential", text, func(c *Call) string { return c.GetCredential() }),
	of("subscription", text, func(c *Call) string { return c.GetSubscription() }),
	of("product", lowText, func(c *Call) string { return c.GetProduct() }),
	of("plan", lowText, func(c *Call) string { return c.GetPlan() }),
	of("plan_version", "UInt32", func(c *Call) uint32 { return c.GetPlanVersion() }),
	of("api_revision", number, func(c *Call) uint64 { return c.GetApiRevision() }),
	of("entitlement_revision", number, func(c *Call) uint64 { return c.GetEntitlementRevision() }),
	of("method", lowText, func(c *Call) string { return c.GetMethod() }),
	of("host", lowText, func(c *Call) string { return c.GetHost() }),
	of("path_template", lowText, func(c *Call) string { return c.GetPathTemplate() }),
	of("path", text, func(c *Call) string { return c.GetPath() }),
	of("status", "UInt16", func(c *Call) uint16 { return uint16(min(c.GetStatus(), 65535)) }),
	of("responder", lowText, func(c *Call) string { return responder(c.GetResponder()) }),
	of("error_reason", lowText, func(c *Call) string { return c.GetErrorReason() }),
	of("total_micros", number, func(c *Call) uint64 { return c.GetTotalMicros() }),
	of("upstream_micros", number, func(c *Call) uint64 { return c.GetUpstreamMicros() }),
	of("gateway_micros", number, func(c *Call) uint64 { return c.GetGatewayMicros() }),
	of("bytes_in", number, func(c *Call) uint64 { return c.GetBytesIn() }),
	of("bytes_out", number, func(c *Call) uint64 { return c.GetBytesOut() }),
	of("cache_status", lowText, func(c *Call) string { return c.GetCacheStatus() }),
	of("attempts", "UInt32", func(c *Call) uint32 { return c.GetAttempts() }),
	of("target", lowText, func(c *Call) string { return c.GetTarget() }),
	of("client_address", text, func(c *Call) string { return c.GetClientAddress() }),
	of("user_agent", text, func(c *Call) string { return c.GetUserAgent() }),
	of("trace_id", text, func(c *Call) string { return c.GetTraceId() }),
	of("meters", "Array("+lowText+")", func(c *Call) []string { return list(c.GetQuantities(), (*callsv1.Quantity).GetMeter) }),
	of("quantities", "Array("+decimal+")", func(c *Call) []string { return list(c.GetQuantities(), (*callsv1.Quantity).GetValue) }),
	of("usage_source", lowText, func(c *Call) string { return c.GetUsageSource() }),
	of("end_reason", lowText, func(c *Call) string { return c.GetEndReason() }),
	of("billable", "Bool", func(c *Call) bool { return c.GetBillable() }),
	of("reason", lowText, func(c *Call) string { return callstream.ReasonCode(c.GetReason()) }),
	of("call_units", decimal, func(c *Call) string { return unitsOr1(c.GetCallUnits()) }),
	of("leases", "Array("+text+")", func(c *Call) []string { return list(c.GetLeaseSpends(), (*callsv1.LeaseSpend).GetLease) }),
	of("lease_units", "Array(Int64)", func(c *Call) []int64 { return list(c.GetLeaseSpends(), (*callsv1.LeaseSpend).GetUnits) }),
	of("stream_partition", "UInt8", func(c *Call) uint8 { return uint8(c.Partition) }),
	of("stream_sequence", number, func(c *Call) uint64 { return c.Sequence }),
	of("retention_days", "UInt16", func(c *Call) uint16 { return c.RetentionDays }),
}

// names lists the inserted columns.
func names() string {
	all := make([]string, len(columns))
	for i, c := range columns {
		all[i] = c.name
	}
	return strings.Join(all, ", ")
}

// kinds is what the driver has to know of the columns: over HTTP it would ask the server for each insert.
func kinds() []driver.ColumnNameAndType {
	all := make([]driver.ColumnNameAndType, len(columns))
	for i, c := range columns {
		all[i] = driver.ColumnNameAndType{Name: c.name, Type: c.kind}
	}
	return all
}

func list[E, V any](elements []E, value func(E) V) []V {
	all := make([]V, len(elements))
	for i, e := range elements {
		all[i] = value(e)
	}
	return all
}

func unitsOr1(units string) string {
	if units == "" {
		return "1"
	}
	return units
}

func responder(r callsv1.Responder) string {
	if r == callsv1.Responder_RESPONDER_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(r.String(), "RESPONDER_"))
}
