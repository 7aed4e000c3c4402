package subscription_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/servicetest"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

func TestChangeOfPlan(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 201, f.request("globex-weather", "free").Status)
	const one = path + "/globex-weather"
	s := f.must(t, "POST", one+"/plan", `{"plan":"pro"}`)
	require.Equal(t, "pro", s.Plan)
	f.entitlement(t, func(d *gatewayv1.EntitlementDocument) bool {
		return d.GetPlanName() == "pro" && d.GetState() == "active"
	})

	newer := proPlan()
	newer.Title = "Pro, improved"
	f.publish(f.pro, "pro", 2, newer)
	require.Equal(t, uint32(1), f.must(t, "GET", one, nil).PlanVersion, "a subscription stays under its plan version")
	require.Equal(t, uint32(2), f.must(t, "POST", one+"/plan", `{"plan":"pro"}`).PlanVersion)
	head := f.head(t)
	f.must(t, "POST", one+"/plan", `{"plan":"pro","product":"weather"}`)
	require.Equal(t, head, f.head(t))
	require.Equal(t, 400, f.do("POST", one+"/plan", `{"plan":"nothing"}`).Status)

	maps := uuid.NewString()
	f.catalog("product", maps, 0, &catalogv1.ProductCreated{Product: maps, Name: "maps"})
	f.catalog("plan", maps, 0, &catalogv1.PlanPublished{Plan: maps, Product: maps, Name: "pro", Version: 1, Spec: proPlan()})
	require.Contains(t, f.do("POST", one+"/plan", `{"plan":"pro","product":"maps"}`).Body, "other-product")
	ambiguous := f.do("POST", path, `{"name":"b","application":"globex-app","plan":"pro"}`)
	require.Contains(t, ambiguous.Body, "the products maps, weather have a plan")
	require.Equal(t, 201, f.do("POST", path, `{"name":"b","application":"globex-app","plan":"pro","product":"maps"}`).Status)

	f.catalog("plan", f.free, 1, &catalogv1.PlanRetired{Plan: f.free})
	require.Contains(t, f.do("POST", one+"/plan", `{"plan":"free"}`).Body, "plan-retired")
}

func TestWhatIdentityEnds(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 201, f.request("globex-weather", "free").Status)
	f.identity("application", f.application, 1, &identityv1.ApplicationDeleted{Application: f.application})
	require.Equal(t, "cancelled", f.must(t, "GET", path+"/globex-weather", nil).State)
	f.entitlement(t, inState("cancelled"))
	var page operation.List[struct{ Transition, Actor, Reason string }]
	f.admin.Must("GET", path+"/globex-weather/transitions", nil, &page)
	require.Equal(t, struct{ Transition, Actor, Reason string }{"cancelled", "service:subscription-identity", "The application was deleted."}, page.Items[2])
	require.Contains(t, f.request("again", "free").Body, "application-deleted")

	second := uuid.NewString()
	f.identity("application", second, 0, &identityv1.ApplicationCreated{Application: second, Account: f.account, Name: "second"})
	f.must(t, "POST", path, `{"name":"second","application":"second","plan":"pro"}`)
	f.identity("account", f.account, 1, &identityv1.AccountClosed{Account: f.account})
	require.Equal(t, "cancelled", f.must(t, "GET", path+"/second", nil).State)
	require.Contains(t, f.do("POST", path, `{"name":"third","application":"second","plan":"pro"}`).Body, "account-closed")
}

func TestWhatIsWrongInARequest(t *testing.T) {
	t.Parallel()
	f := start(t)
	for body, want := range map[string]string{
		`{"name":"Not A Name","application":"globex-app","plan":"pro"}`:               `"path":"name"`,
		`{"name":"a","application":"nothing","plan":"pro"}`:                           `"path":"application"`,
		`{"name":"a","application":"globex-app","plan":"nothing"}`:                    `"path":"plan"`,
		`{"name":"a","application":"globex-app","plan":"pro","product":"nothing"}`:    `"path":"plan"`,
		`{"name":"a","application":"globex-app","plan":"pro","approve":true}`:         "approve",
		`{"name":"` + uuid.NewString() + `","application":"globex-app","plan":"pro"}`: `looks like an id`,
	} {
		answer := f.do("POST", path, body)
		require.Equal(t, 400, answer.Status, answer.Body)
		require.Contains(t, answer.Body, want)
	}
	require.Equal(t, 404, f.do("GET", path+"/nothing", nil).Status)
	require.Equal(t, 400, f.do("GET", path+"/nothing/transitions?cursor=x", nil).Status)
	require.Zero(t, f.head(t))
}

func resourceOf(name, application, spec string) resource.Resource {
	return resource.Resource{
		APIVersion: resource.APIVersion, Kind: "Subscription", Metadata: resource.Metadata{Name: name, Application: application}, Spec: json.RawMessage(spec),
	}
}

func (f *fixture) apply(request resource.ApplyRequest, headers ...string) servicetest.Answer {
	return f.do("POST", "/subscription/v1/apply", request, headers...)
}

