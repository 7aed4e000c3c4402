package rating_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/rating"
	"github.com/tollgate/tollgate/libs/rating/period"
)

// The vectors are those of the public documentation and tests of the field; they say what its words mean.

const (
	steps1 = `model: graduated, tiers: [{upTo: "5", flat: "100"}, {upTo: "10", flat: "50"}, {upTo: "15", unit: "5"}, {unit: "1"}]`
	steps2 = `model: graduated, flatWhenZero: true, tiers: [{upTo: "5", flat: "100"}, {upTo: "10", flat: "50"}, {upTo: "15", unit: "10"}, {unit: "5"}]`
	steps3 = `model: graduated, flatWhenZero: true, tiers: [{upTo: "10", unit: "10", flat: "2"}, {upTo: "20", unit: "5", flat: "3"}, {unit: "5", flat: "3"}]`
	volume = `model: volume, tiers: [{upTo: "15", unit: "10"}, {unit: "5"}]`
)

// quantity is the usage file of a whole period.
func quantity(units string) string { return `{"meters": {"calls": {"quantity": "` + units + `"}}}` }

// later is the usage file of a later run.
func later(units, previous string) string {
	return `{"meters": {"calls": {"quantity": "` + units + `", "previous": "` + previous + `"}}}`
}

// laterBilled is later with what was billed.
func laterBilled(units, previous, billed string) string {
	return `{"meters": {"calls": {"quantity": "` + units + `", "previous": "` + previous + `", "billed": "` + billed + `"}}}`
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, price, usage, want string }{
		{"1 whole", steps1, quantity("22"), "182.00"},
		{"1 after 12", steps1, later("10", "12"), "22.00"},
		{"1 true-up", steps1 + `, minimum: "1000"`, laterBilled("0", "5", "100"), "900.00"},
		{"1 true-up, earlier usage not stated", steps1 + `, minimum: "1000"`, `{"meters": {"calls": {"quantity": "0", "billed": "100"}}}`, "900.00"},
		{"1 no true-up yet", steps1 + `, minimum: "1000"`, `{"lastRun": false, "meters": {"calls": {"quantity": "0", "previous": "5", "billed": "100"}}}`, "0.00"},

		{"2 at 0", steps2, quantity("0"), "100.00"},
		{"2 at 3", steps2, quantity("3"), "100.00"},
		{"2 at 5", steps2, quantity("5"), "100.00"},
		{"2 at 5.001", steps2, quantity("5.001"), "150.00"},
		{"2 at 7", steps2, quantity("7"), "150.00"},
		{"2 at 12", steps2, quantity("12"), "170.00"},
		{"2 at 22", steps2, quantity("22"), "235.00"},
		{"2 not when zero", steps1, quantity("0"), "0.00"},

		{"3 none", `model: package, size: "10", unit: "15"`, quantity("0"), "0.00"},
		{"3 begun", `model: package, size: "10", unit: "15"`, quantity("5"), "15.00"},
		{"3 full", `model: package, size: "10", unit: "15"`, quantity("10"), "15.00"},
		{"3 after 17", `model: package, size: "10", unit: "15"`, later("5", "17"), "15.00"},
		{"3 capped", `model: package, size: "10", unit: "15", maximum: "100"`, laterBilled("50", "60", "90"), "10.00"},
		{"3 capped, billed not stated", `model: package, size: "10", unit: "15", maximum: "100"`, later("50", "60"), "10.00"},
		{"3 count of 1", `model: package, size: "10", unit: "1"`, quantity("1"), "1.00"},
		{"3 count of 9", `model: package, size: "10", unit: "1"`, quantity("9"), "1.00"},
		{"3 count of 11", `model: package, size: "10", unit: "1"`, quantity("11"), "2.00"},
		{"3 up 99", `model: package, size: "100", unit: "1", round: up`, quantity("99"), "1.00"},
		{"3 up 100", `model: package, size: "100", unit: "1"`, quantity("100"), "1.00"},
		{"3 up 101", `model: package, size: "100", unit: "1"`, quantity("101"), "2.00"},
		{"3 up 300", `model: package, size: "100", unit: "1"`, quantity("300"), "3.00"},
		{"3 down 50", `model: package, size: "100", unit: "1", round: down`, quantity("50"), "0.00"},
		{"3 down 250", `model: package, size: "100", unit: "1", round: down`, quantity("250"), "2.00"},
		{"3 121", `model: package, size: "10", unit: "100"`, quantity("121"), "1300.00"},
		{"3 121, 10 included", `model: package, size: "10", unit: "100", included: "10"`, quantity("121"), "1200.00"},
		{"3 121, 200 included", `model: package, size: "10", unit: "100", included: "200"`, quantity("121"), "0.00"},

		{"4 dynamic", `model: dynamic, multiplier: "1.33333"`, quantity("10"), "13.33"},
		{"4 dynamic by events", `model: dynamic, multiplier: "1.33333"`, `{"events": {"calls": ["4", "6"]}}`, "13.33"},
		{"4 capped", `model: dynamic, multiplier: "1.33333", maximum: "100"`, laterBilled("50", "70", "93.33"), "6.67"},
		{"4 capped, by events", `model: dynamic, multiplier: "1.33333", maximum: "100"`, `{"meters": {"calls": {"billed": "93.33"}}, "events": {"calls": ["50"]}}`, "6.67"},

		{"5 included", `model: unit, unit: "0.10", included: "900"`, quantity("1000"), "10.00"},
		{"5 per cent off", `model: unit, unit: "0.10", included: "900", discount: {percent: "10"}`, quantity("1000"), "9.00"},
		{"5 units off, first day", `model: unit, unit: "1", discount: {units: "500"}`, quantity("300"), "0.00"},
		{"5 units off, second day", `model: unit, unit: "1", discount: {units: "500"}`, later("250", "300"), "50.00"},
		{"5 units off, third day", `model: unit, unit: "1", discount: {units: "500"}`, later("100", "550"), "100.00"},

		{"6 flat and overage", `model: graduated, tiers: [{upTo: "1000", flat: "500"}, {unit: "0.10"}]`, quantity("2000"), "600.00"},

		{"7 late", `model: unit, unit: "10"`, `{"late": true, "meters": {"calls": {"quantity": "3", "previous": "5", "billed": "50"}}}`, "30.00"},
		{"7 repriced", volume, `{"late": true, "meters": {"calls": {"quantity": "1", "previous": "15", "billed": "150"}}}`, "-70.00"},
		{"7 corrected", `model: unit, unit: "10"`, `{"late": true, "meters": {"calls": {"quantity": "-2", "previous": "5"}}}`, "-20.00"},

		{"10 at 0", steps3, quantity("0"), "2.00"},
		{"10 at 1", steps3, quantity("1"), "12.00"},
		{"10 at 10", steps3, quantity("10"), "102.00"},
		{"10 at 11", steps3, quantity("11"), "110.00"},
		{"10 at 12", steps3, quantity("12"), "115.00"},
		{"10 at 21", steps3, quantity("21"), "163.00"},

		{"12 below", `model: unit, unit: "1", minimum: "1000"`, quantity("800"), "1000.00"},
		{"12 above", `model: unit, unit: "1", minimum: "1000"`, quantity("1300"), "1300.00"},

		{"stairstep", `model: stairstep, tiers: [{upTo: "100", flat: "75"}, {upTo: "200", flat: "120"}, {flat: "200"}]`, quantity("101"), "120.00"},
		{"stairstep, unit 100 is in the first", `model: stairstep, tiers: [{upTo: "100", flat: "75"}, {flat: "120"}]`, quantity("100"), "75.00"},
		{"stairstep at 0", `model: stairstep, tiers: [{upTo: "100", flat: "75"}, {flat: "120"}]`, quantity("0"), "0.00"},
		{"stairstep at 0, when zero", `model: stairstep, flatWhenZero: true, tiers: [{upTo: "100", flat: "75"}, {flat: "120"}]`, quantity("0"), "75.00"},
		{"volume", volume, quantity("15"), "150.00"},
		{"volume above", volume, quantity("16"), "80.00"},
		{"volume with flat", `model: volume, tiers: [{upTo: "10", flat: "3"}, {flat: "5", unit: "2"}]`, quantity("11"), "27.00"},

		{"percentage", `model: percentage, rate: "1.3"`, quantity("1000"), "13.00"},
		{"percentage and fixed", `model: percentage, rate: "1.3", fixed: "2"`, `{"events": {"calls": ["10", "80", "10000"]}}`, "137.17"},
		{"percentage within perEvent", `model: percentage, rate: "1.3", perEvent: {min: "1.75", max: "12"}`, `{"events": {"calls": ["10", "80", "10000"]}}`, "15.50"},
		{"percentage, fixed counts for perEvent", `model: percentage, rate: "1.3", fixed: "2", perEvent: {min: "1.75", max: "12"}`, `{"events": {"calls": ["10", "80", "10000"]}}`, "17.17"},
		{"percentage, free events", `model: percentage, rate: "1", fixed: "2", free: {events: "2"}`, `{"events": {"calls": ["100", "100", "100"]}}`, "3.00"},
		{"percentage, free amount", `model: percentage, rate: "1", fixed: "2", free: {amount: "250"}`, `{"events": {"calls": ["100", "100", "100", "100"]}}`, "5.50"},
		{"percentage, free amount ends first", `model: percentage, rate: "1", free: {events: "3", amount: "150"}`, `{"events": {"calls": ["100", "100", "100", "100"]}}`, "2.50"},
		{"percentage, free events end first", `model: percentage, rate: "1", free: {events: "1", amount: "250"}`, `{"events": {"calls": ["100", "100", "100"]}}`, "2.00"},
		{"percentage, included amount", `model: percentage, rate: "1", fixed: "2", included: "150"`, `{"events": {"calls": ["100", "100", "100"]}}`, "5.50"},
		{"percentage, included covers an event of nothing", `model: percentage, rate: "1", fixed: "2", included: "1"`, `{"events": {"calls": ["0", "0.5", "0.5", "0"]}}`, "2.00"},
		{"graduated percentage", `model: graduatedPercentage, tiers: [{upTo: "10", flat: "200", rate: "1"}, {upTo: "20", flat: "300", rate: "2"}, {rate: "3"}]`, quantity("25"), "500.45"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, rate(t, priced(t, c.price), usage(t, c.usage)).Total.String())
		})
	}
}

