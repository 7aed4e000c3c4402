package subscription_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// applications makes accounts of the names, each with an application of the same name.
func (f *fixture) applications(names ...string) {
	for _, name := range names {
		account, application := uuid.NewString(), uuid.NewString()
		f.identity("account", account, 0, &identityv1.AccountCreated{Account: account, Name: name, Currency: "USD"})
		f.identity("application", application, 0, &identityv1.ApplicationCreated{Application: application, Account: account, Name: name})
	}
}

// ask requests a plan for an application, under its name.
func (f *fixture) ask(t *testing.T, application, plan string) row {
	t.Helper()
	return f.must(t, "POST", path, fmt.Sprintf(`{"name":%q,"application":%q,"plan":%q}`, application, application, plan))
}

func (f *fixture) get(t *testing.T, name string) row {
	t.Helper()
	return f.must(t, "GET", path+"/"+name, nil)
}

// told returns the transitions of a subscription with who caused them and why.
func (f *fixture) told(t *testing.T, name string) []string {
	t.Helper()
	var page operation.List[struct{ Transition, From, To, Actor, Reason string }]
	f.admin.Must("GET", path+"/"+name+"/transitions", nil, &page)
	var told []string
	for _, tr := range page.Items {
		told = append(told, fmt.Sprintf("%s %s>%s %s %s", tr.Transition, tr.From, tr.To, tr.Actor, tr.Reason))
	}
	return told
}

func (f *fixture) compare(t *testing.T) {
	t.Helper()
	rebuilt, err := f.log(t).Rebuild(t.Context(), store.Projection())
	require.NoError(t, err)
	defer func() { require.NoError(t, rebuilt.Close(t.Context())) }()
	differences, err := rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
}

func withTerms(version string, change func(*catalogv1.PlanSpec)) *catalogv1.PlanSpec {
	spec := &catalogv1.PlanSpec{Title: "T", Currency: "USD", Approval: "auto", Terms: &catalogv1.Terms{Version: version, Url: "https://acme.example/terms/" + version}}
	if change != nil {
		change(spec)
	}
	return spec
}

func TestTermsAreAccepted(t *testing.T) {
	t.Parallel()
	f := start(t)
	terms := uuid.NewString()
	f.publish(terms, "terms", 1, withTerms("2027-01", nil))
	request := `{"name":"globex-weather","application":"globex-app","plan":%q%s}`
	for accepted, want := range map[string]string{"": "2027-01", `,"acceptedTerms":"2026-01"`: "https://acme.example/terms/2027-01"} {
		refused := f.do("POST", path, fmt.Sprintf(request, "terms", accepted))
		require.Equal(t, 400, refused.Status)
		require.Contains(t, refused.Body, `"path":"acceptedTerms"`)
		require.Contains(t, refused.Body, want)
		require.Contains(t, refused.Body, "terms-not-accepted")
	}
	require.Contains(t, f.do("POST", path, fmt.Sprintf(request, "free", `,"acceptedTerms":"2027-01"`)).Body, "terms-unknown")
	require.Zero(t, f.head(t))
	s := f.must(t, "POST", path, fmt.Sprintf(request, "terms", `,"acceptedTerms":"2027-01"`))
	require.Equal(t, [...]string{"active", "2027-01", "https://acme.example/terms/2027-01", "member:test"}, [...]string{s.State, s.AcceptedTerms, s.TermsURL, s.TermsAcceptedBy})

	// A newer version of the plan with the same terms asks for nothing; with others it does.
	f.publish(terms, "terms", 2, withTerms("2027-01", func(p *catalogv1.PlanSpec) { p.Title = "Better" }))
	require.Equal(t, uint32(2), f.must(t, "POST", path+"/globex-weather/plan", `{"plan":"terms"}`).PlanVersion)
	f.publish(terms, "terms", 3, withTerms("2028-01", nil))
	require.Contains(t, f.do("POST", path+"/globex-weather/plan", `{"plan":"terms"}`).Body, "2028-01")
	require.Equal(t, "2028-01", f.must(t, "POST", path+"/globex-weather/plan", `{"plan":"terms","acceptedTerms":"2028-01"}`).AcceptedTerms)

	document := func(spec string) resource.ApplyRequest {
		return resource.ApplyRequest{Resources: []resource.Resource{resourceOf("globex-weather", "globex-app", spec)}}
	}
	for _, spec := range []string{`{"plan":"terms"}`, `{"plan":"terms","acceptedTerms":"2028-01"}`} {
		require.Equal(t, "unchanged", action(t, f.apply(document(spec))), spec)
	}
	require.Contains(t, f.apply(document(`{"plan":"terms","acceptedTerms":"2029-01"}`)).Body, "resources[0].spec.acceptedTerms")
	f.compare(t)
}