func action(t *testing.T, a servicetest.Answer) string {
	t.Helper()
	require.Equal(t, 200, a.Status, a.Body)
	var r resource.ApplyResponse
	a.Decode(t, &r)
	var all []string
	for _, c := range r.Changes {
		all = append(all, c.Action)
	}
	return strings.Join(all, " ")
}

func TestApply(t *testing.T) {
	t.Parallel()
	f := start(t)
	one := func(spec string) resource.ApplyRequest {
		return resource.ApplyRequest{Resources: []resource.Resource{resourceOf("globex-weather", "globex-app", spec)}}
	}
	require.Equal(t, "created", action(t, f.apply(one(`{"plan":"pro"}`), operation.HeaderDryRun, "true")))
	require.Zero(t, f.head(t))
	require.Equal(t, "created", action(t, f.apply(one(`{"plan":"pro"}`))))
	require.Equal(t, "requested", f.must(t, "GET", path+"/globex-weather", nil).State)
	require.Equal(t, "unchanged", action(t, f.apply(one(`{"plan":"pro"}`))))
	require.Contains(t, f.apply(one(`{"plan":"free"}`)).Body, "resources[0]", "not approved yet")
	require.Equal(t, "changed", action(t, f.apply(one(`{"plan":"pro","approve":true}`))))
	head := f.head(t)
	for _, spec := range []string{`{"plan":"pro","approve":true}`, `{"plan":"pro"}`, `{"plan":"pro","product":"weather"}`} {
		require.Equal(t, "unchanged", action(t, f.apply(one(spec))), spec)
	}
	require.Equal(t, head, f.head(t))
	require.Equal(t, "changed", action(t, f.apply(one(`{"plan":"free"}`))))
	require.Equal(t, "free", f.must(t, "GET", path+"/globex-weather", nil).Plan)

	var exported resource.Export
	f.admin.Must("GET", "/subscription/v1/export", nil, &exported)
	require.Len(t, exported.Resources, 1)
	require.Equal(t, "unchanged", action(t, f.apply(resource.ApplyRequest{Resources: exported.Resources})))

	head = f.head(t)
	for _, c := range []struct {
		bad  resource.Resource
		want string
	}{
		{resourceOf("b", "nothing", `{"plan":"pro"}`), "resources[1].metadata.application"},
		{resourceOf("b", "globex-app", `{"plan":"nothing"}`), "resources[1].spec.plan"},
		{resourceOf("b", "globex-app", `{}`), "resources[1].spec.plan"},
		{resourceOf("b", "globex-app", `{"plan":"pro"}`), "resources[1]"}, // a second one to the product
		{resourceOf("b", "globex-app", `{"plan":"pro","reason":"x"}`), "resources[1].spec.reason"},
	} {
		answer := f.apply(resource.ApplyRequest{Resources: []resource.Resource{resourceOf("globex-weather", "globex-app", `{"plan":"pro"}`), c.bad}})
		require.Contains(t, []int{400, 409}, answer.Status, answer.Body)
		require.Contains(t, answer.Body, c.want)
		require.Equal(t, head, f.head(t), "all or nothing")
	}
}

func TestDryRunsAssume(t *testing.T) {
	t.Parallel()
	f := start(t)
	request := func(name, application, spec string, assume ...string) resource.ApplyRequest {
		return resource.ApplyRequest{Resources: []resource.Resource{resourceOf(name, application, spec)}, Assume: assume}
	}
	dry := func(r resource.ApplyRequest) servicetest.Answer { return f.apply(r, operation.HeaderDryRun, "true") }
	require.Equal(t, "created", action(t, dry(request("a", "new-app", `{"plan":"pro"}`, "Application new-app"))))
	require.Equal(t, "created", action(t, dry(request("a", "new-app", `{"plan":"new"}`, "Application new-app", "Plan maps/new", "Product maps"))))
	require.Equal(t, "created", action(t, dry(request("a", "globex-app", `{"plan":"new","product":"maps"}`, "Plan maps/new"))))
	require.Equal(t, 400, dry(request("a", "globex-app", `{"plan":"new"}`, "Plan maps/new", "Plan charts/new")).Status, "which one?")
	require.Equal(t, 400, dry(request("a", "new-app", `{"plan":"pro"}`)).Status)
	require.Equal(t, 400, f.apply(request("a", "new-app", `{"plan":"pro"}`, "Application new-app")).Status, "only a dry run assumes")

	require.Equal(t, 201, f.request("globex-weather", "free").Status)
	changed := dry(request("globex-weather", "globex-app", `{"plan":"new"}`, "Plan weather/new"))
	require.Equal(t, "changed", action(t, changed))
	require.Equal(t, 409, dry(request("globex-weather", "globex-app", `{"plan":"new"}`, "Plan maps/new")).Status, "it stays with its product")
	require.Equal(t, 409, dry(request("globex-weather", "new-app", `{"plan":"pro"}`, "Application new-app")).Status)
	require.Equal(t, uint64(2), f.head(t))
}

