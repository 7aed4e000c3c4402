package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/money"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/domain"
)

func decimal(t require.TestingT, text string) *money.Decimal {
	if text == "" {
		return nil
	}
	d, err := money.Parse(text)
	require.NoError(t, err)
	return &d
}

func TestHolds(t *testing.T) {
	t.Parallel()
	spec := func(kind, operator, value string, least uint64) *analyticsv1.AlertRuleSpec {
		return &analyticsv1.AlertRuleSpec{Kind: kind, Operator: operator, Value: value, MinimumCalls: least}
	}
	for name, c := range map[string]struct {
		spec           *analyticsv1.AlertRuleSpec
		calls          uint64
		value, before  string
		holds, decided bool
	}{
		"above":                            {spec("threshold", "above", "0.05", 0), 10, "0.050001", "", true, true},
		"not above":                        {spec("threshold", "above", "0.05", 0), 10, "0.05", "", false, true},
		"below":                            {spec("threshold", "below", "3", 0), 2, "2", "", true, true},
		"no calls, an additive metric":     {spec("threshold", "below", "3", 0), 0, "0", "", true, true},
		"no calls, a metric without value": {spec("threshold", "below", "3", 0), 0, "", "", false, false},
		"too few calls":                    {spec("threshold", "above", "0.5", 100), 99, "1", "", false, false},
		"absent":                           {spec("absence", "", "", 0), 0, "", "", true, true},
		"not absent":                       {spec("absence", "", "", 0), 1, "1", "", false, true},
		"more by half":                     {spec("change", "above", "50", 0), 16, "16", "10", true, true},
		"more by just half":                {spec("change", "above", "50", 0), 15, "15", "10", false, true},
		"a fall":                           {spec("change", "below", "-30", 0), 6, "6", "10", true, true},
		"a fall to nothing":                {spec("change", "below", "-30", 0), 0, "0", "10", true, true},
		"no smaller fall":                  {spec("change", "below", "-30", 0), 7, "7", "10", false, true},
		"nothing before":                   {spec("change", "above", "50", 0), 7, "7", "0", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holds, decided := domain.Holds(c.spec, domain.Measured{Calls: c.calls, Value: decimal(t, c.value), BeforeCalls: 10, Before: decimal(t, c.before)})
			require.Equal(t, c.holds, holds)
			require.Equal(t, c.decided, decided)
		})
	}
}

// TestTransitionsAlternate: whatever is measured, an alert fires and is resolved in turns.
func TestTransitionsAlternate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rule := domain.Rule{}
		for _, e := range rule.PutRule("r1", "errors", &analyticsv1.AlertRuleSpec{
			Kind: rapid.SampledFrom([]string{"", "threshold", "absence", "change"}).Draw(t, "kind"), Operator: rapid.SampledFrom([]string{"above", "below"}).Draw(t, "operator"),
			Value: "2", Mail: []string{"ops@example.com"}, Webhook: "https://example.com",
		}) {
			rule = rule.Evolve(e)
		}
		require.Empty(t, rule.Spec.GetMail())
		require.Empty(t, rule.Spec.GetWebhook())
		firing := false
		for range 20 {
			m := domain.Measured{
				Calls: rapid.Uint64Range(0, 3).Draw(t, "calls"), BeforeCalls: rapid.Uint64Range(0, 3).Draw(t, "before calls"),
				Value: decimal(t, rapid.SampledFrom([]string{"", "0", "1", "2", "3", "3.5"}).Draw(t, "value")), Before: decimal(t, rapid.SampledFrom([]string{"", "0", "1", "2"}).Draw(t, "before")),
			}
			events := rule.Evaluate(m)
			require.LessOrEqual(t, len(events), 1)
			for _, e := range events {
				_, fired := e.(*analyticsv1.AlertFired)
				require.NotEqual(t, firing, fired)
				firing = fired
				rule = rule.Evolve(e)
			}
			require.Empty(t, rule.Evaluate(m), "the same again tells nothing new")
		}
		paused := proto.CloneOf(rule.Spec)
		paused.Paused = true
		for _, e := range rule.PutRule("r1", "errors", paused) {
			rule = rule.Evolve(e)
		}
		require.False(t, rule.Firing)
	})
}

func TestPeriods(t *testing.T) {
	t.Parallel()
	for zone, c := range map[string]struct {
		at   string
		want map[string][2]string
	}{
		"Europe/Berlin": {"2026-03-29T12:00:00+02:00", map[string][2]string{ // a Sunday, on which the clock is changed
			"daily": {"2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"}, "weekly": {"2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
			"monthly": {"2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"},
		}},
		"Africa/Cairo": {"2024-04-26T12:00:00+03:00", map[string][2]string{ // a Friday without a midnight
			"daily": {"2024-04-26T01:00:00+03:00", "2024-04-27T00:00:00+03:00"}, "weekly": {"2024-04-22T00:00:00+02:00", "2024-04-29T00:00:00+03:00"},
			"monthly": {"2024-04-01T00:00:00+02:00", "2024-05-01T00:00:00+03:00"},
		}},
	} {
		location, err := time.LoadLocation(zone)
		require.NoError(t, err)
		at, err := time.Parse(time.RFC3339, c.at)
		require.NoError(t, err)
		for schedule, want := range c.want {
			start, end, err := domain.PeriodOf(schedule, at.In(location))
			require.NoError(t, err)
			require.Equal(t, want, [2]string{start.Format(time.RFC3339), end.Format(time.RFC3339)}, zone+" "+schedule)
		}
	}
}
