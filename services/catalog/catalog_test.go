package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/catalog"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == catalog.InspectCommand { // the service starts the program it is in
		if err := catalog.Inspect(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testkit.Main(m)
}

const patience = 20 * time.Second

type fixture struct {
	*servicetest.Env
	service *catalog.Catalog
	config  service.Config
	admin   *servicetest.Client
}

func start(t *testing.T) fixture {
	t.Helper()
	return startAt(t, nil)
}

// startAt starts the service with a clock; nil for the real one.
func startAt(t *testing.T, clock func() time.Time) fixture {
	t.Helper()
	env := servicetest.New(t)
	f := fixture{Env: env, config: env.Config("catalog")}
	var err error
	f.service, err = catalog.New(t.Context(), catalog.Config{Service: f.config, ReferencesAllowPrivate: true}, env.Deps(clock))
	require.NoError(t, err)
	env.Run(f.service)
	serveExchange(t, env)
	f.admin = f.tenant(t, "t1")
	return f
}

// serveExchange answers for identity: a personal access token is the signed token it is exchanged for, after a prefix. Large bodies are
// taken of such alone.
func serveExchange(t *testing.T, env *servicetest.Env) {
	t.Helper()
	api, err := operation.New(operation.Config{
		Service: "identity", Title: "identity", Log: testkit.Logger(t),
		Verify: func(string) (principal.Principal, error) { return principal.Principal{}, errors.New("no tokens here") },
	})
	require.NoError(t, err)
	operation.RPC(api, "identity.Exchange", func(_ context.Context, r *identityv1.ExchangeRequest) (*identityv1.ExchangeReply, error) {
		return &identityv1.ExchangeReply{Token: strings.TrimPrefix(r.GetToken(), apibridge.PersonalTokenPrefix)}, nil
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- api.ServeNATS(ctx, env.Bus, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// tenant returns a client of a publisher of a tenant, once the service can verify its token.
func (f fixture) tenant(t *testing.T, name string) *servicetest.Client {
	t.Helper()
	c := f.Client(apibridge.PersonalTokenPrefix + f.Token(name, "catalog.read", "catalog.write"))
	testkit.Await(t, patience, func() bool { return c.Do("GET", "/catalog/v1/apis", nil).Status == 200 })
	return c
}

// log opens the service's log beside it.
func (f fixture) log(t *testing.T) *eventlog.Log {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.config.PostgresURL, MaxConns: 2})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	log, err := eventlog.New(db, eventlog.Config{Name: "catalog"})
	require.NoError(t, err)
	return log
}

func (f fixture) head(t *testing.T) uint64 {
	t.Helper()
	head, err := f.log(t).Head(t.Context())
	require.NoError(t, err)
	return head
}

// gatewayDocument waits for the document of a version at the gateways.
func (f fixture) gatewayDocument(t *testing.T, id string, want func(*gatewayv1.APIDocument) bool) *gatewayv1.APIDocument {
	t.Helper()
	kv, err := f.Bus.Bucket(t.Context(), bus.APIsBucket)
	require.NoError(t, err)
	var d gatewayv1.APIDocument
	testkit.Await(t, patience, func() error {
		entry, err := kv.Get(t.Context(), id)
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

func openapi(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/weather.yaml")
	require.NoError(t, err)
	return string(text)
}

func res(kind, metadata, spec string) resource.Resource {
	r := resource.Resource{APIVersion: resource.APIVersion, Kind: kind, Spec: json.RawMessage(spec)}
	if err := json.Unmarshal([]byte(metadata), &r.Metadata); err != nil {
		panic(err)
	}
	return r
}

func quote(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}

func versionSpec(t *testing.T, stage, prefix, more string) string {
	t.Helper()
	return fmt.Sprintf(`{"openapi":%s,"stage":%q,"route":{"hosts":["*"],"prefix":%q,"stripPrefix":true},
		"upstream":{"targets":[{"url":"http://127.0.0.1:8089","weight":100}],"timeout":"10s","retries":{"attempts":2,"on":["connect","reset"]}},
		"authenticate":["apiKey"]%s}`, quote(openapi(t)), stage, prefix, more)
}

const (
	free = `{"title":"Free","currency":"USD","approval":"auto","limits":[{"rate":10,"per":"second","burst":20},{"quota":1000,"meter":"calls","per":"month","mode":"hard"}]}`
	pro  = `{"title":"Pro","currency":"USD","approval":"required","prices":[{"name":"base","model":"flat","amount":"49.00","timing":"advance"},
		{"name":"forecast-days","meter":"forecast-day","model":"package","size":"100","unit":"0.25"}]}`
	meters = `,"meters":{"forecast-day":{"unit":"day"}},"policies":[{"kind":"validate","request":true},{"kind":"cors","origins":["*"]}]`
)

// sample is the weather sample, children first: applying puts it in order.
func sample(t *testing.T) []resource.Resource {
	t.Helper()
	return []resource.Resource{
		res("Plan", `{"name":"free","product":"weather"}`, free),
		res("Plan", `{"name":"pro","product":"weather"}`, pro),
		res("Product", `{"name":"weather"}`, `{"title":"Weather data","includes":[{"apiVersion":"weather-v1"}]}`),
		res("APIVersion", `{"name":"weather-v1","api":"weather"}`, versionSpec(t, "published", "/weather/v1", meters)),
		res("API", `{"name":"weather"}`, `{"title":"Weather","owner":"data-team"}`),
	}
}

func apply(c *servicetest.Client, resources []resource.Resource, headers ...string) servicetest.Answer {
	return c.Do("POST", "/catalog/v1/apply", resource.ApplyRequest{Resources: resources}, headers...)
}

// actions returns what applying did, in the order of the request.
func actions(t *testing.T, a servicetest.Answer) []string {
	t.Helper()
	require.Equal(t, 200, a.Status, a.Body)
	var r resource.ApplyResponse
	a.Decode(t, &r)
	var all []string
	for _, c := range r.Changes {
		all = append(all, c.Action)
	}
	return all
}

func repeat(action string, n int) []string {
	return strings.Split(strings.TrimSuffix(strings.Repeat(action+",", n), ","), ",")
}

type version struct{ ID, Name, Stage, API, DocumentSHA256 string }

func (f fixture) version(t *testing.T, name string) version {
	t.Helper()
	var v version
	f.admin.Must("GET", "/catalog/v1/api-versions/"+name, nil, &v)
	return v
}

func TestApplyingTheSampleTwice(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, repeat("created", 5), actions(t, apply(f.admin, sample(t), "Tollgate-Dry-Run", "true")))
	require.Zero(t, f.head(t), "a dry run has no effect")

	first := apply(f.admin, sample(t))
	require.Equal(t, repeat("created", 5), actions(t, first))
	require.NotContains(t, first.Body, "Current weather in a city", "documents are shown by their digest")
	head := f.head(t)
	require.Equal(t, fmt.Sprintf("catalog=%d", head), first.Header.Get(operation.HeaderPosition))

	require.Equal(t, repeat("unchanged", 5), actions(t, apply(f.admin, sample(t))))
	require.Equal(t, head, f.head(t), "nothing to do is no event")

	v := f.version(t, "weather-v1")
	d := f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetProducts()) == 1 })
	require.Equal(t, "t1", d.GetTenant())
	require.Equal(t, "weather", d.GetApiName())
	require.Equal(t, "published", d.GetStage())
	require.False(t, d.GetRemoved())
	require.Equal(t, "/weather/v1", d.GetRoute().GetPrefix())
	require.Equal(t, []string{"forecast-day"}, d.GetMeters())
	require.Equal(t, openapi(t), d.GetOpenapi(), "a policy validates")
	require.Len(t, d.GetOperations(), 2)

	var exported resource.Export
	f.admin.Must("GET", "/catalog/v1/export", nil, &exported)
	require.Len(t, exported.Resources, 5)
	require.Equal(t, repeat("unchanged", 5), actions(t, apply(f.admin, exported.Resources)))
	f.admin.Must("GET", "/catalog/v1/export?kind=Plan", nil, &exported)
	require.Len(t, exported.Resources, 2)
	require.Equal(t, 400, f.admin.Do("GET", "/catalog/v1/export?kind=Account", nil).Status)
}

func TestOneBadResourceOfMany(t *testing.T) {
	t.Parallel()
	f := start(t)
	for name, c := range map[string]struct {
		bad  resource.Resource
		want []string
	}{
		"document":        {res("APIVersion", `{"name":"b-v1","api":"weather"}`, `{"openapi":"openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths:\n  /a/{x}: {get: {responses: {default: {description: d}}}}\n","route":{"hosts":["*"],"prefix":"/b"}}`), []string{"resources[5].spec.openapi", "line 4"}},
		"price":           {res("Plan", `{"name":"bad","product":"weather"}`, `{"title":"Bad","currency":"USD","prices":[{"name":"a","meter":"calls","model":"unit","unit":"-1"}]}`), []string{"resources[5].spec.prices[0].unit"}},
		"currency":        {res("Plan", `{"name":"bad","product":"weather"}`, `{"title":"Bad","currency":"XXQ"}`), []string{"resources[5].spec.currency"}},
		"meter":           {res("Plan", `{"name":"bad","product":"weather"}`, `{"title":"Bad","currency":"USD","prices":[{"name":"a","meter":"rows","model":"unit","unit":"1"}]}`), []string{"resources[5].spec.prices[0].meter", `\"rows\" is not a meter of the product`, "forecast-day"}},
		"unknown field":   {res("API", `{"name":"b"}`, `{"titel":"B"}`), []string{"resources[5].spec.titel"}},
		"unknown product": {res("Plan", `{"name":"bad","product":"nothing"}`, free), []string{"resources[5].metadata.product"}},
		"unknown API":     {res("APIVersion", `{"name":"b-v1","api":"nothing"}`, versionSpec(t, "draft", "/b", "")), []string{"resources[5].metadata.api"}},
		"unknown version": {res("Product", `{"name":"b"}`, `{"title":"B","includes":[{"apiVersion":"nothing"}]}`), []string{"resources[5].spec.includes[0].apiVersion"}},
		"same route":      {res("APIVersion", `{"name":"b-v1","api":"weather"}`, versionSpec(t, "published", "/weather/v1", "")), []string{"resources[5].spec.route", "weather-v1"}},
		"other service":   {res("Account", `{"name":"b"}`, `{"title":"B","currency":"EUR"}`), []string{"resources[5].kind"}},
		"U+0000":          {res("API", `{"name":"b"}`, `{"title":"B\u0000"}`), []string{"contains the character U+0000"}},
	} {
		answer := apply(f.admin, append(sample(t), c.bad))
		require.Contains(t, []int{400, 409}, answer.Status, "%s: %s", name, answer.Body)
		for _, want := range c.want {
			require.Contains(t, answer.Body, want, name)
		}
		require.Zero(t, f.head(t), "%s: nothing was changed", name)
	}
	require.Equal(t, repeat("created", 5), actions(t, apply(f.admin, sample(t))))
}

func TestDocumentsAreImmutable(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	v := f.version(t, "weather-v1")
	head := f.head(t)
	const path = "/catalog/v1/api-versions/weather-v1"
	body := func(spec string) string { return `{"api":"weather","spec":` + spec + `}` }

	f.admin.Must("PUT", path, body(versionSpec(t, "published", "/weather/v1", meters)), nil)
	require.Equal(t, head, f.head(t), "the same once more is no event")

	other := strings.Replace(versionSpec(t, "published", "/weather/v1", meters), "1.2.0", "1.3.0", 1)
	refused := f.admin.Do("PUT", path, body(other))
	require.Equal(t, 409, refused.Status)
	require.Contains(t, refused.Body, "register a new version")
	require.Equal(t, head, f.head(t))

	f.admin.Must("PUT", path, body(`{"route":{"hosts":["api.example.com"],"prefix":"/w"},"upstream":{"targets":[{"url":"http://127.0.0.1:1"}]},"meters":{"forecast-day":{}}}`), nil)
	require.Equal(t, head+2, f.head(t), "it was configured, and the new host is bound")
	d := f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetRoute().GetPrefix() == "/w" })
	require.Equal(t, "published", d.GetStage(), "a stage that is not given is left as it is")
	require.Empty(t, d.GetOpenapi(), "no policy validates")

	raw := f.admin.Must("GET", path+"/document", nil, nil)
	require.Equal(t, openapi(t), raw.Body)
	require.Equal(t, "application/yaml", raw.Header.Get("Content-Type"))
	require.Equal(t, document.Digest(raw.Body), v.DocumentSHA256)

	var page operation.List[struct{ ID, Method, Path string }]
	f.admin.Must("GET", path+"/operations?limit=1", nil, &page)
	require.Equal(t, "getCurrent", page.Items[0].ID)
	f.admin.Must("GET", path+"/operations?limit=1&cursor="+page.Next, nil, &page)
	require.Equal(t, "createForecast", page.Items[0].ID)
	require.Equal(t, 400, f.admin.Do("GET", path+"/operations?cursor=x", nil).Status)
}
