package eventlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// publishWindow is how many messages wait for acknowledgement at once.
	publishWindow = 256
	// ackTimeout is when acknowledgements are taken for lost: none has come for so long.
	ackTimeout = 5 * time.Second
	// connectionCheck is how often one that waits for acknowledgements looks whether they can still come.
	connectionCheck = 50 * time.Millisecond
)

// publisher publishes events to a replica, many at once and still in order: each message expects the sequence before it,
// so that after one that is refused or lost all later ones are refused. It waits for the acknowledgements itself, since the
// client's asynchronous publisher cannot be taken down without a leak when it has just begun.
type publisher struct {
	conn   *nats.Conn
	stream string
	inbox  string // of acknowledgements: <inbox>.<number of the message>
	sub    *nats.Subscription
	acks   chan *nats.Msg
	sent   uint64 // messages so far, which numbers them
}

func newPublisher(conn *nats.Conn, stream string) (*publisher, error) {
	p := &publisher{conn: conn, stream: stream, inbox: conn.NewInbox(), acks: make(chan *nats.Msg, 2*publishWindow)}
	var err error
	if p.sub, err = conn.ChanSubscribe(p.inbox+".*", p.acks); err != nil {
		return nil, fmt.Errorf("listen for acknowledgements: %w", err)
	}
	return p, nil
}

func (p *publisher) close() { _ = p.sub.Unsubscribe() } // fails only where the connection is closed

// publish returns how many of the events it has stored, and why not all: those may be others than the first ones, when
// another relay is at work. It returns when no message waits for its acknowledgement any more.
func (p *publisher) publish(ctx context.Context, events []Event) (stored int, err error) {
	reconnects := p.conn.Stats().Reconnects
	first := p.sent
	var failure error // of the earliest event, the cause of those after it
	for i := range events {
		if failure = p.send(&events[i]); failure != nil {
			break
		}
	}
	failed := p.sent - first // the index of the earliest failure
	check := time.NewTicker(connectionCheck)
	defer check.Stop()
	for answered, last := uint64(0), time.Now(); answered < p.sent-first; {
		select {
		case <-ctx.Done():
			return stored, ctx.Err()
		case <-check.C:
			switch {
			case !p.conn.IsConnected() || p.conn.Stats().Reconnects != reconnects:
				return stored, nats.ErrDisconnected
			case time.Since(last) > ackTimeout:
				return stored, fmt.Errorf("no acknowledgement for %v: %w", ackTimeout, nats.ErrTimeout)
			}
		case ack := <-p.acks:
			index, ours := p.index(ack, first)
			if !ours { // of an earlier call that did not wait for it
				continue
			}
			answered, last = answered+1, time.Now()
			err := acknowledged(ack, &events[index])
			if err == nil {
				stored++
			} else if index < failed {
				failure, failed = err, index
			}
		}
	}
	return stored, failure
}

func (p *publisher) send(e *Event) error {
	data, err := e.marshal()
	if err != nil {
		return fmt.Errorf("encode envelope: %w", err)
	}
	err = p.conn.PublishMsg(&nats.Msg{
		Subject: e.subject(),
		Reply:   p.inbox + "." + strconv.FormatUint(p.sent, 10),
		Header: nats.Header{
			StreamIDHeader:                  {e.StreamID},
			jetstream.ExpectedStreamHeader:  {p.stream},
			jetstream.ExpectedLastSeqHeader: {strconv.FormatUint(e.Position-1, 10)},
		},
		Data: data,
	})
	if err != nil {
		return fmt.Errorf("send %d bytes: %w", len(data), err)
	}
	p.sent++
	return nil
}

// index is that of the event which an acknowledgement belongs to.
func (p *publisher) index(ack *nats.Msg, first uint64) (index uint64, ours bool) {
	number, err := strconv.ParseUint(ack.Subject[len(p.inbox)+1:], 10, 64)
	return number - first, err == nil && number >= first && number < p.sent
}

// acknowledged reads the acknowledgement of an event.
func acknowledged(message *nats.Msg, e *Event) error {
	if len(message.Data) == 0 { // no responders: there is no such stream
		return jetstream.ErrNoStreamResponse
	}
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Stream   string              `json:"stream"`
		Sequence uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(message.Data, &ack); {
	case err != nil:
		return fmt.Errorf("read acknowledgement: %w", err)
	case ack.Error != nil:
		return ack.Error
	case ack.Stream == "":
		return errors.New("read acknowledgement: it names no stream")
	case ack.Sequence != e.Position:
		return fmt.Errorf("event %d was stored at sequence %d: %w", e.Position, ack.Sequence, ErrDiverged)
	}
	return nil
}
