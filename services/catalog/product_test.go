package catalog_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

type named struct{ Name string }

func names(list operation.List[named]) (all []string) {
	for _, n := range list.Items {
		all = append(all, n.Name)
	}
	return all
}

func TestPrivateProducts(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	const path = "/catalog/v1/products/special"
	const includes = `"title":"Special","includes":[{"apiVersion":"weather-v1"}]`
	for bad, want := range map[string]string{
		`"visibility":"secret"`:                            "is not a visibility",
		`"accounts":["globex"]`:                            "spec.accounts",
		`"visibility":"private","accounts":["Globex Inc"]`: "is not the name of an account",
		`"visibility":"private","accounts":["a","a"]`:      "is there twice",
	} {
		refused := f.admin.Do("PUT", path, `{"spec":{`+includes+`,`+bad+`}}`)
		require.Equal(t, 400, refused.Status)
		require.Contains(t, refused.Body, want)
	}
	f.admin.Must("PUT", path, `{"spec":{`+includes+`,"visibility":"private","accounts":["globex"]}}`, nil)
	f.admin.Must("PUT", path+"/plans/only", `{"spec":`+strings.Replace(free, "Free", "Only", 1)+`}`, nil)
	list := func(query string) []string {
		var l operation.List[named]
		f.admin.Must("GET", "/catalog/v1/"+query, nil, &l)
		return names(l)
	}
	require.Equal(t, []string{"special", "weather"}, list("products"))
	require.Equal(t, []string{"special", "weather"}, list("products?account=globex"))
	require.Equal(t, []string{"weather"}, list("products?account=acme"))
	require.Equal(t, []string{"only", "free", "pro"}, list("plans?account=globex"))
	require.Equal(t, []string{"free", "pro"}, list("plans?account=acme"))
	require.Empty(t, list("plans?account=acme&product=special"))
	v := f.version(t, "weather-v1")
	f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetProducts()) == 2 })
}

func TestProductsOfSeveralAPIs(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	f.admin.Must("PUT", "/catalog/v1/apis/maps", `{"spec":{"title":"Maps"}}`, nil)
	f.admin.Must("PUT", "/catalog/v1/api-versions/maps-v1", `{"api":"maps","spec":`+versionSpec(t, "published", "/maps/v1", `,"meters":{"tile":{"unit":"tile"}}`)+`}`, nil)
	f.admin.Must("PUT", "/catalog/v1/products/weather", `{"spec":{"title":"Weather and maps","includes":[{"apiVersion":"weather-v1"},{"apiVersion":"maps-v1"}]}}`, nil)
	for _, name := range []string{"weather-v1", "maps-v1"} {
		f.gatewayDocument(t, f.version(t, name).ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetProducts()) == 1 })
	}
	f.admin.Must("PUT", "/catalog/v1/products/weather/plans/tiles", `{"spec":{"title":"Tiles","currency":"USD","prices":[
		{"name":"tiles","meter":"tile","model":"unit","unit":"0.01"},{"name":"days","meter":"forecast-day","model":"unit","unit":"0.10"}]}}`, nil)
	refused := f.admin.Do("PUT", "/catalog/v1/products/weather", `{"spec":{"title":"Weather","includes":[{"apiVersion":"weather-v1"}]}}`)
	require.Equal(t, 409, refused.Status)
	require.Contains(t, refused.Body, "the meter tile")
}

