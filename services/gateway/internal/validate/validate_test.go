package validate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func compileFile(t testing.TB, name string) *Document {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	d, err := Compile(string(text))
	require.NoError(t, err)
	return d
}

type sent struct {
	path    map[string]string
	query   string
	headers map[string]string
	body    string
}

func (s sent) check(o *Operation) map[string]string {
	fields := o.Check(&Request{
		Path:  func(name string) (string, bool) { v, ok := s.path[name]; return v, ok },
		Query: s.query, Body: []byte(s.body),
		Header: func(name string) []byte {
			if v, ok := s.headers[name]; ok {
				return []byte(v)
			}
			return nil
		},
	})
	wrong := map[string]string{}
	for _, f := range fields {
		wrong[f.Path] = f.Message
	}
	return wrong
}

func TestCheckTellsWhereAndWhatIsRight(t *testing.T) {
	t.Parallel()
	d := compileFile(t, "orders.yaml")
	jsonType := map[string]string{"Content-Type": "application/json"}
	for name, c := range map[string]struct {
		method, template string
		sent             sent
		wrong            map[string]string // path → part of the message
	}{
		"right":                 {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "unit=metric"}, nil},
		"path parameter":        {"GET", "/orders/{id}", sent{path: map[string]string{"id": "x"}}, map[string]string{"path.id": "want integer"}},
		"path out of range":     {"GET", "/orders/{id}", sent{path: map[string]string{"id": "0"}}, map[string]string{"path.id": "minimum"}},
		"enum":                  {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "unit=x"}, map[string]string{"query.unit": "'metric', 'imperial'"}},
		"repeated scalar":       {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "unit=metric&unit=metric"}, map[string]string{"query.unit": "more than once"}},
		"encoded query":         {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "unit=m%65tric"}, nil},
		"exploded array":        {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "tags=1&tags=2"}, nil},
		"wrong element":         {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "tags=1&tags=x"}, map[string]string{"query.tags[1]": "want integer"}},
		"comma array":           {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "ids=a,b,c,d"}, map[string]string{"query.ids": "maxItems"}},
		"deep object":           {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "filter[min]=3"}, nil},
		"deep object wrong":     {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "filter[min]=x"}, map[string]string{"query.filter.min": "want integer"}},
		"parameter of the path": {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, headers: map[string]string{"X-Trace": "long long"}}, map[string]string{"header.X-Trace": "maxLength"}},
		"required header":       {"POST", "/orders", sent{headers: jsonType, body: `{"item":"a","count":1}`}, map[string]string{"header.X-Shop": "required"}},
		"int32":                 {"GET", "/orders/{id}", sent{path: map[string]string{"id": "3000000000"}}, map[string]string{"path.id": "int32"}},
		"text or number":        {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: "mixed=12"}, nil},
		"json in the query":     {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, query: `where={"a":1}`}, map[string]string{"query.where.a": "want string"}},
		"cookie":                {"GET", "/orders/{id}", sent{path: map[string]string{"id": "7"}, headers: map[string]string{"Cookie": "a=b; session=xyz"}}, map[string]string{"cookie.session": "minLength"}},
		"body missing":          {"POST", "/orders", sent{headers: map[string]string{"X-Shop": "1"}}, map[string]string{"body": "is missing; send application/json"}},
		"media type":            {"POST", "/orders", sent{headers: map[string]string{"X-Shop": "1", "Content-Type": "text/csv"}, body: "a"}, map[string]string{"header.Content-Type": "application/json"}},
		"no json":               {"POST", "/orders", sent{headers: map[string]string{"X-Shop": "1", "Content-Type": "application/json; charset=utf-8"}, body: "{"}, map[string]string{"body": "is not JSON"}},
		"two wrong fields": {"POST", "/orders", sent{headers: map[string]string{"X-Shop": "1", "Content-Type": "application/json"}, body: `{"item":"","count":0,"extra":1}`},
			map[string]string{"body.item": "minLength", "body.count": "minimum", "body": "extra"}},
		"compressed":             {"POST", "/orders", sent{headers: map[string]string{"X-Shop": "1", "Content-Type": "application/json", "Content-Encoding": "gzip"}, body: "x"}, map[string]string{"header.Content-Encoding": "without a content coding"}},
		"other type is not read": {"POST", "/orders", sent{headers: map[string]string{"X-Shop": "1", "Content-Type": "image/png"}, body: "x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := d.Operation(c.method, c.template)
			require.NotNil(t, o)
			wrong := c.sent.check(o)
			require.Len(t, wrong, len(c.wrong), "%v", wrong)
			for path, part := range c.wrong {
				require.Contains(t, wrong[path], part, "%v", wrong)
			}
		})
	}
	require.Nil(t, d.Operation("DELETE", "/orders"))
	require.False(t, d.Operation("GET", "/orders/{id}").NeedsBody())
	require.True(t, d.Operation("POST", "/orders").NeedsBody())
}

