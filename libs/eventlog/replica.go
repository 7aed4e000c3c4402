package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamIDHeader is the header of a replica's message that names the aggregate. It is not in the subject: JetStream keeps
// each subject in memory.
const StreamIDHeader = "Tollgate-Stream-Id"

// epochKey is where the replica's metadata holds the epoch of the log it was filled from.
const epochKey = "tollgate.epoch"

// ReplicaName returns the name of the JetStream stream that replicates a log, as in EV_CATALOG.
func ReplicaName(log string) string {
	return "EV_" + strings.ReplaceAll(strings.ToUpper(log), "-", "_")
}

// subject is ev.<log>.<stream type>.<event>, as in ev.catalog.plan.PlanPublished.
func (e *Event) subject() string {
	event := e.Type[strings.LastIndexByte(e.Type, '.')+1:]
	return "ev." + e.Log + "." + e.StreamType + "." + event
}

// replicaConfig describes the replica of a log whose first event has the given position.
func replicaConfig(log string, epoch uint32, first uint64, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        ReplicaName(log),
		Description: "Replica of the event log " + log + ": sequence = position.",
		Subjects:    []string{"ev." + log + ".>"},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardNew,
		Replicas:    max(replicas, 1),
		DenyDelete:  true,
		DenyPurge:   true,
		FirstSeq:    first,
		Metadata:    map[string]string{epochKey: strconv.FormatUint(uint64(epoch), 10)},
	}
}

func replicaEpoch(info *jetstream.StreamInfo) (uint32, error) {
	epoch, err := strconv.ParseUint(info.Config.Metadata[epochKey], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("stream %s exists, but is no replica of an event log (its metadata has no %s): delete or rename it",
			info.Config.Name, epochKey)
	}
	return uint32(epoch), nil
}

// readTimeout bounds the reading of one message, of which the largest ones take a while. It is how long an answer that was
// lost with its connection is waited for.
const readTimeout = 10 * time.Second

// message reads one message of the replica, from the stream's leader.
func message(ctx context.Context, stream jetstream.Stream, position uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	m, err := stream.GetMsg(ctx, position)
	if err != nil {
		return nil, fmt.Errorf("read message %d: %w", position, err)
	}
	return m, nil
}

// replicated reads one event of the replica.
func replicated(ctx context.Context, stream jetstream.Stream, position uint64) (Event, []byte, error) {
	message, err := message(ctx, stream, position)
	if err != nil {
		return Event{}, nil, err
	}
	e, err := unmarshal(message.Data)
	if err != nil {
		return Event{}, nil, fmt.Errorf("read message %d: %w", position, err)
	}
	return e, message.Data, nil
}

// wrongSequence says that a message was refused because the replica's last sequence is not the expected one.
func wrongSequence(err error) bool {
	var refusal *jetstream.APIError
	return errors.As(err, &refusal) && (refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		refusal.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}
