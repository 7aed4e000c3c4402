package domain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
)

func withTerms(p domain.Plan, version string) domain.Plan {
	spec := proto.Clone(p.Spec).(*catalogv1.PlanSpec)
	spec.Terms = &catalogv1.Terms{Version: version, Url: "https://acme.example/" + version}
	p.Spec = spec
	return p
}

func TestTerms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, terms, already, accepted string
		want                           string // the version accepted now; "-" for a refusal
	}{
		{"none", "", "", "", ""},
		{"accepted", "2", "", "2", "2"},
		{"not accepted", "2", "", "", "-"},
		{"others accepted", "2", "", "1", "-"},
		{"accepted before", "2", "2", "", ""},
		{"accepted again", "2", "2", "2", ""},
		{"others accepted before", "2", "1", "", "-"},
		{"others accepted before, these now", "2", "1", "2", "2"},
		{"of a plan that has none", "", "", "1", "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			from, to := free, free
			to.Version = 2
			accepted := domain.Acceptance{}
			if c.already != "" {
				from, accepted.Version = withTerms(free, c.already), c.already
			}
			events, err := domain.Request("s", "n", app, from, accepted, available, now)
			require.NoError(t, err)
			s := apply(domain.Subscription{}, events)
			if c.terms != "" {
				to = withTerms(to, c.terms)
			}
			events, err = s.ChangePlan(from, to, domain.Acceptance{Version: c.accepted, Path: "acceptedTerms"}, available, now)
			if c.want == "-" {
				require.Equal(t, problem.Invalid, problem.KindOf(err))
				require.ErrorContains(t, err, "acceptedTerms")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, events[0].(*subscriptionv1.SubscriptionPlanChanged).GetTerms().GetVersion())
			if c.want != "" {
				require.Equal(t, domain.Terms{Version: c.want, URL: "https://acme.example/" + c.want}, apply(s, events).Terms)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	hurry := pro
	hurry.Spec = &catalogv1.PlanSpec{Currency: "USD", RequestExpiresDays: 14}
	due := now.AddDate(0, 0, 14)
	s := request(t, hurry)
	require.Equal(t, due.UnixNano(), s.ExpiresAt)
	events, err := s.Expire(due.Add(-1))
	require.NoError(t, err)
	require.Empty(t, events)
	events, err = s.Expire(due)
	require.NoError(t, err)
	s = apply(s, events)
	require.Equal(t, domain.Rejected, s.State)
	events, err = s.Expire(due)
	require.NoError(t, err)
	require.Empty(t, events, "once")

	// In line it does not expire; from its admission on it does.
	events, err = domain.Request("s", "n", app, hurry, none, domain.Place{Number: 3}, now)
	require.NoError(t, err)
	require.Equal(t, uint64(3), events[1].(*subscriptionv1.SubscriptionWaitlisted).GetNumber())
	s = apply(domain.Subscription{}, events)
	require.True(t, s.Waiting)
	events, err = s.Expire(due.AddDate(1, 0, 0))
	require.NoError(t, err)
	require.Empty(t, events)
	_, err = s.Approve("member:m", "", hurry, now)
	require.ErrorContains(t, err, "waits in line")
	events, err = s.Admit(hurry, due)
	require.NoError(t, err)
	s = apply(s, events)
	require.False(t, s.Waiting)
	require.Equal(t, due.AddDate(0, 0, 14).UnixNano(), s.ExpiresAt)
	events, err = s.Admit(hurry, due)
	require.NoError(t, err)
	require.Empty(t, events)
	events, err = s.Approve("member:m", "", hurry, due)
	require.NoError(t, err)
	require.Zero(t, apply(s, events).ExpiresAt)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	s := request(t, free)
	limits := []*catalogv1.Limit{{Rate: 5, Per: "second"}, {Quota: 100, Per: "month"}}
	events, err := s.SetLimits("limits", limits, free, now)
	require.NoError(t, err)
	s = apply(s, events)
	events, err = s.SetLimits("limits", limits, free, now)
	require.NoError(t, err)
	require.Empty(t, events)
	// Another plan ends them, before it takes effect; a newer version does not.
	newer := free
	newer.Version = 2
	events, err = s.ChangePlan(free, newer, none, available, now)
	require.NoError(t, err)
	require.Len(t, apply(s, events).Limits, 2)
	events, err = s.ChangePlan(free, pro, none, available, now)
	require.NoError(t, err)
	require.IsType(t, &subscriptionv1.SubscriptionLimitsCleared{}, events[0])
	require.Empty(t, apply(s, events).Limits)
	events, err = s.ClearLimits(now)
	require.NoError(t, err)
	cleared := apply(s, events)
	events, err = cleared.ClearLimits(now)
	require.NoError(t, err)
	require.Empty(t, events)

	metered := free
	metered.Spec = &catalogv1.PlanSpec{Currency: "USD", Prices: []*catalogv1.Price{{Name: "rows", Meter: "rows", Model: "unit", Amount: "1"}}}
	_, err = s.SetLimits("limits", []*catalogv1.Limit{{Quota: 5, Per: "day", Meter: "rows", Mode: "soft"}}, metered, now)
	require.NoError(t, err)
	for want, wrong := range map[string][]*catalogv1.Limit{
		"spec.limits":          nil,
		"spec.limits[0].meter": {{Quota: 5, Per: "day", Meter: "words", Mode: "soft"}},
		"spec.limits[1].per":   {{Rate: 1, Per: "second"}, {Rate: 1, Per: "month"}},
		"spec.limits[1]":       {{Rate: 1, Per: "second"}, {}},
	} {
		_, err := s.SetLimits("spec.limits", wrong, metered, now)
		require.Equal(t, problem.Invalid, problem.KindOf(err))
		require.ErrorContains(t, err, want+": ")
	}
}

func TestComments(t *testing.T) {
	t.Parallel()
	s := request(t, pro)
	for _, wrong := range []string{"", " \n", strings.Repeat("x", 4001), "a\x00b", "\xff"} {
		_, err := s.Comment(wrong)
		require.Equal(t, problem.Invalid, problem.KindOf(err), "%q", wrong)
	}
	for range domain.MaxComments {
		events, err := s.Comment(" hello ")
		require.NoError(t, err)
		require.Equal(t, "hello", events[0].(*subscriptionv1.SubscriptionCommented).GetComment())
		s = apply(s, events)
	}
	_, err := s.Comment("one more")
	require.Equal(t, problem.Conflict, problem.KindOf(err))
	_, err = s.Approve("member:m", "welcome", pro, now)
	require.Equal(t, problem.Conflict, problem.KindOf(err))
	_, err = s.Approve("member:m", "", pro, now)
	require.NoError(t, err)
}

// Whoever comes, goes, is decided on or expires, in whatever order: never more have a place than there are, nobody waits while one
// is free, and those who wait are admitted in the order in which they came.
func TestWaitingListProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.SampledFrom([]domain.Plan{free, pro}).Draw(t, "plan")
		capacity := rapid.IntRange(1, 4).Draw(t, "capacity")
		var all []domain.Subscription
		var line []int
		taken := func() (n int) {
			for _, s := range all {
				if s.State.Live() && !s.Waiting {
					n++
				}
			}
			return n
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(all) == 0 || rapid.Bool().Draw(t, "request") {
				place := domain.Place{Free: taken() < capacity && len(line) == 0, Number: uint64(len(all))}
				events, err := domain.Request("s", "n", app, plan, none, place, now)
				require.NoError(t, err)
				all = append(all, apply(domain.Subscription{}, events))
				if !place.Free {
					line = append(line, len(all)-1)
				}
			} else {
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				name := rapid.SampledFrom([]string{"approve", "cancel", "reject"}).Draw(t, "command")
				events, err := commands[name].run(all[i])
				if name == "approve" && all[i].Waiting {
					require.Error(t, err, "who waits in line cannot be approved")
				}
				if err == nil {
					all[i] = apply(all[i], events)
				}
			}
			line = slices.DeleteFunc(line, func(i int) bool { return !all[i].Waiting })
			for len(line) > 0 && taken() < capacity {
				events, err := all[line[0]].Admit(plan, now.Add(time.Hour))
				require.NoError(t, err)
				all[line[0]] = apply(all[line[0]], events)
				require.Equal(t, plan.NeedsApproval(), all[line[0]].State == domain.Requested)
				line = line[1:]
			}
			require.LessOrEqual(t, taken(), capacity)
			for i, s := range all {
				require.Equal(t, s.Waiting, slices.Contains(line, i))
			}
		}
	})
}
