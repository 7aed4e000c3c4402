package catalog_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
)

const secured = `openapi: 3.1.0
info: {title: T, version: '1'}
security: [{login: [read]}]
paths:
  /a:
    get: {operationId: getA, responses: {'200': {description: ok, content: {application/json: {schema: {type: object, properties: {name: {type: string}}}}}}}}
    post: {operationId: postA, security: [{login: [write]}, {connect: [admin]}], responses: {'201': {description: made}}}
    delete: {security: [], responses: {'204': {description: gone}}}
components:
  securitySchemes:
    login: {type: oauth2, flows: {clientCredentials: {tokenUrl: https://login.example.com/token, scopes: {read: r, write: w}}}}
    connect: {type: openIdConnect, openIdConnectUrl: https://login.example.com/.well-known/openid-configuration}
`

func TestWhatGatewaysAskOfCallers(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.admin.Must("PUT", "/catalog/v1/apis/a", `{"spec":{"title":"A"}}`, nil)
	spec := func(more string) string {
		return `{"api":"a","spec":{"openapi":` + quote(secured) + `,"stage":"mocked","route":{"hosts":["*"],"prefix":"/a"}` + more + `}}`
	}
	const path = "/catalog/v1/api-versions/a-v1"
	const jwt = `,"authenticate":["oauth2","jwt"],"issuers":[{"issuer":"https://login.example.com","jwksUri":"https://login.example.com/jwks","audiences":["a"]}]`
	f.admin.Must("PUT", path, spec(jwt+`,"access":[{"operations":["DELETE /a"],"roles":["owner"]}]`), nil)
	v := f.version(t, "a-v1")
	d := f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetAccess()) == 3 })
	access := map[string]string{}
	for _, a := range d.GetAccess() {
		access[a.GetOperation()] = fmt.Sprint(a.GetScopes(), a.GetRoles())
	}
	require.Equal(t, map[string]string{
		"getA": `[scopes:"read"] []`, "postA": `[scopes:"write" scopes:"admin"] []`, "DELETE /a": "[] [owner]",
	}, access)
	require.Equal(t, []string{"oauth2", "jwt"}, d.GetAuthenticate())
	require.Equal(t, "https://login.example.com/jwks", d.GetIssuers()[0].GetJwksUri())
	require.Empty(t, d.GetOpenapi())

	require.Len(t, d.GetMocks(), 3, "a mocked version needs no upstream")
	answers := map[string]string{}
	for _, m := range d.GetMocks() {
		answers[m.GetOperation()] = fmt.Sprint(m.GetStatus(), string(m.GetBody()))
	}
	require.Equal(t, map[string]string{"getA": `200{"name":"text"}`, "postA": "201", "DELETE /a": "204"}, answers)

	refused := f.admin.Do("PUT", path, spec(jwt+`,"access":[{"operations":["getB"],"roles":["owner"]}]`))
	require.Equal(t, 400, refused.Status)
	require.Contains(t, refused.Body, `\"getB\" is no operation of the document`)
	require.Contains(t, f.admin.Do("PUT", path, spec(`,"authenticate":["jwt"]`)).Body, "spec.issuers")
	f.admin.Must("PUT", path, spec(``), nil)
	f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetAccess()) == 0 && len(d.GetIssuers()) == 0 })
}

