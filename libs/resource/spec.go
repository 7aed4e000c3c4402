package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/libs/problem"
)

// DecodeSpec decodes JSON into the message, strictly. What is wrong is added to fields, with paths below path; the
// message is complete only when nothing was added.
func DecodeSpec(raw json.RawMessage, into proto.Message, path string, fields *problem.Fields) {
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = json.RawMessage("{}")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		fields.Add(path, "is not JSON: %s", err)
		return
	}
	before := len(*fields)
	checkMessage(value, into.ProtoReflect().Descriptor(), path, fields)
	if len(*fields) > before {
		return
	}
	if err := protojson.Unmarshal(raw, into); err != nil {
		fields.Add(path, "%s", strings.TrimPrefix(err.Error(), "proto: "))
	}
}

// EncodeSpec encodes a message as JSON with the field names of the documents; unset fields are left out. The same
// message gives the same bytes.
func EncodeSpec(m proto.Message) (json.RawMessage, error) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	// protojson varies its white space on purpose, and writes 64-bit integers as strings.
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return json.Marshal(plainIntegers(value, m.ProtoReflect().Descriptor()))
}

func plainIntegers(value any, d protoreflect.MessageDescriptor) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	for key, v := range object {
		f := d.Fields().ByJSONName(key)
		if f == nil {
			continue
		}
		switch {
		case f.IsMap():
			if inner, ok := v.(map[string]any); ok && f.MapValue().Message() != nil {
				for k, e := range inner {
					inner[k] = plainIntegers(e, f.MapValue().Message())
				}
			}
		case f.IsList():
			if list, ok := v.([]any); ok {
				for i := range list {
					list[i] = plainValue(list[i], f)
				}
			}
		default:
			object[key] = plainValue(v, f)
		}
	}
	return object
}

func plainValue(v any, f protoreflect.FieldDescriptor) any {
	if f.Message() != nil {
		return plainIntegers(v, f.Message())
	}
	if text, ok := v.(string); ok && isInteger(f) {
		return json.Number(text)
	}
	return v
}

func isInteger(f protoreflect.FieldDescriptor) bool {
	switch f.Kind() {
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind,
		protoreflect.Sint32Kind, protoreflect.Sint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind,
		protoreflect.Sfixed32Kind, protoreflect.Sfixed64Kind:
		return true
	default:
		return false
	}
}

func checkMessage(value any, d protoreflect.MessageDescriptor, path string, fields *problem.Fields) {
	object, ok := value.(map[string]any)
	if !ok {
		fields.Add(path, "is %s; want an object", typeName(value))
		return
	}
	for key, v := range object {
		f := d.Fields().ByJSONName(key)
		if f == nil {
			fields.Add(join(path, key), "is not a field here; want one of %s", fieldNames(d))
			continue
		}
		checkField(v, f, join(path, key), fields)
	}
}

func checkField(v any, f protoreflect.FieldDescriptor, path string, fields *problem.Fields) {
	switch {
	case f.IsMap():
		object, ok := v.(map[string]any)
		if !ok {
			fields.Add(path, "is %s; want an object", typeName(v))
			return
		}
		for k, e := range object {
			checkValue(e, f.MapValue(), join(path, k), fields)
		}
	case f.IsList():
		list, ok := v.([]any)
		if !ok {
			fields.Add(path, "is %s; want a list", typeName(v))
			return
		}
		for i, e := range list {
			checkValue(e, f, path+"["+strconv.Itoa(i)+"]", fields)
		}
	default:
		checkValue(v, f, path, fields)
	}
}

func checkValue(v any, f protoreflect.FieldDescriptor, path string, fields *problem.Fields) {
	switch {
	case f.Message() != nil:
		checkMessage(v, f.Message(), path, fields)
	case f.Kind() == protoreflect.StringKind:
		if text, ok := v.(string); ok {
			if strings.ContainsRune(text, 0) {
				fields.Add(path, "contains the character U+0000; leave it out")
			}
		} else {
			hint := ""
			if n, isNumber := v.(json.Number); isNumber {
				hint = fmt.Sprintf(`; write it in quotes, as "%s"`, n)
			}
			fields.Add(path, "is %s; want a string%s", typeName(v), hint)
		}
	case f.Kind() == protoreflect.BoolKind:
		if _, ok := v.(bool); !ok {
			fields.Add(path, "is %s; want true or false", typeName(v))
		}
	case isInteger(f):
		n, ok := v.(json.Number)
		if _, err := strconv.ParseUint(string(n), 10, 63); !ok || err != nil {
			fields.Add(path, "is %s; want a whole number from 0 up", shown(v))
		}
	}
}

func shown(v any) string {
	if n, ok := v.(json.Number); ok {
		return string(n)
	}
	return typeName(v)
}

func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number, float64:
		return "a number"
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

func fieldNames(d protoreflect.MessageDescriptor) string {
	names := make([]string, d.Fields().Len())
	for i := range names {
		names[i] = d.Fields().Get(i).JSONName()
	}
	return strings.Join(names, ", ")
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
