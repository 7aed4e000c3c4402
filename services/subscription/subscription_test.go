package subscription_test

import (
	"encoding/base64"
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
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/subscription"
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
	stop                          func() // ends the replica that was started last
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
	f.stop = f.Run(s)
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
		"?search=BEX-WEA": 2, "?search=globex-app&state=active": 1, "?search=globex-weatherglobex": 0, "?search=%25": 0,
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