func TestDeprecationAndSunset(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	f := startAt(t, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	require.Equal(t, 200, apply(f.admin, sample(t)).Status)
	const path = "/catalog/v1/api-versions/weather-v1"
	v := f.version(t, "weather-v1")
	f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetDeprecatedAt() == 0 && !d.GetRemoved() })

	sunset := time.Now().UTC().Add(48 * time.Hour).Truncate(time.Second)
	require.Equal(t, 400, f.admin.Do("POST", path+"/stage", `{"stage":"retired","sunset":"2099-01-01"}`).Status)
	require.Contains(t, f.admin.Do("POST", path+"/stage", `{"stage":"deprecated","sunset":"2020-01-01"}`).Body, "is not after now")
	var changed struct{ DeprecatedAt time.Time }
	f.admin.Must("POST", path+"/stage", fmt.Sprintf(`{"stage":"deprecated","sunset":%q,"deprecationLink":"https://example.com/v2"}`, sunset.Format(time.RFC3339)), &changed)
	d := f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetStage() == "deprecated" })
	require.Equal(t, changed.DeprecatedAt.Unix(), d.GetDeprecatedAt())
	require.Equal(t, sunset.Unix(), d.GetSunsetAt())
	require.Equal(t, "https://example.com/v2", d.GetDeprecationLink())

	f.admin.Must("POST", path+"/stage", `{"stage":"published"}`, nil)
	d = f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetStage() == "published" })
	require.Zero(t, d.GetDeprecatedAt()+d.GetSunsetAt())
	require.Empty(t, d.GetDeprecationLink())

	f.admin.Must("POST", path+"/stage", fmt.Sprintf(`{"stage":"deprecated","sunset":%q}`, sunset.Format(time.RFC3339)), nil)
	var exported resource.Export
	f.admin.Must("GET", "/catalog/v1/export?kind=APIVersion", nil, &exported)
	require.Equal(t, []string{"unchanged"}, actions(t, apply(f.admin, exported.Resources)))
	ahead.Store(int64(72 * time.Hour))
	f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetStage() == "retired" && d.GetRemoved() })
}

const swagger = `swagger: '2.0'
info: {title: Old, version: '0.9'}
basePath: /old
consumes: [application/json]
produces: [application/json]
paths:
  /things/{id}:
    get:
      operationId: getThing
      parameters: [{name: id, in: path, required: true, type: integer}]
      responses: {'200': {description: ok, schema: {$ref: '#/definitions/Thing'}}}
definitions:
  Thing: {type: object, properties: {id: {type: integer}, name: {type: string, x-nullable: true}}}
`

func TestSwaggerIsConverted(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.admin.Must("PUT", "/catalog/v1/apis/old", `{"spec":{"title":"Old"}}`, nil)
	const path = "/catalog/v1/api-versions/old-v1"
	put := `{"api":"old","spec":{"openapi":` + quote(swagger) + `,"stage":"mocked","route":{"hosts":["*"],"prefix":"/old"},"policies":[{"kind":"validate","request":true}]}}`
	var v struct {
		ID, DocumentSHA256, DocumentVersion string
		Converted                           bool
	}
	f.admin.Must("PUT", path, put, &v)
	require.True(t, v.Converted)
	require.Equal(t, "0.9", v.DocumentVersion)
	require.Equal(t, document.Digest(swagger), v.DocumentSHA256, "what was given is what may be given again")
	head := f.head(t)
	f.admin.Must("PUT", path, put, nil)
	require.Equal(t, head, f.head(t))

	require.Equal(t, swagger, f.admin.Must("GET", path+"/document?original=true", nil, nil).Body)
	converted := f.admin.Must("GET", path+"/document", nil, nil)
	require.Equal(t, "application/json", converted.Header.Get("Content-Type"))
	require.Contains(t, converted.Body, `"openapi": "3.0.`)
	d := f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return d.GetOpenapi() != "" })
	require.Equal(t, converted.Body, d.GetOpenapi())
	require.JSONEq(t, `{"id":1,"name":"text"}`, string(d.GetMocks()[0].GetBody()))

	var exported resource.Export
	f.admin.Must("GET", "/catalog/v1/export", nil, &exported)
	require.Equal(t, []string{"unchanged", "unchanged"}, actions(t, apply(f.admin, exported.Resources)))
}

