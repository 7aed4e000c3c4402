// Package validate owns the check of requests against an OpenAPI document (3.0 or 3.1).
//
// A document is compiled once, its schemas with it; a check then compiles nothing and looks nothing up by path. References
// leave the document nowhere: neither files nor the network are read. What the compiler does not understand is an error of the
// document, never a request let through. Only the gateway's own packages import it.
package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// resource is the name under which the document is known to the schema compiler.
const resource = "openapi:document"

// Document is a compiled OpenAPI document. It is safe for concurrent use.
type Document struct {
	operations map[string]*Operation
}

// Operation returns the checks of an operation, nil when the document does not have it.
func (d *Document) Operation(method, template string) *Operation {
	return d.operations[method+" "+template]
}

// Compile reads an OpenAPI document, JSON or YAML.
func Compile(text string) (*Document, error) {
	root, err := parse(text)
	if err != nil {
		return nil, err
	}
	version, _ := root["openapi"].(string)
	switch {
	case strings.HasPrefix(version, "3.0."):
		modernize(root)
	case strings.HasPrefix(version, "3.1."):
	default:
		return nil, fmt.Errorf("openapi: %q is not 3.0.x or 3.1.x", version)
	}
	schemas := jsonschema.NewCompiler()
	schemas.DefaultDraft(jsonschema.Draft2020)
	schemas.AssertFormat()
	for _, f := range integerFormats {
		schemas.RegisterFormat(f)
	}
	schemas.UseLoader(noLoader{})
	if err := schemas.AddResource(resource, root); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	c := compiler{root: root, schemas: schemas, document: &Document{operations: map[string]*Operation{}}}
	c.paths()
	if err := errors.Join(c.errs...); err != nil {
		return nil, fmt.Errorf("compile the OpenAPI document: %w", err)
	}
	return c.document, nil
}

// noLoader refuses references to other documents.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("the reference %s leaves the document; put what it names into components", url)
}

func parse(text string) (map[string]any, error) {
	var content any
	if err := yaml.Unmarshal([]byte(text), &content); err != nil { // JSON is YAML
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	plain, err := json.Marshal(stringKeys(content))
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(plain)))
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	root, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("read the OpenAPI document: it is not an object")
	}
	return root, nil
}

// stringKeys makes the keys of all maps strings: YAML reads the status 200 as a number.
func stringKeys(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = stringKeys(e)
		}
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[fmt.Sprint(k)] = stringKeys(e)
		}
		return m
	case []any:
		for i, e := range v {
			v[i] = stringKeys(e)
		}
	}
	return value
}

// modernize turns the schemas of OpenAPI 3.0 into those of JSON Schema 2020-12: nullable, and exclusive bounds as booleans.
func modernize(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, e := range v {
			modernize(e)
		}
		if nullable, _ := v["nullable"].(bool); nullable {
			if t, ok := v["type"].(string); ok {
				v["type"] = []any{t, "null"}
			}
			if values, ok := v["enum"].([]any); ok {
				v["enum"] = append(values, nil)
			}
		}
		for exclusive, bound := range map[string]string{"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"} {
			is, ok := v[exclusive].(bool)
			if !ok {
				continue
			}
			delete(v, exclusive)
			if limit, has := v[bound]; is && has {
				v[exclusive] = limit
				delete(v, bound)
			}
		}
	case []any:
		for _, e := range v {
			modernize(e)
		}
	}
}

// integerFormats are the formats of OpenAPI's registry that bound integers.
var integerFormats = []*jsonschema.Format{
	{Name: "int32", Validate: func(v any) error { return within(v, -1<<31, 1<<31-1, "int32") }},
	{Name: "int64", Validate: func(v any) error { return within(v, -1<<63, 1<<63-1, "int64") }},
}

func within(v any, low, high int64, name string) error {
	n, ok := v.(json.Number)
	if !ok {
		return nil
	}
	i, err := n.Int64()
	if err != nil && !strings.ContainsAny(n.String(), ".eE") || err == nil && (i < low || i > high) {
		return fmt.Errorf("%s is outside the range of %s", n, name)
	}
	return nil
}
