// Package journal owns the gateway's local durable record of calls.
//
// Records are appended to memory-mapped segment files. A record is complete in the map before Commit returns, so a killed
// process loses none that was committed before the answer's last byte went out. In mode Bounded the kernel writes the pages
// out and the journal syncs at an interval: a lost machine loses at most that interval. In mode Strict Await returns only
// when the record is on the disk; those that wait at the same time share one fdatasync.
//
// Each start of a process is a boot, numbered upwards. Sequence numbers are contiguous from 1 within a boot and handed
// out in the order of the file, together with the completion time, so that everything before a Mark completed before the
// mark's time.
//
// One process at a time uses a directory (flock). Only the gateway's own packages import this one.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
)

// Mode says when a record is durable.
type Mode string

// The modes.
const (
	// Bounded survives a killed process at once and a lost machine after the sync interval.
	Bounded Mode = "bounded"
	// Strict survives a lost machine as soon as Await returns.
	Strict Mode = "strict"
)

// ErrFull says that no space is left: the disk is full or the journal is at its limit.
var ErrFull = errors.New("the journal is full")

// Config of a journal.
type Config struct {
	// Dir is the directory, made when missing.
	Dir string
	// SegmentBytes is the size of a segment file; 64 MiB when zero.
	SegmentBytes int64
	// MaxBytes limits the disk space of all segments; 4 GiB when zero.
	MaxBytes int64
	// Mode is Bounded when empty.
	Mode Mode
	// SyncInterval of mode Bounded; 200 ms when zero.
	SyncInterval time.Duration
	// Clock is time.Now when nil.
	Clock func() time.Time
	// Log takes failures of the disk; slog's default when nil.
	Log *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 4 << 30
	}
	if c.Mode == "" {
		c.Mode = Bounded
	}
	if c.SyncInterval == 0 {
		c.SyncInterval = 200 * time.Millisecond
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// minSegment keeps room for the calls in flight when no further segment can be made.
const minSegment = 64 << 10

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("journal.dir: is empty; give the directory that keeps the call records"))
	}
	if c.SegmentBytes < minSegment || c.SegmentBytes > 1<<30 || c.SegmentBytes%4096 != 0 {
		errs = append(errs, fmt.Errorf("journal.segmentBytes: %d is not a multiple of 4096 from %d to %d", c.SegmentBytes, minSegment, 1<<30))
	}
	if c.MaxBytes < 2*c.SegmentBytes {
		errs = append(errs, fmt.Errorf("journal.maxBytes: %d is less than two segments (%d)", c.MaxBytes, 2*c.SegmentBytes))
	}
	if c.Mode != Bounded && c.Mode != Strict {
		errs = append(errs, fmt.Errorf("journal.mode: %q is not %q or %q", c.Mode, Bounded, Strict))
	}
	if c.SyncInterval < time.Millisecond || c.SyncInterval > time.Minute {
		errs = append(errs, fmt.Errorf("journal.syncInterval: %v is not from 1ms to 1m", c.SyncInterval))
	}
	return errors.Join(errs...)
}

// Journal is the journal of one boot, and what earlier boots left. Its methods are safe for concurrent use, except those
// of its readers.
type Journal struct {
	config  Config
	lock    *os.File
	boot    uint64
	started int64
	older   []uint64
	point   *checkpointFile

	inflight  atomic.Int64
	lone      atomic.Bool // no spare segment is ready
	failed    atomic.Bool
	committed atomic.Uint64 // final records
	released  atomic.Uint64 // final records acknowledged

	mu       sync.Mutex
	active   *segment
	segments map[uint64]*segment // of this boot, by index
	unsynced []*segment
	nextSeq  uint64
	open     map[uint64]struct{} // numbers of answers that stream: no room is taken for the final record yet
	last     int64               // newest time handed out

	makeMu    sync.Mutex // held while a segment is made; taken after mu
	spare     *segment
	nextIndex uint64 // of the next segment to be made

	syncMu sync.Mutex // held while segments are synced or closed
	group  *syncGroup // guarded by groupMu
	// groupMu guards group.
	groupMu sync.Mutex

	kick    chan struct{} // a sync is asked for
	prepare chan struct{} // a spare segment is asked for
	stop    chan struct{}
	stopped sync.WaitGroup
}

// Place is where a record goes: reserved, then committed once.
type Place struct {
	// Seq is the call's sequence number.
	Seq uint64
	// CompletedAt is the call's completion time, in nanoseconds since the Unix epoch. It never runs backwards.
	CompletedAt int64
	segment     *segment
	offset      int64
}

// Open locks the directory, starts a new boot and begins its first segment.
func Open(c Config) (*Journal, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		config: c, lock: lock, segments: map[uint64]*segment{}, nextSeq: 1, open: map[uint64]struct{}{},
		kick: make(chan struct{}, 1), prepare: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if err := j.begin(); err != nil {
		return nil, errors.Join(err, j.closeFiles())
	}
	j.stopped.Add(2)
	go j.syncLoop()
	go j.prepareLoop()
	j.prepare <- struct{}{}
	return j, nil
}

func (j *Journal) begin() error {
	var err error
	if j.point, err = openCheckpoint(j.config.Dir); err != nil {
		return err
	}
	if j.boot, j.older, err = raiseBoot(j.config.Dir, j.point.read().Boot, j.config.Clock()); err != nil {
		return err
	}
	// Times go on where the last seal was, even if the clock was set back in between.
	j.last = j.point.read().SealCeiling
	j.started = j.now()
	// The first segment is made even when earlier boots fill the journal: they are shipped by this process.
	first, err := newSegment(j.config.Dir, j.boot, 0, j.config.SegmentBytes)
	if err != nil {
		return err
	}
	j.active, j.segments[0], j.nextIndex = first, first, 1
	j.lone.Store(true)
	return nil
}

