package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/received"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// ErrSuperseded says that another process lands the partition: attach again.
var ErrSuperseded = errors.New("another process lands this partition")

// Landing lands one partition of the stream in ClickHouse. Its messages are immutable, and what one insert has is written down
// (the manifest) before it is made: a landing that was cut short anywhere is made again with the same calls under the same
// token. It belongs to one goroutine; that of no other process should run at the same time, which the follow folder sees to, but
// no call is landed twice if one does.
type Landing struct {
	a  *Analytics
	at store.Partition
}

// Landed tells what became of messages.
type Landed struct {
	Calls, Repeats uint64
	Refused        int
}

// Attach returns the landing of a partition, and finishes what was cut short. When the stream was made anew it begins
// again: what was received before is known by its identity.
func (a *Analytics) Attach(ctx context.Context, partition int, created time.Time) (*Landing, error) {
	l := &Landing{a: a}
	err := a.all(ctx, func(tx pgx.Tx) (err error) {
		l.at, err = store.LockPartition(ctx, tx, partition)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach to partition %d: %w", partition, err)
	}
	if err := l.resume(ctx, created); err != nil {
		return nil, fmt.Errorf("finish a landing of partition %d: %w", partition, err)
	}
	if l.at.StreamCreated == nil || !l.at.StreamCreated.Equal(created) {
		if err := l.begin(ctx, created); err != nil {
			return nil, fmt.Errorf("attach to partition %d: %w", partition, err)
		}
	}
	return l, nil
}

// begin starts with the first message of a stream.
func (l *Landing) begin(ctx context.Context, created time.Time) error {
	return l.a.all(ctx, func(tx pgx.Tx) error {
		row, err := store.LockPartition(ctx, tx, l.at.Partition)
		if err != nil {
			return err
		}
		if row.StreamCreated != nil && row.StreamCreated.Equal(created) {
			l.at = row
			return nil
		}
		if row.StreamCreated != nil {
			l.a.Logger.Warn("the stream of calls was made anew; its messages are read from the first", "partition", row.Partition)
		}
		row.StreamCreated, row.Generation, row.Sequence, row.Landed = &created, row.Generation+1, 0, 0
		l.at = row
		return store.UpdatePartition(ctx, tx, row)
	})
}

// Sequence is that of the last message landed.
func (l *Landing) Sequence() uint64 { return uint64(l.at.Sequence) }

// Land lands messages that follow Sequence. After an error attach again.
func (l *Landing) Land(ctx context.Context, messages []callstream.Message) (Landed, error) {
	if len(messages) == 0 {
		return Landed{}, nil
	}
	c, err := l.claim(ctx, messages, true)
	if err == nil {
		err = l.insert(ctx, c)
	}
	if err != nil {
		return Landed{}, fmt.Errorf("land calls of partition %d: %w", l.at.Partition, err)
	}
	return c.landed, nil
}

// insert makes the insert of a claim and marks it as done.
func (l *Landing) insert(ctx context.Context, c *claim) error {
	if c.manifest == nil {
		return nil
	}
	if err := l.a.Warehouse.Insert(ctx, c.manifest.Token, c.calls); err != nil {
		return err
	}
	return l.finish(ctx, *c.manifest)
}

func (l *Landing) finish(ctx context.Context, m store.Landing) error {
	err := l.a.all(ctx, func(tx pgx.Tx) error { return store.FinishLanding(ctx, tx, m, l.a.now()) })
	if err == nil && m.Generation == l.at.Generation {
		l.at.Landed = max(l.at.Landed, m.LastSequence)
	}
	return err
}

type bootKey struct {
	gateway string
	boot    uint64
}

type boot struct {
	store.Boot
	// before is what had been received before the claim, set what has been with it.
	before, set received.Set
	// started is when calls began, by number, of those that ranges of set end with: what is missing behind completed later. It is
	// the later time of a seal at which what is missing was listed as going on.
	started map[uint64]int64
}

// loadBoot returns a boot as it is stored.
func loadBoot(row store.Boot) (*boot, error) {
	set, err := received.Load(row.Floor, row.Above)
	if err != nil {
		return nil, fmt.Errorf("boot %d of gateway %s: %w", row.Boot, row.Gateway, err)
	}
	b := &boot{Boot: row, before: set, set: set, started: map[uint64]int64{}}
	for i, last := range b.lasts() {
		if i < len(row.Started) {
			b.started[last] = row.Started[i]
		}
	}
	return b, nil
}

// lasts returns the numbers that the ranges of what was received end with, the floor first.
func (b *boot) lasts() []uint64 {
	_, above := b.set.Stored()
	all := []uint64{b.set.Floor()}
	for i := 1; i < len(above); i += 2 {
		all = append(all, uint64(above[i]))
	}
	return all
}

// row returns the boot as it is to be stored.
func (b *boot) row() store.Boot {
	b.Floor, b.Above = b.set.Stored()
	b.Started = b.Started[:0]
	for _, last := range b.lasts() {
		b.Started = append(b.Started, b.started[last])
	}
	return b.Boot
}

// list notes which of the missing calls went on at a seal, as answers do that stream: they complete at or after it.
func (b *boot) list(batch *callsv1.CallBatch) {
	if !batch.GetOpenListed() {
		return
	}
	for _, hole := range b.set.Holes() {
		if b.set.MissingOnly(hole, batch.GetOpenSeqs()) {
			b.started[hole.First-1] = max(b.started[hole.First-1], batch.GetSealedUntil())
		}
	}
}

// claim is the transaction that decides which calls one insert has.
type claim struct {
	l         *Landing
	tx        pgx.Tx
	partition store.Partition
	landed    Landed
	boots     map[bootKey]*boot
	calls     []clickhouse.Call
	stored    map[storedKey]*store.Stored
	divisions divisions
	manifest  *store.Landing // nil when there are no new calls
}

// claim writes the manifest of messages. advance moves the partition behind them.
func (l *Landing) claim(ctx context.Context, messages []callstream.Message, advance bool) (*claim, error) {
	var c *claim
	err := l.a.all(ctx, func(tx pgx.Tx) error {
		row, err := store.LockPartition(ctx, tx, l.at.Partition)
		if err != nil {
			return err
		}
		if row.Generation != l.at.Generation || row.Sequence != l.at.Sequence {
			return ErrSuperseded
		}
		if _, pending, err := store.Pending(ctx, tx, row.Partition); err != nil || pending {
			return errors.Join(err, ErrSuperseded)
		}
		c = &claim{l: l, tx: tx, partition: row, boots: map[bootKey]*boot{}, stored: map[storedKey]*store.Stored{}}
		return c.run(ctx, messages, advance)
	})
	if err != nil {
		return nil, err
	}
	l.at = c.partition
	return c, nil
}

func (c *claim) run(ctx context.Context, messages []callstream.Message, advance bool) error {
	if err := c.loadBoots(ctx, messages); err != nil {
		return err
	}
	if err := c.loadDivisions(ctx, messages); err != nil {
		return err
	}
	var dropped []store.Dropped
	for _, m := range messages {
		if m.Refused != nil {
			c.l.a.Logger.Error("a message of calls contradicts itself; its calls stay missing", "partition", c.partition.Partition, "sequence", m.Sequence, "error", m.Refused)
			c.landed.Refused++
			if err := store.InsertRefused(ctx, c.tx, c.partition, m.Sequence, m.Refused.Error(), c.l.a.now()); err != nil {
				return err
			}
			continue
		}
		dropped = append(dropped, c.receive(m)...)
	}
	first, last := messages[0].Sequence, messages[len(messages)-1].Sequence
	if len(c.calls) > 0 {
		if err := keep(ctx, c.tx, c.calls); err != nil {
			return err
		}
		if err := c.write(ctx, int64(first), int64(last), dropped); err != nil {
			return err
		}
	}
	if err := c.writeBoots(ctx); err != nil {
		return err
	}
	if advance {
		c.partition.Sequence = int64(last)
		if c.manifest == nil {
			c.partition.Landed = int64(last)
		}
	}
	return store.UpdatePartition(ctx, c.tx, c.partition)
}

func (c *claim) loadBoots(ctx context.Context, messages []callstream.Message) error {
	names := map[string]bool{}
	for _, m := range messages {
		if m.Refused == nil {
			names[m.Batch.GetGateway()] = true
		}
	}
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	rows, err := store.Boots(ctx, c.tx, list)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if c.boots[bootKey{row.Gateway, uint64(row.Boot)}], err = loadBoot(row); err != nil {
			return err
		}
	}
	return nil
}

