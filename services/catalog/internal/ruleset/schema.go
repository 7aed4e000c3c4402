package ruleset

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// drafts are the dialects of JSON Schema.
var drafts = map[string]*jsonschema.Draft{
	"": jsonschema.Draft2020, "auto": jsonschema.Draft2020, "draft4": jsonschema.Draft4, "draft6": jsonschema.Draft6, "draft7": jsonschema.Draft7,
	"draft2019-09": jsonschema.Draft2019, "draft2020-12": jsonschema.Draft2020,
}

// noLoader refuses schemas at other addresses.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("the schema refers to %s, and nothing outside of a ruleset is read", url)
}

func newSchema(o options) (function, error) {
	draft, known := drafts[o.Dialect]
	if !known {
		return nil, fmt.Errorf("dialect %q is not one of JSON Schema: want draft4, draft6, draft7, draft2019-09 or draft2020-12", o.Dialect)
	}
	schema, ok := o.Schema.(map[string]any)
	if !ok {
		return nil, errors.New("want schema, an object")
	}
	plain, err := plainJSON(schema)
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(draft)
	c.UseLoader(noLoader{})
	if err := c.AddResource("schema.json", plain); err != nil {
		return nil, err
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		return nil, err
	}
	words := message.NewPrinter(language.English)
	return func(_ *linter, t target) []fault {
		if t.node == nil {
			return nil
		}
		var value any
		if err := t.node.Decode(&value); err != nil {
			return faulty("the value cannot be read: %s", err)
		}
		plain, err := plainJSON(value)
		if err != nil {
			return faulty("the value cannot be read: %s", err)
		}
		var invalid *jsonschema.ValidationError
		if err := compiled.Validate(plain); !errors.As(err, &invalid) {
			return nil
		}
		var all []fault
		for _, leaf := range leaves(invalid, nil) {
			where := ""
			if len(leaf.InstanceLocation) > 0 {
				where = pointerOf(leaf.InstanceLocation) + ": "
			}
			all = append(all, fault{message: where + leaf.ErrorKind.LocalizedString(words)})
			if !o.AllErrors {
				break
			}
		}
		return all
	}, nil
}

// leaves returns the errors that have no causes.
func leaves(e *jsonschema.ValidationError, all []*jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return append(all, e)
	}
	for _, cause := range e.Causes {
		all = leaves(cause, all)
	}
	return all
}

// plainJSON returns a value as the validator wants it: with the types of JSON.
func plainJSON(value any) (any, error) {
	raw, err := json.Marshal(stringKeys(value))
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
}

// stringKeys makes the keys of all objects strings: YAML reads the status 200 as a number.
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
