package resource

import (
	"encoding/json"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/libs/problem"
)

// Spec carries a spec message in the requests and responses of the management API: as JSON it has the field names of
// the documents, and it decodes strictly. The zero value holds no message.
type Spec[T any, M interface {
	*T
	proto.Message
}] struct {
	Message M
}

// Of returns a Spec with the message.
func Of[T any, M interface {
	*T
	proto.Message
}](m M) Spec[T, M] {
	return Spec[T, M]{Message: m}
}

// MarshalJSON implements json.Marshaler.
func (s Spec[T, M]) MarshalJSON() ([]byte, error) {
	if s.Message == nil {
		return []byte("{}"), nil
	}
	return EncodeSpec(s.Message)
}

// JSONSchemaBytes describes the message for the OpenAPI document (JSON Schema 2020-12).
func (s Spec[T, M]) JSONSchemaBytes() ([]byte, error) {
	return json.Marshal(schemaOf(M(new(T)).ProtoReflect().Descriptor()))
}

func schemaOf(d protoreflect.MessageDescriptor) map[string]any {
	properties := map[string]any{}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		properties[f.JSONName()] = fieldSchema(f)
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
}

func fieldSchema(f protoreflect.FieldDescriptor) map[string]any {
	switch {
	case f.IsMap():
		return map[string]any{"type": "object", "additionalProperties": valueSchema(f.MapValue())}
	case f.IsList():
		return map[string]any{"type": "array", "items": valueSchema(f)}
	default:
		return valueSchema(f)
	}
}

func valueSchema(f protoreflect.FieldDescriptor) map[string]any {
	switch {
	case f.Message() != nil:
		return schemaOf(f.Message())
	case f.Kind() == protoreflect.BoolKind:
		return map[string]any{"type": "boolean"}
	case isInteger(f):
		return map[string]any{"type": "integer", "minimum": 0}
	default:
		return map[string]any{"type": "string"}
	}
}

// UnmarshalJSON implements json.Unmarshaler; the error is a *problem.Error with the paths of what is wrong.
func (s *Spec[T, M]) UnmarshalJSON(data []byte) error {
	var fields problem.Fields
	m := M(new(T))
	DecodeSpec(data, m, "spec", &fields)
	if err := fields.Err("request-invalid", "The specification is not valid."); err != nil {
		return err
	}
	s.Message = m
	return nil
}
