package clickhouse

import (
	"context"
	"fmt"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// Measure says what is measured of calls.
type Measure struct {
	Metrics []Metric
	// Meter of the metric "units".
	Meter string
	// By is what calls are grouped by; the zero Dimension for one group.
	By Dimension
	// TimeZone of the buckets, an IANA name.
	TimeZone string
	Step     Step
	// Offset is the zone's at the start of the span, in seconds: buckets of minutes and hours are aligned with it.
	Offset int
}

// Step is the length of the buckets of a time series.
type Step struct {
	Count int
	// Unit is minute, hour, day, week (from Monday) or month.
	Unit string
}

// Group is a group of calls and what was measured of it.
type Group struct {
	// Bucket begins at this time, in seconds since the Unix epoch; 0 without a step.
	Bucket int64  `ch:"bucket"`
	Key    string `ch:"key"`
	Calls  uint64 `ch:"n"`
	// Metrics in the order asked for, each a decimal, "" where there was nothing to measure.
	Metrics []string `ch:"metrics"`
}

// bucket is the start of the bucket of a call, in seconds, and the values that it names.
func (m Measure) bucket() (sql string, values condition, err error) {
	seconds := map[string]int{"minute": 60, "hour": 3600}[m.Step.Unit] * m.Step.Count
	if seconds > 0 {
		return "intDiv(toInt64(toUnixTimestamp(toDateTime(completed_at, 'UTC'))) + {offset:Int64}, {step:Int64}) * {step:Int64} - {offset:Int64}",
			where("1", driver.Named("offset", m.Offset), driver.Named("step", seconds)), nil
	}
	start, known := map[string]string{"day": "toStartOfDay", "week": "toMonday", "month": "toStartOfMonth"}[m.Step.Unit]
	if !known || m.Step.Count != 1 {
		return "", condition{}, fmt.Errorf("measure calls: %d %s is not a step", m.Step.Count, m.Step.Unit)
	}
	return "toInt64(toUnixTimestamp(toDateTime(" + start + "(toDateTime(completed_at, {zone:String})), {zone:String})))", where("1", driver.Named("zone", m.TimeZone)), nil
}

// Aggregate measures calls of a tenant by bucket and key, at most limit groups: the earliest buckets first, or, without a step, the
// largest by the first metric first.
func (t *Table) Aggregate(ctx context.Context, tenant string, f Filter, m Measure, limit int) ([]Group, error) {
	key := "''"
	if m.By.sql != "" {
		key = m.By.sql
	}
	conditions := append(f.conditions(), unitsMeter(m.Meter))
	bucket, order := "toInt64(0)", "ORDER BY toDecimal128OrZero(metrics[1], 12) DESC, key"
	if m.Step.Unit != "" {
		sql, values, err := m.bucket()
		if err != nil {
			return nil, err
		}
		bucket, order, conditions = sql, "ORDER BY bucket, key", append(conditions, values)
	}
	var groups []Group
	err := t.read(ctx, &groups, tenant, bucket+" AS bucket, toString("+key+") AS key, count() AS n, "+selectMetrics(m.Metrics), conditions,
		fmt.Sprintf("GROUP BY bucket, key %s LIMIT %d", order, limit))
	return groups, err
}
