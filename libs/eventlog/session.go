package eventlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/principal"
)

// ErrEpoch says that a follower has applied events that the log no longer has, because it was restored from a backup, or
// that it reads a replica from before that. What it has written must be made again: see Follower.Reset.
var ErrEpoch = errors.New("the log's history is not the one that was applied")

// ErrNoLog says that the log that is to be followed is not there and never was: its service has not started yet, or is not
// deployed. There is nothing to apply.
var ErrNoLog = errors.New("the log is not there yet")

const (
	// pullBytes bounds what the server sends for one pull. It must hold the largest message.
	pullBytes = 24 << 20
	// batchBytes bounds the events of one transaction.
	batchBytes = 8 << 20
	// heartbeat is the sign of life asked of the server; two missing ones end a session.
	heartbeat = time.Second
	// consumerLife is when the server forgets a consumer that nobody reads.
	consumerLife = 30 * time.Second
	// idleCheck is how long nothing comes until a follower asks whether there is something.
	idleCheck = 5 * time.Second
	// nextWait bounds the wait for a message that the server has said to be on its way.
	nextWait = 100 * time.Millisecond
)

// offset is up to where a follower has applied its log.
type offset struct {
	position uint64
	epoch    uint32 // of the event at position; 0 at the beginning
	eventID  string // of the event at position
}

const selectOffset = `SELECT position, epoch, event_id FROM follow_offset WHERE name = $1 AND log = $2`

func (o *offset) scan(row pgx.Row) error { return row.Scan(&o.position, &o.epoch, &o.eventID) }

// session follows until something fails. It starts from the offset in the database.
func (f *Follower) session(ctx context.Context) error {
	at, err := f.load(ctx)
	if err != nil {
		return err
	}
	f.status.advance(at.position, 0, 0)
	stream, err := f.config.JS.Stream(ctx, ReplicaName(f.config.Follow))
	if errors.Is(err, jetstream.ErrStreamNotFound) && at.position == 0 {
		err = fmt.Errorf("%w: %w", ErrNoLog, err)
	}
	if err != nil {
		return fmt.Errorf("look at the replica of log %s: %w", f.config.Follow, err)
	}
	// Without acknowledgements: the offset in the database is the authority, and positions tell of what was missed. A consumer
	// dies with the stream it reads, so that all messages of a session are from the stream that verify has looked at.
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Description:       "follower " + f.config.Name,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       at.position + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerLife,
	})
	if err != nil {
		return fmt.Errorf("read the replica of log %s from position %d: %w", f.config.Follow, at.position+1, err)
	}
	if err := f.verify(ctx, at); err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(2*f.config.BatchSize, pullBytes),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("read the replica of log %s: %w", f.config.Follow, err)
	}
	defer messages.Stop()
	f.fail(nil)
	for {
		batch, err := f.next(ctx, messages)
		if err != nil {
			return fmt.Errorf("read the replica of log %s: %w", f.config.Follow, err)
		}
		if len(batch) == 0 {
			err = f.missed(ctx, stream)
		} else {
			err = f.apply(ctx, batch)
		}
		if err != nil {
			return err
		}
	}
}

// load reads the offset, which begins at 0.
func (f *Follower) load(ctx context.Context) (offset, error) {
	var at offset
	var batch pgx.Batch
	batch.Queue(`INSERT INTO follow_offset (name, log) VALUES ($1, $2) ON CONFLICT DO NOTHING`, f.config.Name, f.config.Follow)
	batch.Queue(selectOffset, f.config.Name, f.config.Follow).QueryRow(at.scan)
	if err := f.config.DB.Pool().SendBatch(ctx, &batch).Close(); err != nil {
		return offset{}, fmt.Errorf("read the offset of follower %s: %w", f.config.Name, err)
	}
	return at, nil
}