// receive takes the calls of a message that are new, and returns those that had been received before the claim. (A call that
// comes twice within it is taken once, which is found again without being written down.)
func (c *claim) receive(m callstream.Message) []store.Dropped {
	key := bootKey{m.Batch.GetGateway(), m.Batch.GetBoot()}
	b := c.boots[key]
	if b == nil {
		b = &boot{Boot: store.Boot{Gateway: key.gateway, Boot: int64(key.boot)}, started: map[uint64]int64{}}
		c.boots[key] = b
	}
	if m.Batch.GetBootClosed() && b.ClosedAt == 0 {
		b.ClosedAt = m.Received.UnixNano()
	}
	defer b.list(m.Batch)
	if len(m.Batch.GetCalls()) == 0 {
		return nil
	}
	all := callstream.Range(m.Batch)
	var fresh []received.Range
	b.set, fresh = b.set.Merge(all)
	last := m.Batch.GetCalls()[len(m.Batch.GetCalls())-1]
	b.started[all.Last] = max(0, min(last.GetStartedAt(), last.GetCompletedAt()))
	c.landed.Repeats += all.Count()
	for _, r := range fresh {
		for _, record := range m.Batch.GetCalls()[r.First-all.First : r.Last-all.First+1] {
			call := clickhouse.Call{Gateway: key.gateway, Boot: key.boot, Partition: c.partition.Partition, Sequence: m.Sequence, CallRecord: record}
			c.calls = append(c.calls, call)
			c.count(call, m.Sequence)
		}
		c.landed.Calls += r.Count()
		c.landed.Repeats -= r.Count()
	}
	var dropped []store.Dropped
	drop := func(first, last uint64) {
		if first <= last {
			dropped = append(dropped, store.Dropped{Gateway: key.gateway, Boot: key.boot, Range: received.Range{First: first, Last: last}})
		}
	}
	next := all.First
	for _, r := range b.before.Missing(all) {
		drop(next, r.First-1)
		next = r.Last + 1
	}
	drop(next, all.Last)
	return dropped
}