func TestVector9Wallet(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return now.AddDate(0, 0, n) }
	grants := []rating.Grant{
		{ID: "C", Balance: dec(t, "100"), Priority: 2},
		{ID: "B", Balance: dec(t, "80"), Priority: 1, Expires: day(20)},
		{ID: "A", Balance: dec(t, "50"), Priority: 1, Expires: day(10)},
	}
	for _, c := range []struct {
		name, charge string
		at           time.Time
		want         map[string]string
		rest         string
	}{
		{"first to expire first", "90", now, map[string]string{"A": "50", "B": "40"}, "0"},
		{"then the next priority", "140.50", now, map[string]string{"A": "50", "B": "80", "C": "10.50"}, "0.00"},
		{"expired at its very instant", "90", day(10), map[string]string{"B": "80", "C": "10"}, "0"},
		{"the rest is invoiced", "300", now, map[string]string{"A": "50", "B": "80", "C": "100"}, "70"},
		{"nothing", "0", now, map[string]string{}, "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			burned, rest, err := rating.Burn(grants, dec(t, c.charge), c.at)
			require.NoError(t, err)
			got := map[string]string{}
			for _, b := range burned {
				got[b.Grant] = b.Amount.String()
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.rest, rest.String())
		})
	}
	burned, rest, err := rating.Burn([]rating.Grant{{ID: "W", Balance: dec(t, "40")}}, dec(t, "100"), now)
	require.NoError(t, err)
	require.Len(t, burned, 1)
	require.Equal(t, "40", burned[0].Amount.String())
	require.Equal(t, "60", rest.String())

	_, _, err = rating.Burn(grants, dec(t, "-1"), now)
	require.ErrorContains(t, err, "negative")
	_, _, err = rating.Burn([]rating.Grant{{ID: "X", Balance: dec(t, "-1")}}, dec(t, "1"), now)
	require.ErrorContains(t, err, "grant X")
}

