package domain_test

import (
	"fmt"
	"slices"
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

var (
	now  = time.Date(2026, 11, 24, 9, 0, 0, 123000, time.UTC)
	app  = domain.Application{ID: "app", Name: "globex-app", Account: "acc"}
	free = domain.Plan{ID: "free", Name: "free", Product: "weather", Version: 1, Spec: &catalogv1.PlanSpec{Currency: "USD", Approval: "auto"}}
	pro  = domain.Plan{ID: "pro", Name: "pro", Product: "weather", Version: 3, Spec: &catalogv1.PlanSpec{Currency: "USD", Period: &catalogv1.Period{TimeZone: "Europe/Berlin"}}}
)

// none accepts no terms, available is a plan with a free place.
var (
	none      = domain.Acceptance{Path: "acceptedTerms"}
	available = domain.Place{Free: true}
)

func apply(s domain.Subscription, events []proto.Message) domain.Subscription {
	for _, e := range events {
		s = s.Evolve(e)
	}
	return s
}

func request(t require.TestingT, p domain.Plan) domain.Subscription {
	events, err := domain.Request("s", "globex-weather", app, p, none, available, now)
	require.NoError(t, err)
	return apply(domain.Subscription{}, events)
}

func TestRequest(t *testing.T) {
	t.Parallel()
	require.Equal(t, domain.Subscription{
		ID: "s", Name: "globex-weather", Account: "acc", Application: "app", Product: "weather", Plan: "pro", PlanVersion: 3, State: domain.Requested,
	}, request(t, pro))
	events, err := domain.Request("s", "globex-weather", app, free, none, available, now)
	require.NoError(t, err)
	activated := events[1].(*subscriptionv1.SubscriptionActivated)
	require.True(t, proto.Equal(&subscriptionv1.SubscriptionActivated{Subscription: "s", StartedAt: now.UnixNano(), TimeZone: "UTC"}, activated), "%v", activated)

	retired, deleted, closed := pro, app, app
	retired.Retired, deleted.Deleted, closed.AccountClosed = true, true, true
	for _, c := range []struct {
		app  domain.Application
		plan domain.Plan
		want string
	}{{app, retired, "retired"}, {deleted, pro, "deleted"}, {closed, pro, "closed"}} {
		_, err := domain.Request("s", "n", c.app, c.plan, none, available, now)
		require.Equal(t, problem.Conflict, problem.KindOf(err))
		require.ErrorContains(t, err, c.want)
	}
}

// commands are what can be asked of a subscription, with the states that they lead from and to.
var commands = map[string]struct {
	run  func(domain.Subscription) ([]proto.Message, error)
	from []domain.State
	to   domain.State
}{
	"approve": {func(s domain.Subscription) ([]proto.Message, error) { return s.Approve("member:m", "", pro, now) }, []domain.State{"requested"}, "active"},
	"reject":  {func(s domain.Subscription) ([]proto.Message, error) { return s.Reject("no contract", "") }, []domain.State{"requested"}, "rejected"},
	"suspend": {func(s domain.Subscription) ([]proto.Message, error) { return s.Suspend("abuse") }, []domain.State{"active"}, "suspended"},
	"resume":  {domain.Subscription.Resume, []domain.State{"suspended"}, "active"},
	"cancel":  {func(s domain.Subscription) ([]proto.Message, error) { return s.Cancel(now) }, []domain.State{"requested", "active", "suspended"}, "cancelled"},
}

func TestTransitions(t *testing.T) {
	t.Parallel()
	for name, c := range commands {
		for _, state := range domain.States() {
			s := request(t, pro)
			s.State = state
			events, err := c.run(s)
			switch {
			case state == c.to:
				require.NoError(t, err)
				require.Empty(t, events, "%s of one that is %s", name, state)
			case slices.Contains(c.from, state):
				require.NoError(t, err)
				require.Len(t, events, 1)
				require.Equal(t, c.to, apply(s, events).State)
			default:
				require.Equal(t, problem.Conflict, problem.KindOf(err), "%s of one that is %s", name, state)
			}
		}
	}
}

func TestReasonsAreNeeded(t *testing.T) {
	t.Parallel()
	s := request(t, pro)
	for _, run := range []func(string) ([]proto.Message, error){func(reason string) ([]proto.Message, error) { return s.Reject(reason, " ") }, s.Suspend} {
		_, err := run(" ")
		require.Equal(t, problem.Invalid, problem.KindOf(err))
		require.ErrorContains(t, err, "Tollgate-Reason: is missing")
	}
}

func TestApproval(t *testing.T) {
	t.Parallel()
	events, err := request(t, pro).Approve("member:m", "", pro, now)
	require.NoError(t, err)
	require.True(t, proto.Equal(&subscriptionv1.SubscriptionActivated{
		Subscription: "s", ApprovedBy: "member:m", StartedAt: now.UnixNano(), TimeZone: "Europe/Berlin",
	}, events[0]))
}

func TestChangePlan(t *testing.T) {
	t.Parallel()
	active := request(t, free)
	events, err := active.ChangePlan(free, pro, none, available, now)
	require.NoError(t, err)
	require.True(t, proto.Equal(&subscriptionv1.SubscriptionPlanChanged{
		Subscription: "s", FromPlan: "free", FromPlanVersion: 1, Plan: "pro", PlanVersion: 3, EffectiveAt: now.UnixNano(),
	}, events[0]))
	newer, other, euro, retired := free, pro, pro, pro
	newer.Version, other.Product, euro.Spec, retired.Retired = 2, "maps", &catalogv1.PlanSpec{Currency: "EUR"}, true
	events, err = active.ChangePlan(free, newer, none, available, now)
	require.NoError(t, err)
	require.Equal(t, uint32(2), apply(active, events).PlanVersion)
	events, err = active.ChangePlan(free, free, none, available, now)
	require.NoError(t, err)
	require.Empty(t, events)
	cancelled := active.Evolve(&subscriptionv1.SubscriptionCancelled{})
	for want, c := range map[string]struct {
		s  domain.Subscription
		to domain.Plan
	}{
		"another product": {active, other}, "billed in USD": {active, euro}, "retired": {active, retired},
		"not approved yet": {request(t, pro), free}, "final": {cancelled, pro},
	} {
		_, err := c.s.ChangePlan(free, c.to, none, available, now)
		require.Equal(t, problem.Conflict, problem.KindOf(err))
		require.ErrorContains(t, err, want)
	}
}

// Whatever is asked, in whatever order: a subscription begins once, is where the last accepted command led, asking again
// does nothing, and what is final stays.
func TestSubscriptionProperties(t *testing.T) {
	t.Parallel()
	names := []string{"approve", "cancel", "reject", "resume", "suspend"}
	rapid.Check(t, func(t *rapid.T) {
		plan := rapid.SampledFrom([]domain.Plan{free, pro}).Draw(t, "plan")
		history, err := domain.Request("s", "n", app, plan, none, available, now)
		require.NoError(t, err)
		s := apply(domain.Subscription{}, history)
		for range rapid.IntRange(1, 30).Draw(t, "commands") {
			before := s
			name := rapid.SampledFrom(names).Draw(t, "command")
			events, err := commands[name].run(s)
			if err != nil {
				require.Equal(t, problem.Conflict, problem.KindOf(err))
				continue
			}
			history = append(history, events...)
			s = apply(s, events)
			require.Equal(t, commands[name].to, s.State)
			again, err := commands[name].run(s)
			require.NoError(t, err)
			require.Empty(t, again)
			if !before.State.Live() {
				require.Equal(t, before, s)
			}
		}
		begun := 0
		for _, e := range history {
			if _, ok := e.(*subscriptionv1.SubscriptionActivated); ok {
				begun++
			}
		}
		require.LessOrEqual(t, begun, 1, fmt.Sprint(history))
		require.Equal(t, s, apply(domain.Subscription{}, history))
	})
}
