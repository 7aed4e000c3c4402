package subscription_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/subscription"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const (
	patience = 20 * time.Second
	path     = "/subscription/v1/subscriptions"
)

// fixture is the service beside the logs of identity and catalog, which have an account, an application and a product with
// three plans.
type fixture struct {
	*servicetest.Env
	service                       *subscription.Subscription
	config                        service.Config
	mail                          string // the folder that mail goes to
	admin                         *servicetest.Client
	tenant                        string
	account, application, product string
	free, pro                     string
	after                         []string
}

func start(t *testing.T) *fixture {
	t.Helper()
	return startAt(t, nil)
}

// startAt is start with a clock.
func startAt(t *testing.T, clock func() time.Time) *fixture {
	t.Helper()
	env := servicetest.New(t)
	f := &fixture{Env: env, config: env.Config("subscription")}
	f.service = f.replica(t, clock)
	return f.of(t, "t1")
}

// replica runs the service on the fixture's database.
func (f *fixture) replica(t *testing.T, clock func() time.Time) *subscription.Subscription {
	t.Helper()
	if f.mail == "" {
		f.mail = t.TempDir()
	}
	s, err := subscription.New(t.Context(), subscription.Config{
		Service: f.config, SealKey: base64.StdEncoding.EncodeToString(make([]byte, 32)),
		Notify: notify.Config{MailURL: "file://" + f.mail, MailFrom: "tollgate@acme.example", WebhookAllowPrivate: true},
	}, f.Deps(clock))
	require.NoError(t, err)
	f.Run(s)
	return s
}

// of fills a tenant and returns the fixture as that tenant sees it.
func (f *fixture) of(t *testing.T, tenant string) *fixture {
	t.Helper()
	g := *f
	g.tenant = tenant
	g.account, g.application, g.product = uuid.NewString(), uuid.NewString(), uuid.NewString()
	g.free, g.pro = uuid.NewString(), uuid.NewString()
	g.Emit("identity", tenant, "account", g.account, 0, &identityv1.AccountCreated{Account: g.account, Name: "globex", Currency: "USD"})
	g.identity("application", g.application, 0, &identityv1.ApplicationCreated{Application: g.application, Account: g.account, Name: "globex-app"})
	g.catalog("product", g.product, 0, &catalogv1.ProductCreated{Product: g.product, Name: "weather"})
	g.publish(g.free, "free", 1, &catalogv1.PlanSpec{
		Title: "Free", Currency: "USD", Approval: "auto", Limits: []*catalogv1.Limit{{Rate: 10, Per: "second", Burst: 20}},
	})
	g.publish(g.pro, "pro", 1, proPlan())
	g.publish(uuid.NewString(), "payg", 1, &catalogv1.PlanSpec{Title: "Prepaid", Currency: "USD", Approval: "auto", Prepaid: true})
	g.admin = g.Client(g.Token(tenant, "subscription.read", "subscription.write"))
	testkit.Await(t, patience, func() bool { return g.admin.Do("GET", path, nil, g.after...).Status == 200 })
	return &g
}

func proPlan() *catalogv1.PlanSpec {
	return &catalogv1.PlanSpec{
		Title: "Pro", Currency: "USD", Approval: "required", Period: &catalogv1.Period{TimeZone: "Europe/Berlin"},
		Charging: &catalogv1.Charging{Billable: []string{"2xx"}}, Prices: []*catalogv1.Price{{Name: "base", Model: "flat", Amount: "49.00"}},
	}
}

// identity and catalog emit events of the other services; the requests that follow wait for them.
func (f *fixture) identity(streamType, id string, version uint64, events ...proto.Message) {
	f.wait("identity", f.Emit("identity", f.tenant, streamType, id, version, events...))
}

func (f *fixture) catalog(streamType, id string, version uint64, events ...proto.Message) {
	f.wait("catalog", f.Emit("catalog", f.tenant, streamType, id, version, events...))
}

func (f *fixture) wait(log string, position uint64) {
	kept := ""
	if len(f.after) == 2 {
		for _, part := range strings.Split(f.after[1], ", ") {
			if !strings.HasPrefix(part, log+"=") {
				kept = part + ", "
			}
		}
	}
	f.after = []string{operation.HeaderAfter, fmt.Sprintf("%s%s=%d", kept, log, position)}
}

func (f *fixture) publish(id, name string, version uint32, spec *catalogv1.PlanSpec) {
	f.catalog("plan", id, uint64(version)-1, &catalogv1.PlanPublished{Plan: id, Product: f.product, Name: name, Version: version, Spec: spec})
}

