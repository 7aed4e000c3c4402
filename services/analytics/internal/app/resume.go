package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/received"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// resume makes the insert of a manifest that was not marked as done: the calls of its messages, without those that it says
// were dropped. It looks first which of them are there, because a token is forgotten after a while. created is when the stream that
// is there was made.
func (l *Landing) resume(ctx context.Context, created time.Time) error {
	var m store.Landing
	var pending bool
	var refused []int64
	err := l.a.all(ctx, func(tx pgx.Tx) (err error) {
		if m, pending, err = store.Pending(ctx, tx, l.at.Partition); err != nil || !pending {
			return err
		}
		refused, err = store.RefusedWithin(ctx, tx, m)
		return err
	})
	if err != nil || !pending {
		return err
	}
	if m.FirstSequence == m.LastSequence {
		refused = nil // it is the landing of a message that had been refused: of one that is refused there is none
	}
	calls, err := l.read(ctx, m, refused, created)
	if err == nil && !l.sameStream(m, created) && !tellsOf(m, calls) {
		err = fmt.Errorf("the stream was made anew, with other messages: %w", callstream.ErrLost)
	}
	if errors.Is(err, callstream.ErrLost) {
		// Nobody has these messages any more. Reconciliation tells what is missing in ClickHouse, if the insert was not made.
		l.a.Logger.Error("a landing that was cut short cannot be finished: the stream has lost its messages", "partition", m.Partition,
			"first", m.FirstSequence, "last", m.LastSequence, "calls", m.Calls, "error", err)
		return l.finish(ctx, m)
	}
	if err != nil {
		return err
	}
	if int64(len(calls)) != m.Calls {
		return fmt.Errorf("the messages %d to %d have %d calls to land, the manifest says %d", m.FirstSequence, m.LastSequence, len(calls), m.Calls)
	}
	missing, err := l.missing(ctx, m, calls)
	if err != nil {
		return err
	}
	if err := l.a.all(ctx, func(tx pgx.Tx) error { return keep(ctx, tx, missing) }); err != nil {
		return err
	}
	l.a.Logger.Info("a landing that was cut short is finished", "partition", m.Partition, "first", m.FirstSequence, "last", m.LastSequence, "calls", len(calls), "missing", len(missing))
	if err := l.a.Warehouse.Insert(ctx, m.Token, missing); err != nil {
		return err
	}
	return l.finish(ctx, m)
}

// sameStream says whether a manifest is of the stream that was made at a time.
func (l *Landing) sameStream(m store.Landing, created time.Time) bool {
	return m.Generation == l.at.Generation && l.at.StreamCreated != nil && l.at.StreamCreated.Equal(created)
}

// tellsOf says whether a manifest is of these calls: as many, of which the first and the last completed at the same nanoseconds. So
// it is when the stream was restored from a backup: it was made anew, with the same messages at the same sequences.
func tellsOf(m store.Landing, calls []clickhouse.Call) bool {
	if len(calls) == 0 || int64(len(calls)) != m.Calls {
		return false
	}
	byCompletion := func(a, b clickhouse.Call) int { return cmp.Compare(a.GetCompletedAt(), b.GetCompletedAt()) }
	first, last := slices.MinFunc(calls, byCompletion), slices.MaxFunc(calls, byCompletion)
	return first.GetCompletedAt() == m.FirstCompleted && last.GetCompletedAt() == m.LastCompleted
}

