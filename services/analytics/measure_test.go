package analytics_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

type values map[string]*string

func (v values) text(name string) string {
	if v[name] == nil {
		return "null"
	}
	return *v[name]
}

type timeSeries struct {
	Step   string            `json:"step"`
	Units  map[string]string `json:"units"`
	Series []struct {
		Key    named `json:"key"`
		Points []struct {
			Start  time.Time `json:"start"`
			Values values    `json:"values"`
		} `json:"points"`
	} `json:"series"`
}

type ranking struct {
	Rows []struct {
		Key    named  `json:"key"`
		Calls  int    `json:"calls"`
		Values values `json:"values"`
	} `json:"rows"`
}

func (f *fixture) series(t testing.TB, query string) timeSeries {
	t.Helper()
	var got timeSeries
	f.client.Must("GET", "/analytics/v1/series?"+query, nil, &got)
	return got
}

// points lists the values of a metric of one series.
func (s timeSeries) points(i int, metric string) []string {
	var all []string
	for _, p := range s.Series[i].Points {
		all = append(all, p.Values.text(metric))
	}
	return all
}

func micros(n uint64) func(*callsv1.CallRecord) {
	return func(c *callsv1.CallRecord) { c.TotalMicros, c.UpstreamMicros = n, n/2 }
}

func rows(value string) func(*callsv1.CallRecord) {
	return func(c *callsv1.CallRecord) { c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: value}} }
}

// TestTimeSeries measures over time, with every metric.
func TestTimeSeries(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.after(t, "identity", f.Emit("identity", tenant, "account", "a1", 0, &identityv1.AccountCreated{Account: "a1", Name: "globex"}))
	f.gateway("gw1").send(t,
		call("s1", noon, micros(1000), rows("0.1")), call("s1", noon.Add(time.Second), micros(3000), rows("0.2")),
		call("s1", noon.Add(2*time.Minute), micros(5000), func(c *callsv1.CallRecord) { c.Status, c.BytesIn, c.BytesOut, c.CallUnits = 503, 10, 5, "0.5" }),
		call("s2", noon.Add(2*time.Minute), rejected, func(c *callsv1.CallRecord) { c.Account, c.UpstreamMicros = "a2", 0 }),
		call("s1", noon, func(c *callsv1.CallRecord) { c.Tenant = stranger }),
	)
	const span = "from=2026-03-10T12:00:00Z&to=2026-03-10T12:04:00Z&step=1m"
	got := f.series(t, span+"&unitsOf=rows&metrics=calls,errors,errorRate,bytes,units,latencyAvg,latencyP50,upstreamP99")
	require.Equal(t, "1m", got.Step)
	require.Equal(t, "microseconds", got.Units["latencyP50"])
	for metric, want := range map[string][]string{
		"calls": {"2", "0", "2", "0"}, "errors": {"0", "0", "2", "0"}, "errorRate": {"0", "null", "1", "null"}, "bytes": {"0", "0", "15", "0"},
		"units": {"0.3", "0", "0", "0"}, "latencyAvg": {"2000", "null", "3100", "null"}, "upstreamP99": {"1500", "null", "2500", "null"},
	} {
		require.Equal(t, want, got.points(0, metric), metric)
	}
	require.Equal(t, []string{"2", "0", "1.5", "0"}, f.series(t, span+"&unitsOf=calls&metrics=units").points(0, "units"))
	require.Equal(t, []string{"0", "0", "1", "0"}, f.series(t, span+"&status=503").points(0, "calls"), "filtered")

	by := f.series(t, span+"&by=account")
	require.Len(t, by.Series, 2)
	require.Equal(t, named{"a1", "globex"}, by.Series[0].Key)
	require.Equal(t, []string{"2", "0", "1", "0"}, by.points(0, "calls"))
	require.Equal(t, "a2", by.Series[1].Key.ID)
	require.Len(t, f.series(t, span+"&by=account&limit=1").Series, 1)
	require.Empty(t, f.series(t, span+"&by=api&error=none").Series)
}

