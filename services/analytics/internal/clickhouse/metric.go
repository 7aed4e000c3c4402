package clickhouse

import (
	"strings"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

const meterCalls = "calls"

// Metric is something that is measured of calls.
type Metric struct {
	// Name as requests give it.
	Name string
	// Unit of its values: calls, share, bytes, units or microseconds.
	Unit string
	// Additive says that it is 0 where there are no calls; the others have no value there.
	Additive bool
	sql      string
}

// MetricUnits is the metric that needs a meter.
const MetricUnits = "units"

// Metrics are all metrics. Errors are calls that were answered with a status of 400 or more. Latencies are approximate
// quantiles (t-digest), within about 1 % of the rank; all others are exact. Upstream latencies are of calls that reached the upstream.
func Metrics() []Metric {
	const units = `sum(arraySum(arrayFilter((q, m) -> m = {unitsMeter:String}, quantities, meters)))`
	all := []Metric{
		{Name: "calls", Unit: "calls", Additive: true, sql: "toString(count())"},
		{Name: "errors", Unit: "calls", Additive: true, sql: "toString(countIf(status >= 400))"},
		{Name: "errorRate", Unit: "share", sql: "toString(toDecimal64(countIf(status >= 400) / count(), 6))"},
		{Name: "bytes", Unit: "bytes", Additive: true, sql: "toString(sum(bytes_in) + sum(bytes_out))"},
		{Name: "bytesIn", Unit: "bytes", Additive: true, sql: "toString(sum(bytes_in))"},
		{Name: "bytesOut", Unit: "bytes", Additive: true, sql: "toString(sum(bytes_out))"},
		{Name: MetricUnits, Unit: "units", Additive: true, sql: "toString(if({unitsMeter:String} = '" + meterCalls + "', sum(call_units), " + units + "))"},
		{Name: "latencyAvg", Unit: "microseconds", sql: "toString(toUInt64(round(avg(total_micros))))"},
		{Name: "upstreamAvg", Unit: "microseconds", sql: "if(countIf(upstream_micros > 0) = 0, '', toString(toUInt64(round(avgIf(upstream_micros, upstream_micros > 0)))))"},
	}
	for _, q := range []struct{ name, level string }{{"P50", "0.5"}, {"P90", "0.9"}, {"P99", "0.99"}} {
		all = append(all,
			Metric{Name: "latency" + q.name, Unit: "microseconds", sql: "toString(toUInt64(round(quantileTDigest(" + q.level + ")(total_micros))))"},
			Metric{Name: "upstream" + q.name, Unit: "microseconds", sql: "if(countIf(upstream_micros > 0) = 0, '', toString(toUInt64(round(quantileTDigestIf(" + q.level + ")(upstream_micros, upstream_micros > 0)))))"})
	}
	return all
}

// FindMetric returns the metric of that name, and false when there is none.
func FindMetric(name string) (Metric, bool) {
	for _, m := range Metrics() {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

// MetricNames lists the names of all metrics, for messages.
func MetricNames() string {
	all := Metrics()
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.Name
	}
	return strings.Join(names, ", ")
}

// selectMetrics is the column "metrics": an array with the value of each as text, "" where it has none.
func selectMetrics(metrics []Metric) string {
	parts := make([]string, len(metrics))
	for i, m := range metrics {
		parts[i] = m.sql
	}
	return "[" + strings.Join(parts, ", ") + "] AS metrics"
}

func unitsMeter(meter string) condition {
	return where("1", driver.Named("unitsMeter", meter))
}
