// Package callstream owns how services read the stream CALLS: the decoding and checking of batches, and the reading of a
// partition from an offset that the reader keeps itself, in the transaction of its effect.
//
// Messages come at least once, and a batch may come again with other bounds: what is new is told by libs/received. A
// message that contradicts itself is handed on with the reason, never dropped: its calls stay missing, and so visible. The server
// sends each message once and waits for no acknowledgement: the reading ends with ErrMissed when one has not arrived.
//
// Used by metering and analytics. A Reader belongs to one goroutine.
package callstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/bus"
)

const (
	// pullBytes bounds what the server sends for one pull; it must hold the largest message.
	pullBytes = 24 << 20
	// pullMessages bounds the messages of one pull.
	pullMessages = 500
	// heartbeat is the sign of life asked of the server; two missing ones end the reading.
	heartbeat = 500 * time.Millisecond
	// consumerLife is when the server forgets a consumer that nobody reads.
	consumerLife = 30 * time.Second
)

// ErrMissed says that a message that the server has sent did not arrive: it was in flight when the connection ended, or the client
// had no room for it. The reader is of no use any more; open another behind the last message that was taken.
var ErrMissed = errors.New("a message that was sent is lost")

// Reader reads one partition in order.
type Reader struct {
	partition int
	stream    jetstream.Stream
	messages  jetstream.MessagesContext
	// last is the sequence of the message that arrived last, or behind which the reading began.
	last uint64
	// arrived counts the messages: the server numbers what it sends to the reader, from 1.
	arrived uint64
	// broken is why nothing can be read any more.
	broken error
}

// Created is when the stream was made: sequences of one with another time mean other messages. It has the resolution of
// microseconds, as PostgreSQL keeps it.
func Created(ctx context.Context, b *bus.Bus) (time.Time, error) {
	stream, err := b.EnsureCalls(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return stream.CachedInfo().Created.UTC().Truncate(time.Microsecond), nil
}

// Open reads a partition from behind a sequence, of the stream that was made at the given time. The reading ends with an
// error when the stream is deleted.
func Open(ctx context.Context, b *bus.Bus, partition int, after uint64, created time.Time) (*Reader, error) {
	stream, err := b.JS.Stream(ctx, bus.CallsStream)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Description: "reader of calls", FilterSubject: bus.CallSubject(partition), DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq: after + 1, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerLife,
	})
	if err != nil {
		return nil, fmt.Errorf("read partition %d of stream %s: %w", partition, bus.CallsStream, err)
	}
	// The consumer dies with the stream it reads: it is of the right one if that is still there now.
	now, err := stream.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	if !now.Created.UTC().Truncate(time.Microsecond).Equal(created) {
		return nil, fmt.Errorf("the stream %s was made anew", bus.CallsStream)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return nil, fmt.Errorf("read partition %d of stream %s: %w", partition, bus.CallsStream, err)
	}
	return &Reader{partition: partition, stream: stream, messages: messages, last: after}, nil
}

// Close ends the reading.
func (r *Reader) Close() { r.messages.Stop() }

// Limits bounds one take.
type Limits struct {
	// Calls and Bytes: no message is added once so many are there.
	Calls, Bytes int
	// Idle is how long the first message is waited for; then nothing is returned. It is 1.5 s at least: a server that has
	// forgotten the reader is noticed while waiting.
	Idle time.Duration
	// Fill is how long to wait for more after the first message; without it only what is on its way is taken.
	Fill time.Duration
}

// onItsWay bounds the wait for a message that the server has said to follow.
const onItsWay = 100 * time.Millisecond

// Take waits for messages and returns them in order, none when the wait was in vain. Between one take and the next no message is
// left out: it fails with ErrMissed instead.
func (r *Reader) Take(ctx context.Context, limits Limits) ([]Message, error) {
	all, err := r.take(ctx, limits)
	if err == nil && len(all) == 0 {
		all, err = r.missed(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read partition %d of stream %s: %w", r.partition, bus.CallsStream, err)
	}
	return all, nil
}

func (r *Reader) take(ctx context.Context, limits Limits) ([]Message, error) {
	var all []Message
	calls, size := 0, 0
	var full time.Time
	for calls < limits.Calls && size < limits.Bytes {
		wait := max(limits.Idle, 3*heartbeat)
		if len(all) > 0 {
			wait = time.Until(full)
			if all[len(all)-1].Pending > 0 {
				wait = max(wait, onItsWay)
			}
			if wait <= 0 {
				break
			}
		}
		message, err := r.next(ctx, wait)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			break
		}
		if err != nil {
			if len(all) > 0 && ctx.Err() == nil {
				break // the next take meets the same error, unless it has passed
			}
			return nil, err
		}
		if len(all) == 0 {
			full = time.Now().Add(limits.Fill)
		}
		all = append(all, message)
		calls, size = calls+len(message.Batch.GetCalls()), size+message.Size
	}
	return all, nil
}

