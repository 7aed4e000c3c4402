package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/servicetest"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

func TestPatternsAreCheckedOnceRequestsAreValidated(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.admin.Must("PUT", "/catalog/v1/apis/a", `{"spec":{"title":"A"}}`, nil)
	const text = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths: {/a: {get: {responses: {default: {description: d}}}}}\ncomponents:\n  schemas:\n    s: {type: string, pattern: '^(?!x)'}\n"
	spec := func(more string) string {
		return fmt.Sprintf(`{"api":"a","spec":{"openapi":%s,"route":{"hosts":["*"],"prefix":"/a"}%s}}`, quote(text), more)
	}
	const validate = `,"policies":[{"kind":"validate","request":true}]`
	refused := f.admin.Do("PUT", "/catalog/v1/api-versions/a-v1", spec(validate))
	require.Equal(t, 400, refused.Status, refused.Body)
	require.Contains(t, refused.Body, "line 6")
	f.admin.Must("PUT", "/catalog/v1/api-versions/a-v1", spec(""), nil)
	require.Equal(t, 400, f.admin.Do("PUT", "/catalog/v1/api-versions/a-v1", spec(validate)).Status)
}

func TestStages(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	const path = "/catalog/v1/api-versions/weather-v2"
	stage := func(to string) servicetest.Answer {
		return f.admin.Do("POST", path+"/stage", fmt.Sprintf(`{"stage":%q}`, to))
	}
	f.admin.Must("PUT", path, `{"api":"weather","spec":{"openapi":`+quote(openapi(t))+`,"route":{"hosts":["*"],"prefix":"/weather/v2"}}}`, nil)
	v := f.version(t, "weather-v2")
	require.Equal(t, "draft", v.Stage)
	f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetRemoved() })

	require.Equal(t, 200, stage("mocked").Status)
	f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetStage() == "mocked" && !d.GetRemoved() })
	require.Contains(t, stage("published").Body, "upstream-missing")
	require.Contains(t, stage("deprecated").Body, "it can become draft or published or retired")
	require.Equal(t, 400, stage("done").Status)
	f.admin.Must("PUT", path, `{"api":"weather","spec":{"stage":"published","route":{"hosts":["*"],"prefix":"/weather/v2"},"upstream":{"targets":[{"url":"http://127.0.0.1:1"}]}}}`, nil)
	require.Equal(t, 200, stage("deprecated").Status)
	require.Equal(t, 200, stage("retired").Status)
	require.Equal(t, 200, stage("retired").Status, "it is so already")
	f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetRemoved() && d.GetStage() == "retired" })
	require.Contains(t, stage("published").Body, "stage-final")
}

func TestPlansHaveImmutableVersions(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	type plan struct {
		ID      string
		Version uint32
		Latest  uint32 `json:"latestVersion"`
		Spec    struct{ Title string }
		Retired bool
	}
	const path = "/catalog/v1/products/weather/plans/free"
	publish := func(title string) (p plan) {
		f.admin.Must("PUT", path, `{"spec":`+strings.Replace(free, "Free", title, 1)+`}`, &p)
		return p
	}
	head := f.head(t)
	first := publish("Free")
	require.Equal(t, uint32(1), first.Version)
	require.Equal(t, head, f.head(t))
	require.Equal(t, plan{ID: first.ID, Version: 2, Latest: 2, Spec: struct{ Title string }{"Freer"}}, publish("Freer"))
	require.Equal(t, uint32(2), publish("Freer").Version)

	var p plan
	f.admin.Must("GET", path+"?version=1", nil, &p)
	require.Equal(t, "Free", p.Spec.Title)
	f.admin.Must("GET", path, nil, &p)
	require.Equal(t, "Freer", p.Spec.Title)
	require.Equal(t, 404, f.admin.Do("GET", path+"?version=3", nil).Status)
	require.Equal(t, 404, f.admin.Do("GET", path+"?version=4294967295", nil).Status)
	var versions operation.List[plan]
	f.admin.Must("GET", path+"/versions?limit=1", nil, &versions)
	require.Equal(t, uint32(2), versions.Items[0].Version)
	f.admin.Must("GET", path+"/versions?limit=1&cursor="+versions.Next, nil, &versions)
	require.Equal(t, uint32(1), versions.Items[0].Version)

	var plans operation.List[struct{ Name string }]
	f.admin.Must("GET", "/catalog/v1/plans?product=weather&limit=1", nil, &plans)
	require.Equal(t, "free", plans.Items[0].Name)
	f.admin.Must("GET", "/catalog/v1/plans?limit=1&cursor="+plans.Next, nil, &plans)
	require.Equal(t, "pro", plans.Items[0].Name)

	for search, want := range map[string]int{
		"plans?search=FREER": 1, "plans?search=free": 1, "plans?search=R&product=weather": 2, "plans?search=r&product=other": 0, "plans?search=nothing": 0,
		"products?search=weather+DATA": 1, "products?search=data+weather": 0, "apis?search=WEATH": 1, "apis?search=%25": 0,
		"api-versions?search=-V1": 1, "api-versions?search=weather&api=weather": 1, "api-versions?search=v2": 0,
	} {
		plans = operation.List[struct{ Name string }]{}
		f.admin.Must("GET", "/catalog/v1/"+search, nil, &plans)
		require.Len(t, plans.Items, want, search)
	}

	f.admin.Must("POST", path+"/retire", nil, &p)
	require.True(t, p.Retired)
	head = f.head(t)
	publish("Freer")
	f.admin.Must("POST", path+"/retire", nil, nil)
	require.Equal(t, head, f.head(t))
	require.Equal(t, 409, f.admin.Do("PUT", path, `{"spec":`+free+`}`).Status)
}

