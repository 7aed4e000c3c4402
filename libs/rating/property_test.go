package rating_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func amount(t *rapid.T, label string, most int64, decimals uint32) string {
	return money.NewDecimal(rapid.Int64Range(0, most).Draw(t, label), rapid.Uint32Range(0, decimals).Draw(t, label+" decimals")).String()
}

func maybe(t *rapid.T, label, value string) string {
	if rapid.Bool().Draw(t, "with "+label) {
		return value
	}
	return ""
}

// anyTiers draws rising tiers; fields says what each has.
func anyTiers(t *rapid.T, fields ...string) []*catalogv1.Tier {
	tiers := make([]*catalogv1.Tier, rapid.IntRange(1, 4).Draw(t, "tiers"))
	upTo := money.Decimal{}
	for i := range tiers {
		tiers[i] = &catalogv1.Tier{}
		if i < len(tiers)-1 {
			upTo = upTo.Add(money.NewDecimal(rapid.Int64Range(1, 40).Draw(t, "step"), rapid.Uint32Range(0, 1).Draw(t, "step decimals")))
			tiers[i].UpTo = upTo.String()
		}
		for n, field := range fields {
			if n > 0 && rapid.Bool().Draw(t, "without "+field) {
				continue
			}
			switch value := amount(t, field, 9999, 3); field {
			case "flat":
				tiers[i].Flat = value
			case "unit":
				tiers[i].Unit = value
			case "rate":
				tiers[i].Rate = value
			}
		}
	}
	return tiers
}

// anyBounds draws a minimum and a maximum that is not below it; either may be missing.
func anyBounds(t *rapid.T) (least, most string) {
	low := dec(t, amount(t, "minimum", 9999, 3))
	high := low.Add(dec(t, amount(t, "maximum over it", 9999, 3)))
	return maybe(t, "minimum", low.String()), maybe(t, "maximum", high.String())
}

// anyPrice draws a price for the meter of the same name.
func anyPrice(t *rapid.T, name string) *catalogv1.Price {
	model := rapid.SampledFrom([]string{"unit", "graduated", "volume", "package", "stairstep", "percentage", "graduatedPercentage", "dynamic"}).Draw(t, "model")
	p := &catalogv1.Price{Name: name, Meter: name, Model: model, Included: maybe(t, "included", amount(t, "included", 30, 1))}
	switch model {
	case "unit":
		p.Unit = amount(t, "unit", 9999, 4)
	case "graduated", "volume":
		p.Tiers, p.FlatWhenZero = anyTiers(t, "unit", "flat"), rapid.Bool().Draw(t, "when zero")
	case "stairstep":
		p.Tiers, p.FlatWhenZero = anyTiers(t, "flat"), rapid.Bool().Draw(t, "when zero")
	case "graduatedPercentage":
		p.Tiers, p.FlatWhenZero = anyTiers(t, "rate", "flat"), rapid.Bool().Draw(t, "when zero")
	case "package":
		p.Unit, p.Size, p.Round = amount(t, "unit", 9999, 3), fmt.Sprint(rapid.IntRange(1, 12).Draw(t, "size")), rapid.SampledFrom([]string{"", "up", "down"}).Draw(t, "round")
	case "dynamic":
		p.Multiplier = amount(t, "multiplier", 9999, 5)
	case "percentage":
		p.Rate, p.Fixed = amount(t, "rate", 999, 3), maybe(t, "fixed", amount(t, "fixed", 300, 3))
		if rapid.Bool().Draw(t, "free") {
			p.Free = &catalogv1.FreeAllowance{Events: maybe(t, "events", fmt.Sprint(rapid.IntRange(0, 4).Draw(t, "free events"))), Amount: maybe(t, "amount", amount(t, "free amount", 60, 1))}
		}
		if rapid.Bool().Draw(t, "per event") {
			p.PerEvent = &catalogv1.Bounds{Min: maybe(t, "min", amount(t, "least", 20, 3)), Max: maybe(t, "max", "2"+amount(t, "most", 20, 0)+".5")}
		}
	}
	switch rapid.IntRange(0, 2).Draw(t, "discount") {
	case 1:
		p.Discount = &catalogv1.Discount{Units: amount(t, "units off", 20, 1)}
	case 2:
		p.Discount = &catalogv1.Discount{Percent: amount(t, "per cent off", 100, 2)}
	}
	p.Minimum, p.Maximum = anyBounds(t)
	return p
}

// anyPlan draws a plan with a metered price and recurring ones.
func anyPlan(t *rapid.T) *rating.Plan {
	spec := &catalogv1.PlanSpec{
		Currency: rapid.SampledFrom([]string{"USD", "JPY", "KWD"}).Draw(t, "currency"),
		Prices: []*catalogv1.Price{
			{Name: "before", Model: "flat", Amount: amount(t, "advance", 9999, 3), Timing: "advance"},
			{Name: "after", Model: "flat", Amount: amount(t, "arrears", 9999, 3)},
			anyPrice(t, "a"), anyPrice(t, "b"),
		},
	}
	spec.Minimum, spec.Maximum = anyBounds(t)
	p, err := rating.Compile(spec)
	require.NoError(t, err, "%v", problem.From(err).Errors)
	return p
}

// anyEvents draws the amounts of a run.
func anyEvents(t *rapid.T) []money.Decimal {
	events := make([]money.Decimal, rapid.IntRange(0, 4).Draw(t, "events"))
	for i := range events {
		events[i] = dec(t, amount(t, "event", 300, 1))
	}
	return events
}

func sum(parts []money.Decimal) money.Decimal {
	var total money.Decimal
	for _, p := range parts {
		total = total.Add(p)
	}
	return total
}

