// Package golden keeps one encoded example of every event and call record that was ever published. Every build must still
// read each of them as it was written.
package golden_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "github.com/tollgate/tollgate/proto/analytics/v1"
	_ "github.com/tollgate/tollgate/proto/billing/v1"
	_ "github.com/tollgate/tollgate/proto/calls/v1"
	_ "github.com/tollgate/tollgate/proto/catalog/v1"
	_ "github.com/tollgate/tollgate/proto/envelope/v1"
	_ "github.com/tollgate/tollgate/proto/identity/v1"
	_ "github.com/tollgate/tollgate/proto/metering/v1"
	_ "github.com/tollgate/tollgate/proto/subscription/v1"
)

var update = flag.Bool("update", false, "add examples of messages that have none yet; those there are stay as they are")

// Messages in these files are kept in streams and tables for ever.
var durable = []string{"/v1/events.proto", "calls/v1/calls.proto", "envelope/v1/envelope.proto", "analytics/v1/analytics.proto"}

func durableMessages() []protoreflect.MessageType {
	var all []protoreflect.MessageType
	protoregistry.GlobalTypes.RangeMessages(func(m protoreflect.MessageType) bool {
		path := m.Descriptor().ParentFile().Path()
		for _, suffix := range durable {
			if strings.HasSuffix(path, suffix) && !m.Descriptor().IsMapEntry() {
				all = append(all, m)
			}
		}
		return true
	})
	return all
}

func TestEveryGoldenMessageIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	messages := durableMessages()
	if len(messages) < 40 {
		t.Fatalf("only %d messages found: are all packages imported?", len(messages))
	}
	for _, m := range messages {
		name := string(m.Descriptor().FullName())
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join("testdata", name+".binpb")
			text := filepath.Join("testdata", name+".json")
			if _, err := os.Stat(binary); os.IsNotExist(err) && *update {
				write(t, binary, text, m)
			}
			encoded, err := os.ReadFile(binary)
			if err != nil {
				t.Fatalf("%s has no example; add one with: go test ./golden -update", name)
			}
			readable, err := os.ReadFile(text)
			if err != nil {
				t.Fatal(err)
			}
			got, want := m.New().Interface(), m.New().Interface()
			if err := proto.Unmarshal(encoded, got); err != nil {
				t.Fatalf("decode: %s", err)
			}
			if unknown := got.ProtoReflect().GetUnknown(); len(unknown) > 0 {
				t.Fatalf("%d bytes are not known to this build: a field was removed", len(unknown))
			}
			if err := protojson.Unmarshal(readable, want); err != nil {
				t.Fatalf("read %s: %s", text, err)
			}
			if !proto.Equal(got, want) {
				t.Fatalf("it reads as\n%v\nand was written as\n%v", got, want)
			}
		})
	}
}

func TestNoGoldenMessageIsForgotten(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.binpb")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".binpb")
		if _, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name)); err != nil {
			t.Errorf("%s was published and is not known to this build", name)
		}
	}
}

func write(t *testing.T, binary, text string, m protoreflect.MessageType) {
	t.Helper()
	example := m.New()
	fill(example, 0)
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(example.Interface())
	if err != nil {
		t.Fatal(err)
	}
	readable, err := protojson.MarshalOptions{Multiline: true}.Marshal(example.Interface())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{binary: encoded, text: append(readable, '\n')} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fill sets every field to a value that tells it from the others.
func fill(m protoreflect.Message, depth int) {
	if depth > 6 {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
			value := m.Mutable(f).Map()
			key := protoreflect.ValueOfString("key").MapKey()
			if f.MapKey().Kind() == protoreflect.Uint32Kind {
				key = protoreflect.ValueOfUint32(3).MapKey()
			}
			if f.MapValue().Message() != nil {
				v := value.NewValue()
				fill(v.Message(), depth+1)
				value.Set(key, v)
			} else {
				value.Set(key, scalar(f.MapValue()))
			}
		case f.IsList():
			list := m.Mutable(f).List()
			if f.Message() != nil {
				v := list.NewElement()
				fill(v.Message(), depth+1)
				list.Append(v)
			} else {
				list.Append(scalar(f))
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message(), depth+1)
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	number := int64(f.Number())
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(1).Number())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte{byte(number), 0xff})
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(f.Name()))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(number))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(number) << 40)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(number))
	default:
		return protoreflect.ValueOfInt64(number << 24)
	}
}
