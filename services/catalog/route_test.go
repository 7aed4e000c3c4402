package catalog_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// publish registers a version on hosts, separated by commas.
func publish(t *testing.T, c *servicetest.Client, name, hosts, prefix string) servicetest.Answer {
	t.Helper()
	spec := strings.Replace(versionSpec(t, "published", prefix, ""), `["*"]`, `["`+strings.ReplaceAll(hosts, ",", `","`)+`"]`, 1)
	return c.Do("PUT", "/catalog/v1/api-versions/"+name, `{"api":"api","spec":`+spec+`}`)
}

func stage(c *servicetest.Client, name string, stages ...string) (last servicetest.Answer) {
	for _, s := range stages {
		last = c.Do("POST", "/catalog/v1/api-versions/"+name+"/stage", fmt.Sprintf(`{"stage":%q}`, s))
	}
	return last
}

func TestPathsBelongToTenants(t *testing.T) {
	t.Parallel()
	f := start(t)
	other := f.tenant(t, "t2")
	for _, c := range []*servicetest.Client{f.admin, other} {
		c.Must("PUT", "/catalog/v1/apis/api", `{"spec":{"title":"Mine"}}`, nil)
	}
	require.Equal(t, 200, publish(t, f.admin, "weather-v1", "*", "/weather/v1").Status)
	require.Equal(t, 200, publish(t, f.admin, "maps-v1", "*.a.com", "/maps/v1").Status)
	require.Equal(t, 200, publish(t, f.admin, "root-v1", "root.a.com", "/").Status)
	id := f.version(t, "weather-v1").ID
	head := f.head(t)

	for _, c := range []struct{ hosts, prefix string }{
		{"*", "/weather/v1"},
		{"*", "/weather/v1/current/Berlin"}, // a literal segment wins over a parameter
		{"*", "/weather"},
		{"*", "/weather/v2"},
		{"*", "/"},
		{"api.b.com", "/weather/v1"}, // a name wins over "*"
		{"*.b.com", "/weather/v2"},
		{"api.b.com", "/"},
		{"api.a.com", "/maps"},
		{"*.api.a.com", "/maps/v1"},
		{"*", "/maps/v1"},
		{"root.a.com", "/anything"},
		{"b.com,root.a.com", "/anything"},
	} {
		refused := publish(t, other, "theirs-v1", c.hosts, c.prefix)
		require.Equal(t, 409, refused.Status, "%s%s: %s", c.hosts, c.prefix, refused.Body)
		require.Contains(t, refused.Body, "route-taken")
		require.Contains(t, refused.Body, "another provider of this installation")
		for _, secret := range []string{"weather-v1", "maps-v1", "root-v1", "t1", id} {
			require.NotContains(t, refused.Body, secret, "whose it is stays unsaid")
		}
	}
	require.Equal(t, head, f.head(t))
	mine := publish(t, f.admin, "weather-v2", "*", "/weather/v1")
	require.Equal(t, 409, mine.Status)
	require.Contains(t, mine.Body, "the API version weather-v1")
	require.Equal(t, 200, publish(t, f.admin, "weather-v3", "api.b.com", "/weather/v1/longer").Status, "within a tenant a longer prefix is another route")

	for i, c := range []struct{ hosts, prefix string }{{"api.b.com", "/weather2"}, {"a.com", "/maps/v1"}, {"c.com", "/other"}} {
		free := publish(t, other, fmt.Sprintf("free-v%d", i), c.hosts, c.prefix)
		require.Equal(t, 200, free.Status, "%s%s: %s", c.hosts, c.prefix, free.Body)
	}
}

func TestPathsStayWithTheirTenant(t *testing.T) {
	t.Parallel()
	f := start(t)
	other := f.tenant(t, "t2")
	for _, c := range []*servicetest.Client{f.admin, other} {
		c.Must("PUT", "/catalog/v1/apis/api", `{"spec":{"title":"Mine"}}`, nil)
	}
	require.Equal(t, 200, publish(t, f.admin, "weather-v1", "*", "/weather/v1").Status)
	require.Equal(t, 200, stage(f.admin, "weather-v1", "deprecated", "retired").Status)
	require.Equal(t, 409, publish(t, other, "theirs-v1", "*", "/weather/v1").Status, "callers may go on sending their keys there")
	require.Equal(t, 200, publish(t, f.admin, "weather-v2", "*", "/weather/v1").Status, "the tenant itself goes on there")

	require.Equal(t, 200, publish(t, f.admin, "moving-v1", "old.a.com", "/moving").Status)
	require.Equal(t, 200, publish(t, f.admin, "moving-v1", "new.a.com", "/moving").Status)
	require.Equal(t, 409, publish(t, other, "theirs-v1", "old.a.com", "/moving").Status)

	draft := strings.Replace(versionSpec(t, "draft", "/weather/v1", ""), `["*"]`, `["api.b.com"]`, 1)
	other.Must("PUT", "/catalog/v1/api-versions/draft-v1", `{"api":"api","spec":`+draft+`}`, nil)
	require.Equal(t, 409, stage(other, "draft-v1", "published").Status, "a draft binds nothing, and is refused when it is to be served")
	require.Equal(t, 409, stage(other, "draft-v1", "mocked").Status)
}

