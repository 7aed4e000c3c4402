package document_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
)

func mocks(t *testing.T, text string) (*openapi3.T, []*gatewayv1.MockAnswer) {
	t.Helper()
	doc, err := document.Load(t.Context(), text)
	require.NoError(t, err)
	answers, err := document.Mocks(t.Context(), doc)
	require.NoError(t, err)
	return doc, answers
}

func TestMocksInOrderOfPreference(t *testing.T) {
	t.Parallel()
	_, answers := mocks(t, head+`
paths:
  /a:
    get:
      operationId: a
      responses:
        default: {description: d, content: {application/problem+json: {schema: {type: object, properties: {title: {type: string, example: No}}}}}}
        "404": {description: none}
        "2XX":
          description: ok
          headers:
            X-Rate: {schema: {type: integer, minimum: 7}}
            X-Tags: {schema: {type: array, items: {type: string, enum: [red]}, minItems: 2}}
            Content-Length: {schema: {type: integer}}
            X-Broken: {example: "a\nb", schema: {type: string}}
          content:
            text/plain: {example: hello}
            application/xml: {schema: {type: object}}
            application/json:
              examples:
                second: {value: {b: 2}}
                first: {value: [1, "<a>"]}
                elsewhere: {externalValue: "https://example.com/x"}
    delete: {operationId: b, responses: {"204": {description: gone}}}
    post: {operationId: c, responses: {default: {description: ok, content: {application/json: {schema: {type: boolean}}}}}}
`)
	type answer struct {
		operation, contentType, example, body string
		status                                uint32
	}
	var got []answer
	for _, a := range answers {
		got = append(got, answer{a.GetOperation(), a.GetContentType(), a.GetExample(), string(a.GetBody()), a.GetStatus()})
	}
	require.Equal(t, []answer{
		{"b", "", "", "", 204},
		{"a", "application/json", "first", `[1,"<a>"]`, 200},
		{"a", "application/json", "second", `{"b":2}`, 200},
		{"a", "text/plain", "", "hello", 200},
		{"a", "", "", "", 404},
		{"a", "application/problem+json", "", `{"title":"No"}`, 500},
		{"c", "application/json", "", "true", 200},
	}, got)
	require.Equal(t, map[string]string{"X-Rate": "7", "X-Tags": "red,red"}, answers[1].GetHeaders())
}