func TestWaitingList(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.applications("a", "b", "c", "d")
	small, reviewed := uuid.NewString(), uuid.NewString()
	bounded := func(approval string, capacity uint32) *catalogv1.PlanSpec {
		return &catalogv1.PlanSpec{Title: "S", Currency: "USD", Approval: approval, Capacity: capacity}
	}
	f.publish(small, "small", 1, bounded("auto", 1))
	f.publish(reviewed, "reviewed", 1, bounded("required", 1))

	require.Equal(t, "active", f.ask(t, "a", "small").State)
	b, c := f.ask(t, "b", "small"), f.ask(t, "c", "small")
	require.Equal(t, [...]any{"requested", 1, "requested", 2}, [...]any{b.State, b.WaitingPosition, c.State, c.WaitingPosition})
	require.Contains(t, f.do("POST", path+"/b/approve", nil).Body, "plan-full")
	var waiting operation.List[row]
	f.admin.Must("GET", path+"?waiting=true", nil, &waiting)
	require.Len(t, waiting.Items, 2)
	// A plan change needs a place at once.
	require.Equal(t, "active", f.ask(t, "d", "free").State)
	require.Contains(t, f.do("POST", path+"/d/plan", `{"plan":"small"}`).Body, "plan-full")
	// Who gives the place up, and why, is not told to the next.
	f.must(t, "POST", path+"/a/cancel", nil, operation.HeaderReason, "too dear")
	require.Equal(t, "active", f.get(t, "b").State)
	require.Equal(t, 1, f.get(t, "c").WaitingPosition)
	require.Equal(t, []string{
		"requested >requested member:test ", "waitlisted requested>requested member:test ",
		"admitted requested>requested service:subscription ", "activated requested>active service:subscription ",
	}, f.told(t, "b"))
	// A change to another plan gives the place up; so does what identity ends.
	f.must(t, "POST", path+"/b/plan", `{"plan":"free"}`)
	require.Equal(t, "active", f.get(t, "c").State)
	require.Equal(t, 1, f.ask(t, "a", "small").WaitingPosition)
	ended := f.get(t, "c")
	f.identity("application", f.applicationOf(t, "c"), 1, &identityv1.ApplicationDeleted{Application: f.applicationOf(t, "c")})
	require.Equal(t, "cancelled", f.must(t, "GET", path+"/"+ended.ID, nil).State)
	require.Equal(t, "active", f.get(t, "a").State)

	// Where the provider decides, a request holds a place while it is undecided.
	f.must(t, "POST", path+"/b/cancel", nil)
	f.must(t, "POST", path+"/d/cancel", nil)
	require.Zero(t, f.ask(t, "b", "reviewed").WaitingPosition)
	require.Equal(t, 1, f.ask(t, "d", "reviewed").WaitingPosition)
	f.must(t, "POST", path+"/b/reject", `{"comment":"no contract"}`)
	d := f.get(t, "d")
	require.Equal(t, [...]any{"requested", 0}, [...]any{d.State, d.WaitingPosition})
	require.Equal(t, "active", f.must(t, "POST", path+"/d/approve", nil).State)
	require.Equal(t, 1, f.ask(t, "b", "reviewed").WaitingPosition)
	// More places: who waits moves up, without anybody asking.
	f.publish(reviewed, "reviewed", 2, bounded("required", 2))
	testkit.Await(t, patience, func() bool { return f.get(t, "b").WaitingPosition == 0 })
	f.compare(t)
}

// applicationOf returns the id of the application of a subscription.
func (f *fixture) applicationOf(t *testing.T, name string) string {
	t.Helper()
	var s struct{ ApplicationID string }
	f.admin.Must("GET", path+"/"+name, nil, &s)
	return s.ApplicationID
}

// However many ask at once, and however many give up their places at once: there are never more than there are places, none
// stays free while somebody waits, and all who wait are in one line.
func TestPlacesAreExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.replica(t, nil)
	names := []string{"a", "b", "c", "d", "e", "g"}
	f.applications(names...)
	f.publish(uuid.NewString(), "two", 1, &catalogv1.PlanSpec{Title: "Two", Currency: "USD", Approval: "auto", Capacity: 2})
	f.admin.Must("GET", path, nil, nil, f.after...)
	for round := range 2 {
		answers := make(chan int, len(names))
		for _, name := range names {
			c := f.Client(f.Token("t1", "subscription.write"))
			go func() {
				answers <- c.Do("POST", path, fmt.Sprintf(`{"name":%q,"application":%q,"plan":"two"}`, name, name), f.after...).Status
			}()
		}
		for range names {
			require.Equal(t, 201, <-answers)
		}
		f.inLine(t, names, 2)
		for _, leaving := range [][]string{names[:3], names[3:]} {
			for _, name := range leaving {
				c := f.Client(f.Token("t1", "subscription.write"))
				go func() { answers <- c.Do("POST", path+"/"+name+"/cancel", nil).Status }()
			}
			for range leaving {
				require.Equal(t, 200, <-answers)
			}
			if len(leaving) == 3 && leaving[0] == names[0] {
				f.inLine(t, names[3:], 2)
			}
		}
		require.Equal(t, "cancelled", f.get(t, "a").State, round)
	}
}

