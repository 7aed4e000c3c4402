package domain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

func apply[S any](state S, evolve func(S, proto.Message) S, events []proto.Message) S {
	for _, e := range events {
		state = evolve(state, e)
	}
	return state
}

const text = "the document"

var now = time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)

var operations = []*catalogv1.Operation{{Id: "getCurrent", Method: "GET", Path: "/current/{city}"}, {Id: "POST /forecasts", Method: "POST", Path: "/forecasts"}}

var api = domain.API{ID: "a", Name: "weather", Spec: &catalogv1.APISpec{Title: "Weather"}}

// spec decodes a version's specification; route and upstream are there unless it has its own.
func spec(t require.TestingT, more string) *catalogv1.APIVersionSpec {
	s := &catalogv1.APIVersionSpec{
		Openapi: text, Route: &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/w"},
		Upstream: &catalogv1.Upstream{Targets: []*catalogv1.Target{{Url: "http://127.0.0.1:1"}}},
	}
	own := &catalogv1.APIVersionSpec{}
	require.NoError(t, protojson.Unmarshal([]byte("{"+more+"}"), own))
	if own.Route != nil {
		s.Route = nil
	}
	if own.Upstream != nil {
		s.Upstream = nil
	}
	proto.Merge(s, own)
	return s
}

func registered(t require.TestingT, more string) domain.APIVersion {
	events, err := domain.RegisterAPIVersion("v", api, "weather-v1", spec(t, more), document.Document{SHA256: document.Digest(text)}, nil, now)
	require.NoError(t, err)
	return apply(domain.APIVersion{}, domain.APIVersion.Evolve, events)
}