// share draws a share of a period, or none.
func share(t *rapid.T) *money.Ratio {
	if rapid.Bool().Draw(t, "whole period") {
		return nil
	}
	r, err := money.NewRatio(rapid.Int64Range(0, 31).Draw(t, "served"), 31)
	require.NoError(t, err)
	return &r
}

// split rates the usage of the meters in so many runs and returns the sum of their totals. stated says whether a run is
// told what the runs before billed.
func split(t *rapid.T, p *rating.Plan, rc rating.Context, runs []map[string][]money.Decimal, late, stated bool) money.Decimal {
	var total money.Decimal
	before := map[string][]money.Decimal{}
	billed := map[string]money.Decimal{}
	for i, run := range runs {
		u := rating.Usage{Run: runOf(i, len(runs), late), Meters: map[string]rating.MeterUsage{}}
		for _, meter := range p.Meters() {
			m := rating.MeterUsage{Events: run[meter], PreviousEvents: before[meter], Previous: sum(before[meter])}
			u.Meters[meter] = m
			before[meter] = append(before[meter][:len(before[meter]):len(before[meter])], run[meter]...)
		}
		if stated && i > 0 {
			u.Billed = billed
		}
		result, err := rating.Rate(p, u, rc)
		require.NoError(t, err, "%v", problem.From(err).Errors)
		requireConsistent(t, result)
		total = total.Add(result.Total)
		next := map[string]money.Decimal{}
		for name, amount := range billed {
			next[name] = amount
		}
		for _, line := range result.Lines {
			next[line.Price] = next[line.Price].Add(line.Amount)
		}
		billed = next
	}
	return total
}

func runOf(i, n int, late bool) rating.Run {
	last := n - 1
	if late {
		last--
	}
	switch {
	case i > last:
		return rating.LateRun
	case last == 0:
		return rating.OnlyRun
	case i == 0:
		return rating.FirstRun
	case i == last:
		return rating.LastRun
	default:
		return rating.MiddleRun
	}
}

func TestManyRunsBillWhatOneDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, rc := anyPlan(t), rating.Context{Share: share(t)}
		runs := make([]map[string][]money.Decimal, rapid.IntRange(2, 5).Draw(t, "runs"))
		whole := map[string][]money.Decimal{}
		for i := range runs {
			runs[i] = map[string][]money.Decimal{"a": anyEvents(t), "b": anyEvents(t)}
			for _, meter := range []string{"a", "b"} {
				whole[meter] = append(whole[meter], runs[i][meter]...)
			}
		}
		want := split(t, p, rc, []map[string][]money.Decimal{whole}, false, false)
		late, stated := rapid.Bool().Draw(t, "late"), rapid.Bool().Draw(t, "stated")
		require.Equal(t, want.String(), split(t, p, rc, runs, late, stated).String())
	})
}

// rising draws a price that never gets cheaper with usage. volume and stairstep may, by their tiers; percentage rates events,
// see TestOneMoreEventNeverCostsLess.
func rising(t *rapid.T, name string) *catalogv1.Price {
	return rapid.Custom(func(t *rapid.T) *catalogv1.Price { return anyPrice(t, name) }).
		Filter(func(p *catalogv1.Price) bool {
			return p.GetModel() != "volume" && p.GetModel() != "stairstep" && p.GetModel() != "percentage"
		}).Draw(t, "price")
}

func TestMoreUsageNeverCostsLess(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, err := rating.Compile(&catalogv1.PlanSpec{Currency: "USD", Prices: []*catalogv1.Price{rising(t, "a")}})
		require.NoError(t, err)
		less := dec(t, amount(t, "less", 1000, 2))
		more := less.Add(dec(t, amount(t, "more", 1000, 2)))
		a := rate(t, p, rating.Usage{Meters: map[string]rating.MeterUsage{"a": {Quantity: less}}})
		b := rate(t, p, rating.Usage{Meters: map[string]rating.MeterUsage{"a": {Quantity: more}}})
		require.False(t, b.Total.Less(a.Total), "%s at %s, %s at %s", a.Total, less, b.Total, more)
	})
}

func TestOneMoreEventNeverCostsLess(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := anyPrice(t, "a")
		spec.Model, spec.Tiers, spec.FlatWhenZero, spec.Unit, spec.Size, spec.Round, spec.Multiplier = "percentage", nil, false, "", "", "", ""
		spec.Rate, spec.Minimum = amount(t, "rate", 999, 3), ""
		p, err := rating.Compile(&catalogv1.PlanSpec{Currency: "USD", Prices: []*catalogv1.Price{spec}})
		require.NoError(t, err)
		events := anyEvents(t)
		a := rate(t, p, rating.Usage{Meters: map[string]rating.MeterUsage{"a": {Events: events}}})
		b := rate(t, p, rating.Usage{Meters: map[string]rating.MeterUsage{"a": {Events: append(events, dec(t, amount(t, "one more", 300, 1)))}}})
		require.False(t, b.Total.Less(a.Total))
	})
}

func TestReplayGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, rc := anyPlan(t), rating.Context{Share: share(t)}
		u := rating.Usage{Meters: map[string]rating.MeterUsage{"a": {Events: anyEvents(t)}, "b": {Events: anyEvents(t)}}}
		first, err := rating.Rate(p, u, rc)
		require.NoError(t, err)
		again, err := rating.Rate(p, u, rc)
		require.NoError(t, err)
		a, err := json.Marshal(first)
		require.NoError(t, err)
		b, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(a), string(b))

		var back rating.Result
		require.NoError(t, json.Unmarshal(a, &back))
		c, err := json.Marshal(back)
		require.NoError(t, err)
		require.Equal(t, string(a), string(c), "a stored result reads back as it was")
	})
}