func TestVector9TiesBurnTheOlderGrantFirst(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	burned, _, err := rating.Burn([]rating.Grant{
		{ID: "new", Balance: dec(t, "5"), Created: now.AddDate(0, 0, -1)},
		{ID: "expiring", Balance: dec(t, "5"), Created: now, Expires: now.AddDate(0, 0, 1)},
		{ID: "b", Balance: dec(t, "5"), Created: now.AddDate(0, 0, -2)},
		{ID: "a", Balance: dec(t, "5"), Created: now.AddDate(0, 0, -2)},
	}, dec(t, "20"), now)
	require.NoError(t, err)
	var order []string
	for _, b := range burned {
		order = append(order, b.Grant)
	}
	require.Equal(t, []string{"expiring", "a", "b", "new"}, order)
}

func TestVector11Trial(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ every, end, want string }{{"month", "2025-02-01", "0.90"}, {"week", "2025-01-08", "0.57"}} {
		start, err := time.Parse(time.DateOnly, "2025-01-01")
		require.NoError(t, err)
		end, err := time.Parse(time.DateOnly, c.end)
		require.NoError(t, err)
		r, err := period.New(period.Config{Every: c.every, Proration: period.ByDay}, start)
		require.NoError(t, err)
		share := r.Share(period.Interval{Start: start.AddDate(0, 0, 3), End: end})

		result, err := rating.Rate(plan(t, `prices: [{name: base, model: flat, amount: "1.00"}]`), rating.Usage{}, rating.Context{Share: &share})
		require.NoError(t, err)
		requireConsistent(t, result)
		require.Equal(t, c.want, result.Total.String())
		require.Equal(t, share.String(), result.Lines[0].Detail[0].Share)
	}
}

