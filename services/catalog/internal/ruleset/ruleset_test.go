package ruleset_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/catalog/internal/ruleset"
)

const document = `openapi: 3.1.0
info: {title: T, version: '1', contact: {name: Ann}}
tags: [{name: b}, {name: a}]
paths:
  /Pets/:
    get:
      operationId: list_pets
      summary: List
      deprecated: false
      parameters:
        - {$ref: '#/components/parameters/Limit'}
        - {name: sort, in: query, schema: {type: string, enum: [asc, 3]}}
      responses: {'200': {description: ok}}
    post: {responses: {'400': {description: 'no <script>'}}}
components:
  parameters:
    Limit: {name: limit, in: query, description: Most items, schema: {type: integer}}
  schemas:
    Unused: {type: object}
`

// found returns what a ruleset finds, as "rule path: message".
func found(t *testing.T, rules string) []string {
	t.Helper()
	report, err := ruleset.Lint(t.Context(), rules, document)
	require.NoError(t, err)
	var all []string
	for _, r := range report.Results {
		require.Positive(t, r.Line)
		all = append(all, r.Path+": "+r.Message)
	}
	return all
}

func TestFunctions(t *testing.T) {
	t.Parallel()
	const operations = "$.paths[*][get,post]"
	for name, c := range map[string]struct {
		given, then string
		want        []string
	}{
		"truthy":           {operations, `{field: summary, function: truthy}`, []string{`/paths/~1Pets~1/post/summary: "summary" property must be truthy`}},
		"falsy":            {operations, `{field: operationId, function: falsy}`, []string{`/paths/~1Pets~1/get/operationId: "operationId" property must be falsy`}},
		"false is falsy":   {operations, `{field: deprecated, function: falsy}`, nil},
		"defined":          {operations, `{field: deprecated, function: defined}`, []string{`/paths/~1Pets~1/post/deprecated: "deprecated" property must be defined`}},
		"undefined":        {"$.info", `{field: contact.name, function: undefined}`, []string{`/info/contact/name: "name" property must be undefined`}},
		"pattern":          {operations, `{field: operationId, function: pattern, functionOptions: {match: "^[a-z]+$"}}`, []string{`/paths/~1Pets~1/get/operationId: "list_pets" must match the pattern "^[a-z]+$"`}},
		"flags":            {operations, `{field: operationId, function: pattern, functionOptions: {notMatch: "/PETS/i"}}`, []string{`/paths/~1Pets~1/get/operationId: "list_pets" must not match the pattern "/PETS/i"`}},
		"keys":             {"$.paths", `{field: "@key", function: pattern, functionOptions: {notMatch: "/$"}}`, []string{`/paths/~1Pets~1: "/Pets/" must not match the pattern "/$"`}},
		"property names":   {"$.paths[*]~", `{function: pattern, functionOptions: {match: "^/[a-z]+"}}`, []string{`/paths/~1Pets~1: "/Pets/" must match the pattern "^/[a-z]+"`}},
		"length":           {"$.tags", `{function: length, functionOptions: {max: 1}}`, []string{`/tags: the value must be shorter than 1`}},
		"casing":           {operations, `{field: operationId, function: casing, functionOptions: {type: camel}}`, []string{`/paths/~1Pets~1/get/operationId: "list_pets" must be in camel case`}},
		"right casing":     {operations, `{field: operationId, function: casing, functionOptions: {type: snake}}`, nil},
		"separator":        {operations, `{field: operationId, function: casing, functionOptions: {type: flat, separator: {char: "_"}}}`, nil},
		"enumeration":      {"$.tags[*].name", `{function: enumeration, functionOptions: {values: [a]}}`, []string{`/tags/0/name: "b" must be one of a`}},
		"alphabetical":     {"$", `{field: tags, function: alphabetical, functionOptions: {keyedBy: name}}`, []string{`/tags/1/name: "a" must come before "b": the order is to be alphabetical`}},
		"xor":              {"$.info", `{function: xor, functionOptions: {properties: [contact, license]}}`, nil},
		"xor of both":      {"$.info", `{function: xor, functionOptions: {properties: [contact, title]}}`, []string{`/info: exactly one of contact, title must be defined`}},
		"or":               {"$.info", `{function: or, functionOptions: {properties: [license, summary]}}`, []string{`/info: at least one of license, summary must be defined`}},
		"schema":           {"$.info", `{function: schema, functionOptions: {schema: {required: [license]}}}`, []string{`/info: missing property 'license'`}},
		"schema of values": {"$.info", `{function: schema, functionOptions: {schema: {properties: {contact: {required: [name]}}}}}`, nil},
		"typed enum":       {"$..schema", `{function: typedEnum}`, []string{`/paths/~1Pets~1/get/parameters/1/schema/enum/1: the enum value "3" must be of type string`}},
		"unreferenced":     {"$.components.schemas", `{function: unreferencedReusableObject, functionOptions: {reusableObjectsLocation: "#/components/schemas"}}`, []string{`/components/schemas/Unused: nothing refers to #/components/schemas/Unused`}},
		"references":       {"$.paths[*][*].parameters[*]", `{field: description, function: truthy}`, []string{`/paths/~1Pets~1/get/parameters/1/description: "description" property must be truthy`}},
		"filter":           {"$.paths[*][?(@property === 'post')]", `{field: operationId, function: truthy}`, []string{`/paths/~1Pets~1/post/operationId: "operationId" property must be truthy`}},
		"several":          {"$.info", `[{field: contact.url, function: truthy}, {field: license, function: truthy}]`, []string{`/info/contact/url: "url" property must be truthy`, `/info/license: "license" property must be truthy`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ElementsMatch(t, c.want, found(t, fmt.Sprintf("rules: {r: {given: %q, then: %s}}", c.given, c.then)))
		})
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rules string
		want  []string
	}{
		"message":       {`rules: {r: {description: D, message: "{{property}} at {{path}}, {{value}}: {{error}} ({{description}})", given: $.info.title, then: {function: length, functionOptions: {min: 3}}}}`, []string{"/info/title: title at #/info/title, T: the value must be longer than 3 (D)"}},
		"description":   {`rules: {r: {description: D, given: $.info, then: {field: license, function: truthy}}}`, []string{"/info/license: D"}},
		"alias":         {`{aliases: {Get: ["$.paths[*].get"]}, rules: {r: {description: D, given: "#Get.responses", then: {field: "404", function: truthy}}}}`, []string{"/paths/~1Pets~1/get/responses/404: D"}},
		"other format":  {`rules: {r: {formats: [oas2], given: $, then: {field: x, function: truthy}}}`, nil},
		"format":        {`rules: {r: {description: D, formats: [oas3.1], given: $, then: {field: x, function: truthy}}}`, []string{"/x: D"}},
		"unresolved":    {`rules: {r: {description: D, resolved: false, given: "$.paths[*][*].parameters[0]", then: {field: name, function: truthy}}}`, []string{"/paths/~1Pets~1/get/parameters/0/name: D"}},
		"off":           {`{extends: [["spectral:oas", "off"]], rules: {info-license: warn}}`, []string{"/info/license: info must have a license."}},
		"not there":     {`{extends: [["spectral:oas", "off"]], rules: {info-license: true, oas3-schema: off}}`, []string{"/info/license: info must have a license."}},
		"own in place":  {`{extends: [["spectral:oas", "off"]], rules: {info-license: {description: Mine, given: $.info, then: {field: license, function: truthy}}}}`, []string{"/info/license: Mine"}},
		"not with ours": {`{extends: [["spectral:oas", "off"]], rules: {operation-tags: hint, operation-success-response: error}}`, []string{"/paths/~1Pets~1/post/responses: Operations must have an answer with a status of 2xx or 3xx.", "/paths/~1Pets~1/get/tags: Operations must have tags.", "/paths/~1Pets~1/post/tags: Operations must have tags."}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, found(t, c.rules))
		})
	}
}

