package validate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

type compiler struct {
	root     map[string]any
	schemas  *jsonschema.Compiler
	document *Document
	errs     []error
}

// located is a node of the document with its JSON pointer (RFC 6901).
type located struct {
	pointer string
	node    map[string]any
}

func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

func (l located) child(key string) (located, bool) {
	node, ok := l.node[key].(map[string]any)
	return located{l.pointer + "/" + escape(key), node}, ok
}

func (l located) list(key string) []located {
	values, _ := l.node[key].([]any)
	var all []located
	for i, v := range values {
		if node, ok := v.(map[string]any); ok {
			all = append(all, located{fmt.Sprintf("%s/%s/%d", l.pointer, escape(key), i), node})
		}
	}
	return all
}

// resolve follows references within the document.
func (c *compiler) resolve(l located) (located, error) {
	for range 32 {
		ref, ok := l.node["$ref"].(string)
		if !ok {
			return l, nil
		}
		pointer, internal := strings.CutPrefix(ref, "#/")
		if !internal {
			return l, fmt.Errorf("%s: the reference %s leaves the document; put what it names into components", l.pointer, ref)
		}
		next := located{pointer: "", node: c.root}
		for part := range strings.SplitSeq(pointer, "/") {
			part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
			var found bool
			if next, found = next.child(part); !found {
				return l, fmt.Errorf("%s: the reference %s names nothing", l.pointer, ref)
			}
		}
		l = next
	}
	return l, fmt.Errorf("%s: references go round in a circle", l.pointer)
}

func (c *compiler) fail(err error) { c.errs = append(c.errs, err) }

func (c *compiler) paths() {
	paths, _ := located{node: c.root}.child("paths")
	for _, template := range slices.Sorted(maps.Keys(paths.node)) {
		item, ok := paths.child(template)
		if !ok {
			continue
		}
		item, err := c.resolve(item)
		if err != nil {
			c.fail(err)
			continue
		}
		for _, method := range methods {
			if operation, ok := item.child(method); ok {
				c.document.operations[strings.ToUpper(method)+" "+template] = c.operation(item, operation)
			}
		}
	}
}

func (c *compiler) operation(item, operation located) *Operation {
	op := &Operation{}
	seen := map[string]bool{}
	for _, l := range append(operation.list("parameters"), item.list("parameters")...) {
		p, err := c.parameter(l)
		if err != nil {
			c.fail(err)
			continue
		}
		// An operation's parameter replaces the one of its path.
		if p == nil || seen[p.in+" "+p.name] {
			continue
		}
		seen[p.in+" "+p.name] = true
		op.parameters = append(op.parameters, p)
	}
	if body, ok := operation.child("requestBody"); ok {
		if err := c.body(op, body); err != nil {
			c.fail(err)
		}
	}
	return op
}

// defaultStyles are those of OpenAPI 3.1, section 4.8.12.2.
var defaultStyles = map[string]string{"path": "simple", "header": "simple", "query": "form", "cookie": "form"}

func (c *compiler) parameter(l located) (*parameter, error) {
	l, err := c.resolve(l)
	if err != nil {
		return nil, err
	}
	p := &parameter{}
	p.name, _ = l.node["name"].(string)
	p.in, _ = l.node["in"].(string)
	p.required, _ = l.node["required"].(bool)
	p.allowEmpty, _ = l.node["allowEmptyValue"].(bool)
	if p.name == "" || defaultStyles[p.in] == "" {
		return nil, fmt.Errorf("%s: a parameter needs a name, and in: path, query, header or cookie", l.pointer)
	}
	if p.in == "header" && slices.Contains([]string{"accept", "content-type", "authorization"}, strings.ToLower(p.name)) {
		return nil, nil // OpenAPI says that these definitions are ignored
	}
	p.style, _ = l.node["style"].(string)
	if p.style == "" {
		p.style = defaultStyles[p.in]
	}
	var set bool
	if p.explode, set = l.node["explode"].(bool); !set {
		p.explode = p.style == "form"
	}
	allowed := map[string][]string{"path": {"simple"}, "header": {"simple"}, "cookie": {"form"}, "query": {"form", "spaceDelimited", "pipeDelimited", "deepObject"}}
	if !slices.Contains(allowed[p.in], p.style) {
		return nil, fmt.Errorf("%s: style %q in %s cannot be validated; use %s", l.pointer, p.style, p.in, strings.Join(allowed[p.in], " or "))
	}
	schema, ok := l.child("schema")
	if !ok {
		if content, has := l.child("content"); has {
			for name := range content.node {
				media, _ := content.child(name)
				schema, ok = media.child("schema")
				p.json = isJSON(name)
			}
		}
	}
	if !ok {
		return p, nil
	}
	if p.schema, err = c.schemas.Compile(resource + "#" + schema.pointer); err != nil {
		return nil, fmt.Errorf("%s: %w", schema.pointer, err)
	}
	p.types = typesOf(p.schema, 0)
	return p, nil
}

func (c *compiler) body(op *Operation, l located) error {
	l, err := c.resolve(l)
	if err != nil {
		return err
	}
	b := &body{}
	b.required, _ = l.node["required"].(bool)
	content, _ := l.child("content")
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(content.node)) {
		media, _ := content.child(name)
		m := mediaType{name: strings.ToLower(strings.TrimSpace(strings.SplitN(name, ";", 2)[0]))}
		if schema, ok := media.child("schema"); ok && isJSON(m.name) {
			if m.schema, err = c.schemas.Compile(resource + "#" + schema.pointer); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", schema.pointer, err))
			}
		}
		b.media = append(b.media, m)
	}
	// The most exact media type first.
	slices.SortStableFunc(b.media, func(x, y mediaType) int { return strings.Count(x.name, "*") - strings.Count(y.name, "*") })
	op.body = b
	return errors.Join(errs...)
}

func isJSON(mediaType string) bool {
	return mediaType == "application/json" || strings.HasSuffix(mediaType, "+json")
}

// kinds are the JSON types that a schema may take.
type kinds struct{ array, object, number, boolean, text, any bool }

// typesOf finds the types that a schema names, through references and combinations.
func typesOf(s *jsonschema.Schema, depth int) kinds {
	var k kinds
	if s == nil || depth > 16 {
		return kinds{any: true}
	}
	if s.Types != nil {
		for _, name := range s.Types.ToStrings() {
			switch name {
			case "array":
				k.array = true
			case "object":
				k.object = true
			case "number", "integer":
				k.number = true
			case "boolean":
				k.boolean = true
			case "string":
				k.text = true
			}
		}
		return k
	}
	var parts []*jsonschema.Schema
	if s.Ref != nil {
		parts = append(parts, s.Ref)
	}
	parts = append(append(append(parts, s.AllOf...), s.AnyOf...), s.OneOf...)
	if len(parts) == 0 {
		return kinds{any: true}
	}
	for _, part := range parts {
		p := typesOf(part, depth+1)
		if p.any && len(parts) > 1 {
			continue // it says nothing about the type
		}
		k = kinds{k.array || p.array, k.object || p.object, k.number || p.number, k.boolean || p.boolean, k.text || p.text, k.any || p.any}
	}
	if k == (kinds{}) {
		k.any = true
	}
	return k
}