func TestVector13LinesAreRoundedOnce(t *testing.T) {
	t.Parallel()
	thirds := plan(t, `prices: [
		{name: a, model: flat, amount: "10.333333"}, {name: b, model: flat, amount: "10.333333"}, {name: c, model: flat, amount: "10.333333"}]`)
	require.Equal(t, "30.99", rate(t, thirds, rating.Usage{}).Total.String())
	small := plan(t, `prices: [
		{name: a, model: flat, amount: "0.011"}, {name: b, model: flat, amount: "0.012"}, {name: c, model: flat, amount: "0.013"},
		{name: d, model: flat, amount: "0.014"}, {name: e, model: flat, amount: "0.015"}]`)
	require.Equal(t, "0.06", rate(t, small, rating.Usage{}).Total.String())
	yen := plan(t, `{currency: JPY, prices: [{name: calls, meter: calls, model: unit, unit: "0.0005"}]}`)
	require.Equal(t, "1024", rate(t, yen, usage(t, quantity("2047000"))).Total.String())
}

func TestVector16UpgradeHalfWay(t *testing.T) {
	t.Parallel()
	usd, err := money.ParseCurrency("USD")
	require.NoError(t, err)
	half, err := money.NewRatio(1, 2)
	require.NoError(t, err)
	zero := money.Decimal{}
	require.Equal(t, "-5.00", rating.Credit(usd, dec(t, "10"), half, zero).String())
	require.Equal(t, "10.00", rating.Charge(usd, dec(t, "20"), half).String())
	require.Equal(t, "-2.00", rating.Credit(usd, dec(t, "10"), half, dec(t, "8")).String(), "all credits together stay within the charge")
	require.Equal(t, "-10.00", rating.Credit(usd, dec(t, "10"), money.Whole(3), zero).String())
	require.Equal(t, "0.00", rating.Credit(usd, dec(t, "10"), half, dec(t, "11")).String())
	require.Equal(t, "0.00", rating.Credit(usd, dec(t, "10"), money.Whole(-1), zero).String(), "a credit is never a charge")
}

func TestVector17NegativeTotalsAreKept(t *testing.T) {
	t.Parallel()
	result := rate(t, priced(t, volume), usage(t, `{"late": true, "meters": {"calls": {"quantity": "1", "previous": "15"}}}`))
	require.JSONEq(t, `{"currency": "USD", "total": "-70.00", "lines": [
		{"price": "calls", "meter": "calls", "quantity": "1", "amount": "-70.00", "detail": [
			{"quantity": "-15", "unit": "10", "amount": "-150.00"},
			{"quantity": "16", "unit": "5", "amount": "80.00"}]}]}`, asJSON(t, result))
}
