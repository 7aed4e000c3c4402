package billing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/billing"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// fixture is billing with the other services' logs.
type fixture struct {
	*servicetest.Env
	tb      testing.TB
	ledger  *ledger
	config  billing.Config
	service *billing.Billing
	stop    func()
	tenant  string
	client  *servicetest.Client
	// patience bounds the wait for a billing run.
	patience time.Duration
	// after is the header that makes billing wait until it has seen what was emitted.
	after     string
	positions map[string]uint64
}

const (
	account = "11111111-0000-7000-8000-000000000001"
	product = "11111111-0000-7000-8000-000000000002"
)

// prepare makes everything but the running service.
func prepare(tb testing.TB) *fixture {
	tb.Helper()
	env := servicetest.New(tb)
	f := &fixture{Env: env, tb: tb, patience: time.Minute, tenant: "11111111-0000-7000-8000-000000000000", positions: map[string]uint64{}, ledger: &ledger{asked: map[string]int{}, unsealed: map[string]int64{}}}
	f.ledger.serve(tb, env)
	f.config = billing.Config{Service: env.Config("billing"), Manual: true}
	f.client = env.Client(env.Token(f.tenant, "billing.read", "billing.run"))
	env.Emit("identity", f.tenant, "tenant", f.tenant, 0, &identityv1.TenantCreated{Tenant: f.tenant, Name: "skyline", Title: "Skyline Weather GmbH"})
	env.Emit("identity", f.tenant, "account", account, 0, &identityv1.AccountCreated{Account: account, Name: "globex", Title: "Globex", Currency: "USD"})
	env.Emit("catalog", f.tenant, "product", product, 0, &catalogv1.ProductCreated{Product: product, Name: "weather", Spec: &catalogv1.ProductSpec{Title: "Weather"}})
	return f
}

// start runs the service, with a clock of the test's own unless it is nil.
func (f *fixture) start(clock func() time.Time) {
	f.tb.Helper()
	s, err := billing.New(f.tb.Context(), f.config, f.Deps(clock))
	require.NoError(f.tb, err)
	f.service, f.stop = s, f.Run(s)
	testkit.Await(f.tb, 10*time.Second, func() bool { return f.client.Do("GET", "/billing/v1/invoices", nil).Status == 200 })
}

func startBilling(tb testing.TB) *fixture {
	f := prepare(tb)
	f.start(nil)
	return f
}

func pro() *catalogv1.PlanSpec {
	return &catalogv1.PlanSpec{
		Title: "Pro", Currency: "USD",
		Prices: []*catalogv1.Price{
			{Name: "base", Model: "flat", Amount: "49.00", Timing: "advance"},
			{Name: "calls", Meter: "calls", Model: "graduated", Included: "2", Tiers: []*catalogv1.Tier{{UpTo: "3", Unit: "0.10"}, {Unit: "0.05"}}},
		},
	}
}

// plan publishes a version of a plan. The id of a plan follows from its name.
func (f *fixture) plan(name string, version uint32, spec *catalogv1.PlanSpec) {
	f.tb.Helper()
	id := planID(name)
	f.emit("catalog", "plan", id, uint64(version-1), &catalogv1.PlanPublished{Plan: id, Product: product, Name: name, Version: version, Spec: spec})
}

func planID(name string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("plan "+name)).String()
}

func subscriptionID(name string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("subscription "+name)).String()
}

func (f *fixture) emit(log, streamType, id string, version uint64, events ...proto.Message) {
	f.tb.Helper()
	position := f.Emit(log, f.tenant, streamType, id, version, events...)
	f.positions[log] = position
	f.after = ""
	for log, position := range f.positions {
		f.after += fmt.Sprintf("%s=%d, ", log, position)
	}
}

// subscribe starts a subscription under version 1 of a plan and returns its id.
func (f *fixture) subscribe(name, plan string, started time.Time) string {
	f.tb.Helper()
	id := subscriptionID(name)
	f.emit("subscription", "subscription", id, 0,
		&subscriptionv1.SubscriptionRequested{Subscription: id, Name: name, Account: account, Application: "app", Product: product, Plan: planID(plan), PlanVersion: 1},
		&subscriptionv1.SubscriptionActivated{Subscription: id, StartedAt: started.UnixNano(), TimeZone: "UTC"})
	return id
}

// calls records n calls of a subscription at an instant, one unit of the meter calls each.
func (f *fixture) calls(subscription string, n int, at time.Time) {
	calls := make([]call, n)
	f.ledger.set(func(l *ledger) {
		for i := range calls {
			calls[i] = call{subscription: subscription, seq: uint64(len(l.metered) + i + 1), at: at, meters: map[string]string{"calls": "1"}}
		}
	})
	f.ledger.add(calls...)
}

