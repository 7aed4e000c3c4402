package domain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
)

// used returns the segments of a period, each with so many calls.
func used(s domain.Subscription, p domain.Period, calls ...int) []domain.Measured {
	var all []domain.Measured
	for i, g := range s.Segments(p) {
		m := domain.Measured{Segment: g, Metered: &meteringv1.UsageReply{}}
		if i < len(calls) && calls[i] > 0 {
			m.Metered.Meters = []*meteringv1.MeterUsage{{Meter: "calls", Quantity: fmt.Sprint(calls[i]), Calls: uint64(calls[i]), Digest: callset.Hex(uint64(calls[i]))}}
		}
		all = append(all, m)
	}
	return all
}

func TestRate(t *testing.T) {
	t.Parallel()
	start := at("2026-01-01T00:00:00Z")
	tests := []struct {
		name  string
		s     domain.Subscription
		ended string
		calls []int
		want  []string
		total string
	}{
		{"a whole period", subscription("UTC", domain.Phase{From: start, Spec: plan("", "")}), "", []int{7}, []string{
			"s/pro@1/1/base/2026-01-01T00:00:00Z 1 31.00", "s/pro@1/1/calls/2026-01-01T00:00:00Z 7 0.07"}, "31.07"},
		{"no usage has its line", subscription("UTC", domain.Phase{From: start, Spec: plan("", "")}), "", nil, []string{
			"s/pro@1/1/base/2026-01-01T00:00:00Z 1 31.00", "s/pro@1/1/calls/2026-01-01T00:00:00Z 0 0.00"}, "31.00"},
		{"from the 11th on", subscription("UTC", domain.Phase{From: at("2026-01-11T00:00:00Z"), Spec: plan("month", "calendar")}), "", nil, []string{
			"s/pro@1/1/base/2026-01-11T00:00:00Z 1 21.00", "s/pro@1/1/calls/2026-01-11T00:00:00Z 0 0.00"}, "21.00"},
		{"until the 11th", subscription("UTC", domain.Phase{From: start, Spec: plan("", "")}), "2026-01-11T00:00:00Z", []int{1}, []string{
			"s/pro@1/1/base/2026-01-01T00:00:00Z 1 10.00", "s/pro@1/1/calls/2026-01-01T00:00:00Z 1 0.01"}, "10.01"},
		{"back and forth", subscription("UTC", domain.Phase{From: start, Spec: plan("", "")},
			domain.Phase{From: at("2026-01-11T00:00:00Z"), Spec: plan("", "")}, domain.Phase{From: at("2026-01-21T00:00:00Z"), Spec: plan("", "")}), "", []int{1, 2, 3}, []string{
			"s/pro@1/1/base/2026-01-01T00:00:00Z 1 10.00", "s/pro@1/1/calls/2026-01-01T00:00:00Z 1 0.01",
			"s/pro@2/2/base/2026-01-01T00:00:00Z 1 10.00", "s/pro@2/2/calls/2026-01-01T00:00:00Z 2 0.02",
			"s/pro@3/3/base/2026-01-01T00:00:00Z 1 11.00", "s/pro@3/3/calls/2026-01-01T00:00:00Z 3 0.03"}, "31.06"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.ended != "" {
				tt.s.EndedAt = at(tt.ended)
			}
			_, periods, err := tt.s.Extend(nil, false, tt.s.StartedAt)
			require.NoError(t, err)
			draft, err := domain.Rate(tt.s, periods[0], used(tt.s, periods[0], tt.calls...))
			require.NoError(t, err)
			var got []string
			for _, l := range draft.GetLines() {
				got = append(got, fmt.Sprintf("%s %s %s", l.GetIdentity(), l.GetQuantity(), l.GetAmount()))
			}
			require.Equal(t, tt.want, got)
			require.Equal(t, tt.total, draft.GetTotal())
		})
	}
}

// TestAYearlyPlanInAMonthOfAnother: its amount is due for the share of its own year, even where the month was stored before.
func TestAYearlyPlanInAMonthOfAnother(t *testing.T) {
	t.Parallel()
	yearly := &catalogv1.PlanSpec{Currency: "USD", Period: &catalogv1.Period{Every: "year"}, Prices: []*catalogv1.Price{{Name: "base", Model: "flat", Amount: "365.00"}}}
	s := subscription("UTC", domain.Phase{From: at("2026-01-01T00:00:00Z"), Spec: plan("", "")})
	_, stored, err := s.Extend(nil, false, s.StartedAt)
	require.NoError(t, err)
	s = subscription("UTC", s.Phases[0], domain.Phase{From: at("2026-01-22T00:00:00Z"), Spec: yearly})
	draft, err := domain.Rate(s, stored[0], used(s, stored[0]))
	require.NoError(t, err)
	require.Equal(t, "21.00", draft.GetLines()[0].GetAmount())
	require.Equal(t, "10.00", draft.GetLines()[2].GetAmount())
}

func flat(every, amount string) *catalogv1.PlanSpec {
	return &catalogv1.PlanSpec{Currency: "USD", Period: &catalogv1.Period{Every: every}, Prices: []*catalogv1.Price{{Name: "base", Model: "flat", Amount: amount}}}
}

