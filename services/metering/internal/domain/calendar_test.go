package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/rating/period"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
)

func at(t require.TestingT, text string) int64 {
	parsed, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return parsed.UnixNano()
}

func TestBucket(t *testing.T) {
	t.Parallel()
	started := at(t, "2026-03-10T09:17:23.000000001Z")
	changed := at(t, "2026-04-02T12:30:00.5Z")
	month := period.Config{}
	for _, c := range []struct {
		name, zone   string
		phases       []domain.Phase
		ended        int64
		when, bucket string
	}{
		{"a full hour", "UTC", nil, 0, "2026-03-10T10:59:59.999999999Z", "2026-03-10T10:00:00Z"},
		{"before the beginning", "UTC", nil, 0, "2026-03-10T09:17:23Z", "2026-03-10T09:00:00Z"},
		{"the very beginning", "UTC", nil, 0, "2026-03-10T09:17:23.000000001Z", "2026-03-10T09:17:23.000000001Z"},
		{"the last instant of a period", "UTC", []domain.Phase{{From: started, Period: month}}, 0, "2026-04-10T09:17:23Z", "2026-04-10T09:00:00Z"},
		{"the first instant of a period", "UTC", []domain.Phase{{From: started, Period: month}}, 0, "2026-04-10T09:17:23.000000001Z", "2026-04-10T09:17:23.000000001Z"},
		{"the last instant of a plan", "UTC", []domain.Phase{{From: started, Period: month}, {From: changed, Period: month}}, 0, "2026-04-02T12:30:00.499999999Z", "2026-04-02T12:00:00Z"},
		{"the first instant of a plan", "UTC", []domain.Phase{{From: started, Period: month}, {From: changed, Period: month}}, 0, "2026-04-02T12:30:00.5Z", "2026-04-02T12:30:00.5Z"},
		{"the end", "UTC", []domain.Phase{{From: started, Period: month}}, at(t, "2026-05-01T00:10:00Z"), "2026-05-01T00:10:00Z", "2026-05-01T00:10:00Z"},
		{"half an hour off", "Asia/Kolkata", nil, 0, "2026-03-31T18:29:59Z", "2026-03-31T18:00:00Z"},
		{"midnight half an hour off", "Asia/Kolkata", nil, 0, "2026-03-31T18:31:00Z", "2026-03-31T18:30:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			calendar, err := domain.NewCalendar(c.zone, started, c.ended, c.phases)
			require.NoError(t, err)
			got := calendar.Bucket(at(t, c.when))
			require.Equal(t, c.bucket, time.Unix(0, got).UTC().Format(time.RFC3339Nano))
		})
	}
	require.Equal(t, at(t, "2026-03-10T10:00:00Z"), new(domain.Calendar).Bucket(at(t, "2026-03-10T10:30:00Z")), "a call of no subscription")
}

// No bucket has instants on both sides of one at which something begins, whatever order instants are asked for.
func TestNoBucketLiesAcrossABoundary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		zone := rapid.SampledFrom([]string{"UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kathmandu"}).Draw(t, "zone")
		instant := rapid.Int64Range(at(t, "2025-01-01T00:00:00Z"), at(t, "2027-01-01T00:00:00Z"))
		started := instant.Draw(t, "started")
		phases := []domain.Phase{{From: started, Period: anyPeriod(t)}}
		if rapid.Bool().Draw(t, "changed") {
			phases = append(phases, domain.Phase{From: started + rapid.Int64Range(1, 90*24*int64(time.Hour)).Draw(t, "changed after"), Period: anyPeriod(t)})
		}
		calendar, err := domain.NewCalendar(zone, started, 0, phases)
		require.NoError(t, err)
		for range 20 {
			now := instant.Draw(t, "now")
			bucket := calendar.Bucket(now)
			require.LessOrEqual(t, bucket, now)
			require.Less(t, now-bucket, int64(time.Hour))
			require.Equal(t, bucket, calendar.Bucket(bucket), "a bucket is named by its beginning")
			for _, b := range boundaries(t, calendar, zone, started, phases, now) {
				if b <= now {
					require.GreaterOrEqual(t, bucket, b, "%s", time.Unix(0, b).UTC())
				}
			}
		}
	})
}

func anyPeriod(t *rapid.T) period.Config {
	return period.Config{
		Every:  rapid.SampledFrom([]string{"day", "week", "month", "quarter", "year"}).Draw(t, "every"),
		Anchor: rapid.SampledFrom([]string{"calendar", "anniversary"}).Draw(t, "anchor"),
	}
}

func boundaries(t *rapid.T, calendar *domain.Calendar, zone string, started int64, phases []domain.Phase, now int64) []int64 {
	all := []int64{started}
	for _, p := range phases {
		all = append(all, p.From)
	}
	if phase, ok := calendar.Phase(now); ok {
		phase.Period.TimeZone = zone
		rule, err := period.New(phase.Period, time.Unix(0, started))
		require.NoError(t, err)
		all = append(all, rule.At(time.Unix(0, now)).Start.UnixNano())
	}
	for _, per := range []string{"hour", "day", "week", "month", "year"} {
		w, err := calendar.Window(per, now)
		require.NoError(t, err)
		require.True(t, w.Contains(now))
		all = append(all, w.Start)
	}
	return all
}

func TestWindow(t *testing.T) {
	t.Parallel()
	calendar, err := domain.NewCalendar("Asia/Kolkata", 0, 0, nil)
	require.NoError(t, err)
	for per, want := range map[string][2]string{
		"hour":  {"2026-11-24T10:30:00Z", "2026-11-24T11:30:00Z"},
		"day":   {"2026-11-23T18:30:00Z", "2026-11-24T18:30:00Z"},
		"week":  {"2026-11-22T18:30:00Z", "2026-11-29T18:30:00Z"},
		"month": {"2026-10-31T18:30:00Z", "2026-11-30T18:30:00Z"},
		"year":  {"2025-12-31T18:30:00Z", "2026-12-31T18:30:00Z"},
	} {
		t.Run(per, func(t *testing.T) {
			w, err := calendar.Window(per, at(t, "2026-11-24T10:45:00Z"))
			require.NoError(t, err)
			require.Equal(t, domain.Window{Start: at(t, want[0]), End: at(t, want[1])}, w)
		})
	}
	_, err = calendar.Window("fortnight", 1)
	require.ErrorContains(t, err, "hour, day, week, month or year")
}
