package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/received"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// ErrSuperseded says that the partition is not where this process left it and cannot be gone on from: attach again.
var ErrSuperseded = errors.New("somebody else has set the partition back")

// maxSplits bounds the splits done in one transaction.
const maxSplits = 20

// Partition is one partition of the stream as one process applies it. It belongs to one goroutine.
type Partition struct {
	m     *Metering
	at    store.Partition
	cache store.Cache
}

// Applied tells what became of messages.
type Applied struct {
	// Calls that were new, and calls that had been received before.
	Calls, Repeats uint64
	// Refused counts the messages that contradict themselves.
	Refused int
}

// Attach returns a partition, to be gone on with behind Sequence. When the stream was made anew it begins again: what was
// received before is known by its identity.
func (m *Metering) Attach(ctx context.Context, partition int, created time.Time) (*Partition, error) {
	p := &Partition{m: m}
	err := m.all(ctx, func(tx pgx.Tx) (err error) {
		if p.at, err = store.LockPartition(ctx, tx, partition); err != nil {
			return err
		}
		if p.at.StreamCreated != nil && p.at.StreamCreated.Equal(created) {
			return nil
		}
		if p.at.StreamCreated != nil {
			m.logger.Warn("the stream of calls was made anew; its messages are read from the first", "partition", partition)
		}
		p.at.StreamCreated, p.at.Generation, p.at.Sequence = &created, p.at.Generation+1, 0
		return store.UpdatePartition(ctx, tx, p.at)
	})
	if err != nil {
		return nil, fmt.Errorf("attach to partition %d: %w", partition, err)
	}
	return p, nil
}

// Sequence is that of the last message applied.
func (p *Partition) Sequence() uint64 { return uint64(p.at.Sequence) }

// Apply applies messages that follow Sequence, in one transaction: the calls that are new, to the ledger and to the quotas;
// seals and gaps; and splits that have become due, also when there is no message. It is safe to call it again after an error.
func (p *Partition) Apply(ctx context.Context, messages []callstream.Message) (Applied, error) {
	var a *application
	err := p.m.all(asService(ctx), func(tx pgx.Tx) error {
		row, err := store.LockPartition(ctx, tx, p.at.Partition)
		if err != nil {
			return err
		}
		if row.Generation != p.at.Generation || row.Sequence < p.at.Sequence {
			return ErrSuperseded
		}
		a = newApplication(p, tx, row)
		return a.run(asService(ctx), messages)
	})
	if err != nil {
		return Applied{}, fmt.Errorf("apply calls of partition %d: %w", p.at.Partition, err)
	}
	p.at = a.partition
	p.m.keeper.want(a.unkept)
	return a.applied, nil
}

// application is one transaction that applies messages.
type application struct {
	p         *Partition
	m         *Metering
	tx        pgx.Tx
	now       time.Time
	partition store.Partition
	applied   Applied

	boots  map[bootKey]*boot
	seen   map[string]time.Time
	fresh  []call
	known  map[string]*store.Known
	unkept []wanted
	// events to be appended last; flush is nil when there are none.
	events *eventlog.Tx
	flush  func(context.Context) (uint64, error)
}

type bootKey struct {
	gateway string
	boot    uint64
}

type boot struct {
	store.Boot
	set   received.Set
	holes []store.Gap // noticed now
	// filled are numbers that had been missing, the first of each range that came.
	filled []int64
	// open are the numbers whose calls go on, if listed says so.
	open   []uint64
	listed bool
}

// call is a call that is new.
type call struct {
	bootKey
	*callsv1.CallRecord
	sequence uint64
}

func newApplication(p *Partition, tx pgx.Tx, row store.Partition) *application {
	return &application{
		p: p, m: p.m, tx: tx, now: p.m.now(), partition: row, boots: map[bootKey]*boot{}, seen: map[string]time.Time{},
		known: map[string]*store.Known{},
	}
}

func (a *application) run(ctx context.Context, messages []callstream.Message) error {
	if err := a.split(ctx); err != nil {
		return err
	}
	for len(messages) > 0 && messages[0].Sequence <= uint64(a.partition.Sequence) {
		messages = messages[1:] // another process was faster
	}
	if err := a.receive(ctx, messages); err != nil {
		return err
	}
	if err := a.meter(ctx); err != nil {
		return err
	}
	if err := a.gateways(ctx); err != nil {
		return err
	}
	if len(messages) > 0 {
		a.partition.Sequence = int64(messages[len(messages)-1].Sequence)
	}
	if err := store.UpdatePartition(ctx, a.tx, a.partition); err != nil {
		return err
	}
	if a.flush == nil {
		return nil
	}
	_, err := a.flush(ctx)
	return err
}

// log returns where events are appended.
func (a *application) log(ctx context.Context) (*eventlog.Tx, error) {
	if a.events == nil {
		var err error
		if a.events, a.flush, err = a.m.log.Within(ctx, a.tx); err != nil {
			return nil, err
		}
	}
	return a.events, nil
}