func TestSimultaneousBindings(t *testing.T) {
	t.Parallel()
	f := start(t)
	clients := []*servicetest.Client{f.admin, f.tenant(t, "t2"), f.tenant(t, "t3"), f.tenant(t, "t4")}
	hosts := []string{"*", "*.a.com", "api.a.com", "*.api.a.com,api.a.com"}
	answers := make(chan int, len(clients))
	for i, c := range clients {
		c.Must("PUT", "/catalog/v1/apis/api", `{"spec":{"title":"Mine"}}`, nil)
		spec := strings.Replace(versionSpec(t, "published", "/a/"+fmt.Sprint(i), ""), `["*"]`, `["`+strings.ReplaceAll(hosts[i], ",", `","`)+`"]`, 1)
		go func() {
			answers <- c.Do("PUT", "/catalog/v1/api-versions/a-v1", `{"api":"api","spec":`+spec+`}`).Status
		}()
	}
	counted := map[int]int{}
	for range clients {
		counted[<-answers]++
	}
	require.Equal(t, map[int]int{200: 1, 409: 3}, counted)
}

// registerBefore registers a version, with an API of its own, as an earlier release would have: nothing is checked.
func registerBefore(t *testing.T, log *eventlog.Log, tenant string, registered *catalogv1.APIVersionRegistered, more ...proto.Message) {
	t.Helper()
	ctx := principal.With(t.Context(), principal.Service("catalog", tenant))
	_, err := eventlog.Execute(ctx, log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		created := &catalogv1.APICreated{Api: registered.GetApi(), Name: registered.GetApi(), Spec: &catalogv1.APISpec{Title: "A"}}
		events := append([]proto.Message{registered}, more...)
		tx.Append("api", registered.GetApi(), 0, created)
		tx.Append("api-version", registered.GetApiVersion(), 0, events...)
		for _, e := range append([]proto.Message{created}, events...) {
			if err := store.Project(ctx, tx, store.Fact{Tenant: tenant, At: tx.Now(), Actor: "service:catalog", Payload: e}); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	require.NoError(t, err)
}

// Versions from before paths belonged to tenants may overlap.
func TestRoutesFromBeforeAreBoundAtTheStart(t *testing.T) {
	t.Parallel()
	env := servicetest.New(t)
	f := fixture{Env: env, config: env.Config("catalog")}
	var err error
	f.service, err = catalog.New(t.Context(), catalog.Config{Service: f.config}, env.Deps(nil))
	require.NoError(t, err)
	log := f.log(t)
	before := func(tenant, id string, r *catalogv1.Route, more ...proto.Message) {
		spec := &catalogv1.APIVersionSpec{Stage: "published", Route: r, Openapi: "{}", Upstream: &catalogv1.Upstream{Targets: []*catalogv1.Target{{Url: "http://127.0.0.1:1"}}}}
		registerBefore(t, log, tenant, &catalogv1.APIVersionRegistered{ApiVersion: id, Api: "api-" + id, Name: id, Spec: spec}, more...)
	}
	before("t0", "gone", &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/weather/v1"}, &catalogv1.APIVersionStageChanged{ApiVersion: "gone", From: "published", To: "retired"})
	before("t1", "older", &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/weather/v1"})
	before("t2", "younger", &catalogv1.Route{Hosts: []string{"api.b.com"}, Prefix: "/weather/v1/longer"})
	before("t2", "beside", &catalogv1.Route{Hosts: []string{"api.b.com"}, Prefix: "/"}, &catalogv1.APIVersionStageChanged{ApiVersion: "beside", From: "published", To: "retired"})
	before("t3", "other", &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/other"})
	env.Run(f.service)
	serveExchange(t, env)
	f.admin = f.tenant(t, "t1")

	bound := func() (all []string) {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: f.config.PostgresURL, MaxConns: 1})
		require.NoError(t, err)
		defer db.Close()
		require.NoError(t, db.InTenant(t.Context(), "*", func(tx pgx.Tx) error {
			rows, err := tx.Query(t.Context(), `SELECT host || '/' || segment || ' ' || tenant_id FROM route_bindings ORDER BY 1`)
			if err != nil {
				return err
			}
			all, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		}))
		return all
	}
	require.Equal(t, []string{"*/other t3", "*/weather t1"}, bound(), "the older version's")
	younger := f.tenant(t, "t2")
	require.Equal(t, 200, stage(younger, "younger", "deprecated").Status, "it goes on as it is")
	younger.Must("PUT", "/catalog/v1/apis/api", `{"spec":{"title":"Mine"}}`, nil)
	require.Equal(t, 409, publish(t, younger, "younger-v2", "api.b.com", "/weather/v2").Status)

	rebuilt, err := log.Rebuild(t.Context(), store.Projection())
	require.NoError(t, err)
	defer func() { require.NoError(t, rebuilt.Close(t.Context())) }()
	differences, err := rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
}
