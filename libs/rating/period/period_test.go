package period_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating/period"
)

// at reads an instant: a date, or RFC 3339 without seconds.
func at(t require.TestingT, text string) time.Time {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04Z07:00"} {
		if parsed, err := time.Parse(layout, text); err == nil {
			return parsed.UTC()
		}
	}
	require.Fail(t, "not an instant", text)
	return time.Time{}
}

func span(t require.TestingT, start, end string) period.Interval {
	return period.Interval{Start: at(t, start), End: at(t, end)}
}

func rule(t require.TestingT, c period.Config, anchor string) period.Rule {
	r, err := period.New(c, at(t, anchor))
	require.NoError(t, err)
	return r
}

func TestBoundariesCountFromTheAnchor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, every, anchor string
		n                   int
		want                string
	}{
		{"leap February", "month", "2024-01-31", 1, "2024-02-29"},
		{"back to the 31st", "month", "2023-01-31", 2, "2023-03-31"},
		{"two months after New Year's Eve, leap", "month", "2023-12-31", 2, "2024-02-29"},
		{"two months after New Year's Eve", "month", "2024-12-31", 2, "2025-02-28"},
		{"leap day, a year on", "year", "2024-02-29", 1, "2025-02-28"},
		{"leap day, four years on", "year", "2024-02-29", 4, "2028-02-29"},
		{"quarter", "quarter", "2024-11-30", 1, "2025-02-28"},
		{"week", "week", "2024-02-26", 1, "2024-03-04"},
		{"day", "day", "2024-02-28", 2, "2024-03-01"},
		{"backwards", "month", "2024-03-31", -1, "2024-02-29"},
		{"backwards over the year", "month", "2024-01-31", -2, "2023-11-30"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, at(t, c.want), rule(t, period.Config{Every: c.every}, c.anchor).Boundary(c.n))
		})
	}
}

func TestPeriodOfAnInstant(t *testing.T) {
	t.Parallel()
	zone := func(name string) period.Config {
		return period.Config{Every: period.Month, Anchor: period.Calendar, TimeZone: name}
	}
	for _, c := range []struct {
		name             string
		config           period.Config
		anchor, in       string
		wantFrom, wantTo string
	}{
		{"31st at 15:00", period.Config{}, "2025-01-31T15:00Z", "2025-08-13", "2025-07-31T15:00Z", "2025-08-31T15:00Z"},
		{"30th at 15:00", period.Config{}, "2025-01-30T15:00Z", "2025-02-13", "2025-01-30T15:00Z", "2025-02-28T15:00Z"},
		{"the start belongs to it", period.Config{}, "2025-01-31T15:00Z", "2025-08-31T15:00Z", "2025-08-31T15:00Z", "2025-09-30T15:00Z"},
		{"before the anchor", period.Config{}, "2025-03-31", "2025-02-28", "2025-02-28", "2025-03-31"},
		{"New York", zone("America/New_York"), "2020-01-01", "2024-03-15", "2024-03-01T05:00Z", "2024-04-01T04:00Z"},
		{"Kolkata", zone("Asia/Kolkata"), "2020-01-01", "2024-03-15", "2024-02-29T18:30Z", "2024-03-31T18:30Z"},
		{"week from Monday", period.Config{Every: period.Week, Anchor: period.Calendar}, "2020-01-01", "2026-11-22", "2026-11-16", "2026-11-23"},
		{"quarter", period.Config{Every: period.Quarter, Anchor: period.Calendar}, "2020-02-05", "2026-11-22", "2026-10-01", "2027-01-01"},
		{"year", period.Config{Every: period.Year, Anchor: period.Calendar}, "2020-02-05", "1999-11-22", "1999-01-01", "2000-01-01"},
		{
			"23 hours", period.Config{Every: period.Day, Anchor: period.Calendar, TimeZone: "America/Los_Angeles"},
			"2020-01-01", "2025-03-09T12:00Z", "2025-03-09T08:00Z", "2025-03-10T07:00Z",
		},
		{
			"25 hours", period.Config{Every: period.Day, Anchor: period.Calendar, TimeZone: "America/Los_Angeles"},
			"2020-01-01", "2025-11-02T12:00Z", "2025-11-02T07:00Z", "2025-11-03T08:00Z",
		},
		{
			"midnight that does not occur", period.Config{Every: period.Day, Anchor: period.Calendar, TimeZone: "Africa/Cairo"},
			"2020-01-01", "2024-04-26T12:00Z", "2024-04-25T22:00Z", "2024-04-26T21:00Z",
		},
		{
			"time that occurs twice means the first", period.Config{Every: period.Day, TimeZone: "America/New_York"},
			"2025-11-01T05:30Z", "2025-11-02T12:00Z", "2025-11-02T05:30Z", "2025-11-03T06:30Z",
		},
		{
			"an anchor in the second occurrence stays", period.Config{Every: period.Day, TimeZone: "America/New_York"},
			"2025-11-02T06:30Z", "2025-11-02T07:00Z", "2025-11-02T06:30Z", "2025-11-03T06:30Z",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := rule(t, c.config, c.anchor).At(at(t, c.in))
			require.Equal(t, span(t, c.wantFrom, c.wantTo).String(), got.String())
			require.True(t, got.Contains(at(t, c.in)))
			require.False(t, got.Contains(got.End))
		})
	}
}