// write writes the manifest and the counts.
func (c *claim) write(ctx context.Context, first, last int64, dropped []store.Dropped) error {
	if dropped == nil {
		dropped = []store.Dropped{}
	}
	m := store.Landing{
		Partition: c.partition.Partition, Generation: c.partition.Generation, FirstSequence: first, LastSequence: last, Token: newToken(),
		Dropped: dropped, Calls: int64(len(c.calls)), FirstCompleted: c.calls[0].GetCompletedAt(), LastCompleted: c.calls[0].GetCompletedAt(), BegunAt: c.l.a.now(),
	}
	for _, call := range c.calls {
		m.FirstCompleted, m.LastCompleted = min(m.FirstCompleted, call.GetCompletedAt()), max(m.LastCompleted, call.GetCompletedAt())
	}
	c.manifest = &m
	if err := store.InsertLanding(ctx, c.tx, m); err != nil {
		return err
	}
	return store.AddStored(ctx, c.tx, c.partition, c.storedRows())
}

func (c *claim) writeBoots(ctx context.Context) error {
	rows := make([]store.Boot, 0, len(c.boots))
	for _, b := range c.boots {
		rows = append(rows, b.row())
	}
	slices.SortFunc(rows, func(x, y store.Boot) int {
		return cmp.Or(cmp.Compare(x.Gateway, y.Gateway), cmp.Compare(x.Boot, y.Boot))
	})
	return store.UpsertBoots(ctx, c.tx, rows)
}
