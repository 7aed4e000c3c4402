// Package ship owns the way of call records from the journal to the CALLS stream.
//
// A Shipper reads the journal in order, publishes batches, waits for each acknowledgement and only then moves the checkpoint:
// every record is delivered at least once, whatever is killed in between, and consumers recognise repeats by (gateway,
// boot, seq). Earlier boots are shipped and closed first, after a batch that makes this one known: a gateway is never without an
// open boot while it serves. Each batch says up to which time it is complete (the seal); an idle gateway says so once a second, and
// one with answers that stream which of the numbers it has given are theirs: they are not missing.
//
// Only the gateway's root package imports it.
package ship

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"

	"github.com/tollgate/tollgate/services/gateway/internal/journal"
)

const (
	maxRecords = 1000
	maxBytes   = 700 << 10 // below NATS's default of 1 MiB a message
	interval   = 50 * time.Millisecond
	idleSeal   = time.Second
	ackTimeout = 5 * time.Second
	maxBackoff = 2 * time.Second
)

// Shipper ships one journal. Run and Finish belong to one goroutine, the rest is safe for concurrent use.
type Shipper struct {
	gateway string
	journal *journal.Journal
	bus     *bus.Bus
	log     *slog.Logger
	subject string

	reader   *journal.Reader
	earlier  atomic.Uint64 // records of earlier boots not acknowledged yet
	batches  atomic.Uint64
	failures atomic.Uint64
	failing  bool
	known    bool  // this boot was published
	seal     int64 // newest time sealed
	sent     time.Time
	listed   time.Time // when open numbers were last listed
	open     bool      // some were
	pending  []journal.Record
	buffer   []byte
}

// New returns a shipper for the gateway's journal.
func New(gateway string, j *journal.Journal, b *bus.Bus, log *slog.Logger) *Shipper {
	return &Shipper{
		gateway: gateway, journal: j, bus: b, log: log,
		subject: bus.CallSubject(bus.Partition(gateway)), reader: j.Reader(),
	}
}

// Unshipped is the number of records that are not acknowledged yet.
func (s *Shipper) Unshipped() uint64 { return s.earlier.Load() + s.journal.Unshipped() }

// Batches and Failures count acknowledged batches and failed attempts.
func (s *Shipper) Batches() uint64 { return s.batches.Load() }

// Failures counts failed attempts to publish.
func (s *Shipper) Failures() uint64 { return s.failures.Load() }