// TestAReplayCountsThePlansOwnPeriods: a whole period of one plan is a part of another one's, or several.
func TestAReplayCountsThePlansOwnPeriods(t *testing.T) {
	t.Parallel()
	start := at("2026-01-01T00:00:00Z")
	for _, c := range []struct {
		name           string
		stored, replay *catalogv1.PlanSpec
		period         string
		want           string
	}{
		{"a month of a yearly plan", flat("month", "1.00"), flat("year", "365.00"), "2026-01-01T00:00:00Z", "31.00"},
		{"a year of a monthly plan", flat("year", "1.00"), flat("month", "10.00"), "2026-01-01T00:00:00Z", "120.00"},
		{"a quarter of a monthly plan", flat("quarter", "1.00"), flat("month", "10.00"), "2026-04-01T00:00:00Z", "30.00"},
		{"the same periods", flat("month", "1.00"), flat("", "10.00"), "2026-03-01T00:00:00Z", "10.00"},
	} {
		s := subscription("UTC", domain.Phase{From: start, Spec: c.stored})
		_, periods, err := s.Extend(nil, false, at(c.period))
		require.NoError(t, err)
		p := periods[len(periods)-1]
		require.Equal(t, at(c.period), p.Start, c.name)
		s = subscription("UTC", domain.Phase{From: start, Spec: c.replay})
		draft, err := domain.Rate(s, p, used(s, p))
		require.NoError(t, err)
		require.Equal(t, c.want, draft.GetTotal(), c.name)
	}
}

// TestALateChangeOfPlanIsBilledOnce: a period was stored under the plan before, and then it is learned that another plan was in force
// when it began.
func TestALateChangeOfPlanIsBilledOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, start, change, now, cut, total string }{
		{"a year that ends with the month", "2026-01-01T00:00:00Z", "2026-11-30T23:59:59Z", "2027-01-01T00:00:00Z",
			"12 [2026-12-01T00:00:00Z, 2027-01-01T00:00:00Z) in [2026-01-01T00:00:00Z, 2027-01-01T00:00:00Z)", "31.00"},
		{"a year that goes on", "2026-03-15T00:00:00Z", "2026-11-30T00:00:00Z", "2027-03-15T00:00:00Z",
			"10 [2026-12-15T00:00:00Z, 2027-03-15T00:00:00Z) in [2026-03-15T00:00:00Z, 2027-03-15T00:00:00Z)", "90.00"},
	} {
		monthly := domain.Phase{From: at(c.start), Spec: flat("month", "10.00")}
		s := subscription("UTC", monthly)
		_, stored, err := s.Extend(nil, false, at("2026-12-20T00:00:00Z"))
		require.NoError(t, err)
		last := stored[len(stored)-1]
		s = subscription("UTC", monthly, domain.Phase{From: at(c.change), Spec: flat("year", "365.00")})
		cut, more, err := s.Extend(&last, true, at("2026-12-20T00:00:00Z"))
		require.NoError(t, err, c.name)
		require.Empty(t, more)
		require.NotNil(t, cut, c.name)
		require.Equal(t, c.cut, text(*cut), c.name)
		again, more, err := s.Extend(cut, true, at(c.now))
		require.NoError(t, err)
		require.Nil(t, again, "it is as it is to be")
		require.Len(t, more, 1)
		require.Equal(t, at(c.now), more[0].Start)
		draft, err := domain.Rate(s, *cut, used(s, *cut))
		require.NoError(t, err)
		require.Equal(t, c.total, draft.GetTotal(), c.name)

		draft, err = domain.Rate(s, last, used(s, last))
		require.NoError(t, err)
		require.Equal(t, "31.00", draft.GetTotal(), "%s: where the period was billed already, it is rated by the year too", c.name)
	}
}

func TestRateRefuses(t *testing.T) {
	t.Parallel()
	yen := plan("", "")
	yen.Currency, yen.Prices[0].Amount = "JPY", "31"
	s := subscription("UTC", domain.Phase{From: at("2026-01-01T00:00:00Z"), Spec: plan("", "")}, domain.Phase{From: at("2026-01-22T00:00:00Z"), Spec: yen})
	_, periods, err := s.Extend(nil, false, s.StartedAt)
	require.NoError(t, err)
	_, err = domain.Rate(s, periods[0], used(s, periods[0]))
	require.ErrorIs(t, err, domain.ErrCurrencies)
	bad := used(s, periods[0], 1)
	bad[0].Metered.Meters[0].Quantity = "many"
	_, err = domain.Rate(s, periods[0], bad[:1])
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	s.Phases[0].Spec.Prices[0].Model = "guess"
	_, err = domain.Rate(s, periods[0], used(s, periods[0])[:1])
	require.Equal(t, problem.Invalid, problem.KindOf(err))
}

