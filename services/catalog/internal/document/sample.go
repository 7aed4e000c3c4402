package document

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const (
	// maxSteps bounds the work on one value, as maxWork that on all of a document: schemas that refer to each other can amount to
	// exponentially much.
	maxSteps = 50_000
	// maxSampleDepth is how deep a value is nested before optional parts are left out.
	maxSampleDepth = 12
	// maxSampleItems is the largest number of items made where a schema asks for many.
	maxSampleItems = 20
)

// sample makes a value that goes by a schema: always the same one. Where the schema gives one (example, const, default, enum), it
// is that. Optional properties are there, except where the schema recurs. null stands for what can have no finite value.
func (m *mocker) sample(ref *openapi3.SchemaRef) (any, error) {
	made := maker{mocker: m}
	value, ok := made.value(ref, 0)
	if made.err != nil {
		return nil, made.err
	}
	if !ok {
		return nil, nil
	}
	return value, nil
}

type maker struct {
	mocker *mocker
	steps  int
	err    error // why no value is made any more
	// open are the schemas that a value is being made of.
	open []*openapi3.Schema
}

// step says whether the value may take so many steps more.
func (m *maker) step(steps int) bool {
	if m.err != nil {
		return false
	}
	if m.steps += steps; m.steps > maxSteps {
		m.err = errIntricate
		return false
	}
	m.err = m.mocker.spend(steps)
	return m.err == nil
}

// value is not ok when there is none: the schema recurs, or allows nothing.
func (m *maker) value(ref *openapi3.SchemaRef, depth int) (any, bool) {
	if !m.step(1) || ref == nil || ref.Value == nil {
		return nil, false
	}
	s := ref.Value
	if s.Always != nil {
		return "text", *s.Always
	}
	if given, ok := givenValue(s); ok {
		return given, true
	}
	if depth > maxSampleDepth || slices.Contains(m.open, s) {
		return nil, false
	}
	m.open = append(m.open, s)
	defer func() { m.open = m.open[:len(m.open)-1] }()
	if len(s.AllOf) > 0 {
		merged, ok := m.merge(s)
		if !ok {
			return nil, false
		}
		if given, ok := givenValue(merged); ok {
			return given, true
		}
		return m.alternatives(merged, depth)
	}
	return m.alternatives(s, depth)
}

func givenValue(s *openapi3.Schema) (any, bool) {
	switch {
	case s.Example != nil:
		return s.Example, true
	case len(s.Examples) > 0 && s.Examples[0] != nil:
		return s.Examples[0], true
	case s.Const != nil:
		return s.Const, true
	case s.Default != nil:
		return s.Default, true
	case len(s.Enum) > 0 && s.Enum[0] != nil:
		return s.Enum[0], true
	}
	return nil, false
}

// alternatives takes the first alternative of which a value can be made, together with what is beside it.
func (m *maker) alternatives(s *openapi3.Schema, depth int) (any, bool) {
	if len(s.OneOf)+len(s.AnyOf) == 0 {
		return m.plain(s, depth)
	}
	if !m.step(len(s.OneOf) + len(s.AnyOf)) {
		return nil, false
	}
	for _, option := range append(slices.Clone(s.OneOf), s.AnyOf...) {
		value, ok := m.value(option, depth+1)
		if !ok {
			continue
		}
		object, isObject := value.(map[string]any)
		if !isObject {
			return value, true
		}
		whole := maps.Clone(object)
		if len(s.Properties) > 0 {
			if beside, ok := m.object(s, depth); ok {
				for name, v := range beside {
					if _, there := whole[name]; !there {
						whole[name] = v
					}
				}
			}
		}
		discriminate(s.Discriminator, option.Ref, whole)
		return whole, true
	}
	return nil, false
}

// discriminate sets the property that tells which alternative an object is (OpenAPI 3.1, section 4.8.25).
func discriminate(d *openapi3.Discriminator, ref string, object map[string]any) {
	if d == nil || d.PropertyName == "" || ref == "" {
		return
	}
	for _, value := range slices.Sorted(maps.Keys(d.Mapping)) {
		if to := d.Mapping[value].Ref; to == ref || strings.HasSuffix(ref, "/"+to) {
			object[d.PropertyName] = value
			return
		}
	}
	object[d.PropertyName] = ref[strings.LastIndex(ref, "/")+1:]
}

func (m *maker) plain(s *openapi3.Schema, depth int) (any, bool) {
	switch typeOf(s) {
	case "object":
		return m.anyObject(s, depth)
	case "array":
		return m.array(s, depth)
	case "integer":
		return integer(s), true
	case "number":
		return number(s), true
	case "boolean":
		return true, true
	case "null":
		return nil, true
	default:
		return text(s), true
	}
}

func (m *maker) anyObject(s *openapi3.Schema, depth int) (any, bool) {
	object, ok := m.object(s, depth)
	return object, ok
}

// typeOf returns the first type that is not null, or what the keywords tell.
func typeOf(s *openapi3.Schema) string {
	if s.Type != nil {
		for _, t := range *s.Type {
			if t != "null" {
				return t
			}
		}
		if len(*s.Type) > 0 {
			return "null"
		}
	}
	switch {
	case len(s.Properties) > 0 || len(s.Required) > 0 || s.AdditionalProperties.Schema != nil:
		return "object"
	case s.Items != nil || len(s.PrefixItems) > 0:
		return "array"
	case s.Min != nil || s.Max != nil || s.MultipleOf != nil:
		return "number"
	}
	return "string"
}