// inLine checks that so many of the subscriptions are active and the others wait in one line.
func (f *fixture) inLine(t *testing.T, names []string, places int) {
	t.Helper()
	active := 0
	var positions []int
	for _, name := range names {
		s := f.get(t, name)
		if s.State == "active" {
			active++
			continue
		}
		require.Equal(t, "requested", s.State)
		positions = append(positions, s.WaitingPosition)
	}
	slices.Sort(positions)
	require.Equal(t, places, active)
	for i, p := range positions {
		require.Equal(t, i+1, p)
	}
}

func TestRequestsExpireOnce(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock(time.Now().Add(-90 * 24 * time.Hour))
	f := startAt(t, clock.Now)
	f.replica(t, clock.Now)
	f.applications("a", "b", "c")
	f.publish(uuid.NewString(), "hurry", 1, &catalogv1.PlanSpec{Title: "H", Currency: "USD", RequestExpiresDays: 14, Capacity: 2})
	f.ask(t, "a", "hurry")
	f.ask(t, "b", "hurry")
	f.must(t, "POST", path+"/b/approve", nil)
	require.Equal(t, 1, f.ask(t, "c", "hurry").WaitingPosition)
	clock.Advance(14*24*time.Hour - time.Second)
	require.Equal(t, "requested", f.get(t, "a").State)
	clock.Advance(2 * time.Second)
	testkit.Await(t, patience, func() bool { return f.get(t, "a").State == "rejected" })
	a := f.get(t, "a")
	require.Equal(t, "expired", a.Reason)
	require.NotNil(t, a.EndedAt)
	require.Equal(t, []string{"requested >requested member:test ", "expired requested>rejected service:subscription "}, f.told(t, "a"))
	require.Equal(t, "active", f.get(t, "b").State)
	require.Zero(t, f.get(t, "c").WaitingPosition, "the place of the expired request")
	clock.Advance(13 * 24 * time.Hour)
	require.Equal(t, "requested", f.get(t, "c").State, "the time in line does not count")
	clock.Advance(2 * 24 * time.Hour)
	testkit.Await(t, patience, func() bool { return f.get(t, "c").State == "rejected" })
	require.Len(t, f.told(t, "a"), 2)
	require.Len(t, f.told(t, "c"), 4)
	f.compare(t)
}

func TestPrivateProducts(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.applications("friend", "stranger")
	require.Equal(t, "active", f.ask(t, "globex-app", "free").State)
	f.catalog("product", f.product, 1, &catalogv1.ProductChanged{Product: f.product, Spec: &catalogv1.ProductSpec{Title: "W", Visibility: "private", Accounts: []string{"friend"}}})
	request := func(product string) string {
		answer := f.do("POST", path, fmt.Sprintf(`{"name":"x","application":"stranger","plan":"free","product":%q}`, product))
		require.Equal(t, 400, answer.Status, answer.Body)
		return answer.Body
	}
	require.Contains(t, request("weather"), "the product \\\"weather\\\" has no plan")
	require.Contains(t, request("nothing"), "the product \\\"nothing\\\" has no plan")
	require.Equal(t, "active", f.ask(t, "friend", "free").State)
	// Those that are there go on.
	require.Equal(t, "payg", f.must(t, "POST", path+"/globex-app/plan", `{"plan":"payg"}`).Plan)
	require.Equal(t, "unchanged", action(t, f.apply(resource.ApplyRequest{Resources: []resource.Resource{resourceOf("globex-app", "globex-app", `{"plan":"payg"}`)}})))
	f.catalog("product", f.product, 2, &catalogv1.ProductChanged{Product: f.product, Spec: &catalogv1.ProductSpec{Title: "W"}})
	require.Equal(t, "active", f.ask(t, "stranger", "free").State)
}

