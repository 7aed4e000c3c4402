package app

import (
	"context"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating/period"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// The bounds of what is measured at once.
const (
	MaxMetrics = 8
	// MaxPoints bounds the points of one series, MaxGroups the series or rows.
	MaxPoints = 2000
	MaxGroups = 100
)

// Measurement asks for metrics of calls.
type Measurement struct {
	Query
	// Metrics by name, at least one.
	Metrics []string
	// UnitsOf is the meter of the metric "units".
	UnitsOf string
	// By is the name of a dimension, empty for none.
	By string
	// Groups is the most keys of By, the largest by the first metric.
	Groups int
	// TimeZone is an IANA name; UTC when empty.
	TimeZone string
	// Step is the length of a bucket, as in 5m, 1h, 1d, 1w or 1mo; chosen by the span when empty.
	Step string
}

// Series is a metric over time, of one key.
type Series struct {
	Key    Named   `json:"key" description:"What the dimension by is; empty without one."`
	Points []Point `json:"points"`
}

// Point is the values of a bucket.
type Point struct {
	// Start of the bucket; it ends where the next one starts.
	Start time.Time `json:"start"`
	// Values by metric: decimals, null where there was nothing to measure.
	Values map[string]*string `json:"values"`
}

// TimeSeries is the answer to a Measurement over time.
type TimeSeries struct {
	Step   string            `json:"step"`
	Units  map[string]string `json:"units" description:"Unit of each metric: calls, share, bytes, units or microseconds."`
	Series []Series          `json:"series"`
}

// Row is what was measured of one key.
type Row struct {
	Key    Named              `json:"key"`
	Calls  uint64             `json:"calls"`
	Values map[string]*string `json:"values"`
}

// Ranking is the answer to a Measurement of keys.
type Ranking struct {
	Units map[string]string `json:"units"`
	Rows  []Row             `json:"rows"`
}

// plan checks a measurement and says what ClickHouse is asked.
func (m Measurement) plan(fields *problem.Fields) clickhouse.Measure {
	measure := clickhouse.Measure{Meter: m.UnitsOf, TimeZone: m.TimeZone}
	if measure.TimeZone == "" {
		measure.TimeZone = "UTC"
	}
	checkMetrics("metrics", m.Metrics, m.UnitsOf, fields)
	for _, name := range m.Metrics {
		metric, _ := clickhouse.FindMetric(name)
		measure.Metrics = append(measure.Metrics, metric)
	}
	if m.By != "" {
		var known bool
		if measure.By, known = clickhouse.FindDimension(m.By); !known {
			fields.Add("by", "%q is not a dimension; want one of %s", m.By, clickhouse.DimensionNames())
		}
	}
	zone, err := time.LoadLocation(measure.TimeZone)
	if err != nil || measure.TimeZone == "Local" {
		fields.Add("timeZone", `%q is not a time zone; want an IANA name such as "Europe/Berlin"`, m.TimeZone)
		zone = time.UTC
	}
	_, measure.Offset = m.From.In(zone).Zone()
	return measure
}

func checkMetrics(path string, names []string, meter string, fields *problem.Fields) {
	if len(names) == 0 || len(names) > MaxMetrics {
		fields.Add(path, "has %d metrics; want 1 to %d of %s", len(names), MaxMetrics, clickhouse.MetricNames())
	}
	for i, name := range names {
		if _, known := clickhouse.FindMetric(name); !known {
			fields.Add(path, "%q is not a metric; want one of %s", name, clickhouse.MetricNames())
		}
		if slices.Contains(names[:i], name) {
			fields.Add(path, "%q is there twice", name)
		}
	}
	if slices.Contains(names, clickhouse.MetricUnits) && meter == "" {
		fields.Add("meter", "is missing: the metric units is of a meter")
	}
}

// TimeSeries measures calls of the acting tenant over time. The buckets begin at the step's boundaries in the time zone; those
// without calls are there too.
func (a *Analytics) TimeSeries(ctx context.Context, m Measurement) (TimeSeries, error) {
	who, err := actor(ctx)
	if err != nil {
		return TimeSeries{}, err
	}
	var fields problem.Fields
	measure := m.plan(&fields)
	measure.Step = parseStep(m.Step, m.From, m.To, &fields)
	var starts []time.Time
	if len(fields) == 0 {
		if starts, err = buckets(m.From, m.To, measure); err != nil {
			return TimeSeries{}, err
		}
		if len(starts) > MaxPoints {
			fields.Add("step", "makes more than %d points; give a longer one, or a shorter time", MaxPoints)
		}
	}
	if err := fields.Err("request-invalid", "The request is not valid."); err != nil {
		return TimeSeries{}, err
	}
	f, err := a.filter(ctx, who.Tenant, m.Query)
	if err != nil {
		return TimeSeries{}, err
	}
	keys := []string{""}
	if m.By != "" {
		largest := measure
		largest.Step = clickhouse.Step{}
		groups, err := a.Table.Aggregate(ctx, who.Tenant, f, largest, m.Groups)
		if err != nil {
			return TimeSeries{}, err
		}
		keys = keys[:0]
		for _, g := range groups {
			keys = append(keys, g.Key)
		}
		f.Equal = append(slices.Clone(f.Equal), clickhouse.Equal{Dimension: measure.By, Values: keys})
	}
	answer := TimeSeries{Step: stepText(measure.Step), Units: unitsOf(measure.Metrics), Series: []Series{}}
	if len(keys) == 0 {
		return answer, nil
	}
	groups, err := a.Table.Aggregate(ctx, who.Tenant, f, measure, len(starts)*len(keys)+len(keys))
	if err != nil {
		return answer, err
	}
	names, err := a.namesOf(ctx, who.Tenant, measure.By, keys)
	if err != nil {
		return answer, err
	}
	answer.Series = seriesOf(groups, keys, names, starts, measure.Step, measure.Metrics)
	return answer, nil
}

func seriesOf(groups []clickhouse.Group, keys []string, names map[string]string, starts []time.Time, step clickhouse.Step, metrics []clickhouse.Metric) []Series {
	found := make(map[string][][]string, len(keys))
	for _, key := range keys {
		found[key] = make([][]string, len(starts))
	}
	for _, g := range groups {
		// Where midnight is left out by a change of the clock, ClickHouse may begin a day up to an hour off.
		slack := int64(time.Hour / time.Second)
		if step.Unit == "minute" || step.Unit == "hour" {
			slack = 0
		}
		i := sort.Search(len(starts), func(i int) bool { return starts[i].Unix() > g.Bucket+slack }) - 1
		if i >= 0 && found[g.Key] != nil {
			found[g.Key][i] = g.Metrics
		}
	}
	all := make([]Series, len(keys))
	for i, key := range keys {
		all[i] = Series{Key: Named{ID: key, Name: names[key]}, Points: make([]Point, len(starts))}
		for j, start := range starts {
			all[i].Points[j] = Point{Start: start, Values: valuesOf(found[key][j], metrics)}
		}
	}
	return all
}

// valuesOf gives values their metrics; no values are those of no calls.
func valuesOf(values []string, metrics []clickhouse.Metric) map[string]*string {
	all := make(map[string]*string, len(metrics))
	for i, m := range metrics {
		text := ""
		switch {
		case values != nil:
			text = values[i]
		case m.Additive:
			text = "0"
		}
		all[m.Name] = nil
		if text != "" {
			all[m.Name] = &text
		}
	}
	return all
}

func unitsOf(metrics []clickhouse.Metric) map[string]string {
	units := make(map[string]string, len(metrics))
	for _, m := range metrics {
		units[m.Name] = m.Unit
	}
	return units
}

// Ranking measures calls of the acting tenant by a dimension, the largest by the first metric first; one row without one.
func (a *Analytics) Ranking(ctx context.Context, m Measurement) (Ranking, error) {
	who, err := actor(ctx)
	if err != nil {
		return Ranking{}, err
	}
	return a.ranking(ctx, who.Tenant, m)
}

func (a *Analytics) ranking(ctx context.Context, tenant string, m Measurement) (Ranking, error) {
	var fields problem.Fields
	measure := m.plan(&fields)
	if err := fields.Err("request-invalid", "The request is not valid."); err != nil {
		return Ranking{}, err
	}
	f, err := a.filter(ctx, tenant, m.Query)
	if err != nil {
		return Ranking{}, err
	}
	groups, err := a.Table.Aggregate(ctx, tenant, f, measure, m.Groups)
	if err != nil {
		return Ranking{}, err
	}
	keys := make([]string, len(groups))
	for i, g := range groups {
		keys[i] = g.Key
	}
	names, err := a.namesOf(ctx, tenant, measure.By, keys)
	if err != nil {
		return Ranking{}, err
	}
	answer := Ranking{Units: unitsOf(measure.Metrics), Rows: make([]Row, len(groups))}
	for i, g := range groups {
		answer.Rows[i] = Row{Key: Named{ID: g.Key, Name: names[g.Key]}, Calls: g.Calls, Values: valuesOf(g.Metrics, measure.Metrics)}
	}
	return answer, nil
}

// namesOf returns the names of keys of a dimension, where it has names.
func (a *Analytics) namesOf(ctx context.Context, tenant string, d clickhouse.Dimension, keys []string) (map[string]string, error) {
	if d.Kind == "" {
		return nil, nil
	}
	var names map[string]map[string]string
	err := a.in(ctx, tenant, func(tx pgx.Tx) (err error) {
		names, err = store.Names(ctx, tx, keys)
		return err
	})
	return names[d.Kind], err
}

// stepUnits are the units of steps as they are written.
var stepUnits = []struct {
	suffix, unit string
	about        time.Duration
}{
	{"mo", "month", 30 * 24 * time.Hour}, {"m", "minute", time.Minute}, {"h", "hour", time.Hour}, {"d", "day", 24 * time.Hour}, {"w", "week", 7 * 24 * time.Hour},
}

// parseStep reads a step, or chooses one that makes about 100 points.
func parseStep(text string, from, to time.Time, fields *problem.Fields) clickhouse.Step {
	if text == "" {
		text = chosenStep(to.Sub(from))
	}
	for _, u := range stepUnits {
		count, isUnit := strings.CutSuffix(text, u.suffix)
		n, err := strconv.Atoi(count)
		if !isUnit || err != nil {
			continue
		}
		whole := map[string][]int{"minute": {1, 2, 5, 10, 15, 30}, "hour": {1, 2, 3, 4, 6, 8, 12}, "day": {1}, "week": {1}, "month": {1}}
		if slices.Contains(whole[u.unit], n) {
			return clickhouse.Step{Count: n, Unit: u.unit}
		}
	}
	fields.Add("step", "%q is not a step; want 1m, 2m, 5m, 10m, 15m, 30m, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d, 1w or 1mo", text)
	return clickhouse.Step{Count: 1, Unit: "day"}
}

func chosenStep(span time.Duration) string {
	for _, c := range []struct {
		upTo time.Duration
		step string
	}{{2 * time.Hour, "1m"}, {12 * time.Hour, "5m"}, {36 * time.Hour, "15m"}, {8 * 24 * time.Hour, "2h"}, {100 * 24 * time.Hour, "1d"}, {2 * 366 * 24 * time.Hour, "1w"}} {
		if span <= c.upTo {
			return c.step
		}
	}
	return "1mo"
}

func stepText(s clickhouse.Step) string {
	for _, u := range stepUnits {
		if u.unit == s.Unit {
			return strconv.Itoa(s.Count) + u.suffix
		}
	}
	return ""
}

// buckets returns the starts of the buckets of a span, as Measure.bucket has them, one more than MaxPoints at most.
func buckets(from, to time.Time, m clickhouse.Measure) ([]time.Time, error) {
	zone, err := time.LoadLocation(m.TimeZone)
	if err != nil {
		return nil, err
	}
	var starts []time.Time
	if m.Step.Unit == "minute" || m.Step.Unit == "hour" {
		length := fixed(m.Step)
		step, local := int64(length/time.Second), from.Unix()+int64(m.Offset)
		for at := time.Unix(local-local%step-int64(m.Offset), 0).In(zone); at.Before(to) && len(starts) <= MaxPoints; at = at.Add(length) {
			starts = append(starts, at)
		}
		return starts, nil
	}
	rule, err := period.New(period.Config{Every: m.Step.Unit, Anchor: period.Calendar, TimeZone: m.TimeZone}, time.Time{})
	if err != nil {
		return nil, err
	}
	for p := range rule.All(period.Interval{Start: from, End: to}) {
		if starts = append(starts, p.Start.In(zone)); len(starts) > MaxPoints {
			break
		}
	}
	return starts, nil
}

// fixed is the length of a step of minutes or hours.
func fixed(s clickhouse.Step) time.Duration {
	if s.Unit == "hour" {
		return time.Duration(s.Count) * time.Hour
	}
	return time.Duration(s.Count) * time.Minute
}
