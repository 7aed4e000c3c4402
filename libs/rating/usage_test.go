package rating_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/rating"
)

func TestParseUsage(t *testing.T) {
	t.Parallel()
	u := usage(t, `{
		"meters": {"calls": {"quantity": "22.5", "previous": "0"}, "payments": {"billed": "1.00"}},
		"events": {"payments": ["10", "80", "10000"]}, "previousEvents": {"payments": ["5"]},
		"billed": {"base": "49.00"}, "lastRun": false}`)
	require.Equal(t, rating.MiddleRun, u.Run)
	require.Equal(t, "22.5", u.Meters["calls"].Quantity.String())
	require.Nil(t, u.Meters["calls"].Billed)
	require.Equal(t, "1.00", u.Meters["payments"].Billed.String())
	require.Equal(t, decs(t, "10", "80", "10000"), u.Meters["payments"].Events)
	require.Equal(t, decs(t, "5"), u.Meters["payments"].PreviousEvents)
	require.Equal(t, "49.00", u.Billed["base"].String())
}

func TestParseUsageTellsTheRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file string
		want rating.Run
	}{
		{`{}`, rating.OnlyRun},
		{`{"lastRun": true, "meters": {"calls": {"quantity": "1", "previous": "0", "billed": "0.00"}}, "events": {}}`, rating.OnlyRun},
		{`{"lastRun": false}`, rating.FirstRun},
		{`{"lastRun": false, "firstRun": false}`, rating.MiddleRun},
		{`{"firstRun": false}`, rating.LastRun},
		{`{"meters": {"calls": {"previous": "1"}}}`, rating.LastRun},
		{`{"meters": {"calls": {"billed": "1"}}}`, rating.LastRun},
		{`{"previousEvents": {"calls": ["1"]}}`, rating.LastRun},
		{`{"billed": {"base": "1"}}`, rating.LastRun},
		{`{"late": true}`, rating.LateRun},
		{`{"late": false}`, rating.OnlyRun},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, usage(t, c.file).Run)
		})
	}
}

func TestParseUsageRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, path, message string }{
		{``, "", "is not a JSON object"},
		{`[]`, "", `must start with "{"`},
		{`null`, "", `must start with "{"`},
		{`{} {}`, "", "more after its end"},
		{`{"meters": `, "", "is not a JSON object"},
		{`{"meter": {}}`, "meter", "is not a known member"},
		{`{"meters": []}`, "meters", "is not a JSON object"},
		{`{"meters": {"calls": "22"}}`, "meters.calls", "is not a JSON object"},
		{`{"meters": {"calls": {"quantity": 22}}}`, "meters.calls.quantity", "write it in quotes"},
		{`{"meters": {"calls": {"quantity": null}}}`, "meters.calls.quantity", "write it in quotes"},
		{`{"meters": {"calls": {"quantity": "1e3"}}}`, "meters.calls.quantity", "is not a decimal"},
		{`{"meters": {"calls": {"quantity": "0.0000000000001"}}}`, "meters.calls.quantity", "more than 12 decimals"},
		{`{"meters": {"calls": {"quantity": "1", "quantity": "2"}}}`, "meters.calls.quantity", "is there twice"},
		{`{"meters": {"calls": {"amount": "1"}}}`, "meters.calls.amount", "is not a known member"},
		{`{"events": {"calls": "10"}}`, "events.calls", "is not a list"},
		{`{"events": {"calls": null}}`, "events.calls", "is not a list"},
		{`{"events": {"calls": ["10", 80]}}`, "events.calls[1]", "write it in quotes"},
		{`{"lastRun": "no"}`, "lastRun", "neither true nor false"},
		{`{"lastRun": null}`, "lastRun", "neither true nor false"},
		{`{"late": true, "lastRun": false}`, "late", "has not taken place"},
		{`{"late": true, "firstRun": true}`, "late", "has not taken place"},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			_, err := rating.ParseUsage([]byte(c.file))
			fields := fieldsOf(t, err)
			require.Contains(t, fields, c.path)
			require.Contains(t, fields[c.path], c.message)
		})
	}
}

