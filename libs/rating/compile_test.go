package rating_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/tollgate/tollgate/libs/rating"
)

func TestCompileSample(t *testing.T) {
	t.Parallel()
	documents, err := os.ReadFile("testdata/weather/plans.yaml")
	require.NoError(t, err)
	decoder := yaml.NewDecoder(strings.NewReader(string(documents)))
	compiled := map[string]*rating.Plan{}
	for {
		var document struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     map[string]any
		}
		if decoder.Decode(&document) != nil {
			break
		}
		if document.Kind != "Plan" {
			continue
		}
		spec, err := yaml.Marshal(document.Spec)
		require.NoError(t, err)
		compiled[document.Metadata.Name], err = rating.Compile(specOf(t, spec))
		require.NoError(t, err, document.Metadata.Name)
	}
	require.Len(t, compiled, 3)
	require.True(t, compiled["free"].Free())
	require.Equal(t, []string{"calls", "forecast-day"}, compiled["pro"].Meters())
	require.Equal(t, "USD", compiled["payg"].Currency().Code())
	require.False(t, compiled["pro"].NeedsEvents("calls"))
}

func TestCompileNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	tiered := func(tiers string) string {
		return "{currency: USD, prices: [{name: a, meter: m, model: graduated, tiers: [" + tiers + "]}]}"
	}
	one := func(price string) string { return "{currency: USD, prices: [{name: a, " + price + "}]}" }
	limit := func(l string) string { return "{currency: USD, limits: [" + l + "]}" }
	for _, c := range []struct{ name, spec, path, message string }{
		{"no currency", `{}`, "currency", "is missing"},
		{"unknown currency", `{currency: XYZ}`, "currency", `"XYZ" is not a currency`},
		{"approval", `{currency: USD, approval: maybe}`, "approval", "want auto or required"},
		{"period", `{currency: USD, period: {every: fortnight}}`, "period.every", "want day, week, month, quarter or year"},
		{"anchor", `{currency: USD, period: {anchor: moon}}`, "period.anchor", "want calendar or anniversary"},
		{"zone", `{currency: USD, period: {timeZone: Mars}}`, "period.timeZone", "IANA name"},
		{"proration", `{currency: USD, period: {proration: hour}}`, "period.proration", "want second or day"},
		{"minimum over maximum", `{currency: USD, minimum: "2", maximum: "1"}`, "maximum", "1 is less than the minimum 2"},
		{"negative minimum", `{currency: USD, minimum: "-2"}`, "minimum", "is negative"},

		{"no name", `{currency: USD, prices: [{model: flat, amount: "1"}]}`, "prices[0].name", "is missing"},
		{"bad name", `{currency: USD, prices: [{name: a/b, model: flat, amount: "1"}]}`, "prices[0].name", "is not a name"},
		{"same name", `{currency: USD, prices: [{name: a, model: flat, amount: "1"}, {name: a, model: flat, amount: "1"}]}`, "prices[1].name", `"a" is taken`},
		{"reserved name", `{currency: USD, prices: [{name: true-up, model: flat, amount: "1"}]}`, "prices[0].name", "lines of the plan itself"},
		{"no model", one(`meter: m`), "prices[0].model", "want one of flat, unit"},
		{"unknown model", one(`meter: m, model: tiered`), "prices[0].model", `"tiered" is not a model`},
		{"foreign field", one(`meter: m, model: unit, unit: "1", size: "2"`), "prices[0].size", "is not a field of model unit, which has unit, meter"},
		{"meter of a flat price", one(`meter: m, model: flat, amount: "1"`), "prices[0].meter", "is not a field of model flat"},
		{"no meter", one(`model: unit, unit: "1"`), "prices[0].meter", "is missing"},
		{"no amount", one(`model: flat`), "prices[0].amount", "is missing"},
		{"timing", one(`model: flat, amount: "1", timing: later`), "prices[0].timing", "want advance or arrears"},
		{"no unit", one(`meter: m, model: unit`), "prices[0].unit", "is missing"},
		{"exponent", one(`meter: m, model: unit, unit: "1e-3"`), "prices[0].unit", "is not a decimal"},
		{"too many decimals", one(`meter: m, model: unit, unit: "0.0000000000001"`), "prices[0].unit", "13 decimals; at most 12"},
		{"negative unit", one(`meter: m, model: unit, unit: "-1"`), "prices[0].unit", "is negative; want 0 or more"},
		{"size 0", one(`meter: m, model: package, unit: "1", size: "0"`), "prices[0].size", "want more than 0"},
		{"round", one(`meter: m, model: package, unit: "1", size: "1", round: half`), "prices[0].round", "want up or down"},
		{"no rate", one(`meter: m, model: percentage, fixed: "1"`), "prices[0].rate", "is missing"},
		{"free events", one(`meter: m, model: percentage, rate: "1", free: {events: "1.5"}`), "prices[0].free.events", "not a whole number"},
		{"perEvent", one(`meter: m, model: percentage, rate: "1", perEvent: {min: "2", max: "1"}`), "prices[0].perEvent.max", "less than the minimum"},
		{"no multiplier", one(`meter: m, model: dynamic`), "prices[0].multiplier", "is missing"},
		{"price bounds", one(`meter: m, model: unit, unit: "1", minimum: "2", maximum: "1"`), "prices[0].maximum", "less than the minimum"},
		{"both discounts", one(`meter: m, model: unit, unit: "1", discount: {units: "1", percent: "1"}`), "prices[0].discount", "either units or percent"},
		{"no discount", one(`meter: m, model: unit, unit: "1", discount: {}`), "prices[0].discount", "either units or percent"},
		{"discount over 100", one(`meter: m, model: unit, unit: "1", discount: {percent: "101"}`), "prices[0].discount.percent", "more than 100"},
		{"units off a flat price", one(`model: flat, amount: "1", discount: {units: "1"}`), "prices[0].discount.units", "want percent"},

		{"no tiers", one(`meter: m, model: graduated`), "prices[0].tiers", "want at least one tier"},
		{"closed end", tiered(`{upTo: "5", unit: "1"}`), "prices[0].tiers[0].upTo", "usage above has no price"},
		{"open middle", tiered(`{unit: "1"}, {unit: "1"}`), "prices[0].tiers[0].upTo", "only the last tier is open"},
		{"equal tiers", tiered(`{upTo: "5", unit: "1"}, {upTo: "5.0", unit: "1"}, {unit: "1"}`), "prices[0].tiers[1].upTo", "5.0 does not rise; want more than 5"},
		{"tier at 0", tiered(`{upTo: "0", unit: "1"}, {unit: "1"}`), "prices[0].tiers[0].upTo", "want more than 0"},
		{"empty tier", tiered(`{}`), "prices[0].tiers[0].flat", "has flat or unit"},
		{"rate of a graduated tier", tiered(`{unit: "1", rate: "1"}`), "prices[0].tiers[0].rate", "is not a field of a tier of model graduated"},
		{"stairstep unit", one(`meter: m, model: stairstep, tiers: [{flat: "1", unit: "1"}]`), "prices[0].tiers[0].unit", "which has upTo, flat"},

		{"prepaid tiers", `{currency: USD, prepaid: true, prices: [{name: a, meter: m, model: volume, tiers: [{unit: "1"}]}]}`, "prices[0].model", "cannot be prepaid"},
		{"prepaid for nothing", `{currency: USD, prepaid: true}`, "prices", "needs a price"},

		{"empty limit", limit(`{per: second}`), "limits[0]", "want a rate or a quota"},
		{"rate and quota", limit(`{rate: 1, quota: 1, per: hour}`), "limits[0]", "write two limits"},
		{"rate per day", limit(`{rate: 1, per: day}`), "limits[0].per", "want second, minute, hour"},
		{"rate per nothing", limit(`{rate: 1}`), "limits[0].per", "is missing"},
		{"rate with mode", limit(`{rate: 1, per: second, mode: hard}`), "limits[0].mode", "belongs to a quota"},
		{"quota per second", limit(`{quota: 1, per: second}`), "limits[0].per", "want hour, day, week, month, year"},
		{"quota with burst", limit(`{quota: 1, per: day, burst: 1}`), "limits[0].burst", "belongs to a rate limit"},
		{"quota mode", limit(`{quota: 1, per: day, mode: firm}`), "limits[0].mode", "want hard or soft"},
		{"no reserve", limit(`{quota: 10, per: day, meter: rows}`), "limits[0].reserve", "the most that one call may report"},
		{"reserve over quota", limit(`{quota: 10, per: day, meter: rows, reserve: 11}`), "limits[0].reserve", "more than the quota"},
		{"reserve of calls", limit(`{quota: 10, per: day, reserve: 1}`), "limits[0].reserve", "belongs to a hard quota on a reported meter"},
		{"quotas beyond what a gateway holds", limit(`{quota: 1, per: hour}, {quota: 9, per: day, mode: soft}, {quota: 2, per: week}, {quota: 3, per: month}, {quota: 4, per: year}, {quota: 5, per: day, meter: rows, reserve: 1}`), "limits[5]", "is hard quota number 5; a plan has at most 4"},
		{"quota over the numbers", limit(`{quota: "9223372036854775808", per: day}`), "limits[0].quota", "at most 9223372036854775807"},
		{"rate over one a nanosecond", limit(`{rate: "1000000001", per: second}`), "limits[0].rate", "want at most 1000000000"},
		{"burst", limit(`{rate: 10, per: second, burst: "1000000001"}`), "limits[0].burst", "want at most 1000000000"},
		{"burst of centuries", limit(`{rate: 1, per: hour, burst: "1000000000"}`), "limits[0].burst", "takes centuries to come back"},
		{"same quota twice", limit(`{quota: 10, per: day}, {quota: 20, per: day, meter: calls}`), "limits[1]", "second quota of calls per day; limits[0]"},

		{"status", `{currency: USD, charging: {billable: [2xx, 600]}}`, "charging.billable[1]", "a class such as"},
		{"status twice", `{currency: USD, charging: {billable: [2xx, 2xx]}}`, "charging.billable[1]", "there twice"},
		{"cache hits", `{currency: USD, charging: {cacheHits: "-1"}}`, "charging.cacheHits", "is negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := rating.Compile(specOf(t, []byte(strings.ReplaceAll(c.spec, "600", `"600"`))))
			fields := fieldsOf(t, err)
			require.Contains(t, fields, c.path)
			require.Contains(t, fields[c.path], c.message)
			require.Len(t, fields, 1, "%v", fields)
		})
	}
}