// Run ships until ctx ends, which is no error. An error means that the journal cannot be read or written.
func (s *Shipper) Run(ctx context.Context) error {
	if err := s.shipEarlier(ctx); err != nil {
		return endOf(ctx, err)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if _, err := s.shipCurrent(ctx, false); err != nil {
			return endOf(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// endOf drops the error of a context that ended.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Finish ships what is left and closes the boot, when the bus answers before ctx ends. No call may be in the making. It reports
// whether everything is shipped and the boot is closed: then the journal's files are of no use any more.
func (s *Shipper) Finish(ctx context.Context) (bool, error) {
	if err := s.shipEarlier(ctx); err != nil {
		return false, endOf(ctx, err)
	}
	closed, err := s.shipCurrent(ctx, true)
	return closed, endOf(ctx, err)
}

// shipEarlier ships and closes the boots that ended before this one began. It can be cut short and called again.
func (s *Shipper) shipEarlier(ctx context.Context) error {
	boots := s.journal.EarlierBoots()
	if len(boots) > 0 && !s.known {
		if err := s.publish(ctx, batch{boot: s.journal.Boot(), firstSeq: 1}); err != nil {
			return err
		}
		s.known = true
	}
	for i, boot := range boots {
		point := s.journal.Checkpoint()
		if boot < point.Boot || boot == point.Boot && point.Closed {
			if err := s.removeEarlier(boot); err != nil {
				return err
			}
			continue
		}
		// The last of them seals up to this boot's beginning.
		if err := s.shipBoot(ctx, boot, i == len(boots)-1); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shipper) removeEarlier(boot uint64) error {
	e, err := s.journal.OpenEarlier(boot)
	if err != nil {
		return err
	}
	return e.Remove()
}

func (s *Shipper) shipBoot(ctx context.Context, boot uint64, last bool) (err error) {
	e, err := s.journal.OpenEarlier(boot)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, e.Close())
		}
	}()
	s.earlier.Store(e.Pending())
	defer s.earlier.Store(0)
	for more := true; more; {
		more = s.collect(e.Next)
		if err := s.flush(ctx, boot, s.seal); err != nil {
			return err
		}
		s.earlier.Store(s.earlier.Load() - uint64(len(s.pending)))
		point := journal.Checkpoint{Boot: boot, Position: e.Position(), SealCeiling: s.ceiling(s.seal)}
		if err := s.journal.MoveCheckpoint(point); err != nil {
			return err
		}
	}
	interrupted := e.Interrupted(s.journal.Started())
	for len(interrupted) > 0 {
		n := min(len(interrupted), maxRecords/10)
		s.pending, interrupted = append(s.pending[:0], interrupted[:n]...), interrupted[n:]
		if err := s.flush(ctx, boot, s.seal); err != nil {
			return err
		}
	}
	if last {
		s.seal = max(s.seal, s.journal.Started())
	}
	if err := s.publish(ctx, batch{boot: boot, firstSeq: e.NextSeq(), sealedUntil: s.seal, bootClosed: true}); err != nil {
		return err
	}
	if err := s.journal.MoveCheckpoint(journal.Checkpoint{Boot: boot, Position: e.Position(), SealCeiling: s.ceiling(s.seal), Closed: true}); err != nil {
		return err
	}
	s.log.Info("an earlier boot's call records are shipped", "boot", boot, "interrupted", len(e.Interrupted(0)))
	done = true
	return e.Remove()
}

// shipCurrent ships everything recorded until now, and reports whether that was all. The last batch seals up to now, and closes the
// boot if asked to.
func (s *Shipper) shipCurrent(ctx context.Context, closing bool) (complete bool, err error) {
	mark, open, listing := s.mark(closing)
	boot := s.journal.Boot()
	for !complete {
		from := s.reader.Position()
		more := s.collect(func() (journal.Record, bool) {
			if !s.reader.Position().Before(mark.Position) {
				return journal.Record{}, false
			}
			return s.reader.Next()
		})
		complete = !more && !s.reader.Position().Before(mark.Position)
		if len(s.pending) > 0 {
			seal := s.seal
			if complete && !closing {
				seal = mark.Time
			}
			if err := s.flush(ctx, boot, seal); err != nil {
				s.reader.Return(from) // what was read is not shipped: whoever goes on, as Finish does, reads it again
				return false, err
			}
			if err := s.acknowledged(); err != nil {
				return false, err
			}
		}
		if !complete && !more {
			return false, nil // a record is about to be committed: it comes with the next tick
		}
	}
	if closing || listing || time.Since(s.sent) >= idleSeal {
		b := batch{boot: boot, firstSeq: mark.NextSeq, sealedUntil: mark.Time, bootClosed: closing, openListed: listing, open: open}
		if err := s.publish(ctx, b); err != nil {
			return false, err
		}
	}
	if listing {
		s.listed, s.open = time.Now(), len(open) > 0
	}
	if closing {
		err = s.journal.MoveCheckpoint(journal.Checkpoint{Boot: boot, Position: s.reader.Position(), SealCeiling: s.ceiling(s.seal), Closed: true})
	}
	return err == nil, err
}

// mark returns the end of the records. Once a second, while answers stream and once after, it lists their numbers too.
func (s *Shipper) mark(closing bool) (mark journal.Mark, open []uint64, listing bool) {
	if closing || time.Since(s.listed) < idleSeal {
		return s.journal.Mark(), nil, false
	}
	mark, open = s.journal.MarkOpen()
	listing = s.open || len(open) > 0
	if len(open) > callstream.MaxOpen {
		open = open[:callstream.MaxOpen] // the others count as missing until they end
	}
	return mark, open, listing
}

// acknowledged moves the checkpoint behind what was just shipped and gives the space back.
func (s *Shipper) acknowledged() error {
	at := s.reader.Position()
	if err := s.journal.MoveCheckpoint(journal.Checkpoint{Boot: s.journal.Boot(), Position: at, SealCeiling: s.ceiling(s.seal)}); err != nil {
		return err
	}
	return s.journal.Release(at, uint64(len(s.pending)))
}

func (s *Shipper) ceiling(seal int64) int64 { return max(seal, s.journal.Checkpoint().SealCeiling) }

// collect fills pending and reports whether there may be more.
func (s *Shipper) collect(next func() (journal.Record, bool)) bool {
	s.pending = s.pending[:0]
	for size := 0; len(s.pending) < maxRecords && size < maxBytes; {
		record, ok := next()
		if !ok {
			return false
		}
		s.pending = append(s.pending, record)
		size += len(record.Payload) + 8
	}
	return true
}

// flush publishes the pending records; only the last batch carries the new seal.
func (s *Shipper) flush(ctx context.Context, boot uint64, seal int64) error {
	all := runs(s.pending)
	for i, run := range all {
		b := batch{boot: boot, firstSeq: run[0].Seq, records: run, sealedUntil: s.seal}
		if i == len(all)-1 {
			b.sealedUntil = seal
		}
		if err := s.publish(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes one batch and waits for its acknowledgement, for as long as ctx lives.
func (s *Shipper) publish(ctx context.Context, b batch) error {
	if b.sealedUntil > s.journal.Checkpoint().SealCeiling {
		// Should the process be killed now and the clock be set back, the next boot's times still come after this seal.
		point := s.journal.Checkpoint()
		point.SealCeiling = b.sealedUntil
		if err := s.journal.MoveCheckpoint(point); err != nil {
			return err
		}
	}
	s.buffer = b.append(s.buffer[:0], s.gateway)
	for backoff := interval; ; backoff = min(2*backoff, maxBackoff) {
		err := s.attempt(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("publish call records: %w", ctx.Err())
		}
		s.failures.Add(1)
		if !s.failing {
			s.failing = true
			s.log.Warn("call records cannot be shipped; the journal keeps them", "error", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("publish call records: %w", ctx.Err())
		case <-time.After(backoff):
		}
	}
	if s.failing {
		s.failing = false
		s.log.Info("call records are shipped again")
	}
	s.batches.Add(1)
	s.seal, s.sent = max(s.seal, b.sealedUntil), time.Now()
	return nil
}

func (s *Shipper) attempt(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	_, err := s.bus.JS.Publish(attempt, s.subject, s.buffer, jetstream.WithExpectStream(bus.CallsStream), jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		_, ensureErr := s.bus.EnsureCalls(attempt)
		return errors.Join(err, ensureErr)
	}
	return err
}
