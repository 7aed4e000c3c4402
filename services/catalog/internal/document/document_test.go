package document_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
)

const head = "openapi: 3.1.0\ninfo: {title: T, version: '1'}\n"

const ok = "{responses: {'200': {description: ok}}}"

func TestReadTheSample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../testdata/weather.yaml")
	require.NoError(t, err)
	d, err := document.Read(t.Context(), string(text), document.Options{})
	require.NoError(t, err)
	require.Equal(t, "1.2.0", d.Version)
	require.Equal(t, document.Digest(string(text)), d.SHA256)
	require.Len(t, d.Operations, 2)
	require.Equal(t, "getCurrent", d.Operations[0].GetId())
	require.Equal(t, "GET", d.Operations[0].GetMethod())
	require.Equal(t, "/current/{city}", d.Operations[0].GetPath())
	require.Equal(t, "Current weather in a city", d.Operations[0].GetSummary())
	require.Equal(t, "createForecast", d.Operations[1].GetId())
}

func TestReadWhatIsValid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		ids  []string
	}{
		"3.0 JSON":           {`{"openapi":"3.0.3","info":{"title":"T","version":"1"},"paths":{"/a":{"get":{"responses":{"200":{"description":"ok"}}}}}}`, []string{"GET /a"}},
		"3.1 YAML":           {head + "paths:\n  /b: {post: " + ok + ", get: " + ok + "}\n  /a: {get: {operationId: a, deprecated: true, responses: {default: {description: d}}}}\n", []string{"a", "GET /b", "POST /b"}},
		"shared path":        {head + "paths: {/a: {$ref: '#/components/pathItems/p'}}\ncomponents: {pathItems: {p: {get: " + ok + "}}}\n", []string{"GET /a"}},
		"recursive schema":   {head + "paths: {/a: {get: " + ok + "}}\ncomponents: {schemas: {s: {type: object, properties: {next: {$ref: '#/components/schemas/s'}}}}}\n", []string{"GET /a"}},
		"alias":              {head + "paths: {/a: &x {get: " + ok + "}, /b: *x}\n", []string{"GET /a", "GET /b"}},
		"example not valid":  {head + "paths: {/a: {get: " + ok + "}}\ncomponents: {schemas: {s: {type: integer, example: no}}}\n", []string{"GET /a"}},
		"JavaScript pattern": {head + "paths: {/a: {get: " + ok + "}}\ncomponents: {schemas: {s: {type: string, pattern: '^(?!x)'}}}\n", []string{"GET /a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := document.Read(t.Context(), c.text, document.Options{})
			require.NoError(t, err)
			var ids []string
			for _, o := range d.Operations {
				ids = append(ids, o.GetId())
			}
			require.Equal(t, c.ids, ids)
		})
	}
}