func TestSkippedDayHasNoPeriod(t *testing.T) {
	t.Parallel()
	r := rule(t, period.Config{Every: period.Day, Anchor: period.Calendar, TimeZone: "Pacific/Apia"}, "2011-01-01")
	days := slices.Collect(r.All(span(t, "2011-12-29T12:00Z", "2011-12-31T12:00Z")))
	require.Len(t, days, 3)
	require.Equal(t, "[2011-12-29T10:00:00Z, 2011-12-30T10:00:00Z)", days[0].String())
	require.Equal(t, "[2011-12-30T10:00:00Z, 2011-12-31T10:00:00Z)", days[1].String())
	require.Equal(t, days[1], r.After(days[0]))
}

func TestShare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		config       period.Config
		anchor       string
		served       period.Interval
		whole        int64
		rest         string
		amount, want string
	}{
		{"start in the middle of February", period.Config{}, "2023-01-01", span(t, "2023-02-15", "2023-03-01"), 0, "1/2", "10.00", "5.00"},
		{"three whole months", period.Config{}, "2012-03-02", span(t, "2012-03-02", "2012-06-02"), 3, "0", "10.00", "30.00"},
		{"three-day trial of January", period.Config{Proration: "day"}, "2025-01-01", span(t, "2025-01-04", "2025-02-01"), 0, "28/31", "1.00", "0.90"},
		{"three-day trial of a week", period.Config{Every: "week", Proration: "day"}, "2025-01-01", span(t, "2025-01-04", "2025-01-08"), 0, "4/7", "1.00", "0.57"},
		{"both ends in part", period.Config{}, "2024-01-01", span(t, "2024-01-16T12:00Z", "2024-03-16T12:00Z"), 1, "1", "10.00", "20.00"},
		{"one second", period.Config{Every: "day"}, "2024-01-01", period.Interval{Start: at(t, "2024-01-01"), End: at(t, "2024-01-01").Add(time.Second)}, 0, "1/86400", "864.00", "0.01"},
		{"the day of the start counts, that of the end does not", period.Config{Proration: "day"}, "2024-04-01", span(t, "2024-04-10T23:59Z", "2024-04-12T23:59Z"), 0, "1/15", "15.00", "1.00"},
		{"hours in a day mode period", period.Config{Proration: "day", TimeZone: "America/Los_Angeles", Anchor: "calendar"}, "2025-01-01", span(t, "2025-03-01T08:00Z", "2025-03-17T07:00Z"), 0, "16/31", "31.00", "16.00"},
		{"nothing", period.Config{}, "2024-01-01", span(t, "2024-02-01", "2024-02-01"), 0, "0", "10.00", "0.00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := rule(t, c.config, c.anchor)
			whole, rest := r.Measure(c.served)
			require.Equal(t, c.whole, whole)
			require.Equal(t, c.rest, rest.String())

			usd, err := money.ParseCurrency("USD")
			require.NoError(t, err)
			amount, err := usd.ParseAmount(c.amount)
			require.NoError(t, err)
			require.Equal(t, c.want, usd.RoundRatio(amount, r.Share(c.served)).String())
		})
	}
}