func TestTheDefault(t *testing.T) {
	t.Parallel()
	report, err := ruleset.Lint(t.Context(), ruleset.Default, document)
	require.NoError(t, err)
	counts := map[string]int{}
	for _, r := range report.Results {
		counts[r.Rule]++
	}
	require.Equal(t, map[string]int{
		"info-description": 1, "oas3-api-servers": 1, "oas3-unused-component": 1, "operation-description": 2, "operation-operationId": 1,
		"operation-success-response": 1, "operation-tags": 2, "path-keys-no-trailing-slash": 1, "typed-enum": 1, "no-script-tags-in-markdown": 1,
	}, counts)
	require.Equal(t, len(report.Results), report.Warnings)
	all, err := ruleset.Lint(t.Context(), `extends: [["spectral:oas", "all"]]`, document)
	require.NoError(t, err)
	require.Greater(t, all.Warnings, report.Warnings)
	weather, err := os.ReadFile("../../testdata/weather.yaml")
	require.NoError(t, err)
	report, err = ruleset.Lint(t.Context(), ruleset.Default, string(weather))
	require.NoError(t, err)
	require.Zero(t, report.Errors)
}

func TestWhatIsWrongInARuleset(t *testing.T) {
	t.Parallel()
	const then = `then: {function: truthy}`
	for text, want := range map[string]string{
		"":          "spec.rules: is no ruleset",
		"[1]":       "is no ruleset",
		"rules: {}": "has no rule that is on",
		"rulez: {}": "rulez",
		"{extends: spectral:oas, functions: [abc]}": "functions of one's own are programs",
		"{extends: spectral:oas, overrides: []}":    "overrides",
		"extends: https://example.com/rules.yaml":   "is not a ruleset that can be extended",
		"extends: [[spectral:oas, most]]":           `"most" is not recommended, all or off`,
		"rules: {a: {" + then + "}}":                "rules.a.given",
		"rules: {a: {given: '$..[', " + then + "}}": "is not a JSON path",
		"rules: {a: {given: '#No', " + then + "}}":  `there is no alias "No"`,
		"{aliases: {A: [" + strings.TrimSuffix(strings.Repeat("'#B',", 8), ",") + "], B: [" + strings.TrimSuffix(strings.Repeat("'#A',", 8), ",") + "]}, rules: {a: {given: '#A', " + then + "}}}": "leads to itself",
		"{aliases: {A: ['#A']}, rules: {a: {given: '#A', " + then + "}}}": "leads to itself",
		"rules: {a: {given: $}}":                         "rules.a.then",
		"rules: {a: {given: $, then: {function: mine}}}": `there is no function "mine"; there are alphabetical`,
		"rules: {a: {given: $, then: {function: pattern, functionOptions: {match: '(?=x)'}}}}":                         "look-ahead",
		"rules: {a: {given: $, then: {function: pattern, functionOptions: {match: x, mtach: y}}}}":                     "mtach",
		"rules: {a: {given: $, then: {function: length}}}":                                                             "want min or max",
		"rules: {a: {given: $, then: {function: casing, functionOptions: {type: up}}}}":                                "is not a casing",
		"rules: {a: {given: $, then: {function: schema, functionOptions: {schema: {$ref: 'https://example.com/s'}}}}}": "nothing outside of a ruleset is read",
		"rules: {a: {given: $, severity: fatal, " + then + "}}":                                                        `"fatal" is not a severity`,
		"rules: {a: {given: $, formats: [raml], " + then + "}}":                                                        `"raml" is not a format`,
		"rules: {a: {given: $, code: 1, " + then + "}}":                                                                "code",
		"rules: {a: warn}":                          `there is no rule "a" in what the ruleset extends; it has none`,
		"{extends: spectral:oas, rules: {a: warn}}": "info-contact",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			err := ruleset.Check(text, "spec.rules")
			require.Equal(t, problem.Invalid, problem.KindOf(err))
			require.ErrorContains(t, err, want)
		})
	}
	require.NoError(t, ruleset.Check(ruleset.Default, "spec.rules"))
	require.ErrorContains(t, ruleset.Check(strings.Repeat("x", ruleset.MaxBytes+1), "spec.rules"), "at most")
}