// Boot is the number of this boot.
func (j *Journal) Boot() uint64 { return j.boot }

// Unshipped is the number of records of this boot that are not released yet.
func (j *Journal) Unshipped() uint64 { return j.committed.Load() - j.released.Load() }

// Begin admits a call whose record will fit: false means that the journal is full or failed. Each admitted call ends with End.
func (j *Journal) Begin() bool {
	n := j.inflight.Add(1)
	if !j.lone.Load() && !j.failed.Load() {
		return true
	}
	if j.failed.Load() || !j.fits(n) {
		j.inflight.Add(-1)
		return false
	}
	return true
}

// End gives back what Begin took.
func (j *Journal) End() { j.inflight.Add(-1) }

// InFlight is the most calls at once for which a segment of this size has room when no other can be made.
func InFlight(segmentBytes int64) int64 {
	if segmentBytes == 0 {
		segmentBytes = Config{}.withDefaults().SegmentBytes
	}
	return (segmentBytes - segmentHeader) / (2 * spaceFor(callrecord.MaxSize))
}

// fits says whether the active segment has room for the final record of every call in flight. Each may need two: one
// written when its answer begins to stream and one at its end.
func (j *Journal) fits(inflight int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.active.size-j.active.end >= 2*inflight*spaceFor(callrecord.MaxSize)
}

// Reserve takes the next sequence number and room for size bytes.
func (j *Journal) Reserve(size int) (Place, error) { return j.reserve(0, size, false) }

// ReserveOpening is Reserve for the first record of a call whose answer is about to stream; ReserveFinal follows.
func (j *Journal) ReserveOpening(size int) (Place, error) { return j.reserve(0, size, true) }

// ReserveFinal takes room for the final record of a call whose first record, written when its answer began to stream, is
// at opened. The sequence number stays; the completion time is new.
func (j *Journal) ReserveFinal(opened Place, size int) (Place, error) {
	return j.reserve(opened.Seq, size, false)
}

func (j *Journal) reserve(seq uint64, size int, opening bool) (Place, error) {
	space := spaceFor(size)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active.end+space > j.active.size {
		if err := j.rotate(); err != nil {
			return Place{}, err
		}
	}
	if seq == 0 {
		seq = j.nextSeq
		j.nextSeq++
	} else {
		delete(j.open, seq)
	}
	if opening {
		j.open[seq] = struct{}{}
	}
	p := Place{Seq: seq, CompletedAt: j.now(), segment: j.active, offset: j.active.end}
	j.active.reserve(p, space)
	j.active.end += space
	return p, nil
}

// now returns the time, never before one returned earlier. The caller holds mu.
func (j *Journal) now() int64 {
	j.last = max(j.last, j.config.Clock().UnixNano())
	return j.last
}

// rotate makes the spare segment the active one. The caller holds mu.
func (j *Journal) rotate() error {
	next, err := j.takeSpare()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	j.segments[next.index] = next
	j.active.seal()
	j.unsynced = append(j.unsynced, j.active)
	j.active = next
	return nil
}

// Commit writes the final record of a call. After it, a killed process cannot lose the record.
func (j *Journal) Commit(p Place, payload []byte) {
	p.segment.commit(p, stateFinal, payload)
	j.committed.Add(1)
}

// CommitOpened writes the first record of a call whose answer is about to stream: what is shipped if the process is killed
// before the final one. Its segment is kept until Closed.
func (j *Journal) CommitOpened(p Place, payload []byte) {
	p.segment.open.Add(1)
	p.segment.commit(p, stateOpened, payload)
}

// Closed says that the final record of the call opened at p is committed.
func (j *Journal) Closed(p Place) { p.segment.open.Add(-1) }

// Mark is a place and a time between which nothing can come: every record completed before Time is before Position, and every
// later one completes at or after it.
type Mark struct {
	Time     int64
	Position Position
	// NextSeq is the sequence number that the next call gets.
	NextSeq uint64
}

// Mark returns the end of the records, now.
func (j *Journal) Mark() Mark {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mark()
}

// MarkOpen returns a mark with the numbers below NextSeq of answers that stream, ascending: their final records come behind the
// mark, and complete at or after its time.
func (j *Journal) MarkOpen() (Mark, []uint64) {
	j.mu.Lock()
	mark, open := j.mark(), make([]uint64, 0, len(j.open))
	for seq := range j.open {
		open = append(open, seq)
	}
	j.mu.Unlock()
	slices.Sort(open)
	return mark, open
}

func (j *Journal) mark() Mark {
	return Mark{Time: j.now(), Position: Position{Segment: j.active.index, Offset: j.active.end}, NextSeq: j.nextSeq}
}

// Started is the time at which this boot began: earlier boots completed every call before it, this one none.
func (j *Journal) Started() int64 { return j.started }

// Full says whether calls are refused for want of space or after a failed sync.
func (j *Journal) Full() bool {
	return j.failed.Load() || j.lone.Load() && !j.fits(j.inflight.Load()+1)
}

// Close syncs and closes the files. No record may be in the making. The records stay for the next boot to ship.
func (j *Journal) Close() error {
	close(j.stop)
	j.stopped.Wait()
	return errors.Join(j.syncNow(), j.closeFiles())
}

func (j *Journal) closeFiles() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	var errs []error
	for _, s := range j.segments {
		errs = append(errs, s.close())
	}
	clear(j.segments)
	j.makeMu.Lock()
	defer j.makeMu.Unlock()
	if j.spare != nil {
		errs = append(errs, j.spare.remove())
		j.spare = nil
	}
	if j.point != nil {
		errs = append(errs, j.point.close())
	}
	return errors.Join(append(errs, j.lock.Close())...)
}