// verify makes sure that the replica continues what was applied: it still has the next event, and the event at the offset
// is the one that was applied.
func (f *Follower) verify(ctx context.Context, at offset) error {
	stream, err := f.config.JS.Stream(ctx, ReplicaName(f.config.Follow))
	if err != nil {
		return fmt.Errorf("look at the replica of log %s: %w", f.config.Follow, err)
	}
	state := stream.CachedInfo().State
	switch {
	case state.FirstSeq > at.position+1:
		return fmt.Errorf("the replica of log %s begins at position %d, but %d is the next to apply: rebuild the replica",
			f.config.Follow, state.FirstSeq, at.position+1)
	case at.eventID == "": // nothing was applied yet, or something that told no id
		return nil
	case state.LastSeq < at.position:
		return fmt.Errorf("the replica of log %s ends at position %d, before the applied %d: waiting for its relay to fill it",
			f.config.Follow, state.LastSeq, at.position)
	}
	e, _, err := replicated(ctx, stream, at.position)
	if errors.Is(err, jetstream.ErrMsgNotFound) && state.FirstSeq == at.position+1 {
		return nil // the log begins after what was applied
	}
	if err != nil {
		return fmt.Errorf("verify the offset of follower %s: %w", f.config.Name, err)
	}
	if e.Epoch != at.epoch || e.ID != at.eventID {
		return fmt.Errorf("follower %s has applied event %s of epoch %d at position %d of log %s, where the replica holds event %s of "+
			"epoch %d; reset the follower: %w", f.config.Name, at.eventID, at.epoch, at.position, f.config.Follow, e.ID, e.Epoch, ErrEpoch)
	}
	return nil
}

// missed says whether there are events that did not come: the client drops messages, the last ones too, when a slow
// transaction lets its buffer fill up.
func (f *Follower) missed(ctx context.Context, stream jetstream.Stream) error {
	info, err := stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the replica of log %s: %w", f.config.Follow, err)
	}
	if last := info.State.LastSeq; last > f.Position() {
		return fmt.Errorf("the replica of log %s ends at position %d, but nothing comes after %d: reading again",
			f.config.Follow, last, f.Position())
	}
	return nil
}

// next waits for an event and returns it with those that are on their way; none when nothing comes for a while.
func (f *Follower) next(ctx context.Context, messages jetstream.MessagesContext) ([]received, error) {
	var batch []received
	for size := 0; len(batch) < f.config.BatchSize && size < batchBytes; {
		wait := idleCheck
		if len(batch) > 0 {
			wait = nextWait
		}
		message, err := f.nextMessage(ctx, messages, wait)
		if message == nil && len(batch) > 0 {
			return batch, nil //nolint:nilerr // the next call meets the same error, unless it has passed
		}
		if message == nil {
			return nil, err
		}
		r, err := receive(message)
		if err != nil {
			return nil, err
		}
		batch, size = append(batch, r), size+len(message.Data())
		if r.pending == 0 {
			break
		}
	}
	return batch, nil
}

// nextMessage waits for a message; nil when none comes in time.
func (f *Follower) nextMessage(ctx context.Context, messages jetstream.MessagesContext, wait time.Duration) (jetstream.Msg, error) {
	short, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	message, err := messages.Next(jetstream.NextContext(short))
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return nil, nil
	}
	return message, err
}

// received is an event as it came.
type received struct {
	Event
	envelope []byte
	pending  uint64 // messages that follow it already
	// poison is why the event cannot be decoded.
	poison error
}

func receive(message jetstream.Msg) (received, error) {
	metadata, err := message.Metadata()
	if err != nil {
		return received{}, fmt.Errorf("read message: %w", err)
	}
	r := received{envelope: message.Data(), pending: metadata.NumPending}
	if r.Event, r.poison = unmarshal(message.Data()); r.poison == nil {
		r.poison = r.decode()
	}
	if r.Position != 0 && r.Position != metadata.Sequence.Stream {
		return received{}, fmt.Errorf("message %d claims to be position %d", metadata.Sequence.Stream, r.Position)
	}
	r.Position = metadata.Sequence.Stream // also when the envelope cannot be decoded
	return r, nil
}

// Reset is for operators: it begins at position 0 again. clear runs in the same transaction and takes away what the
// follower has written; parked events are forgotten. Stop the follower in all processes before.
func (f *Follower) Reset(ctx context.Context, clear Clear) error {
	err := f.config.DB.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE follow_offset SET position = 0, epoch = 0, event_id = '', updated_at = now() WHERE name = $1 AND log = $2`,
			f.config.Name, f.config.Follow); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM parked_events WHERE name = $1 AND log = $2`, f.config.Name, f.config.Follow); err != nil {
			return err
		}
		return clear(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("reset follower %s: %w", f.config.Name, err)
	}
	f.status.advance(0, 0, 0)
	return nil
}

// Clear empties the tables that a follower has filled.
type Clear func(ctx context.Context, tx pgx.Tx) error
