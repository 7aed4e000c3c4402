package journal

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
)

// Earlier is a boot that ended: its records that are not acknowledged, then what it left undone. It belongs to one goroutine.
type Earlier struct {
	// Boot is its number.
	Boot     uint64
	journal  *Journal
	segments []*segment // in order
	reader   *Reader
	undone   map[uint64]Record // by seq: streamed answers without their end, places never committed
	lastSeq  uint64
	pending  uint64
}

// EarlierBoots lists the boots that still have segments, oldest first.
func (j *Journal) EarlierBoots() []uint64 { return slices.Clone(j.older) }

// OpenEarlier opens an earlier boot, to be read from its checkpoint on.
func (j *Journal) OpenEarlier(boot uint64) (*Earlier, error) {
	names, err := listSegments(j.config.Dir)
	if err != nil {
		return nil, err
	}
	e := &Earlier{Boot: boot, journal: j, undone: map[uint64]Record{}}
	for _, n := range names {
		if n.boot != boot {
			continue
		}
		s, err := openSegment(j.config.Dir, boot, n.index)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.segments = append(e.segments, s)
	}
	e.scan()
	start := e.start()
	if point := j.Checkpoint(); point.Boot == boot && start.Before(point.Position) {
		start = point.Position
	}
	for counting := e.from(start); ; e.pending++ {
		if _, ok := counting.Next(); !ok {
			break
		}
	}
	e.reader = e.from(start)
	return e, nil
}

func (e *Earlier) start() Position {
	if len(e.segments) == 0 {
		return Position{Offset: segmentHeader}
	}
	return Position{Segment: e.segments[0].index, Offset: segmentHeader}
}

func (e *Earlier) from(at Position) *Reader {
	return &Reader{at: at, finished: true, segment: func(index uint64) *segment {
		i, _ := slices.BinarySearchFunc(e.segments, index, func(s *segment, index uint64) int { return cmp.Compare(s.index, index) })
		if i == len(e.segments) {
			return nil
		}
		return e.segments[i]
	}}
}

// scan finds what has no final record. The segments that hold the first record of a streamed answer are kept until its final
// one, so both are here.
func (e *Earlier) scan() {
	finals := map[uint64]bool{}
	r := e.from(e.start())
	r.skipped = func(record Record, state uint32) {
		e.lastSeq = max(e.lastSeq, record.Seq)
		if held, ok := e.undone[record.Seq]; !ok || held.Payload == nil || state == stateOpened {
			e.undone[record.Seq] = record
		}
	}
	for {
		record, ok := r.Next()
		if !ok {
			break
		}
		finals[record.Seq] = true
		e.lastSeq = max(e.lastSeq, record.Seq)
	}
	for seq := range e.undone {
		if finals[seq] {
			delete(e.undone, seq)
		}
	}
}

// Next returns the next final record, false after the last.
func (e *Earlier) Next() (Record, bool) { return e.reader.Next() }

// Position is where the next final record begins.
func (e *Earlier) Position() Position { return e.reader.Position() }

// Pending is how many final records were not acknowledged when the boot was opened.
func (e *Earlier) Pending() uint64 { return e.pending }

// NextSeq is the sequence number after the boot's last.
func (e *Earlier) NextSeq() uint64 { return e.lastSeq + 1 }

// Interrupted returns the calls that were begun and never finished, by seq: their clients did not get a whole answer. A
// payload is nil where the process was killed between the reservation and the commit. They complete at the given time.
func (e *Earlier) Interrupted(completedAt int64) []Record {
	records := make([]Record, 0, len(e.undone))
	for _, seq := range slices.Sorted(maps.Keys(e.undone)) {
		record := e.undone[seq]
		record.CompletedAt = completedAt
		if record.Payload == nil {
			record.Payload = callrecord.Interrupted(nil, seq, completedAt)
		} else {
			// Of a field that occurs twice the last one counts.
			record.Payload = callrecord.AppendIdentity(slices.Clone(record.Payload), seq, completedAt, 0)
		}
		records = append(records, record)
	}
	return records
}

// Close closes the files.
func (e *Earlier) Close() error {
	var errs []error
	for _, s := range e.segments {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// Remove closes and deletes the boot's files: everything is acknowledged and the boot is closed.
func (e *Earlier) Remove() error {
	var errs []error
	for _, s := range e.segments {
		errs = append(errs, s.remove())
	}
	return errors.Join(errs...)
}

// RemoveAll deletes the files of this boot, after Close: everything is acknowledged and the boot is closed.
func (j *Journal) RemoveAll() error {
	names, err := listSegments(j.config.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		if n.boot != j.boot {
			continue
		}
		if err := os.Remove(segmentPath(j.config.Dir, n.boot, n.index)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