func TestFraction(t *testing.T) {
	t.Parallel()
	r := rule(t, period.Config{}, "2023-01-01")
	february := span(t, "2023-02-01", "2023-03-01")
	require.Equal(t, "1/2", r.Fraction(span(t, "2023-02-15", "2023-05-01"), february).String())
	require.Equal(t, "1", r.Fraction(span(t, "2020-01-01", "2030-01-01"), february).String())
	require.Equal(t, "0", r.Fraction(span(t, "2023-04-01", "2023-05-01"), february).String())
}

func TestConfigNamesEveryWrongField(t *testing.T) {
	t.Parallel()
	_, err := period.New(period.Config{Every: "fortnight", Anchor: "moon", TimeZone: "Local", Proration: "hour"}, time.Time{})
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	var paths []string
	for _, f := range problem.From(err).Errors {
		paths = append(paths, f.Path)
	}
	require.Equal(t, []string{"every", "anchor", "timeZone", "proration"}, paths)
	for _, name := range []string{"Mars/Olympus", "../etc/passwd", "EST+5"} {
		require.ErrorContains(t, period.Config{TimeZone: name}.Validate(), "not valid", name)
	}
	require.NoError(t, period.Config{}.Validate())
}

func TestMonthEndAnchorsNeverDrift(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo"} {
		loc, err := time.LoadLocation(zone)
		require.NoError(t, err)
		for day := 28; day <= 31; day++ {
			anchor := time.Date(2023, time.January, day, 0, 30, 0, 0, loc)
			r, err := period.New(period.Config{TimeZone: zone}, anchor)
			require.NoError(t, err)
			for n := range 48 {
				p := r.Period(n)
				require.True(t, p.Start.Before(p.End))
				require.Equal(t, p.End, r.After(p).Start, "periods touch")
				local := p.Start.In(loc)
				require.Equal(t, min(day, daysIn(local)), local.Day(), "%s %d+%d", zone, day, n)
				require.Equal(t, p, r.At(p.Start))
				require.Equal(t, p, r.At(p.End.Add(-1)))
			}
		}
	}
}

func daysIn(t time.Time) int { return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day() }

func anyRule(t *rapid.T) period.Rule {
	c := period.Config{
		Every:     rapid.SampledFrom([]string{"day", "week", "month", "quarter", "year"}).Draw(t, "every"),
		Anchor:    rapid.SampledFrom([]string{"calendar", "anniversary"}).Draw(t, "anchor"),
		TimeZone:  rapid.SampledFrom([]string{"", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo", "America/Sao_Paulo", "Africa/Casablanca"}).Draw(t, "zone"),
		Proration: rapid.SampledFrom([]string{"second", "day"}).Draw(t, "proration"),
	}
	r, err := period.New(c, time.Unix(rapid.Int64Range(1.2e9, 2e9).Draw(t, "anchor instant"), 0))
	require.NoError(t, err)
	return r
}

func TestEveryInstantHasOnePeriod(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := anyRule(t)
		in := time.Unix(rapid.Int64Range(1e9, 2.2e9).Draw(t, "instant"), 0)
		n := r.Index(in)
		require.True(t, r.Period(n).Contains(in))
		require.Equal(t, r.Boundary(n), r.At(in).Start)
		require.True(t, r.Boundary(n).Before(r.Boundary(n+1)))
		require.Equal(t, r.Period(n+1), r.After(r.Period(n)))
	})
}

func TestSharesOfPartsSumToTheShareOfTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := anyRule(t)
		start := time.Unix(rapid.Int64Range(1.5e9, 1.7e9).Draw(t, "start"), 0)
		middle := start.Add(time.Duration(rapid.Int64Range(0, 400*86400).Draw(t, "first")) * time.Second)
		end := middle.Add(time.Duration(rapid.Int64Range(0, 400*86400).Draw(t, "second")) * time.Second)
		sum := r.Share(period.Interval{Start: start, End: middle}).Add(r.Share(period.Interval{Start: middle, End: end}))
		require.Zero(t, sum.Cmp(r.Share(period.Interval{Start: start, End: end})))
	})
}
