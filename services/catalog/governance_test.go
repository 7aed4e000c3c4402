package catalog_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
)

const (
	first = `openapi: 3.0.3
info: {title: Pets, version: '1.0'}
paths:
  /pets: {get: {operationId: listPets, responses: {'200': {description: ok}}}}
  /pets/{id}: {get: {operationId: getPet, parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {'200': {description: ok}}}}
`
	second = `openapi: 3.0.3
info: {title: Pets, version: '2.0'}
paths:
  /pets:
    get: {operationId: listPets, responses: {'200': {description: ok}}}
    post: {operationId: createPet, responses: {'201': {description: made}}}
`
)

type report struct {
	Errors, Warnings int
	Results          []struct{ Rule, Severity, Message, Path string }
}

// pets registers a version of the API pets.
func (f fixture) pets(name, text, stage string, headers ...string) string {
	return f.admin.Do("PUT", "/catalog/v1/api-versions/"+name, `{"api":"pets","spec":{"openapi":`+quote(text)+`,"stage":"`+stage+`",
		"route":{"hosts":["*"],"prefix":"/`+name+`"},"upstream":{"targets":[{"url":"http://127.0.0.1:1"}]}}}`, headers...).Body
}

func TestRulesets(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.admin.Must("PUT", "/catalog/v1/apis/pets", `{"spec":{"title":"Pets"}}`, nil)
	require.NotContains(t, f.pets("pets-v1", first, "draft"), `"lint"`, "without a ruleset nothing is checked")

	var r report
	f.admin.Must("GET", "/catalog/v1/api-versions/pets-v1/lint", nil, &r)
	require.Zero(t, r.Errors)
	require.Positive(t, r.Warnings, "the ruleset that comes with Tollgate")

	const rules = `{extends: [["spectral:oas", "off"]], rules: {operation-tags: error, plural: {description: Say which, severity: warn, given: "$.paths", then: {field: "@key", function: pattern, functionOptions: {match: "s(/|$)"}}}}}`
	put := func(mode string) string {
		return `{"spec":{"title":"House rules","rules":` + quote(rules) + `,"mode":"` + mode + `"}}`
	}
	const path = "/catalog/v1/rulesets/default"
	require.Equal(t, 404, f.admin.Do("GET", path, nil).Status)
	require.Contains(t, f.admin.Do("PUT", path, `{"spec":{"rules":"rules: {}"}}`).Body, "has no rule that is on")
	require.Contains(t, f.admin.Do("PUT", "/catalog/v1/rulesets/other", put("report")).Body, "a tenant has one ruleset")
	f.admin.Must("PUT", path, put("report"), nil)
	head := f.head(t)
	f.admin.Must("PUT", path, put("report"), nil)
	require.Equal(t, head, f.head(t))

	require.Contains(t, f.pets("pets-v2", second, "draft"), `"lint":{"errors":2,"warnings":0,"infos":0,"hints":0}`)
	f.admin.Must("GET", "/catalog/v1/api-versions/pets-v1/lint", nil, &r)
	require.Equal(t, 2, r.Errors)

	f.admin.Must("PUT", path, put("enforce"), nil)
	refused := f.pets("pets-v3", second+"  /pet: {get: {operationId: x, responses: {default: {description: d}}}}\n", "draft")
	require.Contains(t, refused, "ruleset-violated")
	require.Contains(t, refused, "line 5: Operations must have tags. (rule operation-tags)")
	tagged := strings.ReplaceAll(first, "get: {", "get: {tags: [pets], ")
	require.Contains(t, f.pets("pets-v3", tagged, "draft"), `"lint":{"errors":0,"warnings":0`)

	f.admin.Must("POST", "/catalog/v1/lint", `{"openapi":`+quote(tagged)+`}`, &r)
	require.Zero(t, r.Errors)
	f.admin.Must("POST", "/catalog/v1/lint", `{"openapi":`+quote(tagged)+`,"rules":"{extends: [[\"spectral:oas\", \"off\"]], rules: {info-license: error}}"}`, &r)
	require.Equal(t, "info-license", r.Results[0].Rule)
	require.Equal(t, 400, f.admin.Do("POST", "/catalog/v1/lint", `{"openapi":"x"}`).Status)
	require.Equal(t, 400, f.admin.Do("POST", "/catalog/v1/lint", `{"openapi":`+quote(tagged)+`,"rules":"rules: 1"}`).Status)

	var exported resource.Export
	f.admin.Must("GET", "/catalog/v1/export", nil, &exported)
	require.Equal(t, "Ruleset", exported.Resources[0].Kind)
	require.Equal(t, repeat("unchanged", 5), actions(t, apply(f.admin, exported.Resources)))
	other := f.tenant(t, "t2")
	refusal := apply(other, []resource.Resource{
		res("APIVersion", `{"name":"pets-v1","api":"pets"}`, `{"openapi":`+quote(first)+`,"route":{"hosts":["*"],"prefix":"/p"}}`),
		res("API", `{"name":"pets"}`, `{"title":"Pets"}`), exported.Resources[0],
	})
	require.Equal(t, 400, refusal.Status)
	require.Contains(t, refusal.Body, "resources[0].spec.openapi", "the ruleset in the same request counts")

	f.admin.Must("DELETE", path, nil, nil)
	require.Equal(t, 404, f.admin.Do("DELETE", path, nil).Status)
	require.NotContains(t, f.pets("pets-v4", first, "draft"), `"lint"`)
	f.admin.Must("PUT", path, put("report"), nil)
}