func (m *maker) object(s *openapi3.Schema, depth int) (map[string]any, bool) {
	if !m.step(len(s.Properties) + len(s.Required)) {
		return nil, false
	}
	object, required := map[string]any{}, map[string]bool{}
	for _, name := range s.Required {
		required[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		if property == nil || property.Value == nil || property.Value.WriteOnly {
			continue
		}
		value, ok := m.value(property, depth+1)
		switch {
		case ok:
			object[name] = value
		case !required[name]:
		case nullable(property.Value):
			object[name] = nil
		default:
			return nil, false
		}
	}
	for _, name := range s.Required {
		if _, there := object[name]; !there && s.Properties[name] == nil {
			object[name] = "text"
		}
	}
	if additional := s.AdditionalProperties.Schema; additional != nil {
		wanted := max(int(min(s.MinProps, maxSampleItems)), 1)
		for i := 1; len(object) < wanted; i++ {
			value, ok := m.value(additional, depth+1)
			if !ok {
				break
			}
			object[fmt.Sprintf("property%d", i)] = value
		}
	}
	return object, true
}

func nullable(s *openapi3.Schema) bool {
	return s.Nullable || s.Type != nil && s.Type.IncludesNull()
}

func (m *maker) array(s *openapi3.Schema, depth int) (any, bool) {
	items := []any{}
	for _, prefix := range s.PrefixItems {
		value, ok := m.value(prefix, depth+1)
		if !ok {
			return items, uint64(len(items)) >= s.MinItems
		}
		items = append(items, value)
	}
	wanted := int(min(max(s.MinItems, 1), maxSampleItems))
	if s.MaxItems != nil {
		wanted = int(min(uint64(wanted), *s.MaxItems))
	}
	for i := len(items); i < wanted && s.Items != nil; i++ {
		value, ok := m.value(s.Items, depth+1)
		if !ok {
			return items, s.MinItems == 0
		}
		if s.UniqueItems {
			value = vary(value, s.Items.Value, i)
		}
		items = append(items, value)
	}
	return items, true
}

// vary makes the i-th of values that differ.
func vary(value any, s *openapi3.Schema, i int) any {
	if i == 0 {
		return value
	}
	if i < len(s.Enum) {
		return s.Enum[i]
	}
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("%s%d", v, i)
	case float64:
		return v + float64(i)
	}
	return value
}

// merge makes one schema of a schema and everything that it combines by allOf.
func (m *maker) merge(s *openapi3.Schema) (*openapi3.Schema, bool) {
	if !m.step(extent(s)) {
		return nil, false
	}
	merged := *s
	merged.AllOf, merged.Properties, merged.Required = nil, maps.Clone(s.Properties), slices.Clone(s.Required)
	merged.OneOf, merged.AnyOf = slices.Clone(s.OneOf), slices.Clone(s.AnyOf)
	for _, ref := range s.AllOf {
		if ref == nil || ref.Value == nil || !m.step(extent(ref.Value)+len(m.open)/8) {
			return nil, false
		}
		part := ref.Value
		if slices.Contains(m.open, part) {
			return nil, false
		}
		if len(part.AllOf) > 0 {
			m.open = append(m.open, part)
			var ok bool
			part, ok = m.merge(part)
			m.open = m.open[:len(m.open)-1]
			if !ok {
				return nil, false
			}
		}
		include(&merged, part)
	}
	return &merged, true
}

// extent is how much is copied of a schema that is merged.
func extent(s *openapi3.Schema) int {
	return 1 + len(s.Properties) + len(s.Required) + len(s.OneOf) + len(s.AnyOf)
}

// include adds what a part of allOf says.
func include(s, part *openapi3.Schema) {
	if s.Type == nil || len(*s.Type) == 0 {
		s.Type = part.Type
	}
	if s.Properties == nil {
		s.Properties = openapi3.Schemas{}
	}
	for name, p := range part.Properties {
		if s.Properties[name] == nil {
			s.Properties[name] = p
		}
	}
	s.Required = append(s.Required, part.Required...)
	s.OneOf, s.AnyOf = append(s.OneOf, part.OneOf...), append(s.AnyOf, part.AnyOf...)
	if given, ok := givenValue(part); ok && s.Example == nil {
		if _, isObject := given.(map[string]any); !isObject { // a part of an object is not the object
			s.Example = given
		}
	}
	s.Min, s.Max = tighter(s.Min, part.Min, math.Max), tighter(s.Max, part.Max, math.Min)
	if !s.ExclusiveMin.IsSet() {
		s.ExclusiveMin = part.ExclusiveMin
	}
	if !s.ExclusiveMax.IsSet() {
		s.ExclusiveMax = part.ExclusiveMax
	}
	if s.MultipleOf == nil {
		s.MultipleOf = part.MultipleOf
	}
	s.MinLength, s.MinItems = max(s.MinLength, part.MinLength), max(s.MinItems, part.MinItems)
	if s.MaxLength == nil {
		s.MaxLength = part.MaxLength
	}
	if s.MaxItems == nil {
		s.MaxItems = part.MaxItems
	}
	if s.Items == nil {
		s.Items = part.Items
	}
	if s.Format == "" {
		s.Format = part.Format
	}
	if s.Pattern == "" {
		s.Pattern = part.Pattern
	}
	if s.AdditionalProperties.Schema == nil {
		s.AdditionalProperties.Schema = part.AdditionalProperties.Schema
	}
	if s.Discriminator == nil && len(part.OneOf) > 0 {
		s.Discriminator = part.Discriminator
	}
}

func tighter(a, b *float64, choose func(a, b float64) float64) *float64 {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	c := choose(*a, *b)
	return &c
}
