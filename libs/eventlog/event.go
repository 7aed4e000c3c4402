package eventlog

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	envelopev1 "github.com/tollgate/tollgate/proto/envelope/v1"
)

// MaxPayload is the size of the largest event, in bytes of its protobuf encoding.
const MaxPayload = 10 << 20

// ErrUnknownType says that this build does not know the type of an event. A newer build wrote it.
var ErrUnknownType = errors.New("the type of the event is not known to this build")

// Event is one fact of a log. It is immutable.
type Event struct {
	// ID is a UUIDv7.
	ID string
	// Log is the name of the log, which is that of the service that wrote it.
	Log string
	// Epoch counts the restorations of the log before the event was written, from 1.
	Epoch uint32
	// Position in the log: 1, 2, 3, … in commit order. 0 while it is not yet appended.
	Position uint64
	// StreamType and StreamID name the aggregate.
	StreamType, StreamID string
	// Version within the stream: 1, 2, 3, …
	Version uint64
	// Type is the full name of the payload's message, for example "catalog.v1.PlanPublished".
	Type string
	// Payload is decoded from Raw through the global registry of protobuf types.
	Payload proto.Message
	// Raw is the payload as it was written.
	Raw []byte
	// Tenant that the event belongs to; "*" for events of the installation itself.
	Tenant string
	// Actor is the principal's subject.
	Actor string
	// Reason is the actor's, for transitions that ask for one.
	Reason string
	// CorrelationID is shared by all that one request led to; CausationID is the id of the event that led to this one.
	CorrelationID, CausationID string
	// TraceParent is the trace context of the command (W3C Trace Context, section 3.2).
	TraceParent string
	// RecordedAt is when it was appended, in UTC to the microsecond. Order is by position, never by time.
	RecordedAt time.Time
}

// Fold applies the events of a stream to a state, in their order.
func Fold[S any](events []Event, zero S, evolve func(S, proto.Message) S) S {
	state := zero
	for _, e := range events {
		state = evolve(state, e.Payload)
	}
	return state
}

// decode sets the payload.
func (e *Event) decode() error {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(e.Type))
	if err != nil {
		return fmt.Errorf("decode event %d of log %s: %s: %w", e.Position, e.Log, e.Type, ErrUnknownType)
	}
	payload := kind.New().Interface()
	if err := proto.Unmarshal(e.Raw, payload); err != nil {
		return fmt.Errorf("decode event %d of log %s as %s: %w", e.Position, e.Log, e.Type, err)
	}
	e.Payload = payload
	return nil
}

// marshal encodes the event for the replica; the same event always to the same bytes.
func (e *Event) marshal() ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&envelopev1.Envelope{
		Id: e.ID, Log: e.Log, Epoch: e.Epoch, Position: e.Position,
		StreamType: e.StreamType, StreamId: e.StreamID, Version: e.Version,
		Type: e.Type, Payload: e.Raw, RecordedAt: timestamppb.New(e.RecordedAt),
		Tenant: e.Tenant, Actor: e.Actor, Reason: e.Reason,
		CorrelationId: e.CorrelationID, CausationId: e.CausationID, TraceParent: e.TraceParent,
	})
}

// unmarshal is the reverse of marshal; the payload stays undecoded.
func unmarshal(data []byte) (Event, error) {
	var e envelopev1.Envelope
	if err := proto.Unmarshal(data, &e); err != nil {
		return Event{}, fmt.Errorf("decode envelope: %w", err)
	}
	return Event{
		ID: e.GetId(), Log: e.GetLog(), Epoch: e.GetEpoch(), Position: e.GetPosition(),
		StreamType: e.GetStreamType(), StreamID: e.GetStreamId(), Version: e.GetVersion(),
		Type: e.GetType(), Raw: e.GetPayload(), RecordedAt: e.GetRecordedAt().AsTime(),
		Tenant: e.GetTenant(), Actor: e.GetActor(), Reason: e.GetReason(),
		CorrelationID: e.GetCorrelationId(), CausationID: e.GetCausationId(), TraceParent: e.GetTraceParent(),
	}, nil
}
