package rating_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/rating"
)

var update = flag.Bool("update", false, "write the golden files")

// specIn returns the specification of the plan document in a file.
func specIn(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var document struct{ Spec map[string]any }
	require.NoError(t, yaml.Unmarshal(data, &document))
	spec, err := yaml.Marshal(document.Spec)
	require.NoError(t, err)
	return spec
}

func TestSampleGivesWhatItExpects(t *testing.T) {
	t.Parallel()
	p, err := rating.Compile(specOf(t, specIn(t, "testdata/weather/plan.yaml")))
	require.NoError(t, err)
	file, err := os.ReadFile("testdata/weather/usage.json")
	require.NoError(t, err)
	expected, err := os.ReadFile("testdata/weather/expected.json")
	require.NoError(t, err)

	got := asJSON(t, rate(t, p, usage(t, string(file))))
	require.JSONEq(t, string(expected), got)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, expected))
	require.Equal(t, compact.String(), got, "members are in the same order, too")
}

// TestGolden pins the JSON of results that use every kind of detail. Run with -update to write what is new, and read it.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, plan, usage string }{
		{
			"pro", `{minimum: "49.00", prices: [
				{name: base, model: flat, amount: "49.00", timing: advance},
				{name: calls, meter: calls, model: graduated, included: "10000", tiers: [{upTo: "100000", unit: "0.0010"}, {unit: "0.0005"}]},
				{name: forecast-days, meter: forecast-day, model: package, size: "100", unit: "0.25"}]}`,
			`{"meters": {"calls": {"quantity": "123456"}, "forecast-day": {"quantity": "250"}}}`,
		},
		{
			"percentage", `prices: [{name: payments, meter: payments, model: percentage, rate: "1.3", fixed: "2", included: "5",
				free: {events: "1", amount: "20"}, perEvent: {min: "3.20", max: "12"}, discount: {percent: "10"}, maximum: "13"}]`,
			`{"events": {"payments": ["10", "80", "80", "10000"]}}`,
		},
		{"true-up", `{minimum: "100", prices: [{name: calls, meter: calls, model: unit, unit: "0.5"}]}`, quantity("10")},
		{"capped", `{maximum: "100", prices: [{name: calls, meter: calls, model: unit, unit: "0.5"}]}`, quantity("300")},
		{"adjusted", `prices: [{name: calls, meter: calls, model: unit, unit: "0.5"}]`, laterBilled("10", "10", "4.00")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := json.MarshalIndent(rate(t, plan(t, c.plan), usage(t, c.usage)), "", "  ")
			require.NoError(t, err)
			path := filepath.Join("testdata", "golden", c.name+".json")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got)+"\n")
		})
	}
}

func TestRecurringAmountsFallInTheirRun(t *testing.T) {
	t.Parallel()
	p := plan(t, `prices: [{name: before, model: flat, amount: "10", timing: advance}, {name: after, model: flat, amount: "1"}]`)
	for run, want := range map[rating.Run]string{
		rating.OnlyRun: "11.00", rating.FirstRun: "10.00", rating.MiddleRun: "0.00", rating.LastRun: "1.00", rating.LateRun: "0.00",
	} {
		require.Equal(t, want, rate(t, p, rating.Usage{Run: run}).Total.String())
	}
}

func TestDiscountOnARecurringAmountInPart(t *testing.T) {
	t.Parallel()
	share, err := money.NewRatio(1, 3)
	require.NoError(t, err)
	p := plan(t, `prices: [{name: base, model: flat, amount: "10", discount: {percent: "15"}}]`)
	result, err := rating.Rate(p, rating.Usage{}, rating.Context{Share: &share})
	require.NoError(t, err)
	requireConsistent(t, result)
	require.Equal(t, `{"currency":"USD","lines":[{"price":"base","quantity":"1","amount":"2.83","detail":[`+
		`{"flat":"10","share":"1/3","amount":"3.33"},{"kind":"discount","rate":"15","share":"1/3","amount":"-0.50"}]}],"total":"2.83"}`, asJSON(t, result))
}