// Each schema makes a value that is valid by it, checked by the library's own validator.
func TestValuesAreValid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ schema, want string }{
		"formats":        {`{type: object, required: [a], properties: {a: {type: string, format: date-time}, b: {type: string, format: uuid}, c: {type: string, format: email}, d: {type: string, format: ipv4}}}`, `{"a":"2024-01-01T12:00:00Z","b":"00000000-0000-4000-8000-000000000000","c":"user@example.com","d":"192.0.2.1"}`},
		"bounds":         {`{type: array, prefixItems: [{type: integer, minimum: 10}, {type: integer, maximum: -3}, {type: number, exclusiveMinimum: 0, exclusiveMaximum: 1}, {type: integer, minimum: 5, multipleOf: 4}]}`, `[10,-3,0.5,8]`},
		"strings":        {`{type: array, prefixItems: [{type: string, minLength: 6}, {type: string, maxLength: 2}, {type: string, pattern: "^[A-Z]{2}-\\d{3}$"}]}`, `["textte","te","AA-000"]`},
		"enum":           {`{type: string, enum: [b, a]}`, `"b"`},
		"const":          {`{const: 5}`, `5`},
		"default":        {`{type: string, default: x}`, `"x"`},
		"examples":       {`{type: string, examples: [y, z]}`, `"y"`},
		"unique":         {`{type: array, minItems: 3, uniqueItems: true, items: {type: string}}`, `["text","text1","text2"]`},
		"unique enum":    {`{type: array, minItems: 2, uniqueItems: true, items: {enum: [p, q]}}`, `["p","q"]`},
		"no items":       {`{type: array, maxItems: 0, items: {type: string}}`, `[]`},
		"map":            {`{type: object, additionalProperties: {type: boolean}}`, `{"property1":true}`},
		"write only":     {`{type: object, properties: {password: {type: string, writeOnly: true}, id: {type: integer}}}`, `{"id":1}`},
		"null":           {`{type: ["null"]}`, `null`},
		"nullable":       {`{type: [string, "null"]}`, `"text"`},
		"without a type": {`{properties: {a: {minimum: 2}}}`, `{"a":2}`},
		"allOf":          {`{allOf: [{type: object, required: [a], properties: {a: {type: string}}}, {properties: {b: {allOf: [{type: string}, {minLength: 5}]}}}], properties: {c: {type: boolean}}}`, `{"a":"text","b":"textt","c":true}`},
		"oneOf":          {`{oneOf: [{$ref: '#/components/schemas/Endless'}, {type: object, properties: {a: {type: integer}}}], properties: {b: {type: string}}}`, `{"a":1,"b":"text"}`},
		"discriminator":  {`{oneOf: [{$ref: '#/components/schemas/Cat'}], discriminator: {propertyName: kind, mapping: {cat: '#/components/schemas/Cat'}}}`, `{"kind":"cat","lives":9}`},
		"recursion":      {`{$ref: '#/components/schemas/Tree'}`, `{"children":[],"name":"text","parent":null}`},
		"recursive list": {`{$ref: '#/components/schemas/List'}`, `[]`},
		"deep":           {`{$ref: '#/components/schemas/Deep'}`, `{"a":{"b":{"c":"text"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, answers := mocks(t, head+"paths: {/a: {get: {responses: {'200': {description: ok, content: {application/json: {schema: "+c.schema+"}}}}}}}\n"+`
components:
  schemas:
    Endless: {type: object, required: [self], properties: {self: {$ref: '#/components/schemas/Endless'}}}
    Cat: {type: object, properties: {kind: {type: string}, lives: {type: integer, example: 9}}}
    List: {type: array, items: {$ref: '#/components/schemas/List'}}
    Deep: {type: object, properties: {a: {type: object, properties: {b: {type: object, properties: {c: {type: string}}}}}}}
    Tree:
      type: object
      required: [name, children, parent]
      properties:
        name: {type: string}
        children: {type: array, items: {$ref: '#/components/schemas/Tree'}}
        parent: {type: [object, "null"], required: [tree], properties: {tree: {$ref: '#/components/schemas/Tree'}}}
        next: {$ref: '#/components/schemas/Tree'}
`)
			require.Len(t, answers, 1)
			require.JSONEq(t, c.want, string(answers[0].GetBody()))
			var value any
			require.NoError(t, json.Unmarshal(answers[0].GetBody(), &value))
			schema := doc.Paths.Value("/a").Get.Responses.Value("200").Value.Content["application/json"].Schema.Value
			require.NoError(t, schema.VisitJSON(value, openapi3.EnableJSONSchema2020()))
		})
	}
}

func TestMocksAreBounded(t *testing.T) {
	t.Parallel()
	doc, err := document.Load(t.Context(), sharing(60))
	require.NoError(t, err)
	_, err = document.Mocks(t.Context(), doc)
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	require.ErrorContains(t, err, "the operation GET /a: status 200: application/json: the schema takes more than")

	doc, err = document.Load(t.Context(), head+"paths: {/a: {get: {responses: {'200': {description: ok, content: {text/plain: {example: "+strings.Repeat("x", document.MaxMockBytes)+"}}}}}}}\n")
	require.NoError(t, err)
	_, err = document.Mocks(t.Context(), doc)
	require.ErrorContains(t, err, "longer than 4 MiB together")
}

// OpenAPI 3.1 has operations without responses, which gateways have to answer all the same.
func TestOperationsWithoutResponses(t *testing.T) {
	t.Parallel()
	_, answers := mocks(t, head+`
paths:
  /a:
    get: {operationId: none}
    put: {operationId: empty, responses: {}}
    post: {operationId: other, responses: {"101": {description: Switching}, x-more: 1}}
`)
	require.Len(t, answers, 3)
	for _, a := range answers {
		require.Equal(t, uint32(200), a.GetStatus())
		require.Empty(t, a.GetBody())
	}
	d, err := document.Read(t.Context(), head+"paths: {/a: {get: {operationId: none}}}\n", document.Options{Mocked: true})
	require.NoError(t, err)
	require.Len(t, d.Mocks, 1)
}

// intricate is a document of n operations, the values of which take thousands of steps each, and none too many.
func intricate(n int) string {
	var b strings.Builder
	b.WriteString(head + "paths:\n")
	for i := range n {
		fmt.Fprintf(&b, "  /p%d: {get: {responses: {'200': {description: ok, content: {application/json: {schema: {$ref: '#/components/schemas/s0'}}}}}}}\n", i)
	}
	b.WriteString("components:\n  schemas:\n")
	const depth = 12
	for i := range depth {
		fmt.Fprintf(&b, "    s%d: {allOf: [{$ref: '#/components/schemas/s%d'}, {$ref: '#/components/schemas/s%d'}]}\n", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "    s%d: {type: string, minLength: 3}\n", depth)
	return b.String()
}

func TestMocksOfOneDocumentAreBoundedTogether(t *testing.T) {
	t.Parallel()
	_, answers := mocks(t, intricate(10))
	require.Len(t, answers, 10)
	doc, err := document.Load(t.Context(), intricate(5000))
	require.NoError(t, err)
	_, err = document.Mocks(t.Context(), doc)
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	require.ErrorContains(t, err, "too many steps to make its mock answers")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = document.Mocks(ended, doc)
	require.ErrorIs(t, err, context.Canceled)

	// One example of a megabyte that every status of every operation refers to is written no more often than it may be.
	var b strings.Builder
	b.WriteString(head + "paths: {/a: {get: {responses: {")
	for status := 200; status < 500; status++ {
		fmt.Fprintf(&b, "'%d': {$ref: '#/components/responses/r'},", status)
	}
	fmt.Fprintf(&b, "}}}}\ncomponents: {responses: {r: {description: r, content: {application/json: {example: %s}}}}}\n", strings.Repeat("x", 1<<20))
	doc, err = document.Load(t.Context(), b.String())
	require.NoError(t, err)
	_, err = document.Mocks(t.Context(), doc)
	require.ErrorContains(t, err, "status 203: application/json: up to here the mock answers are longer than 4 MiB together")
}

// Whatever the schema, making a value ends, and makes the same one again.
func FuzzMocks(f *testing.F) {
	for _, seed := range []string{
		`{type: string, pattern: '^(a|b)+\d{2,}$'}`, `{type: integer, minimum: 3, multipleOf: 7}`, `{allOf: [{type: array}, {items: {type: number}}]}`,
		`{oneOf: [{type: "null"}, {type: object, additionalProperties: {type: string}}]}`, `true`, `{type: array, minItems: 3, uniqueItems: true, items: {}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, schema string) {
		text := head + "paths: {/a: {get: {responses: {'200': {description: ok, content: {application/json: {schema: " + schema + "}}}}}}}\n"
		if _, err := document.Read(t.Context(), text, document.Options{}); err != nil {
			return
		}
		doc, err := document.Load(t.Context(), text)
		require.NoError(t, err)
		first, err := document.Mocks(t.Context(), doc)
		if err != nil {
			require.Equal(t, problem.Invalid, problem.KindOf(err))
			return
		}
		again, err := document.Mocks(t.Context(), doc)
		require.NoError(t, err)
		require.Len(t, again, len(first))
		for i := range first {
			require.Equal(t, first[i].GetBody(), again[i].GetBody())
		}
	})
}