type runAnswer struct {
	ID, State, Period, Waiting string
	Counts                     struct{ Pending, Finalized, Held, Skipped, Before int }
	Items                      []struct{ Subscription, State, Cause, Detail string }
}

// bill does a billing run and waits for its end.
func (f *fixture) bill(month string) runAnswer {
	f.tb.Helper()
	var run runAnswer
	f.client.Must("POST", "/billing/v1/runs", map[string]string{"period": month}, &run, operation.HeaderAfter, f.after)
	return f.await(run.ID)
}

func (f *fixture) await(run string) runAnswer {
	f.tb.Helper()
	var answer runAnswer
	testkit.Await(f.tb, f.patience, func() bool {
		answer = runAnswer{}
		a := f.client.Do("GET", "/billing/v1/runs/"+run, nil)
		if a.Status != 200 {
			return false
		}
		a.Decode(f.tb, &answer)
		return answer.State == "finished"
	})
	return answer
}

type line struct {
	Line                             int
	Identity, Price, Meter, Quantity string
	Amount, Plan, Digest             string
	PlanVersion                      int
	Calls                            uint64
	Detail                           []map[string]any
	PeriodStart, PeriodEnd           time.Time
}

type invoice struct {
	ID, Number, State, Cause, Detail, Account, Subscription string
	Currency, Total                                         string
	PeriodStart, PeriodEnd                                  time.Time
	Lines                                                   []line
	Evidence                                                *struct {
		Answered, Stored, Landed, Metered uint64
		LandedDigest, MeteredDigest       string
		Watermark                         map[string]uint64
	}
}

func (f *fixture) invoice(numberOrID string) invoice {
	f.tb.Helper()
	var i invoice
	f.client.Must("GET", "/billing/v1/invoices/"+numberOrID, nil, &i)
	return i
}

// invoices lists all, the latest first.
func (f *fixture) invoices(query string) []invoice {
	f.tb.Helper()
	var all []invoice
	for next := ""; ; {
		var page operation.List[invoice]
		f.client.Must("GET", "/billing/v1/invoices?limit=200&cursor="+next+query, nil, &page)
		all = append(all, page.Items...)
		if next = page.Next; next == "" {
			return all
		}
	}
}

// database opens billing's own database.
func (f *fixture) database() *postgres.DB {
	f.tb.Helper()
	db, err := postgres.Open(f.tb.Context(), postgres.Config{URL: f.config.Service.PostgresURL})
	require.NoError(f.tb, err)
	f.tb.Cleanup(db.Close)
	return db
}

// log opens billing's own log.
func (f *fixture) log() *eventlog.Log {
	f.tb.Helper()
	l, err := eventlog.New(f.database(), eventlog.Config{Name: "billing"})
	require.NoError(f.tb, err)
	return l
}

// logged counts the events of billing's log by type.
func (f *fixture) logged() map[string]int {
	f.tb.Helper()
	kinds := map[string]int{}
	events, err := f.log().Read(f.tb.Context(), 0, 100_000)
	require.NoError(f.tb, err)
	for _, e := range events {
		kinds[e.Type]++
	}
	return kinds
}

func day(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

// everyScope is a member of another tenant who may do everything there.
func everyScope(tenant string) principal.Principal {
	return principal.Principal{Tenant: tenant, Subject: "member:stranger", Scopes: []string{"billing.read", "billing.run"}}
}

// foreign gives the tenant of the fixture an account, a plan and a subscription of its own.
func (f *fixture) foreign() {
	f.tb.Helper()
	const other = "22222222-0000-7000-8000-000000000001"
	f.emit("identity", "account", other, 0, &identityv1.AccountCreated{Account: other, Name: "globex", Title: "Another", Currency: "USD"})
	plan := planID("foreign")
	f.emit("catalog", "plan", plan, 0, &catalogv1.PlanPublished{Plan: plan, Product: "foreign", Name: "pro", Version: 1, Spec: pro()})
	id := subscriptionID("foreign")
	f.emit("subscription", "subscription", id, 0,
		&subscriptionv1.SubscriptionRequested{Subscription: id, Name: "globex-pro", Account: other, Plan: plan, PlanVersion: 1},
		&subscriptionv1.SubscriptionActivated{Subscription: id, StartedAt: day("2026-01-01T00:00:00Z").UnixNano(), TimeZone: "UTC"})
}