type row struct {
	ID, Name, State, Application, Product, Plan string
	PlanVersion                                 uint32
	StartedAt, EndedAt                          *time.Time
	WaitingPosition                             int
	AcceptedTerms, TermsURL, TermsAcceptedBy    string
	DecidedBy, Reason                           string
	Comments                                    []struct{ Author, Comment string }
	Limits                                      []struct {
		Rate, Quota uint64
		Per         string
	}
}

// do sends a command that waits for what was emitted.
func (f *fixture) do(method, path string, body any, headers ...string) servicetest.Answer {
	return f.admin.Do(method, path, body, append(headers, f.after...)...)
}

func (f *fixture) must(t *testing.T, method, path string, body any, headers ...string) (r row) {
	t.Helper()
	answer := f.do(method, path, body, headers...)
	require.Less(t, answer.Status, 300, "%s %s: %s", method, path, answer.Body)
	answer.Decode(t, &r)
	return r
}

func (f *fixture) request(name, plan string) servicetest.Answer {
	return f.do("POST", path, fmt.Sprintf(`{"name":%q,"application":"globex-app","plan":%q}`, name, plan))
}

// entitlement waits for the document of the application and product at the gateways.
func (f *fixture) entitlement(t *testing.T, want func(*gatewayv1.EntitlementDocument) bool) *gatewayv1.EntitlementDocument {
	t.Helper()
	kv, err := f.Bus.Bucket(t.Context(), bus.EntitlementsBucket)
	require.NoError(t, err)
	var d gatewayv1.EntitlementDocument
	testkit.Await(t, patience, func() error {
		entry, err := kv.Get(t.Context(), f.application+"."+f.product)
		if err != nil {
			return err
		}
		if err := proto.Unmarshal(entry.Value(), &d); err != nil {
			return err
		}
		if !want(&d) {
			return fmt.Errorf("the document is %v", &d)
		}
		return nil
	})
	return &d
}

func inState(state string) func(*gatewayv1.EntitlementDocument) bool {
	return func(d *gatewayv1.EntitlementDocument) bool { return d.GetState() == state }
}

func (f *fixture) log(t *testing.T) *eventlog.Log {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.config.PostgresURL, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	log, err := eventlog.New(db, eventlog.Config{Name: "subscription"})
	require.NoError(t, err)
	return log
}

func (f *fixture) head(t *testing.T) uint64 {
	t.Helper()
	head, err := f.log(t).Head(t.Context())
	require.NoError(t, err)
	return head
}

func TestALifeOfASubscription(t *testing.T) {
	t.Parallel()
	f := start(t)
	const one = path + "/globex-weather"
	answer := f.request("globex-weather", "pro")
	require.Equal(t, 201, answer.Status, answer.Body)
	require.Equal(t, "subscription=1", answer.Header.Get(operation.HeaderPosition))
	var s row
	answer.Decode(t, &s)
	require.Equal(t, row{ID: s.ID, Name: "globex-weather", State: "requested", Application: "globex-app", Product: "weather", Plan: "pro", PlanVersion: 1}, s)
	f.entitlement(t, inState("requested"))

	s = f.must(t, "POST", one+"/approve", `{}`)
	require.Equal(t, "active", s.State)
	require.NotNil(t, s.StartedAt)
	d := f.entitlement(t, inState("active"))
	require.Equal(t, s.ID, d.GetSubscription())
	require.Equal(t, "t1", d.GetTenant())
	require.Equal(t, f.account, d.GetAccount())
	require.Equal(t, f.pro, d.GetPlan())
	require.Equal(t, "pro", d.GetPlanName())
	require.Equal(t, []string{"2xx"}, d.GetCharging().GetBillable())
	require.False(t, d.GetFree())

	missing := f.do("POST", one+"/suspend", nil)
	require.Equal(t, 400, missing.Status)
	require.Contains(t, missing.Body, "Tollgate-Reason")
	f.must(t, "POST", one+"/suspend", nil, operation.HeaderReason, "abuse")
	f.entitlement(t, inState("suspended"))
	head := f.head(t)
	f.must(t, "POST", one+"/suspend", nil, operation.HeaderReason, "abuse")
	require.Equal(t, head, f.head(t), "it is so already")
	f.must(t, "POST", one+"/resume", nil)
	f.entitlement(t, inState("active"))
	s = f.must(t, "POST", one+"/cancel", nil, operation.HeaderReason, "moved on")
	require.NotNil(t, s.EndedAt)
	f.entitlement(t, inState("cancelled"))
	require.Contains(t, f.do("POST", one+"/resume", nil).Body, "subscription-ended")

	var page, rest operation.List[struct{ Transition, Actor, Reason string }]
	f.admin.Must("GET", one+"/transitions?limit=4", nil, &page)
	f.admin.Must("GET", one+"/transitions?limit=4&cursor="+page.Next, nil, &rest)
	var told []string
	for _, tr := range append(page.Items, rest.Items...) {
		told = append(told, tr.Transition+" "+tr.Actor+" "+tr.Reason)
	}
	require.Equal(t, []string{
		"requested member:test ", "activated member:test ", "suspended member:test abuse", "resumed member:test ", "cancelled member:test moved on",
	}, told)
}