// TestBucketsAreOfATimeZone: days, weeks and months begin at midnight there, also where the clock is changed.
func TestBucketsAreOfATimeZone(t *testing.T) {
	t.Parallel()
	f := start(t)
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	at := func(month time.Month, day, hour int) *callsv1.CallRecord {
		return call("s1", time.Date(2026, month, day, hour, 30, 0, 0, berlin))
	}
	f.gateway("gw1").send(t, at(3, 28, 0), at(3, 28, 23), at(3, 29, 0), at(3, 29, 23), at(3, 30, 0), at(4, 1, 0), at(4, 30, 23))
	span := func(from, to string) string {
		return "timeZone=Europe/Berlin&from=" + url.QueryEscape(from) + "&to=" + url.QueryEscape(to)
	}
	days := f.series(t, span("2026-03-28T00:00:00+01:00", "2026-03-31T00:00:00+02:00")+"&step=1d")
	require.Equal(t, []string{"2", "2", "1"}, days.points(0, "calls"))
	require.Equal(t, "2026-03-30T00:00:00+02:00", days.Series[0].Points[2].Start.Format(time.RFC3339))
	months := f.series(t, span("2026-03-01T00:00:00+01:00", "2026-05-01T00:00:00+02:00")+"&step=1mo")
	require.Equal(t, []string{"5", "2"}, months.points(0, "calls"))
	weeks := f.series(t, span("2026-03-28T00:00:00+01:00", "2026-04-05T00:00:00+02:00")+"&step=1w")
	require.Equal(t, []string{"4", "2"}, weeks.points(0, "calls"))
	hours := f.series(t, span("2026-03-28T23:00:00+01:00", "2026-03-29T04:00:00+02:00")+"&step=1h")
	require.Equal(t, []string{"1", "1", "0", "0"}, hours.points(0, "calls"), "the day of the change has no hour from 2 to 3")
	require.Equal(t, "1d", f.series(t, span("2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z")).Step, "chosen")

	// In Cairo there was no midnight on April 26, 2024: the day began at 01:00, and those after it at midnight again.
	f.gateway("gw2").send(t, call("s1", time.Date(2024, 4, 25, 21, 59, 0, 0, time.UTC)), call("s1", time.Date(2024, 4, 25, 22, 0, 0, 0, time.UTC)),
		call("s1", time.Date(2024, 4, 26, 20, 59, 0, 0, time.UTC)), call("s1", time.Date(2024, 4, 26, 21, 0, 0, 0, time.UTC)))
	cairo := f.series(t, "timeZone=Africa/Cairo&from=2024-04-25T00:00:00Z&to=2024-04-27T00:00:00Z&step=1d")
	require.Equal(t, []string{"1", "2", "1"}, cairo.points(0, "calls"))
	for i, start := range []string{"2024-04-24T22:00:00Z", "2024-04-25T22:00:00Z", "2024-04-26T21:00:00Z"} {
		require.Equal(t, start, cairo.Series[0].Points[i].Start.UTC().Format(time.RFC3339))
	}
}

// TestRankings measures by every dimension.
func TestRankings(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.gateway("gw1").send(t, call("s1", noon, micros(9000)), call("s2", noon, rejected, micros(100)), call("s2", noon, micros(200)))
	for dimension, want := range map[string]string{
		"api": "api1", "version": "v1", "operation": "getCurrent", "account": "a1", "application": "p1", "credential": "", "subscription": "s2", "product": "", "plan": "plan",
		"planVersion": "1", "gateway": "gw1", "method": "GET", "host": "api.example.com", "pathTemplate": "/current/{city}", "path": "/current/Berlin", "status": "200",
		"statusClass": "2xx", "responder": "upstream", "error": "", "reason": "", "billable": "true", "cacheStatus": "", "target": "", "clientAddress": "", "userAgent": "",
	} {
		var got ranking
		f.client.Must("GET", "/analytics/v1/ranking?by="+dimension, nil, &got)
		require.Equal(t, want, got.Rows[0].Key.ID, dimension)
	}
	var got ranking
	f.client.Must("GET", "/analytics/v1/ranking?by=subscription&metrics=latencyP99,calls", nil, &got)
	require.Equal(t, "s1", got.Rows[0].Key.ID, "by the first metric")
	require.Equal(t, "9000", got.Rows[0].Values.text("latencyP99"))
	f.client.Must("GET", "/analytics/v1/ranking", nil, &got)
	require.Equal(t, 3, got.Rows[0].Calls)
	f.client.Must("GET", "/analytics/v1/ranking?status=404", nil, &got)
	require.Empty(t, got.Rows)

	for query, want := range map[string]string{
		"ranking?by=tenant": "is not a dimension; want one of api,", "ranking?metrics=speed": "is not a metric; want one of calls,", "ranking?metrics=units": "the metric units is of a meter",
		"series?step=7m": "is not a step; want 1m", "series?timeZone=Mars": "is not a time zone", "series?step=1m&from=2026-01-01T00:00:00Z": "more than 2000 points",
		"series?metrics=calls,calls": "is there twice", "ranking?limit=1000": "is not a number from 1 to 100",
	} {
		answer := f.client.Do("GET", "/analytics/v1/"+query, nil)
		require.Equal(t, 400, answer.Status, answer.Body)
		require.Contains(t, answer.Body, want)
	}
}