// missed looks whether there is a message that should have arrived, when nothing has come for a while: no later one may ever tell.
// It returns the one that has come meanwhile.
func (r *Reader) missed(ctx context.Context) ([]Message, error) {
	_, found, err := next(ctx, r.stream, r.partition, r.last)
	if err != nil || !found {
		return nil, err
	}
	message, err := r.next(ctx, heartbeat)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		r.broken = fmt.Errorf("there are messages behind %d and none arrives: %w", r.last, ErrMissed)
		return nil, r.broken
	}
	if err != nil {
		return nil, err
	}
	return []Message{message}, nil
}

func (r *Reader) next(ctx context.Context, wait time.Duration) (Message, error) {
	if r.broken != nil {
		return Message{}, r.broken
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	raw, err := r.messages.Next(jetstream.NextContext(waiting))
	if err != nil {
		return Message{}, err
	}
	metadata, err := raw.Metadata()
	if err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	if metadata.Sequence.Consumer != r.arrived+1 {
		r.broken = fmt.Errorf("message %d was the %dth to be sent and the %dth to arrive: %w",
			metadata.Sequence.Stream, metadata.Sequence.Consumer, r.arrived+1, ErrMissed)
		return Message{}, r.broken
	}
	r.arrived++
	r.last = metadata.Sequence.Stream
	m := Message{Sequence: metadata.Sequence.Stream, Received: metadata.Timestamp, Size: len(raw.Data()), Pending: metadata.NumPending}
	m.Batch, m.Refused = Decode(r.partition, raw.Data())
	return m, nil
}

// ErrLost says that the stream does not hold a range any more.
var ErrLost = errors.New("the stream does not hold the messages any more")

// Each reads the messages of a partition from first to last, both included, of the stream made at the given time, and
// hands them on in order. It fails with ErrLost when they are not there, rather than leave some out.
func Each(ctx context.Context, b *bus.Bus, partition int, first, last uint64, created time.Time, fn func(Message) error) error {
	stream, err := b.JS.Stream(ctx, bus.CallsStream)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	info := stream.CachedInfo()
	if !info.Created.UTC().Truncate(time.Microsecond).Equal(created) || info.State.FirstSeq > first || info.State.LastSeq < last {
		return fmt.Errorf("read messages %d to %d of partition %d: %w", first, last, partition, ErrLost)
	}
	r, err := Open(ctx, b, partition, first-1, created)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		const patience = 10 * time.Second
		messages, err := r.Take(ctx, Limits{Calls: 10_000, Bytes: 8 << 20, Idle: patience})
		if err != nil {
			return err
		}
		if len(messages) == 0 {
			// Take has looked: there is none.
			return fmt.Errorf("read messages %d to %d of partition %d: nothing comes behind %d: %w", first, last, partition, r.last, ErrLost)
		}
		for _, m := range messages {
			if m.Sequence <= last {
				if err := fn(m); err != nil {
					return err
				}
			}
			if m.Sequence >= last || m.Pending == 0 {
				return nil
			}
		}
	}
}

// Next returns when the first message of a partition behind a sequence came, of the stream made at the given time; false when
// there is none yet. It fails with ErrLost when that stream is not there any more.
func Next(ctx context.Context, b *bus.Bus, partition int, after uint64, created time.Time) (time.Time, bool, error) {
	stream, err := b.JS.Stream(ctx, bus.CallsStream)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	if !stream.CachedInfo().Created.UTC().Truncate(time.Microsecond).Equal(created) {
		return time.Time{}, false, fmt.Errorf("look at stream %s: it was made anew: %w", bus.CallsStream, ErrLost)
	}
	return next(ctx, stream, partition, after)
}

func next(ctx context.Context, stream jetstream.Stream, partition int, after uint64) (time.Time, bool, error) {
	message, err := stream.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(bus.CallSubject(partition)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	return message.Time, true, nil
}