func TestPlanMinimumAndMaximum(t *testing.T) {
	t.Parallel()
	minimum := plan(t, `{minimum: "1000", prices: [{name: base, model: flat, amount: "100", timing: advance}, {name: calls, meter: calls, model: unit, unit: "1"}]}`)
	maximum := plan(t, `{maximum: "1000", prices: [{name: base, model: flat, amount: "100", timing: advance}, {name: calls, meter: calls, model: unit, unit: "1"}]}`)
	for _, c := range []struct {
		name  string
		plan  *rating.Plan
		usage string
		line  string
		last  string
		total string
	}{
		{"below", minimum, quantity("700"), rating.TrueUp, "200.00", "1000.00"},
		{"met", minimum, quantity("900"), "calls", "900.00", "1000.00"},
		{"above", minimum, quantity("1200"), "calls", "1200.00", "1300.00"},
		{"not yet due", minimum, `{"lastRun": false, "meters": {"calls": {"quantity": "700"}}}`, "calls", "700.00", "800.00"},
		{"due at last, over earlier runs", minimum, later("200", "500"), rating.TrueUp, "200.00", "400.00"},
		{"late usage takes it back", minimum, `{"late": true, "meters": {"calls": {"quantity": "50", "previous": "700"}}}`, rating.TrueUp, "-50.00", "0.00"},
		{"late usage takes a stated one back", minimum, `{"late": true, "billed": {"true-up": "150"}, "meters": {"calls": {"quantity": "300", "previous": "700"}}}`, rating.TrueUp, "-150.00", "150.00"},
		{"over", maximum, quantity("1000"), rating.Cap, "-100.00", "1000.00"},
		{"over in an earlier run", maximum, later("50", "1000"), rating.Cap, "-50.00", "0.00"},
		{"over for the first time", maximum, later("200", "800"), rating.Cap, "-100.00", "100.00"},
		{"a correction releases the cap", maximum, later("-150", "1000"), rating.Cap, "100.00", "-50.00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			result := rate(t, c.plan, usage(t, c.usage))
			last := result.Lines[len(result.Lines)-1]
			require.Equal(t, c.line, last.Price)
			require.Equal(t, c.last, last.Amount.String())
			require.Equal(t, c.total, result.Total.String())
		})
	}
}

func TestShareProratesAmountsPerPeriodOnly(t *testing.T) {
	t.Parallel()
	half, err := money.NewRatio(1, 2)
	require.NoError(t, err)
	p := plan(t, `{minimum: "100", prices: [
		{name: base, model: flat, amount: "9.99"}, {name: calls, meter: calls, model: unit, unit: "1", included: "10", minimum: "30"}]}`)
	result, err := rating.Rate(p, usage(t, quantity("15")), rating.Context{Share: &half})
	require.NoError(t, err)
	requireConsistent(t, result)
	require.Equal(t, "5.00", result.Lines[0].Amount.String())
	require.Equal(t, "15.00", result.Lines[1].Amount.String(), "half of the minimum, all of the included units")
	require.Equal(t, "30.00", result.Lines[2].Amount.String())
	require.Equal(t, "50.00", result.Total.String())

	negative := money.Whole(-1)
	_, err = rating.Rate(p, rating.Usage{}, rating.Context{Share: &negative})
	require.Contains(t, fieldsOf(t, err), "share")
}

func TestUnpricedAndMissingMeters(t *testing.T) {
	t.Parallel()
	result := rate(t, priced(t, `model: unit, unit: "1"`), usage(t, `{"meters": {"bytes": {"quantity": "1000"}}}`))
	require.Equal(t, `{"currency":"USD","lines":[{"price":"calls","meter":"calls","quantity":"0","amount":"0.00","detail":[]}],"total":"0.00"}`, asJSON(t, result))
	require.Equal(t, `{"currency":"USD","lines":[],"total":"0.00"}`, asJSON(t, rate(t, plan(t, `prices: []`), rating.Usage{})))
}

func TestLateUsageAfterAMinimum(t *testing.T) {
	t.Parallel()
	p := priced(t, `model: unit, unit: "1", minimum: "1000"`)
	require.Equal(t, "0.00", rate(t, p, usage(t, `{"late": true, "meters": {"calls": {"quantity": "100", "previous": "800"}}}`)).Total.String())
	require.Equal(t, "100.00", rate(t, p, usage(t, `{"late": true, "meters": {"calls": {"quantity": "300", "previous": "800", "billed": "1000"}}}`)).Total.String())
	require.Equal(t, "0.00", rate(t, p, usage(t, `{"late": true, "meters": {"calls": {"quantity": "300", "billed": "1000"}}}`)).Total.String(), "no usage, and the minimum billed")
}

func BenchmarkRate(b *testing.B) {
	p := plan(b, `{minimum: "49", prices: [
		{name: base, model: flat, amount: "49.00", timing: advance},
		{name: calls, meter: calls, model: graduated, included: "10000", tiers: [{upTo: "100000", unit: "0.0010"}, {upTo: "1000000", unit: "0.0007"}, {unit: "0.0005"}]},
		{name: rows, meter: rows, model: volume, tiers: [{upTo: "1000", unit: "0.01"}, {upTo: "100000", unit: "0.008"}, {unit: "0.005"}]}]}`)
	for name, file := range map[string]string{
		"whole":       `{"meters": {"calls": {"quantity": "1234567"}, "rows": {"quantity": "56789"}}}`,
		"incremental": `{"meters": {"calls": {"quantity": "34567", "previous": "1200000"}, "rows": {"quantity": "789", "previous": "56000"}}}`,
	} {
		u := usage(b, file)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rating.Rate(p, u, rating.Context{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
