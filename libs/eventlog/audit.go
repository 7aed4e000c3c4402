package eventlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// auditDifferences bounds the differences that an audit reports.
const auditDifferences = 100

// Audit is the comparison of a replica with its log.
type Audit struct {
	// LogEnd and ReplicaEnd are the last positions. A replica that is merely behind is filled by its relay.
	LogEnd, ReplicaEnd uint64
	// Compared is the number of events that were compared, byte for byte.
	Compared uint64
	// Differences are the first hundred, in the order of positions.
	Differences []Difference
}

// Difference is an event that is missing in the replica or another one there.
type Difference struct {
	Position uint64
	Problem  string
}

// Audit compares the whole replica with the log. It reads every event: run it rarely. Rebuild repairs.
func (r *Relay) Audit(ctx context.Context) (Audit, error) {
	var audit Audit
	stream, err := r.js.Stream(ctx, ReplicaName(r.log.name))
	if err != nil {
		return audit, fmt.Errorf("audit log %s: look at the replica: %w", r.log.name, err)
	}
	audit.ReplicaEnd = stream.CachedInfo().State.LastSeq
	for after := uint64(0); ; {
		events, err := r.log.read(ctx, after, publishWindow)
		if err != nil {
			return audit, fmt.Errorf("audit log %s: %w", r.log.name, err)
		}
		if len(events) == 0 {
			break
		}
		for i := range events {
			e := &events[i]
			after, audit.LogEnd = e.Position, e.Position
			if e.Position > audit.ReplicaEnd || len(audit.Differences) == auditDifferences {
				continue
			}
			difference, err := compare(ctx, stream, e)
			if err != nil {
				return audit, fmt.Errorf("audit log %s: %w", r.log.name, err)
			}
			audit.Compared++
			if difference != "" {
				audit.Differences = append(audit.Differences, Difference{e.Position, difference})
			}
		}
	}
	if audit.ReplicaEnd > audit.LogEnd {
		audit.Differences = append(audit.Differences, Difference{audit.LogEnd + 1, "the replica is longer than the log"})
	}
	return audit, nil
}

func compare(ctx context.Context, stream jetstream.Stream, e *Event) (difference string, err error) {
	message, err := message(ctx, stream, e.Position)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "missing in the replica", nil
	case err != nil:
		return "", err
	case message.Subject != e.subject():
		return fmt.Sprintf("has the subject %s instead of %s", message.Subject, e.subject()), nil
	case message.Header.Get(StreamIDHeader) != e.StreamID:
		return "has another stream id in its header", nil
	}
	same, err := equal(e, message.Data)
	if err != nil || same {
		return "", err
	}
	return "the replica holds another event", nil
}

// Rebuild deletes the replica, which running relays then fill again from the log. Followers go on where they are.
func (r *Relay) Rebuild(ctx context.Context) error {
	log, err := r.log.extent(ctx)
	if err == nil {
		_, err = r.replace(ctx, log, "asked for")
	}
	if err != nil {
		return fmt.Errorf("rebuild the replica of log %s: %w", r.log.name, err)
	}
	return nil
}