// TestRateIsExact: lines sum to the total, identities are unique, and the same input gives the same draft.
func TestRateIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySubscription(t)
		_, periods, err := s.Extend(nil, false, s.StartedAt.Add(100*24*time.Hour))
		require.NoError(t, err)
		identities := map[string]bool{}
		for _, p := range periods {
			calls := rapid.SliceOfN(rapid.IntRange(0, 1_000_000), 5, 5).Draw(t, "calls")
			draft, err := domain.Rate(s, p, used(s, p, calls...))
			require.NoError(t, err)
			again, err := domain.Rate(s, p, used(s, p, calls...))
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(draft), fmt.Sprint(again))
			var sum money.Decimal
			for _, l := range draft.GetLines() {
				require.False(t, identities[l.GetIdentity()], l.GetIdentity())
				identities[l.GetIdentity()] = true
				amount, err := money.Parse(l.GetAmount())
				require.NoError(t, err)
				sum = sum.Add(amount)
			}
			require.Equal(t, sum.String(), draft.GetTotal())
			require.True(t, domain.Negative(draft).None())
		}
	})
}

func TestInvoice(t *testing.T) {
	t.Parallel()
	draft := &billingv1.InvoiceDrafted{Total: "5.00", Currency: "USD", Lines: []*billingv1.InvoiceLine{{Identity: "l"}}}
	none := domain.Invoice{ID: "i"}
	_, err := none.Keep(domain.Hold{Cause: "x"})
	require.ErrorContains(t, err, "no draft")
	_, err = none.Finalize(1, time.Now(), &billingv1.Evidence{}, domain.Parties{})
	require.ErrorContains(t, err, "no draft")
	events, err := none.Rated("i", draft)
	require.NoError(t, err)
	drafted := none.Evolve(events[0])
	again, err := drafted.Rated("i", &billingv1.InvoiceDrafted{Invoice: "i", Total: "5.00", Currency: "USD", Lines: draft.GetLines()})
	require.NoError(t, err)
	require.Empty(t, again, "the same draft is no event")

	hold := domain.Hold{Cause: domain.OpenGap, Detail: "1"}
	events, err = drafted.Keep(hold)
	require.NoError(t, err)
	held := drafted.Evolve(events[0])
	again, err = held.Keep(hold)
	require.NoError(t, err)
	require.Empty(t, again, "the same reason is no event")

	_, err = held.Finalize(0, time.Now(), &billingv1.Evidence{}, domain.Parties{})
	require.ErrorContains(t, err, "number")
	_, err = held.Finalize(1, time.Now(), nil, domain.Parties{})
	require.ErrorContains(t, err, "evidence")
	negative := none.Evolve(&billingv1.InvoiceDrafted{Invoice: "i", Total: "-0.01", Currency: "USD"})
	_, err = negative.Finalize(1, time.Now(), &billingv1.Evidence{}, domain.Parties{})
	require.ErrorContains(t, err, "credit note")

	events, err = held.Finalize(7, time.Unix(0, 9), &billingv1.Evidence{}, domain.Parties{})
	require.NoError(t, err)
	final := held.Evolve(events[0])
	require.True(t, final.Hold.None())
	_, err = final.Finalize(8, time.Now(), &billingv1.Evidence{}, domain.Parties{})
	require.ErrorContains(t, err, "INV-000007 is final")
	_, err = final.Keep(hold)
	require.ErrorContains(t, err, "is final")
	_, err = final.Rated("i", draft)
	require.ErrorContains(t, err, "is final")
	require.Equal(t, domain.InvoiceID("t", "s", time.Unix(0, 1)), domain.InvoiceID("t", "s", time.Unix(0, 1)))
	require.NotEqual(t, domain.InvoiceID("t", "s", time.Unix(0, 1)), domain.InvoiceID("t", "s", time.Unix(0, 2)))
}

func TestRun(t *testing.T) {
	t.Parallel()
	now := at("2026-11-24T00:00:00Z")
	for _, month := range []string{"", "2026-13", "11-2026", "2026-11-01", "2026-12"} {
		_, err := domain.StartRun("r", month, now)
		require.Equal(t, problem.Invalid, problem.KindOf(err), month)
	}
	events, err := domain.StartRun("r", "2026-11", now)
	require.NoError(t, err)
	r := (domain.Run{}).Evolve(events[0])
	require.Empty(t, (domain.Run{}).Finish(1, 0))
	done := r.Finish(1, 0)
	require.Len(t, done, 1)
	require.Empty(t, r.Evolve(done[0]).Finish(1, 0))
}

func FuzzParseMonth(f *testing.F) {
	for _, seed := range []string{"2026-11", "0001-01", "9999-12", "2026-1", "2026-00", "-2026-01", " 2026-01"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		month, err := domain.ParseMonth(text)
		if err != nil {
			require.Equal(t, problem.Invalid, problem.KindOf(err))
			return
		}
		require.Equal(t, text, month.Start.Format("2006-01"))
		require.Equal(t, month.Start, time.Unix(0, month.Start.UnixNano()).UTC())
		require.Equal(t, month.End, time.Unix(0, month.End.UnixNano()).UTC())
		require.Equal(t, month.Start.AddDate(0, 1, 0), month.End)
	})
}