// receive tells the calls that are new from the repeats, and notes seals and what is missing.
func (a *application) receive(ctx context.Context, messages []callstream.Message) error {
	for _, m := range messages {
		if m.Refused == nil {
			a.seen[m.Batch.GetGateway()] = m.Received
		}
	}
	if err := a.loadBoots(ctx); err != nil {
		return err
	}
	for _, m := range messages {
		if m.Refused != nil {
			a.m.logger.Error("a message of calls contradicts itself; its calls stay missing", "partition", a.partition.Partition, "sequence", m.Sequence, "error", m.Refused)
			a.applied.Refused++
			if err := store.InsertRefused(ctx, a.tx, a.partition, m.Sequence, m.Refused.Error(), a.now); err != nil {
				return err
			}
			continue
		}
		a.receiveBatch(m)
	}
	return nil
}

func (a *application) loadBoots(ctx context.Context) error {
	names := make([]string, 0, len(a.seen))
	for name := range a.seen {
		names = append(names, name)
	}
	rows, err := store.Boots(ctx, a.tx, names)
	if err != nil {
		return err
	}
	for _, row := range rows {
		set, err := received.Load(row.Floor, row.Above)
		if err != nil {
			return fmt.Errorf("boot %d of gateway %s: %w", row.Boot, row.Gateway, err)
		}
		a.boots[bootKey{row.Gateway, uint64(row.Boot)}] = &boot{Boot: row, set: set}
	}
	return nil
}

func (a *application) receiveBatch(m callstream.Message) {
	key := bootKey{m.Batch.GetGateway(), m.Batch.GetBoot()}
	b := a.boots[key]
	if b == nil {
		received := m.Received.UTC()
		b = &boot{Boot: store.Boot{Gateway: key.gateway, Boot: int64(key.boot), FirstSeenAt: &received}}
		a.boots[key] = b
	}
	if m.Batch.GetSealedUntil() > b.SealedUntil {
		received := m.Received.UTC()
		b.SealedUntil, b.SealedAt = m.Batch.GetSealedUntil(), &received
	}
	if m.Batch.GetBootClosed() && b.ClosedAt == 0 {
		b.ClosedAt = m.Received.UnixNano()
	}
	b.list(m.Batch)
	calls := m.Batch.GetCalls()
	if len(calls) == 0 {
		return
	}
	all := callstream.Range(m.Batch)
	highest := b.set.Highest()
	if all.First > highest+1 {
		b.holes = append(b.holes, store.Gap{
			Gateway: key.gateway, Boot: int64(key.boot), FirstSeq: int64(highest + 1), LastSeq: int64(all.First - 1),
			After: b.HighestStarted, NoticedAt: a.now,
		})
	}
	if all.Last > highest {
		last := calls[len(calls)-1]
		b.HighestStarted = max(0, min(last.GetStartedAt(), last.GetCompletedAt()))
	}
	var fresh []received.Range
	b.set, fresh = b.set.Merge(all)
	n := uint64(0)
	for _, r := range fresh {
		n += r.Count()
		if r.First < highest {
			b.filled = append(b.filled, int64(r.First))
		}
		for _, c := range calls[r.First-all.First : r.Last-all.First+1] {
			a.fresh = append(a.fresh, call{key, c, m.Sequence})
		}
	}
	a.applied.Calls += n
	a.applied.Repeats += all.Count() - n
}

// list takes over which calls go on. A boot that is closed has none.
func (b *boot) list(batch *callsv1.CallBatch) {
	if (batch.GetOpenListed() || batch.GetBootClosed()) && batch.GetSealedUntil() >= b.OpenAt {
		b.open, b.listed, b.OpenAt = batch.GetOpenSeqs(), true, batch.GetSealedUntil()
	}
}

// meter adds the calls that are new to the ledger and settles quotas.
func (a *application) meter(ctx context.Context) error {
	if len(a.fresh) == 0 {
		return nil
	}
	if err := a.know(ctx); err != nil {
		return err
	}
	tally := domain.NewTally(a.calendar)
	for _, c := range a.fresh {
		if err := tally.Add(c.gateway, c.boot, c.CallRecord, c.sequence); err != nil {
			return err
		}
	}
	if err := store.AddUsage(ctx, a.tx, a.partition.Partition, a.partition.Generation, tally.Rows()); err != nil {
		return err
	}
	return a.settle(ctx)
}

func (a *application) know(ctx context.Context) error {
	ids := map[string]bool{}
	for _, c := range a.fresh {
		if id := c.GetSubscription(); id != "" {
			ids[id] = true
		}
	}
	list := make([]string, 0, len(ids))
	for id := range ids {
		list = append(list, id)
	}
	known, err := a.p.cache.Load(ctx, a.tx, list)
	a.known = known
	return err
}

// calendar returns that of a subscription; nil for one that is not known, whose time is divided by the hour alone.
func (a *application) calendar(subscription string) *domain.Calendar {
	if k := a.known[subscription]; k != nil {
		return k.Calendar
	}
	return nil
}