func TestCommentsAndDecisions(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.applications("a")
	require.Equal(t, 201, f.request("globex-weather", "pro").Status)
	const one = path + "/globex-weather"
	f.must(t, "POST", one+"/comments", `{"comment":" Which volume do you expect? "}`)
	f.must(t, "POST", one+"/comments", `{"comment":"A million calls."}`)
	for _, wrong := range []string{`{}`, `{"comment":"  "}`, fmt.Sprintf(`{"comment":"%04001d"}`, 0)} {
		require.Equal(t, 400, f.do("POST", one+"/comments", wrong).Status)
	}
	s := f.must(t, "POST", one+"/approve", `{"comment":"Welcome!"}`)
	require.Equal(t, "member:test", s.DecidedBy)
	s = f.get(t, "globex-weather")
	require.Equal(t, []struct{ Author, Comment string }{
		{"member:test", "Which volume do you expect?"}, {"member:test", "A million calls."}, {"member:test", "Welcome!"},
	}, s.Comments)
	f.ask(t, "a", "pro")
	require.Equal(t, 400, f.do("POST", path+"/a/reject", `{"comment":" "}`).Status)
	s = f.must(t, "POST", path+"/a/reject", `{"comment":"We know no such firm."}`, operation.HeaderReason, "unknown firm")
	require.Equal(t, [...]string{"rejected", "member:test", "unknown firm"}, [...]string{s.State, s.DecidedBy, s.Reason})
	require.Equal(t, "We know no such firm.", f.get(t, "a").Comments[0].Comment)
	require.Equal(t, 404, f.do("POST", path+"/nothing/comments", `{"comment":"x"}`).Status)
	f.compare(t)
}

func TestLimitsOfItsOwn(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 201, f.request("globex-weather", "free").Status)
	const one = path + "/globex-weather"
	rates := func(want ...uint64) func(*gatewayv1.EntitlementDocument) bool {
		return func(d *gatewayv1.EntitlementDocument) bool {
			var rates []uint64
			for _, l := range d.GetLimits() {
				rates = append(rates, l.GetRate()+l.GetQuota())
			}
			return slices.Equal(want, rates)
		}
	}
	f.entitlement(t, rates(10))
	for body, want := range map[string]string{
		`{"limits":[]}`:                        `"path":"limits"`,
		`{}`:                                   `"path":"limits"`,
		`{"limits":[{"rate":1,"per":"year"}]}`: `"path":"limits[0].per"`,
		`{"limits":[{"rate":1,"per":"second"},{"quota":1,"per":"day","meter":"rows"}]}`: `"path":"limits[1].meter"`,
	} {
		answer := f.do("PUT", one+"/limits", body)
		require.Equal(t, 400, answer.Status, body)
		require.Contains(t, answer.Body, want)
	}
	const own = `{"limits":[{"rate":50,"per":"second","burst":60},{"quota":1000,"per":"month"}]}`
	s := f.must(t, "PUT", one+"/limits", own)
	require.Len(t, s.Limits, 2)
	require.Equal(t, uint64(1000), s.Limits[1].Quota)
	head := f.head(t)
	f.must(t, "PUT", one+"/limits", own)
	require.Equal(t, head, f.head(t), "it is so already")
	f.entitlement(t, rates(50, 1000))

	// They stay with newer versions of the plan and end with it.
	f.publish(f.free, "free", 2, &catalogv1.PlanSpec{Title: "Free", Currency: "USD", Approval: "auto", Limits: []*catalogv1.Limit{{Rate: 20, Per: "second"}}})
	f.must(t, "POST", one+"/plan", `{"plan":"free"}`)
	f.entitlement(t, rates(50, 1000))
	var exported resource.Export
	f.admin.Must("GET", "/subscription/v1/export", nil, &exported)
	require.Contains(t, string(exported.Resources[0].Spec), `"quota":1000`)
	require.Equal(t, "unchanged", action(t, f.apply(resource.ApplyRequest{Resources: exported.Resources})))
	document := func(spec string) resource.ApplyRequest {
		return resource.ApplyRequest{Resources: []resource.Resource{resourceOf("globex-weather", "globex-app", spec)}}
	}
	require.Equal(t, "changed", action(t, f.apply(document(`{"plan":"free","limits":[{"rate":7,"per":"minute"}]}`))))
	f.entitlement(t, rates(7))
	require.Contains(t, f.apply(document(`{"plan":"free","limits":[{"rate":7,"per":"year"}]}`)).Body, "resources[0].spec.limits[0].per")
	require.Equal(t, "changed", action(t, f.apply(document(`{"plan":"free"}`))))
	f.entitlement(t, rates(20))
	f.must(t, "PUT", one+"/limits", own)
	f.must(t, "POST", one+"/plan", `{"plan":"payg"}`)
	f.entitlement(t, rates())
	f.must(t, "PUT", one+"/limits", own)
	f.must(t, "DELETE", one+"/limits", nil)
	f.entitlement(t, rates())
	f.must(t, "POST", one+"/cancel", nil)
	require.Contains(t, f.do("PUT", one+"/limits", own).Body, "subscription-ended")
	f.compare(t)
}