func TestMetersOfPlansStay(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	head := f.head(t)
	without := sample(t)
	without[3] = res("APIVersion", `{"name":"weather-v1","api":"weather"}`, versionSpec(t, "published", "/weather/v1", ""))
	refused := apply(f.admin, without)
	require.Equal(t, 409, refused.Status, refused.Body)
	require.Contains(t, refused.Body, "The plan pro of the product weather goes by the meter forecast-day")
	require.Equal(t, head, f.head(t))
	without[1] = res("Plan", `{"name":"pro","product":"weather"}`, strings.Replace(pro, `"meter":"forecast-day"`, `"meter":"calls"`, 1))
	require.Equal(t, []string{"unchanged", "changed", "unchanged", "changed", "unchanged"}, actions(t, apply(f.admin, without)))
}

func TestProductsTellTheGateways(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	f.admin.Must("PUT", "/catalog/v1/api-versions/weather-v2", `{"api":"weather","spec":`+versionSpec(t, "published", "/weather/v2", meters)+`}`, nil)
	v1, v2 := f.version(t, "weather-v1"), f.version(t, "weather-v2")
	f.gatewayDocument(t, v2.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetProducts()) == 0 })
	f.admin.Must("PUT", "/catalog/v1/products/weather", `{"spec":{"title":"Weather data","includes":[{"apiVersion":"weather-v2"}]}}`, nil)
	f.gatewayDocument(t, v2.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetProducts()) == 1 })
	f.gatewayDocument(t, v1.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetProducts()) == 0 })
}

func TestAPIsWithoutVersionsCanBeDeleted(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	require.Contains(t, f.admin.Do("DELETE", "/catalog/v1/apis/weather", nil).Body, "api-has-versions")
	f.admin.Must("PUT", "/catalog/v1/apis/mistake", `{"spec":{"title":"Mistake"}}`, nil)
	f.admin.Must("DELETE", "/catalog/v1/apis/mistake", nil, nil)
	require.Equal(t, 404, f.admin.Do("GET", "/catalog/v1/apis/mistake", nil).Status)
	f.admin.Must("PUT", "/catalog/v1/apis/mistake", `{"spec":{"title":"Again"}}`, nil)
	require.Equal(t, 400, f.admin.Do("GET", "/catalog/v1/apis/a%00b", nil).Status)
}

func TestSimultaneousCreation(t *testing.T) {
	t.Parallel()
	f := start(t)
	answers := make(chan int, 8)
	for range cap(answers) {
		c := f.Client(f.Token("t1", "catalog.write"))
		go func() { answers <- c.Do("PUT", "/catalog/v1/apis/weather", `{"spec":{"title":"Weather"}}`).Status }()
	}
	for range cap(answers) {
		require.Equal(t, 200, <-answers)
	}
	require.Equal(t, uint64(1), f.head(t))
}