func TestExternalReferences(t *testing.T) {
	t.Parallel()
	f := start(t)
	asked := atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/pets.yaml":
			fmt.Fprint(w, "components: {schemas: {Pet: {type: object, properties: {name: {type: string, example: Rex}, owner: {$ref: 'people.yaml#/Person'}}}}}\n")
		case "/people.yaml":
			fmt.Fprint(w, "Person: {type: object, properties: {name: {type: string, example: Ann}}}\n")
		case "/away":
			http.Redirect(w, r, "http://localhost:1/secret", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	f.admin.Must("PUT", "/catalog/v1/apis/pets", `{"spec":{"title":"Pets"}}`, nil)
	put := func(name, ref, hosts string) string {
		text := "openapi: 3.0.3\ninfo: {title: T, version: '1'}\npaths: {/a: {get: {responses: {'200': {description: ok, content: {application/json: {schema: {$ref: '" + ref + "'}}}}}}}}\n"
		return `{"api":"pets","spec":{"openapi":` + quote(text) + `,"stage":"mocked","route":{"hosts":["*"],"prefix":"/` + name + `"},"externalReferences":[` + hosts + `]}}`
	}
	pet := server.URL + "/pets.yaml#/components/schemas/Pet"
	for name, c := range map[string]struct{ ref, hosts, want string }{
		"none allowed": {pet, ``, "leads out of the document"},
		"other host":   {pet, `"example.com"`, "is not in externalReferences"},
		"not there":    {server.URL + "/nothing#/a", quote(host), "answers with status 404"},
		"redirect":     {server.URL + "/away#/a", quote(host), "is not in externalReferences"},
		"file":         {"file:///etc/passwd#/a", quote(host), "is not an https URL"},
		"relative":     {"pets.yaml#/a", quote(host), "pets.yaml"},
	} {
		refused := f.admin.Do("PUT", "/catalog/v1/api-versions/bad", put("bad", c.ref, c.hosts))
		require.Equal(t, 400, refused.Status, "%s: %s", name, refused.Body)
		require.Contains(t, refused.Body, c.want, name)
	}
	asked.Store(0)
	var v version
	f.admin.Must("PUT", "/catalog/v1/api-versions/pets-v1", put("pets", pet, quote(host)), &v)
	require.Equal(t, int32(2), asked.Load(), "each document is read once")
	d := f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetMocks()) == 1 })
	require.JSONEq(t, `{"name":"Rex","owner":{"name":"Ann"}}`, string(d.GetMocks()[0].GetBody()))
	whole := f.admin.Must("GET", "/catalog/v1/api-versions/pets-v1/document", nil, nil).Body
	require.NotContains(t, whole, host, "the document is complete in itself")
	head := f.head(t)
	f.admin.Must("PUT", "/catalog/v1/api-versions/pets-v1", put("pets", pet, quote(host)), nil)
	require.Equal(t, head, f.head(t))
	require.Contains(t, f.admin.Do("PUT", "/catalog/v1/api-versions/pets-v1", put("pets", pet, "")).Body, "spec.externalReferences")
}

func TestALargeDocument(t *testing.T) {
	t.Parallel()
	f := start(t)
	engines, err := engine.Find()
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(string(engines), "node_modules/@octokit/openapi/generated/api.github.com.json"))
	require.NoError(t, err)
	packed, err := document.Pack(string(text), 0)
	require.NoError(t, err)
	f.admin.Must("PUT", "/catalog/v1/apis/github", `{"spec":{"title":"GitHub"}}`, nil)
	var v version
	f.admin.Must("PUT", "/catalog/v1/api-versions/github-v1", `{"api":"github","spec":{"openapi":`+quote(packed)+`,"stage":"published",
		"route":{"hosts":["*"],"prefix":"/"},"upstream":{"targets":[{"url":"https://api.github.com"}]},"policies":[{"kind":"validate","request":true}]}}`, &v)
	require.Equal(t, document.Digest(string(text)), v.DocumentSHA256)

	listed, next := 0, ""
	for {
		var page operation.List[struct{ ID string }]
		f.admin.Must("GET", "/catalog/v1/api-versions/github-v1/operations?limit=200&cursor="+next, nil, &page)
		listed += len(page.Items)
		if next = page.Next; next == "" {
			break
		}
	}
	require.Equal(t, 1223, listed)
	require.Equal(t, string(text), f.admin.Must("GET", "/catalog/v1/api-versions/github-v1/document", nil, nil).Body)
	d := f.gatewayDocument(t, v.ID, func(d *gatewayv1.APIDocument) bool { return len(d.GetOpenapiGzip()) > 0 })
	require.Empty(t, d.GetOpenapi())
	require.Len(t, d.GetOperations(), 1223)
	unpacked, err := document.Decompress(d.GetOpenapiGzip())
	require.NoError(t, err)
	require.Equal(t, string(text), unpacked)

	var exported resource.Export
	answer := f.admin.Must("GET", "/catalog/v1/export", nil, &exported)
	require.Less(t, len(answer.Body), 4<<20, "large documents are exported compressed")
	require.Equal(t, []string{"unchanged", "unchanged"}, actions(t, apply(f.admin, exported.Resources)))
}