func TestWhatIsWrongInAVersion(t *testing.T) {
	t.Parallel()
	for more, path := range map[string]string{
		`"stage":"done"`:                       "spec.stage",
		`"route":{"hosts":["*"]}`:              "spec.route.prefix",
		`"route":{"hosts":["*"],"prefix":"w"}`: "spec.route.prefix", `"route":{"hosts":["*"],"prefix":"/w/"}`: "spec.route.prefix",
		`"route":{"hosts":["*"],"prefix":"//w"}`: "spec.route.prefix", `"route":{"hosts":["*"],"prefix":"/w/../x"}`: "spec.route.prefix",
		`"route":{"hosts":["*"],"prefix":"/w?x"}`: "spec.route.prefix", `"route":{"hosts":["*"],"prefix":"/{w}"}`: "spec.route.prefix",
		`"route":{"hosts":["*"],"prefix":"/%2e"}`: "spec.route.prefix", `"route":{"prefix":"/w"}`: "spec.route.hosts",
		`"route":{"hosts":["a.example:80"],"prefix":"/w"}`: "spec.route.hosts[0]", `"route":{"hosts":["A.example"],"prefix":"/w"}`: "spec.route.hosts[0]",
		`"route":{"hosts":["*.*"],"prefix":"/w"}`: "spec.route.hosts[0]", `"route":{"hosts":["a.*.b"],"prefix":"/w"}`: "spec.route.hosts[0]",
		`"route":{"hosts":["-a.b"],"prefix":"/w"}`: "spec.route.hosts[0]", `"route":{"hosts":["a.b","a.b"],"prefix":"/w"}`: "spec.route.hosts[1]",
		`"route":{"hosts":[""],"prefix":"/w"}`: "spec.route.hosts[0]",
		`"upstream":{}`:                        "spec.upstream.targets", `"upstream":{"targets":[{"url":""}]}`: "spec.upstream.targets[0].url",
		`"upstream":{"targets":[{"url":"ftp://a"}]}`: "spec.upstream.targets[0].url", `"upstream":{"targets":[{"url":"http://u:secret@a"}]}`: "spec.upstream.targets[0].url",
		`"upstream":{"targets":[{"url":"http://a?x"}]}`: "spec.upstream.targets[0].url", `"upstream":{"targets":[{"url":"http://a#x"}]}`: "spec.upstream.targets[0].url",
		`"upstream":{"targets":[{"url":"//a"}]}`: "spec.upstream.targets[0].url", `"upstream":{"targets":[{"url":"http://"}]}`: "spec.upstream.targets[0].url",
		`"upstream":{"targets":[{"url":"http://a"},{"url":"http://a"}]}`: "spec.upstream.targets[1].url",
		`"upstream":{"targets":[{"url":"http://a"}],"timeout":"11m"}`:    "spec.upstream.timeout", `"upstream":{"targets":[{"url":"http://a"}],"timeout":"0s"}`: "spec.upstream.timeout",
		`"upstream":{"targets":[{"url":"http://a"}],"timeout":"10"}`:                                      "spec.upstream.timeout",
		`"upstream":{"targets":[{"url":"http://a"}],"retries":{"on":["connect"]}}`:                        "spec.upstream.retries.attempts",
		`"upstream":{"targets":[{"url":"http://a"}],"retries":{"attempts":6,"on":["connect"]}}`:           "spec.upstream.retries.attempts",
		`"upstream":{"targets":[{"url":"http://a"}],"retries":{"attempts":2}}`:                            "spec.upstream.retries.on",
		`"upstream":{"targets":[{"url":"http://a"}],"retries":{"attempts":2,"on":["500"]}}`:               "spec.upstream.retries.on[0]",
		`"upstream":{"targets":[{"url":"http://a"}],"retries":{"attempts":2,"on":["connect","connect"]}}`: "spec.upstream.retries.on[1]",
		`"authenticate":["password"]`: "spec.authenticate[0]", `"authenticate":["apiKey","apiKey"]`: "spec.authenticate[1]",
		`"meters":{"calls":{}}`: "spec.meters.calls", `"meters":{"Rows":{}}`: "spec.meters.Rows", `"meters":{"1a":{}}`: "spec.meters.1a", `"meters":{"a b":{}}`: "spec.meters.a b",
		`"policies":[{"kind":"waf"}]`: "spec.policies[0].kind", `"policies":[{"kind":"validate"}]`: "spec.policies[0].request",
		`"policies":[{"kind":"validate","request":true},{"kind":"validate","request":true}]`: "spec.policies[1].kind",
		`"policies":[{"kind":"validate","request":true,"origins":["*"]}]`:                    "spec.policies[0].origins",
		`"policies":[{"kind":"validate","request":true,"maxBody":"99999999999"}]`:            "spec.policies[0].maxBody",
		`"policies":[{"kind":"cors"}]`:                                                       "spec.policies[0].origins", `"policies":[{"kind":"cors","origins":["*"],"credentials":true}]`: "spec.policies[0].credentials",
		`"policies":[{"kind":"cors","origins":["*","https://a.example"]}]`: "spec.policies[0].origins", `"policies":[{"kind":"cors","origins":["https://a.example/"]}]`: "spec.policies[0].origins[0]",
		`"policies":[{"kind":"cors","origins":["a.example"]}]`: "spec.policies[0].origins[0]", `"policies":[{"kind":"cors","origins":["*"],"request":true}]`: "spec.policies[0].request",
		`"policies":[{"kind":"cors","origins":["*"],"methods":["get"]}]`: "spec.policies[0].methods[0]", `"policies":[{"kind":"cors","origins":["*"],"headers":["a b"]}]`: "spec.policies[0].headers[0]",
		`"policies":[{"kind":"cors","origins":["*"],"expose":[""]}]`: "spec.policies[0].expose[0]", `"policies":[{"kind":"cors","origins":["*"],"maxAge":"25h"}]`: "spec.policies[0].maxAge",
		`"authenticate":["jwt"]`: "spec.issuers", `"issuers":[{"issuer":"a","jwksUri":"https://a","audiences":["w"]}]`: "spec.issuers",
		`"authenticate":["jwt"],"issuers":[{"jwksUri":"https://a","audiences":["w"]}]`:                                                                     "spec.issuers[0].issuer",
		`"authenticate":["jwt"],"issuers":[{"issuer":"a","jwksUri":"http://a.example","audiences":["w"]}]`:                                                 "spec.issuers[0].jwksUri",
		`"authenticate":["jwt"],"issuers":[{"issuer":"a","jwksUri":"https://u:secret@a.example","audiences":["w"]}]`:                                       "spec.issuers[0].jwksUri",
		`"authenticate":["jwt"],"issuers":[{"issuer":"a","jwksUri":"https://a.example"}]`:                                                                  "spec.issuers[0].audiences",
		`"authenticate":["jwt"],"issuers":[{"issuer":"a","jwksUri":"https://a","audiences":["w"]},{"issuer":"a","jwksUri":"https://a","audiences":["w"]}]`: "spec.issuers[1].issuer",
		`"access":[{"scopes":["read"]}]`: "spec.access[0]", `"authenticate":["apiKey"],"access":[{}]`: "spec.access[0]",
		`"authenticate":["apiKey"],"access":[{"scopes":["a b"]}]`:                                                   "spec.access[0].scopes[0]",
		`"authenticate":["apiKey"],"access":[{"operations":["nothing"],"scopes":["read"]}]`:                         "spec.access[0].operations[0]",
		`"authenticate":["apiKey"],"access":[{"roles":["a"]},{"operations":["GET /current/{city}"],"roles":["b"]}]`: "spec.access[1].roles",
		`"sunset":"2027-06-30"`: "spec.sunset", `"stage":"deprecated","sunset":"soon"`: "spec.sunset", `"stage":"deprecated","sunset":"2027-01-02"`: "spec.sunset",
		`"deprecationLink":"https://example.com/v2"`: "spec.deprecationLink", `"stage":"deprecated","deprecationLink":"/v2"`: "spec.deprecationLink",
		`"stage":"deprecated","deprecationLink":"https://u:secret@example.com"`: "spec.deprecationLink",
		`"externalReferences":["*.example.com"]`:                                "spec.externalReferences[0]", `"externalReferences":["https://example.com"]`: "spec.externalReferences[0]",
	} {
		t.Run(more, func(t *testing.T) {
			t.Parallel()
			_, err := domain.RegisterAPIVersion("v", api, "weather-v1", spec(t, more), document.Document{Operations: operations}, nil, now)
			require.Equal(t, problem.Invalid, problem.KindOf(err))
			var known *problem.Error
			require.ErrorAs(t, err, &known)
			require.Equal(t, path, known.Fields[0].Path, "%s", err)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestWhatIsRightInAVersion(t *testing.T) {
	t.Parallel()
	for _, more := range []string{
		``, `"stage":"published"`, `"route":{"hosts":["api.example.com","*.example.com","localhost","127.0.0.1"],"prefix":"/"}`,
		`"route":{"hosts":["*"],"prefix":"/v1.0/a_b~c@d"}`,
		`"upstream":{"targets":[{"url":"https://a.example:8443/base","weight":3},{"url":"http://[::1]:80"}],"timeout":"10m","retries":{"attempts":5,"on":["connect","reset","timeout","502","503","504"]}}`,
		`"authenticate":["apiKey"],"meters":{"forecast-day":{"unit":"day"},"rows":{}}`,
		`"policies":[{"kind":"validate","request":true,"maxBody":"1048576"},{"kind":"cors","origins":["https://a.example","http://localhost:3000"],"methods":["GET"],"headers":["X-A"],"expose":["Retry-After"],"credentials":true,"maxAge":"10m"}]`,
	} {
		registered(t, more)
	}
	v := registered(t, ``)
	require.Equal(t, domain.Draft, v.Stage)
	require.Empty(t, v.Spec.GetOpenapi())
}

func TestAVersionOfADeletedAPI(t *testing.T) {
	t.Parallel()
	deleted := api.Evolve(&catalogv1.APIDeleted{Api: "a"})
	_, err := domain.RegisterAPIVersion("v", deleted, "weather-v1", spec(t, ``), document.Document{}, nil, now)
	require.Equal(t, problem.Conflict, problem.KindOf(err))
	_, err = deleted.Change(&catalogv1.APISpec{Title: "X"})
	require.Equal(t, problem.Conflict, problem.KindOf(err))
	_, err = api.Delete(1)
	require.ErrorContains(t, err, "1 versions")
}

func TestTheDocumentNeverChanges(t *testing.T) {
	t.Parallel()
	v := registered(t, ``)
	other := spec(t, ``)
	other.Openapi = "another document"
	_, err := v.Put(other, nil, now)
	require.Equal(t, problem.Conflict, problem.KindOf(err))
	require.ErrorContains(t, err, "register a new version")
	other.Openapi = ""
	events, err := v.Put(other, nil, now)
	require.NoError(t, err)
	require.Empty(t, events)
}

func TestWhatCallersNeed(t *testing.T) {
	t.Parallel()
	_, err := domain.RegisterAPIVersion("v", api, "weather-v1", spec(t, `"authenticate":["oauth2","jwt"],
		"access":[{"scopes":["read"]},{"operations":["getCurrent"],"scopes":["current"],"roles":["admin"]},{"operations":["POST /forecasts"],"roles":["buyer"]}],
		"issuers":[{"issuer":"https://login.example.com","jwksUri":"http://127.0.0.1:8080/jwks","audiences":["weather"]}]`), document.Document{Operations: operations}, nil, now)
	require.NoError(t, err)
}

func TestTheEndOfAVersion(t *testing.T) {
	t.Parallel()
	v := registered(t, ``)
	v.Stage = domain.Published
	_, err := v.ChangeStage(domain.Retired, domain.Ending{Sunset: "2027-06-30"}, now)
	require.ErrorContains(t, err, "belongs to the stage deprecated")
	_, err = v.ChangeStage(domain.Deprecated, domain.Ending{Sunset: "2026-06-30"}, now)
	require.ErrorContains(t, err, "is not after now")

	events, err := v.ChangeStage(domain.Deprecated, domain.Ending{Sunset: "2027-06-30", Link: "https://example.com/v2"}, now)
	require.NoError(t, err)
	require.Len(t, events, 2)
	v = apply(v, domain.APIVersion.Evolve, events)
	at, ok := domain.Sunset(v.Spec)
	require.True(t, ok)
	require.Equal(t, time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC), at)

	events, err = v.ChangeStage(domain.Deprecated, domain.Ending{Sunset: "2027-05-01T12:00:00+02:00"}, now)
	require.NoError(t, err)
	require.Len(t, events, 1, "another end, the same stage")
	v = apply(v, domain.APIVersion.Evolve, events)
	require.Equal(t, "https://example.com/v2", v.Spec.GetDeprecationLink(), "what is left out stays")

	same := spec(t, `"stage":"deprecated","sunset":"2027-05-01T12:00:00+02:00","deprecationLink":"https://example.com/v2"`)
	events, err = v.Put(same, nil, now.AddDate(1, 0, 0))
	require.NoError(t, err, "an end that has come may stay")
	require.Empty(t, events)

	events, err = v.ChangeStage(domain.Published, domain.Ending{}, now)
	require.NoError(t, err)
	v = apply(v, domain.APIVersion.Evolve, events)
	require.Empty(t, v.Spec.GetSunset()+v.Spec.GetDeprecationLink())
}

// allowed is the life cycle, written down a second time.
var allowed = map[string]string{
	"draft": "mocked published retired", "mocked": "draft published retired", "published": "deprecated", "deprecated": "published retired", "retired": "",
}

func TestTheLifeCycle(t *testing.T) {
	t.Parallel()
	for _, from := range domain.Stages() {
		for _, to := range domain.Stages() {
			v := registered(t, `"stage":"`+from+`"`)
			events, err := v.ChangeStage(to, domain.Ending{}, now)
			put, putErr := v.Put(spec(t, `"stage":"`+to+`"`), nil, now)
			switch {
			case from == to:
				require.NoError(t, err)
				require.Empty(t, events)
			case slices.Contains(strings.Fields(allowed[from]), to):
				require.NoError(t, err)
				require.Equal(t, to, apply(v, domain.APIVersion.Evolve, events).Stage)
				require.Equal(t, from, events[0].(*catalogv1.APIVersionStageChanged).GetFrom())
			default:
				require.Equal(t, problem.Conflict, problem.KindOf(err), "%s to %s", from, to)
			}
			require.Equal(t, err == nil, putErr == nil)
			require.Len(t, put, len(events))
		}
	}
	v := registered(t, `"stage":"mocked"`)
	v.Spec.Upstream = nil
	_, err := v.ChangeStage(domain.Published, domain.Ending{}, now)
	require.ErrorContains(t, err, "no upstream")
	_, err = v.ChangeStage("done", domain.Ending{}, now)
	require.Equal(t, problem.Invalid, problem.KindOf(err))
}

// Whatever is asked of a version: what was decided is what it then is, asking again changes nothing, and retired stays.
func TestVersionProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := registered(t, ``)
		for range rapid.IntRange(1, 20).Draw(t, "commands") {
			before := v
			wanted := spec(t, ``)
			wanted.Stage = rapid.SampledFrom(append(domain.Stages(), "")).Draw(t, "stage")
			wanted.Route.Prefix = rapid.SampledFrom([]string{"/a", "/b"}).Draw(t, "prefix")
			events, err := v.Put(wanted, nil, now)
			if err != nil {
				require.Equal(t, problem.Conflict, problem.KindOf(err))
				continue
			}
			v = apply(v, domain.APIVersion.Evolve, events)
			require.True(t, proto.Equal(domain.Configuration(wanted), v.Spec))
			if wanted.GetStage() != "" {
				require.Equal(t, wanted.GetStage(), v.Stage)
			}
			again, err := v.Put(wanted, nil, now)
			require.NoError(t, err)
			require.Empty(t, again)
			if before.Stage == domain.Retired {
				require.Equal(t, before, v)
			}
			require.Equal(t, before.DocumentSHA256, v.DocumentSHA256)
		}
	})
}