func TestSimultaneousRequests(t *testing.T) {
	t.Parallel()
	f := start(t)
	answers := make(chan int, 8)
	for i := range cap(answers) {
		c := f.Client(f.Token("t1", "subscription.write"))
		go func() {
			answers <- c.Do("POST", path, fmt.Sprintf(`{"name":"s%d","application":"globex-app","plan":"free"}`, i)).Status
		}()
	}
	counted := map[int]int{}
	for range cap(answers) {
		counted[<-answers]++
	}
	require.Equal(t, map[int]int{201: 1, 409: 7}, counted)
	require.Equal(t, uint64(2), f.head(t))
}

func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	victim := start(t)
	s := victim.must(t, "POST", path, `{"name":"globex-weather","application":"globex-app","plan":"pro"}`)
	victim.admin.Must("PUT", "/subscription/v1/webhooks/hook", `{"url":"https://victim.example/hook","disabled":true}`, nil)
	victim.admin.Must("PUT", "/subscription/v1/mail-recipients/ops", `{"address":"ops@victim.example","disabled":true}`, nil)
	before := victim.state()
	stranger := victim.of(t, "stranger")
	tried := victim.Attack(victim.service.API(), stranger.Token("stranger", "subscription.read", "subscription.write"),
		map[string][]string{"subscription": {"globex-weather", s.ID}, "webhook": {"hook"}, "recipient": {"ops"}, "position": {"1", "2"}},
		map[string]any{
			"RequestSubscription":        fmt.Sprintf(`{"name":"mine","application":%q,"plan":%q}`, victim.application, victim.pro),
			"SetLimits":                  `{"limits":[{"rate":1,"per":"second"}]}`,
			"CommentSubscription":        `{"comment":"hello"}`,
			"PutWebhook":                 `{"url":"https://stranger.example/hook"}`,
			"PutMailRecipient":           fmt.Sprintf(`{"address":"stranger@example.com","account":%q}`, victim.account),
			"ChangePlan":                 fmt.Sprintf(`{"plan":%q,"product":%q}`, victim.free, victim.product),
			"ApplySubscriptionResources": resource.ApplyRequest{Resources: []resource.Resource{resourceOf("globex-weather", victim.application, `{"plan":"pro"}`)}},
		}, map[string]string{"ListSubscriptions": "?application=" + victim.application},
		map[string]bool{
			"ListSubscriptions": true, "ExportSubscriptionResources": true, "ListWebhooks": true, "ListMailRecipients": true,
			"PutWebhook": true, "GetWebhook": true, "RotateWebhookSecret": true, "DeleteWebhook": true, // the stranger's own, of that name
			"ListSubscriptionDeliveries": true, "ListSubscriptionAudit": true, "ExportSubscriptionAudit": true,
		},
		[]string{"victim.example", s.ID, "globex-weather", victim.application, victim.account, victim.pro})
	require.Greater(t, tried, 15)
	require.Equal(t, before, victim.state())
	// Names are each tenant's own.
	require.Equal(t, 201, stranger.request("globex-weather", "pro").Status)
}

// state is all that a tenant has, as it is shown.
func (f *fixture) state() string {
	all := ""
	for _, of := range []string{path, "/subscription/v1/webhooks", "/subscription/v1/mail-recipients"} {
		all += f.admin.Must("GET", of, nil, nil).Body
	}
	return all
}

func TestTheTableFollowsFromTheLog(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 201, f.request("a", "free").Status)
	f.must(t, "POST", path+"/a/plan", `{"plan":"pro"}`)
	f.must(t, "POST", path+"/a/suspend", nil, operation.HeaderReason, "x")
	f.must(t, "POST", path+"/a/resume", nil)
	f.must(t, "POST", path+"/a/cancel", nil)
	require.Equal(t, 201, f.request("a", "pro").Status)
	f.must(t, "POST", path+"/a/reject", nil, operation.HeaderReason, "x")
	require.Equal(t, 201, f.request("a", "pro").Status)
	f.must(t, "POST", path+"/a/approve", nil)
	other := f.of(t, "t2")
	require.Equal(t, 201, other.request("a", "pro").Status)

	rebuilt, err := f.log(t).Rebuild(t.Context(), store.Projection())
	require.NoError(t, err)
	defer func() { require.NoError(t, rebuilt.Close(t.Context())) }()
	differences, err := rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
}

func TestRepeatedRequestsHaveOneEffect(t *testing.T) {
	t.Parallel()
	f := start(t)
	const body = `{"name":"globex-weather","application":"globex-app","plan":"pro"}`
	first := f.must(t, "POST", path, body, operation.HeaderIdempotencyKey, "k1")
	again := f.do("POST", path, body, operation.HeaderIdempotencyKey, "k1")
	require.Equal(t, 201, again.Status)
	require.Equal(t, "true", again.Header.Get(operation.HeaderReplayed))
	require.Contains(t, again.Body, first.ID)
	require.Equal(t, uint64(1), f.head(t))
}