// Whatever the ruleset, it is read or refused, and what it finds is within the document.
func TestAliasesOfAliasesAreBounded(t *testing.T) {
	t.Parallel()
	rules := func(lists int, leaf, rest string) string {
		var b strings.Builder
		b.WriteString("aliases:\n")
		for i := range lists {
			target := fmt.Sprintf("#A%d", i+1)
			if i == lists-1 {
				target = leaf
			}
			fmt.Fprintf(&b, "  A%d: [%s]\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%q,", target), 8), ","))
		}
		fmt.Fprintf(&b, "rules: {r: {given: %q, then: {function: truthy}}}\n", "#A0"+rest)
		return b.String()
	}
	require.NoError(t, ruleset.Check(rules(3, "$.info", ".title"), "rules"))
	for name, text := range map[string]string{
		"many":     rules(11, "$", ""),
		"deeper":   rules(1000, "$", ""),
		"no path":  rules(11, "none", ""),
		"no alias": rules(11, "#None", ""),
		"long":     rules(3, "$", strings.Repeat(".x", 50_000)),
	} {
		require.Equal(t, problem.Invalid, problem.KindOf(ruleset.Check(text, "rules")), name)
	}
	require.ErrorContains(t, ruleset.Check(rules(11, "$", ""), "rules"), "name fewer paths in aliases of aliases")
}

func FuzzLint(f *testing.F) {
	f.Add(ruleset.Default)
	f.Add(`rules: {r: {given: "$.paths[*]~", then: {function: casing, functionOptions: {type: kebab, separator: {char: /, allowLeading: true}}}}}`)
	f.Add(`{aliases: {A: ["$.info"]}, rules: {r: {given: ["#A", "$..[?(@.enum)]"], then: [{field: "@key", function: pattern, functionOptions: {match: "/a/i"}}]}}}`)
	f.Add(`{"rules": {"r": {"given": "$", "severity": 0, "then": {"field": "a.b[0]", "function": "schema", "functionOptions": {"schema": {"type": "string"}}}}}}`)
	f.Fuzz(func(t *testing.T, rules string) {
		report, err := ruleset.Lint(t.Context(), rules, document)
		if err != nil {
			return
		}
		for _, r := range report.Results {
			require.NotEmpty(t, r.Rule)
			require.Contains(t, ruleset.Severities(), r.Severity)
		}
	})
}