func TestPlansSideBySide(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	f.admin.Must("PUT", "/catalog/v1/products/weather/plans/old", `{"spec":`+free+`}`, nil)
	f.admin.Must("POST", "/catalog/v1/products/weather/plans/old/retire", nil, nil)
	f.admin.Must("PUT", "/catalog/v1/products/weather/plans/share", `{"spec":{"title":"Share","currency":"EUR","period":{"every":"quarter"},"prices":[
		{"name":"share","meter":"calls","model":"percentage","rate":"1","fixed":"0.1"}]}}`, nil)
	type limit struct{ Rate, Quota, Burst uint64 }
	type price struct{ Name, Model, Amount, Unit string }
	type cost struct {
		Currency, Total string
		Lines           []struct{ Price, Amount string }
	}
	var c struct {
		Product, Title string
		Includes       []struct {
			APIVersion, API, Stage string
			Operations             int
		}
		Plans []struct {
			Name, Currency, Every, Approval, Unrated string
			Version                                  uint32
			Cost                                     *cost
		}
		Limits []struct {
			Kind, Meter, Per string
			Values           []*limit
		}
		Prices []struct {
			Meter  string
			Values [][]price
		}
	}
	const path = "/catalog/v1/products/weather/plan-comparison"
	f.admin.Must("POST", path, `{"usage":{"meters":{"calls":{"quantity":"1000"},"forecast-day":{"quantity":"250"}}}}`, &c)
	require.Equal(t, "Weather data", c.Title)
	require.Equal(t, "weather-v1", c.Includes[0].APIVersion)
	require.Equal(t, 2, c.Includes[0].Operations)
	require.Len(t, c.Plans, 3, "retired ones are left out")
	require.Equal(t, []string{"free", "pro", "share"}, []string{c.Plans[0].Name, c.Plans[1].Name, c.Plans[2].Name})
	require.Equal(t, "0.00", c.Plans[0].Cost.Total)
	require.Equal(t, "49.75", c.Plans[1].Cost.Total, "49 and three packages at 0.25")
	require.Equal(t, "USD", c.Plans[1].Cost.Currency)
	require.Equal(t, "quarter", c.Plans[2].Every)
	require.Nil(t, c.Plans[2].Cost)
	require.Contains(t, c.Plans[2].Unrated, "calls", "the price goes by events")
	require.Len(t, c.Limits, 2)
	require.Equal(t, "rate", c.Limits[0].Kind)
	require.Equal(t, []*limit{{Rate: 10, Burst: 20}, nil, nil}, c.Limits[0].Values)
	require.Equal(t, "month", c.Limits[1].Per)
	require.Equal(t, uint64(1000), c.Limits[1].Values[0].Quota)
	require.Equal(t, "", c.Prices[0].Meter)
	require.Equal(t, [][]price{{}, {{Name: "base", Model: "flat", Amount: "49.00"}}, {}}, c.Prices[0].Values)
	require.Equal(t, "calls", c.Prices[1].Meter)
	require.Equal(t, "forecast-day", c.Prices[2].Meter)

	f.admin.Must("POST", path, `{"plans":["share"],"usage":{"events":{"calls":["100","50"]}}}`, &c)
	require.Len(t, c.Plans, 1)
	require.Equal(t, "1.70", c.Plans[0].Cost.Total)
	f.admin.Must("POST", path, `{}`, &c)
	require.Len(t, c.Plans, 3)
	require.Equal(t, 404, f.admin.Do("POST", path, `{"plans":["none"]}`).Status)
	require.Contains(t, f.admin.Do("POST", path, `{"usage":{"meters":{"calls":{"quantity":"many"}}}}`).Body, "usage.meters.calls.quantity")
	_, err := f.service.API().OpenAPI()
	require.NoError(t, err)
}

func TestWhatSubscriptionsGoByIsChecked(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	const path = "/catalog/v1/products/weather/plans/terms"
	put := func(more string) string {
		return f.admin.Do("PUT", path, `{"spec":{"title":"Terms","currency":"USD",`+more+`}}`).Body
	}
	for bad, want := range map[string]string{
		`"terms":{"version":"","url":"https://example.com/t"}`: "spec.terms.version",
		`"terms":{"version":"1","url":"t"}`:                    "spec.terms.url",
		`"requestExpiresDays":5000`:                            "spec.requestExpiresDays",
		`"approval":"auto","requestExpiresDays":5`:             "never wait",
	} {
		require.Contains(t, put(bad), want)
	}
	require.Contains(t, put(`"approval":"auto","capacity":10,"requestExpiresDays":5,"terms":{"version":"2027-01","url":"https://example.com/t"}`), `"capacity":10`)
}