func TestComparisonAndChangelog(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.admin.Must("PUT", "/catalog/v1/apis/pets", `{"spec":{"title":"Pets"}}`, nil)
	f.pets("pets-v1", first, "published")
	f.pets("pets-v2", second, "draft")
	f.admin.Must("POST", "/catalog/v1/api-versions/pets-v2/stage", `{"stage":"published"}`, nil, "Tollgate-Reason", "It is done.")
	f.admin.Must("POST", "/catalog/v1/api-versions/pets-v1/stage", `{"stage":"deprecated"}`, nil)
	f.admin.Must("POST", "/catalog/v1/api-versions/pets-v1/stage", `{"stage":"published"}`, nil)

	type change struct{ Rule, Level, Method, Path, Text string }
	var c struct {
		Breaking, Total int
		Changes         []change
	}
	for range 2 { // found, then kept
		f.admin.Must("GET", "/catalog/v1/api-versions/pets-v2/comparison?base=pets-v1", nil, &c)
		require.Equal(t, 1, c.Breaking)
		require.Equal(t, "/pets/{id}", c.Changes[0].Path)
		require.Equal(t, "breaking", c.Changes[0].Level)
		require.Greater(t, c.Total, 1)
	}
	require.Equal(t, 400, f.admin.Do("GET", "/catalog/v1/api-versions/pets-v2/comparison", nil).Status)
	require.Equal(t, 404, f.admin.Do("GET", "/catalog/v1/api-versions/pets-v2/comparison?base=none", nil).Status)

	type entry struct {
		APIVersion, From, To, Reason, Actor, Previous, DocumentVersion string
		Changes                                                        *struct {
			Total, Breaking int
			List            []change
		}
	}
	var log operation.List[entry]
	f.admin.Must("GET", "/catalog/v1/apis/pets/changelog", nil, &log)
	var got []string
	for _, e := range log.Items {
		require.Equal(t, "member:test", e.Actor)
		got = append(got, e.APIVersion+" "+e.From+">"+e.To)
	}
	require.Equal(t, []string{"pets-v1 deprecated>published", "pets-v1 published>deprecated", "pets-v2 draft>published", "pets-v2 >draft", "pets-v1 >published"}, got)
	published := log.Items[2]
	require.Equal(t, "It is done.", published.Reason)
	require.Equal(t, "pets-v1", published.Previous)
	require.Equal(t, "2.0", published.DocumentVersion)
	require.Equal(t, 1, published.Changes.Breaking)
	require.Len(t, published.Changes.List, 1)
	require.Empty(t, log.Items[0].Previous, "published again, nothing new")
	require.Nil(t, log.Items[4].Changes, "there was none before")

	got = nil
	for next := ""; ; {
		f.admin.Must("GET", "/catalog/v1/apis/pets/changelog?limit=2&cursor="+url.QueryEscape(next), nil, &log)
		for _, e := range log.Items {
			got = append(got, e.APIVersion)
		}
		if next = log.Next; next == "" {
			break
		}
		log = operation.List[entry]{}
	}
	require.Len(t, got, 5)
	require.Equal(t, 400, f.admin.Do("GET", "/catalog/v1/apis/pets/changelog?cursor=x", nil).Status)
	require.Equal(t, 404, f.admin.Do("GET", "/catalog/v1/apis/none/changelog", nil).Status)
}
