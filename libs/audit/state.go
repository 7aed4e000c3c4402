package audit

import (
	"bytes"
	"encoding/json"
	"reflect"
	"time"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// State folds the events of a stream into what is shown of its aggregate; nil for what is not there.
type State func(events []proto.Message) any

// Of returns the State of an aggregate that the domain folds with evolve, from the zero value.
func Of[S any](evolve func(S, proto.Message) S) State {
	return func(events []proto.Message) any {
		if len(events) == 0 {
			return nil
		}
		var state S
		for _, e := range events {
			state = evolve(state, e)
		}
		return state
	}
}

// encodeState encodes a domain value as JSON: fields in camel case, without those that are zero.
func encodeState(state any) (json.RawMessage, error) {
	if state == nil {
		return nil, nil
	}
	return json.Marshal(plain(reflect.ValueOf(state)))
}

func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Struct:
		if t, ok := v.Interface().(time.Time); ok {
			return t
		}
		if m, ok := addressable(v).(proto.Message); ok {
			return message(m)
		}
		fields := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !v.Field(i).IsZero() {
				fields[camel(f.Name)] = plain(v.Field(i))
			}
		}
		return fields
	case reflect.Map:
		entries := map[string]any{}
		for _, key := range v.MapKeys() {
			entries[key.String()] = plain(v.MapIndex(key))
		}
		return entries
	case reflect.Slice, reflect.Array:
		items := make([]any, v.Len())
		for i := range items {
			items[i] = plain(v.Index(i))
		}
		return items
	default:
		return v.Interface()
	}
}

// addressable returns a pointer to a copy of v, on which methods of pointers are found.
func addressable(v reflect.Value) any {
	p := reflect.New(v.Type())
	if _, ok := p.Interface().(proto.Message); !ok {
		return nil // a message must not be copied; other values need not be
	}
	if v.CanAddr() {
		return v.Addr().Interface()
	}
	return nil
}

// message encodes a message without its bytes, which are hashes and content that nobody reads.
func message(m proto.Message) json.RawMessage {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil
	}
	m = proto.Clone(m)
	withoutBytes(m.ProtoReflect())
	encoded, err := protojson.Marshal(m)
	if err != nil {
		return nil // a message that was decoded can be encoded
	}
	var compact bytes.Buffer // protojson spaces at random; the same entry is exported alike
	if json.Compact(&compact, encoded) != nil {
		return nil
	}
	return compact.Bytes()
}

func withoutBytes(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Kind() == protoreflect.BytesKind:
			m.Clear(f)
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				withoutBytes(v.Message())
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				withoutBytes(v.List().Get(i).Message())
			}
		case !f.IsMap() && !f.IsList() && f.Message() != nil:
			withoutBytes(v.Message())
		}
		return true
	})
}

// camel turns a Go name into camel case: ID into id, ClientID into clientId.
func camel(name string) string {
	runes := []rune(name)
	for i, r := range runes {
		startsWord := i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper([]rune(name)[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if !startsWord {
			runes[i] = unicode.ToLower(r)
		}
	}
	return string(runes)
}