func TestOpenAPI30(t *testing.T) {
	t.Parallel()
	d, err := Compile(`{"openapi":"3.0.3","paths":{"/x":{"post":{"requestBody":{"content":{"application/json":{"schema":
		{"type":"object","properties":{"a":{"type":"string","nullable":true},"n":{"type":"number","minimum":0,"exclusiveMinimum":true}}}}}}}}}}`)
	require.NoError(t, err)
	o := d.Operation("POST", "/x")
	headers := map[string]string{"Content-Type": "application/json"}
	require.Empty(t, sent{headers: headers, body: `{"a":null,"n":0.1}`}.check(o))
	require.Contains(t, sent{headers: headers, body: `{"n":0}`}.check(o)["body.n"], "exclusiveMinimum")
	require.Empty(t, sent{}.check(o), "the body is optional")
}

func TestDocumentsThatDoNotCompile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string][2]string{
		"syntax":          {"a: [", "read the OpenAPI document"},
		"no object":       {"[]", "not an object"},
		"version":         {`{"openapi":"2.0"}`, "not 3.0.x or 3.1.x"},
		"other file":      {`{"openapi":"3.1.0","paths":{"/x":{"get":{"parameters":[{"name":"a","in":"query","schema":{"$ref":"file:///etc/passwd"}}]}}}}`, "leaves the document"},
		"other parameter": {`{"openapi":"3.1.0","paths":{"/x":{"get":{"parameters":[{"$ref":"other.yaml#/a"}]}}}}`, "leaves the document"},
		"dangling":        {`{"openapi":"3.1.0","paths":{"/x":{"get":{"parameters":[{"$ref":"#/components/parameters/a"}]}}}}`, "names nothing"},
		"circle":          {`{"openapi":"3.1.0","components":{"parameters":{"a":{"$ref":"#/components/parameters/a"}}},"paths":{"/x":{"get":{"parameters":[{"$ref":"#/components/parameters/a"}]}}}}`, "circle"},
		"style":           {`{"openapi":"3.1.0","paths":{"/x/{a}":{"get":{"parameters":[{"name":"a","in":"path","style":"matrix","schema":{}}]}}}}`, "cannot be validated"},
		"no name":         {`{"openapi":"3.1.0","paths":{"/x":{"get":{"parameters":[{"in":"query"}]}}}}`, "needs a name"},
		"schema":          {`{"openapi":"3.1.0","paths":{"/x":{"get":{"parameters":[{"name":"a","in":"query","schema":{"type":"nonsense"}}]}}}}`, "/parameters/0/schema"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Compile(c[0])
			require.ErrorContains(t, err, c[1])
		})
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	d := compileFile(t, "orders.yaml")
	o := d.Operation("GET", "/orders/{id}")
	wrong := o.Check(&Request{
		Path:   func(string) (string, bool) { return "7", true },
		Query:  strings.Repeat("tags=x&", 1000),
		Header: func(string) []byte { return nil },
	})
	require.Len(t, wrong, maxFields)
}

func FuzzCheck(f *testing.F) {
	d := compileFile(f, "orders.yaml")
	f.Add("7", "unit=metric&tags=1&filter[min]=2", "application/json", []byte(`{"item":"a","count":1}`))
	f.Add("", "%zz&=&[", "", []byte("{"))
	f.Fuzz(func(_ *testing.T, id, query, contentType string, body []byte) {
		for _, o := range []*Operation{d.Operation("GET", "/orders/{id}"), d.Operation("POST", "/orders")} {
			o.Check(&Request{
				Path:  func(string) (string, bool) { return id, true },
				Query: query, Body: body, Header: func(string) []byte { return []byte(contentType) },
			})
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	d := compileFile(b, "orders.yaml")
	get := d.Operation("GET", "/orders/{id}")
	r := &Request{Path: func(string) (string, bool) { return "7", true }, Query: "unit=metric", Header: func(string) []byte { return nil }}
	b.ReportAllocs()
	for b.Loop() {
		if len(get.Check(r)) != 0 {
			b.Fatal("refused")
		}
	}
}