func TestCompileNamesEveryWrongField(t *testing.T) {
	t.Parallel()
	_, err := rating.Compile(specOf(t, []byte(`{currency: usd, approval: never, prices: [
		{name: a, model: unit},
		{name: b, meter: m, model: volume, tiers: [{upTo: "5", unit: "x"}, {upTo: "4", unit: "1"}, {unit: "1"}]}]}`)))
	fields := fieldsOf(t, err)
	for _, path := range []string{"currency", "approval", "prices[0].meter", "prices[0].unit", "prices[1].tiers[0].unit", "prices[1].tiers[1].upTo"} {
		require.Contains(t, fields, path)
	}
}

func TestCompileAcceptsSoftQuotaWithoutReserve(t *testing.T) {
	t.Parallel()
	_, err := rating.Compile(specOf(t, []byte(`{currency: USD, limits: [
		{quota: 10, per: day, meter: rows, mode: soft}, {quota: 10, per: day, meter: bytes, reserve: 10},
		{quota: 10, per: month}, {rate: 5, per: second, burst: 10}, {rate: 100, per: minute}],
		charging: {billable: [2xx, "404"], cacheHits: "0.5"}}`)))
	require.NoError(t, err)
}

func TestCompileOfNothing(t *testing.T) {
	t.Parallel()
	_, err := rating.Compile(nil)
	require.Equal(t, map[string]string{"currency": `is missing; want an ISO 4217 code such as "USD"`}, fieldsOf(t, err))
}