// read reads the calls of a manifest from the stream made at the given time. The messages that were refused then are left out, though
// this build may be able to use them: see RetryRefused.
func (l *Landing) read(ctx context.Context, m store.Landing, refused []int64, created time.Time) ([]clickhouse.Call, error) {
	dropped := map[bootKey][]received.Range{}
	for _, d := range m.Dropped {
		key := bootKey{d.Gateway, d.Boot}
		dropped[key] = append(dropped[key], d.Range)
	}
	var calls []clickhouse.Call
	taken := map[bootKey]received.Set{}
	err := callstream.Each(ctx, l.a.Bus, m.Partition, uint64(m.FirstSequence), uint64(m.LastSequence), created, func(message callstream.Message) error {
		if message.Refused != nil || len(message.Batch.GetCalls()) == 0 || slices.Contains(refused, int64(message.Sequence)) {
			return nil
		}
		key := bootKey{message.Batch.GetGateway(), message.Batch.GetBoot()}
		all := callstream.Range(message.Batch)
		before := taken[key]
		var fresh []received.Range
		taken[key], fresh = before.Merge(all)
		for _, r := range fresh {
			for _, record := range message.Batch.GetCalls()[r.First-all.First : r.Last-all.First+1] {
				if !slices.ContainsFunc(dropped[key], func(d received.Range) bool { return d.Contains(record.GetSeq()) }) {
					calls = append(calls, clickhouse.Call{
						Gateway: key.gateway, Boot: key.boot, Partition: m.Partition, Sequence: message.Sequence, CallRecord: record,
					})
				}
			}
		}
		return nil
	})
	return calls, err
}

// missing returns the calls of a manifest that are not in ClickHouse.
func (l *Landing) missing(ctx context.Context, m store.Landing, calls []clickhouse.Call) ([]clickhouse.Call, error) {
	ranges := map[bootKey]received.Range{}
	for _, c := range calls {
		key := bootKey{c.Gateway, c.Boot}
		r, there := ranges[key]
		if !there {
			r = received.Range{First: c.GetSeq(), Last: c.GetSeq()}
		}
		ranges[key] = received.Range{First: min(r.First, c.GetSeq()), Last: max(r.Last, c.GetSeq())}
	}
	present := map[bootKey]map[uint64]bool{}
	for key, r := range ranges {
		var err error
		span := clickhouse.Span{Start: m.FirstCompleted, End: m.LastCompleted + 1}
		if present[key], err = l.a.Warehouse.Present(ctx, key.gateway, key.boot, r.First, r.Last, span); err != nil {
			return nil, err
		}
	}
	var missing []clickhouse.Call
	for _, c := range calls {
		if !present[bootKey{c.Gateway, c.Boot}][c.GetSeq()] {
			missing = append(missing, c)
		}
	}
	return missing, nil
}

// RetryRefused tries the messages again that could not be used, since a newer build may know how to, and returns how many
// it landed. It is called once by a process, when it attaches first.
func (l *Landing) RetryRefused(ctx context.Context) (int, error) {
	landed, after := 0, int64(0)
	for {
		var sequences []int64
		err := l.a.all(ctx, func(tx pgx.Tx) (err error) {
			sequences, err = store.Refused(ctx, tx, l.at, after)
			return err
		})
		if err != nil || len(sequences) == 0 {
			return landed, err
		}
		n, err := l.retry(ctx, sequences)
		landed += n
		if err != nil {
			return landed, err
		}
		after = sequences[len(sequences)-1]
	}
}

// retry tries messages again, and returns how many it landed.
func (l *Landing) retry(ctx context.Context, sequences []int64) (int, error) {
	stream, err := l.a.Bus.JS.Stream(ctx, bus.CallsStream)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	landed := 0
	for _, sequence := range sequences {
		raw, err := stream.GetMsg(ctx, uint64(sequence))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return landed, fmt.Errorf("read message %d of stream %s: %w", sequence, bus.CallsStream, err)
		}
		batch, err := callstream.Decode(l.at.Partition, raw.Data)
		if err != nil {
			continue
		}
		c, err := l.claim(ctx, []callstream.Message{{Sequence: uint64(sequence), Received: raw.Time, Batch: batch}}, false)
		if err == nil {
			err = l.insert(ctx, c)
		}
		if err == nil {
			err = l.a.all(ctx, func(tx pgx.Tx) error { return store.DeleteRefused(ctx, tx, l.at, uint64(sequence)) })
		}
		if err != nil {
			return landed, fmt.Errorf("land refused message %d: %w", sequence, err)
		}
		landed++
	}
	return landed, nil
}