func TestRateRefusesUsageThatContradicts(t *testing.T) {
	t.Parallel()
	events := `prices: [{name: calls, meter: calls, model: percentage, rate: "1", fixed: "2"}]`
	shared := `prices: [{name: a, meter: calls, model: unit, unit: "1"}, {name: b, meter: calls, model: unit, unit: "1"}]`
	unit := `prices: [{name: calls, meter: calls, model: unit, unit: "1"}]`
	for _, c := range []struct{ name, plan, usage, path, message string }{
		{"events missing", events, quantity("5"), "meters.calls.quantity", `price "calls" rates each event by itself`},
		{"earlier events missing", events, `{"meters": {"calls": {"previous": "5"}}, "events": {"calls": ["1"]}}`, "meters.calls.previous", "without previousEvents.calls"},
		{"events do not sum up", unit, `{"meters": {"calls": {"quantity": "5"}}, "events": {"calls": ["1", "2"]}}`, "meters.calls.quantity", "neither the sum (3) nor the number (2)"},
		{"negative event", unit, `{"events": {"calls": ["1", "-2"]}}`, "events.calls[1]", "must not be negative"},
		{"negative usage", unit, quantity("-5"), "meters.calls.quantity", "is -5, which is more than the 0 units"},
		{"corrected below zero", unit, later("-5", "4"), "meters.calls.quantity", "more than the 4 units"},
		{"negative previous", unit, later("5", "-4"), "meters.calls.previous", "must not be negative"},
		{"first run with previous", unit, `{"firstRun": true, "meters": {"calls": {"previous": "4"}}}`, "meters.calls.previous", "the period's first run"},
		{"first run with billed", unit, `{"firstRun": true, "meters": {"calls": {"billed": "4"}}}`, "meters.calls.billed", "the period's first run"},
		{"billed of two prices", shared, laterBilled("1", "1", "2"), "meters.calls.billed", "say in billed.<price>"},
		{"billed below a cent", unit, laterBilled("1", "1", "0.001"), "meters.calls.billed", "USD has no smaller unit"},
		{"billed of no price", unit, `{"billed": {"base": "1"}}`, "billed.base", "is not a price of the plan"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := rating.Rate(plan(t, c.plan), usage(t, c.usage), rating.Context{})
			fields := fieldsOf(t, err)
			require.Contains(t, fields, c.path)
			require.Contains(t, fields[c.path], c.message)
		})
	}
}

func TestEventsMayBeCounted(t *testing.T) {
	t.Parallel()
	p := priced(t, `model: percentage, rate: "1", fixed: "2"`)
	want := rate(t, p, usage(t, `{"events": {"calls": ["100", "200"]}}`))
	require.Equal(t, "7.00", want.Total.String())
	require.Equal(t, want, rate(t, p, usage(t, `{"meters": {"calls": {"quantity": "2"}}, "events": {"calls": ["100", "200"]}}`)))
	require.Equal(t, want, rate(t, p, usage(t, `{"meters": {"calls": {"quantity": "300"}}, "events": {"calls": ["100", "200"]}}`)))
	require.True(t, p.NeedsEvents("calls"))
}

func FuzzParseUsage(f *testing.F) {
	for _, seed := range []string{
		`{"meters": {"calls": {"quantity": "22", "previous": "0"}}, "events": {}}`,
		`{"meters": {"calls": {"quantity": "5", "previous": "2", "billed": "1.00"}}, "lastRun": false}`,
		`{"events": {"calls": ["10", "80", "10000"]}, "previousEvents": {"calls": ["1"]}, "firstRun": false}`,
		`{"meters": {"calls": {"quantity": 1e999}}}`, `{"late": true, "billed": {"calls": "-1"}}`, `{"meters": {"\ud800": {}}}`, `[[[[`, `{"":`,
	} {
		f.Add([]byte(seed))
	}
	plans := []*rating.Plan{priced(f, steps2), priced(f, volume), priced(f, `model: percentage, rate: "1", fixed: "2", free: {events: "1", amount: "20"}, maximum: "9"`)}
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := rating.ParseUsage(data)
		if err != nil {
			return
		}
		for _, p := range plans {
			if result, err := rating.Rate(p, u, rating.Context{}); err == nil {
				requireConsistent(t, result)
			}
		}
	})
}
