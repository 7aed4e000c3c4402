package domain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func plan(every, anchor string) *catalogv1.PlanSpec {
	return &catalogv1.PlanSpec{
		Currency: "USD", Period: &catalogv1.Period{Every: every, Anchor: anchor},
		Prices: []*catalogv1.Price{{Name: "base", Model: "flat", Amount: "31.00"}, {Name: "calls", Meter: "calls", Model: "unit", Unit: "0.01"}},
	}
}

func subscription(zone string, phases ...domain.Phase) domain.Subscription {
	for i := range phases {
		phases[i].PlanID, phases[i].Plan, phases[i].Version = "p", "pro", uint32(i+1)
	}
	return domain.Subscription{ID: "s", AccountID: "a", TimeZone: zone, StartedAt: phases[0].From, Phases: phases}
}

func text(p domain.Period) string {
	return fmt.Sprintf("%d %s in %s", p.Number, p.Interval, p.Whole)
}

func TestPeriods(t *testing.T) {
	t.Parallel()
	start := at("2026-01-31T15:00:00Z")
	month, calendar, year := plan("", ""), plan("month", "calendar"), plan("year", "")
	tests := []struct {
		name string
		s    domain.Subscription
		now  string
		want []string
	}{
		{"an anniversary clamps and does not drift", subscription("UTC", domain.Phase{From: start, Spec: month}), "2026-03-05T00:00:00Z", []string{
			"1 [2026-01-31T15:00:00Z, 2026-02-28T15:00:00Z) in [2026-01-31T15:00:00Z, 2026-02-28T15:00:00Z)",
			"2 [2026-02-28T15:00:00Z, 2026-03-31T15:00:00Z) in [2026-02-28T15:00:00Z, 2026-03-31T15:00:00Z)",
		}},
		{"the first calendar period is a part", subscription("Asia/Kolkata", domain.Phase{From: start, Spec: calendar}), "2026-02-01T00:00:00Z", []string{
			"1 [2026-01-31T15:00:00Z, 2026-01-31T18:30:00Z) in [2025-12-31T18:30:00Z, 2026-01-31T18:30:00Z)",
			"2 [2026-01-31T18:30:00Z, 2026-02-28T18:30:00Z) in [2026-01-31T18:30:00Z, 2026-02-28T18:30:00Z)",
		}},
		{"a plan with the same periods changes none", subscription("UTC", domain.Phase{From: start, Spec: month}, domain.Phase{From: at("2026-02-10T00:00:00Z"), Spec: plan("month", "anniversary")}),
			"2026-02-20T00:00:00Z", []string{"1 [2026-01-31T15:00:00Z, 2026-02-28T15:00:00Z) in [2026-01-31T15:00:00Z, 2026-02-28T15:00:00Z)"}},
		{"a plan with other periods begins one", subscription("UTC", domain.Phase{From: start, Spec: month}, domain.Phase{From: at("2026-02-10T00:00:00Z"), Spec: year}),
			"2026-03-20T00:00:00Z", []string{
				"1 [2026-01-31T15:00:00Z, 2026-02-10T00:00:00Z) in [2026-01-31T15:00:00Z, 2026-02-28T15:00:00Z)",
				"2 [2026-02-10T00:00:00Z, 2027-01-31T15:00:00Z) in [2026-01-31T15:00:00Z, 2027-01-31T15:00:00Z)",
			}},
		{"none before the start", subscription("UTC", domain.Phase{From: start, Spec: month}), "2026-01-01T00:00:00Z", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cut, more, err := tt.s.Extend(nil, false, at(tt.now))
			require.NoError(t, err)
			require.Nil(t, cut)
			var got []string
			for _, p := range more {
				got = append(got, text(p))
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestAnOpenPeriodIsCutByAPlanWithOtherPeriods(t *testing.T) {
	t.Parallel()
	s := subscription("UTC", domain.Phase{From: at("2026-01-01T00:00:00Z"), Spec: plan("month", "")})
	_, first, err := s.Extend(nil, false, at("2026-01-05T00:00:00Z"))
	require.NoError(t, err)
	s = subscription("UTC", s.Phases[0], domain.Phase{From: at("2026-01-10T00:00:00Z"), Spec: plan("year", "")})
	cut, more, err := s.Extend(&first[0], true, at("2026-01-20T00:00:00Z"))
	require.NoError(t, err)
	require.Equal(t, "1 [2026-01-01T00:00:00Z, 2026-01-10T00:00:00Z) in [2026-01-01T00:00:00Z, 2026-02-01T00:00:00Z)", text(*cut))
	require.Equal(t, "2 [2026-01-10T00:00:00Z, 2027-01-01T00:00:00Z) in [2026-01-01T00:00:00Z, 2027-01-01T00:00:00Z)", text(more[0]))

	cut, more, err = s.Extend(&first[0], false, at("2026-02-20T00:00:00Z"))
	require.NoError(t, err)
	require.Nil(t, cut, "what is billed stays as it is")
	require.Equal(t, at("2026-02-01T00:00:00Z"), more[0].Start)
}

// TestStoredBoundariesDoNotFollowTheTimeZoneDatabase: a zone that has moved by an hour since leaves the open period, and its price,
// as they were.
func TestStoredBoundariesDoNotFollowTheTimeZoneDatabase(t *testing.T) {
	t.Parallel()
	s := subscription("Asia/Kolkata", domain.Phase{From: at("2026-01-31T15:00:00Z"), Spec: plan("month", "calendar")})
	_, stored, err := s.Extend(nil, false, at("2026-03-01T00:00:00Z"))
	require.NoError(t, err)
	p := stored[2]
	for _, moved := range []*time.Time{&p.Start, &p.End, &p.Whole.Start, &p.Whole.End} {
		*moved = moved.Add(-time.Hour)
	}
	cut, more, err := s.Extend(&p, true, at("2026-03-20T00:00:00Z"))
	require.NoError(t, err)
	require.Nil(t, cut)
	require.Empty(t, more)
	draft, err := domain.Rate(s, p, used(s, p))
	require.NoError(t, err)
	require.Equal(t, "31.00", draft.GetTotal())
}

func TestPeriodsEndWithTheSubscription(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, ended string
		want        []string // end of the period, end of what was served
	}{
		{"within a period", "2026-02-10T00:00:00Z", []string{"2026-02-01T00:00:00Z 2026-02-01T00:00:00Z", "2026-02-10T00:00:05Z 2026-02-10T00:00:00Z"}},
		{"with a period: what was under way has one of its own", "2026-02-01T00:00:00Z",
			[]string{"2026-02-01T00:00:00Z 2026-02-01T00:00:00Z", "2026-02-01T00:00:05Z 2026-02-01T00:00:00Z"}},
		{"just before the end of a period", "2026-01-31T23:59:57Z", []string{"2026-02-01T00:00:00Z 2026-01-31T23:59:57Z", "2026-02-01T00:00:02Z 2026-02-01T00:00:00Z"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := subscription("UTC", domain.Phase{From: at("2026-01-01T00:00:00Z"), Spec: plan("month", "")})
			s.EndedAt = at(tt.ended)
			_, more, err := s.Extend(nil, false, at("2026-06-01T00:00:00Z"))
			require.NoError(t, err)
			var got []string
			for _, p := range more {
				segments := s.Segments(p)
				require.Len(t, segments, 1)
				require.Equal(t, p.End, segments[0].Usage.End, "a call under way at the end is not lost")
				got = append(got, p.End.Format(time.RFC3339)+" "+segments[0].Served.End.Format(time.RFC3339))
			}
			require.Equal(t, tt.want, got)
		})
	}
}

// TestAnEndThatIsLearnedLate: periods after the end were stored already. They keep their bounds and come to nothing.
func TestAnEndThatIsLearnedLate(t *testing.T) {
	t.Parallel()
	s := subscription("UTC", domain.Phase{From: at("2026-01-01T00:00:00Z"), Spec: plan("month", "")})
	_, stored, err := s.Extend(nil, false, at("2026-03-10T00:00:00Z"))
	require.NoError(t, err)
	require.Len(t, stored, 3)
	s.EndedAt = at("2026-02-10T00:00:00Z")
	cut, more, err := s.Extend(&stored[2], true, at("2026-03-10T00:00:00Z"))
	require.NoError(t, err)
	require.Nil(t, cut)
	require.Empty(t, more)
	draft, err := domain.Rate(s, stored[2], used(s, stored[2]))
	require.NoError(t, err)
	require.Empty(t, draft.GetLines())
	draft, err = domain.Rate(s, stored[2], used(s, stored[2], 3))
	require.NoError(t, err)
	require.Equal(t, "0.03", draft.GetTotal(), "a call that was answered is billed, the amount of the period is not")
}

func TestAnUnknownPlanIsAnError(t *testing.T) {
	t.Parallel()
	s := subscription("UTC", domain.Phase{From: at("2026-01-01T00:00:00Z")})
	_, _, err := s.Extend(nil, false, at("2026-06-01T00:00:00Z"))
	require.ErrorIs(t, err, domain.ErrPlanUnknown)
	s = subscription("UTC", domain.Phase{From: at("2026-01-01T00:00:00Z"), Spec: plan("", "")}, domain.Phase{From: at("2026-01-02T00:00:00Z")})
	_, _, err = s.Extend(nil, false, at("2026-06-01T00:00:00Z"))
	require.ErrorIs(t, err, domain.ErrPlanUnknown)
	_, _, err = (domain.Subscription{StartedAt: at("2026-01-01T00:00:00Z")}).Extend(nil, false, at("2026-06-01T00:00:00Z"))
	require.ErrorIs(t, err, domain.ErrPlanUnknown)
}

// anySubscription has up to four phases of any plan within a year.
func anySubscription(t *rapid.T) domain.Subscription {
	instant := rapid.Int64Range(at("2024-01-01T00:00:00Z").UnixNano(), at("2025-01-01T00:00:00Z").UnixNano())
	from := time.Unix(0, instant.Draw(t, "start")).UTC()
	var phases []domain.Phase
	for range rapid.IntRange(1, 4).Draw(t, "phases") {
		every := rapid.SampledFrom([]string{"", "day", "week", "month", "quarter", "year"}).Draw(t, "every")
		anchor := rapid.SampledFrom([]string{"", "calendar", "anniversary"}).Draw(t, "anchor")
		phases = append(phases, domain.Phase{From: from, Spec: plan(every, anchor)})
		from = from.Add(time.Duration(rapid.Int64Range(1, int64(100*24*time.Hour)).Draw(t, "length")))
	}
	zone := rapid.SampledFrom([]string{"UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"}).Draw(t, "zone")
	s := subscription(zone, phases...)
	if rapid.Bool().Draw(t, "ends") {
		s.EndedAt = s.StartedAt.Add(time.Duration(rapid.Int64Range(1, int64(400*24*time.Hour)).Draw(t, "end")))
	}
	return s
}

// TestPeriodsTouch: periods and their segments cover a subscription's time once, however often they are looked at.
func TestPeriodsTouch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySubscription(t)
		until := s.StartedAt.Add(500 * 24 * time.Hour)
		_, all, err := s.Extend(nil, false, until)
		require.NoError(t, err)
		end := s.StartedAt
		for i, p := range all {
			require.Equal(t, i+1, p.Number)
			require.True(t, p.Start.Equal(end) && p.Start.Before(p.End), text(p))
			require.True(t, !p.Whole.Start.After(p.Start) && !p.Whole.End.Before(p.End), text(p))
			end = p.End
			requireTiled(t, s, p)
		}
		require.True(t, end.After(until) || !s.EndedAt.IsZero() && !end.Before(s.EndedAt))

		var steps []domain.Period
		for now := s.StartedAt; !now.After(until); now = now.Add(time.Duration(rapid.Int64Range(1, int64(60*24*time.Hour)).Draw(t, "step"))) {
			steps = extend(t, s, steps, now)
		}
		steps = extend(t, s, steps, until)
		require.Equal(t, all, steps)
	})
}

func extend(t *rapid.T, s domain.Subscription, known []domain.Period, now time.Time) []domain.Period {
	var last *domain.Period
	if len(known) > 0 {
		last = &known[len(known)-1]
	}
	cut, more, err := s.Extend(last, true, now)
	require.NoError(t, err)
	require.Nil(t, cut, "nothing changed")
	return append(known, more...)
}

func requireTiled(t *rapid.T, s domain.Subscription, p domain.Period) {
	segments := s.Segments(p)
	require.NotEmpty(t, segments)
	end := p.Start
	for i, g := range segments {
		require.Equal(t, i+1, g.Number)
		require.True(t, g.Usage.Start.Equal(end) && g.Usage.Start.Before(g.Usage.End))
		require.Equal(t, g.Usage.Start, g.Served.Start)
		require.False(t, g.Served.End.After(g.Usage.End))
		end = g.Usage.End
	}
	require.True(t, end.Equal(p.End))
}