// sharing is a document in which following every reference would take 2^n steps.
func sharing(n int) string {
	var b strings.Builder
	b.WriteString(head + "paths: {/a: {get: {responses: {'200': {description: ok, content: {application/json: {schema: {$ref: '#/components/schemas/s0'}}}}}}}}\ncomponents:\n  schemas:\n")
	for i := range n {
		fmt.Fprintf(&b, "    s%d: {allOf: [{$ref: '#/components/schemas/s%d'}, {$ref: '#/components/schemas/s%d'}]}\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "    s%d: {type: string, default: 3}\n", n)
	return b.String()
}

// laughs is a YAML document whose aliases amount to 10^n values.
func laughs(n int) string {
	var b strings.Builder
	b.WriteString(head + "paths: {}\nx-0: &a0 [1,1,1,1,1,1,1,1,1,1]\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

func TestReadIsBounded(t *testing.T) {
	t.Parallel()
	_, err := document.Read(t.Context(), sharing(60), document.Options{})
	require.NoError(t, err)
	for name, text := range map[string]string{
		"aliases":       laughs(12),
		"alias in self": head + "paths: {}\nx-a: &a [*a, *a]\n",
		"depth":         head + "paths: {}\nx-a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n",
		"JSON depth":    `{"openapi":"3.1.0","x":` + strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9001),
		"cycle":         head + "paths: {/a: {get: " + ok + "}}\ncomponents: {schemas: {a: {$ref: '#/components/schemas/b'}, b: {$ref: '#/components/schemas/a'}}}\n",
		"path cycle":    head + "paths: {/a: {$ref: '#/paths/~1b'}, /b: {$ref: '#/paths/~1a'}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := document.Read(t.Context(), text, document.Options{})
			require.Equal(t, problem.Invalid, problem.KindOf(err), "%v", err)
		})
	}
	_, err = document.Read(t.Context(), strings.Repeat("x", document.MaxBytes+1), document.Options{})
	require.Equal(t, problem.TooLarge, problem.KindOf(err))
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {" \n", "is empty"},
		"no YAML":          {head + "paths: {/a: [}\n", "line 3"},
		"no JSON":          {`{"openapi":`, "neither JSON nor YAML"},
		"text":             {"hello", "is no OpenAPI document"},
		"list":             {"[1]", "is no OpenAPI document"},
		"no version":       {"info: {title: T, version: '1'}\npaths: {}\n", `no field "openapi"`},
		"Swagger 1.2":      {"swagger: '1.2'\ninfo: {title: T, version: '1'}\n", `the document is of Swagger "1.2"; want 2.0`},
		"OpenAPI 3.2":      {"openapi: 3.2.0\ninfo: {title: T, version: '1'}\npaths: {}\n", `line 1: the document is of OpenAPI "3.2.0"; want 3.0 or 3.1`},
		"two documents":    {head + "paths: {}\n---\n" + head, "more than one YAML document"},
		"key twice":        {head + "paths: {}\npaths: {}\n", `line 4: the key "paths" is there already, on line 3`},
		"key twice, JSON":  {"{\"openapi\":\"3.1.0\",\n\"openapi\":\"3.1.0\"}", `line 2: the key "openapi" is there already`},
		"no operations":    {head + "paths: {}\n", "has no operations"},
		"no title":         {"openapi: 3.1.0\ninfo: {version: '1'}\npaths: {/a: {get: " + ok + "}}\n", "line 2: invalid info: value of title must be a non-empty string"},
		"wrong type":       {"openapi: 3.1.0\ninfo: 3\npaths: {}\n", "line 2"},
		"id twice":         {head + "paths:\n  /a: {get: {operationId: x, responses: {default: {description: d}}}}\n  /b: {get: {operationId: x, responses: {default: {description: d}}}}\n", `same operation id "x"`},
		"id as another's":  {head + "paths:\n  /a: {get: " + ok + "}\n  /b: {get: {operationId: GET /a, responses: {default: {description: d}}}}\n", `the same id "GET /a"`},
		"parameter":        {head + "paths:\n  /a/{x}:\n    get: " + ok + "\n", "line 4: operation GET /a/{x} must define exactly all path parameters (missing: [x])"},
		"same paths":       {head + "paths:\n  /a/{x}: {get: {parameters: [{name: x, in: path, required: true, schema: {}}], responses: {default: {description: d}}}}\n  /a/{y}: {get: {parameters: [{name: y, in: path, required: true, schema: {}}], responses: {default: {description: d}}}}\n", "conflicting paths"},
		"two in a segment": {head + "paths:\n  /a/{x}{y}: {get: {parameters: [{name: x, in: path, required: true, schema: {}}, {name: y, in: path, required: true, schema: {}}], responses: {default: {description: d}}}}\n", "nothing in between"},
		"no slash":         {head + "paths: {a: {get: " + ok + "}}\n", "does not start with a forward slash"},
		"unknown field":    {head + "pathz: {}\npaths: {/a: {get: " + ok + "}}\n", "pathz"},
		"missing schema":   {head + "paths: {/a: {get: {responses: {'200': {$ref: '#/components/responses/No'}}}}}\n", `"#/components/responses/No"`},
		"other file":       {head + "paths:\n  /a:\n    $ref: 'other.yaml#/a'\n", `line 5: the reference "other.yaml#/a" leads out of the document`},
		"file":             {head + "paths: {/a: {$ref: 'file:///etc/passwd'}}\n", "leads out of the document"},
		"address":          {head + "paths: {/a: {$ref: 'http://127.0.0.1:1/a'}}\n", "leads out of the document"},
		"unknown type":     {head + "paths: {/a: {get: " + ok + "}}\ncomponents:\n  schemas:\n    s: {type: strin}\n", "line 6"},
		"character U+0000": {head + "\x00", "U+0000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := document.Read(t.Context(), c.text, document.Options{})
			require.Equal(t, problem.Invalid, problem.KindOf(err))
			require.ErrorContains(t, err, "spec.openapi")
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestManyErrorsAreCut(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(head + "paths:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "  /a%d/{x}: {get: %s}\n", i, ok)
	}
	_, err := document.Read(t.Context(), b.String(), document.Options{})
	require.ErrorContains(t, err, "30 more errors are left out")
}

func TestPatternsOfWhatIsValidated(t *testing.T) {
	t.Parallel()
	_, err := document.Read(t.Context(), head+"paths: {/a: {get: "+ok+"}}\ncomponents:\n  schemas:\n    s: {type: string, pattern: '^(?!x)'}\n", document.Options{Validating: true})
	require.ErrorContains(t, err, "error parsing regexp")
}

// Whatever comes in, reading ends and the error is one that a client can be shown.
func FuzzRead(f *testing.F) {
	text, err := os.ReadFile("../../testdata/weather.yaml")
	require.NoError(f, err)
	f.Add(string(text))
	f.Add(sharing(5))
	f.Add(laughs(3))
	f.Add(head + "paths: {/a: &x {get: " + ok + "}, /b: *x}\n")
	f.Add(head + "paths:\n  /a:\n  /b: {get: }\n")
	f.Add(`{"openapi":"3.0.3","info":{"title":"T","version":"1"},"paths":{"/a":{"get":{"responses":{"200":{"description":"ok"}}}}}}`)
	f.Add("openapi: 3.1.0\ninfo: \npaths: {/a: {$ref: '#/paths/~1a'}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := document.Read(t.Context(), text, document.Options{})
		if err != nil {
			require.NotEqual(t, problem.Internal, problem.KindOf(err), "%v", err)
			return
		}
		require.NotEmpty(t, d.Operations)
		seen := map[string]bool{}
		for _, o := range d.Operations {
			require.False(t, seen[o.GetId()])
			seen[o.GetId()] = true
		}
	})
}