func TestPlansThatNeedNoApproval(t *testing.T) {
	t.Parallel()
	f := start(t)
	answer := f.request("globex-weather", "free")
	require.Contains(t, answer.Body, `"state":"active"`)
	require.Equal(t, uint64(2), f.head(t), "requested and activated at once")
	d := f.entitlement(t, inState("active"))
	require.True(t, d.GetFree())
	require.Equal(t, uint64(10), d.GetLimits()[0].GetRate())
	f.must(t, "POST", path+"/globex-weather/plan", `{"plan":"payg"}`)
	d = f.entitlement(t, func(d *gatewayv1.EntitlementDocument) bool { return d.GetPlanName() == "payg" })
	require.True(t, d.GetPrepaid())
	require.False(t, d.GetFree(), "a prepaid plan is paid for")
}

func TestRejectedRequests(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 201, f.request("globex-weather", "pro").Status)
	require.Equal(t, 400, f.do("POST", path+"/globex-weather/reject", nil).Status)
	s := f.must(t, "POST", path+"/globex-weather/reject", nil, operation.HeaderReason, "no contract")
	require.Equal(t, "rejected", s.State)
	f.entitlement(t, inState("rejected"))
	require.Equal(t, 201, f.request("globex-weather", "pro").Status, "one may ask again")
}

func TestOneLiveSubscriptionToAProduct(t *testing.T) {
	t.Parallel()
	f := start(t)
	first := f.must(t, "POST", path, `{"name":"globex-weather","application":"globex-app","plan":"pro"}`)
	other := f.request("another", "free")
	require.Equal(t, 409, other.Status)
	require.Contains(t, other.Body, "Change the plan of that one instead")
	same := f.request("globex-weather", "free")
	require.Equal(t, 409, same.Status)
	require.Contains(t, same.Body, "subscription-exists")

	f.must(t, "POST", path+"/globex-weather/cancel", nil)
	second := f.must(t, "POST", path, `{"name":"globex-weather","application":"globex-app","plan":"free"}`)
	require.NotEqual(t, first.ID, second.ID)
	f.entitlement(t, func(d *gatewayv1.EntitlementDocument) bool { return d.GetSubscription() == second.ID })
	require.Equal(t, second.ID, f.must(t, "GET", path+"/globex-weather", nil).ID, "the live one of that name")
	require.Equal(t, "cancelled", f.must(t, "GET", path+"/"+first.ID, nil).State)

	var list operation.List[row]
	f.admin.Must("GET", path+"?limit=1", nil, &list)
	require.Equal(t, first.ID, list.Items[0].ID)
	f.admin.Must("GET", path+"?limit=1&cursor="+list.Next, nil, &list)
	require.Equal(t, second.ID, list.Items[0].ID)
	for query, n := range map[string]int{
		"?state=active": 1, "?state=requested": 0, "?plan=pro": 1, "?plan=free&state=active": 1, "?application=globex-app": 2, "?application=other": 0,
	} {
		f.admin.Must("GET", path+query, nil, &list)
		require.Len(t, list.Items, n, query)
	}
	require.Equal(t, 400, f.do("GET", path+"?state=x", nil).Status)
}

// A document is made of what counts now: the events of an ended subscription that are handled late do not bring it back.
func TestLateEventsOfAnEndedSubscription(t *testing.T) {
	t.Parallel()
	f := start(t)
	var last row
	for range 5 {
		require.Equal(t, 201, f.request("globex-weather", "free").Status)
		f.must(t, "POST", path+"/globex-weather/cancel", nil)
	}
	last = f.must(t, "POST", path, `{"name":"globex-weather","application":"globex-app","plan":"free"}`)
	head := f.head(t)
	d := f.entitlement(t, func(d *gatewayv1.EntitlementDocument) bool { return d.GetRevision() == head })
	require.Equal(t, last.ID, d.GetSubscription())
	require.Equal(t, "active", d.GetState())
}

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
		map[string][]string{"subscription": {"globex-weather", s.ID}, "webhook": {"hook"}, "recipient": {"ops"}},
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
			"ListSubscriptionDeliveries": true,
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