func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	f := start(t)
	victim := sample(t)
	victim[4] = res("API", `{"name":"weather"}`, `{"title":"Victim's title","owner":"victim's team"}`)
	require.Equal(t, 200, apply(f.admin, victim).Status)
	var api, product, plan, rules struct{ ID string }
	f.admin.Must("PUT", "/catalog/v1/rulesets/default", `{"spec":{"title":"Victim's rules","rules":"extends: spectral:oas"}}`, &rules)
	before := f.admin.Must("GET", "/catalog/v1/export", nil, nil).Body
	v := f.version(t, "weather-v1")
	f.admin.Must("GET", "/catalog/v1/apis/weather", nil, &api)
	f.admin.Must("GET", "/catalog/v1/products/weather", nil, &product)
	f.admin.Must("GET", "/catalog/v1/products/weather/plans/pro", nil, &plan)

	f.tenant(t, "stranger")
	stranger := f.Token("stranger", "catalog.read", "catalog.write")
	tried := f.Attack(f.service.API(), stranger, map[string][]string{
		"api": {"weather", api.ID}, "apiVersion": {"weather-v1", v.ID}, "product": {"weather", product.ID}, "plan": {"pro", plan.ID},
		"ruleset": {"default", rules.ID}, "position": {"1", "2"},
	}, map[string]any{
		"PutAPI":                `{"spec":{"title":"Mine"}}`,
		"PutAPIVersion":         `{"api":"` + api.ID + `","spec":` + versionSpec(t, "draft", "/weather/v1", "") + `}`,
		"ChangeStage":           `{"stage":"retired"}`,
		"PutProduct":            `{"spec":{"title":"Mine","includes":[{"apiVersion":"weather-v1"},{"apiVersion":"` + v.ID + `"}]}}`,
		"PublishPlan":           `{"spec":` + free + `}`,
		"PutRuleset":            `{"spec":{"rules":"extends: spectral:oas"}}`,
		"LintDocument":          `{"openapi":` + quote(openapi(t)) + `}`,
		"ApplyCatalogResources": resource.ApplyRequest{Resources: victim[:3]},
	}, map[string]string{
		"ListProducts": "?account=globex", "ListAPIVersions": "?api=" + api.ID, "ListPlans": "?product=" + product.ID, "CompareAPIVersions": "?base=" + v.ID,
	}, map[string]bool{
		// The stranger's own API of the same name.
		"PutAPI": true, "GetAPI": true, "DeleteAPI": true, "GetChangelog": true,
		"PutRuleset": true, "GetRuleset": true, "DeleteRuleset": true, "LintDocument": true,
		"ListAPIs": true, "ListAPIVersions": true, "ListProducts": true, "ListPlans": true, "ExportCatalogResources": true,
		"ListCatalogAudit": true, "ExportCatalogAudit": true,
	}, []string{"Victim's", "victim's", api.ID, v.ID, product.ID, plan.ID, rules.ID, "weather-v1", `"pro"`})
	require.Greater(t, tried, 30)
	require.Equal(t, before, f.admin.Must("GET", "/catalog/v1/export", nil, nil).Body)
}

func TestTheTablesFollowFromTheLog(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	f.admin.Must("PUT", "/catalog/v1/api-versions/weather-v2", `{"api":"weather","spec":`+versionSpec(t, "mocked", "/weather/v2", meters)+`}`, nil)
	f.admin.Must("PUT", "/catalog/v1/products/weather", `{"spec":{"title":"W","includes":[{"apiVersion":"weather-v2"}]}}`, nil)
	f.admin.Must("POST", "/catalog/v1/api-versions/weather-v1/stage", `{"stage":"deprecated"}`, nil)
	f.admin.Must("PUT", "/catalog/v1/apis/weather", `{"spec":{"title":"Other"}}`, nil)
	f.admin.Must("PUT", "/catalog/v1/products/weather/plans/free", `{"spec":`+strings.Replace(free, "Free", "Freer", 1)+`}`, nil)
	f.admin.Must("POST", "/catalog/v1/products/weather/plans/pro/retire", nil, nil)
	f.admin.Must("PUT", "/catalog/v1/rulesets/default", `{"spec":{"rules":"extends: spectral:oas"}}`, nil)
	f.admin.Must("PUT", "/catalog/v1/api-versions/old-v1", `{"api":"weather","spec":{"openapi":`+quote(swagger)+`,"stage":"deprecated","sunset":"2199-01-01","route":{"hosts":["*"],"prefix":"/old"},"upstream":{"targets":[{"url":"http://127.0.0.1:1"}]}}}`, nil)
	f.admin.Must("PUT", "/catalog/v1/api-versions/secured-v1", `{"api":"weather","spec":{"openapi":`+quote(secured)+`,"route":{"hosts":["*"],"prefix":"/secured"}}}`, nil)
	other := f.tenant(t, "t2")
	other.Must("PUT", "/catalog/v1/apis/gone", `{"spec":{"title":"Gone"}}`, nil)
	other.Must("DELETE", "/catalog/v1/apis/gone", nil, nil)

	rebuilt, err := f.log(t).Rebuild(t.Context(), store.Projection())
	require.NoError(t, err)
	defer func() { require.NoError(t, rebuilt.Close(t.Context())) }()
	differences, err := rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
	counted := func() (n int) {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: f.config.PostgresURL, MaxConns: 1})
		require.NoError(t, err)
		defer db.Close()
		require.NoError(t, db.InTenant(t.Context(), "*", func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT count(*) FROM routes`).Scan(&n)
		}))
		return n
	}()
	require.Equal(t, 3, counted)
}
