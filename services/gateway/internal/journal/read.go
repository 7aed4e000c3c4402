package journal

import (
	"encoding/binary"
	"sync/atomic"
)

// Position is a place between records.
type Position struct {
	Segment uint64
	Offset  int64
}

// Before says whether p comes before q.
func (p Position) Before(q Position) bool {
	return p.Segment < q.Segment || p.Segment == q.Segment && p.Offset < q.Offset
}

// Record is what a reader finds. Payload points into the segment: it is valid until the segment is released.
type Record struct {
	Seq         uint64
	CompletedAt int64
	Payload     []byte
}

// Reader reads the final records of one boot in the order of the file. It belongs to one goroutine.
type Reader struct {
	at      Position
	current *segment
	// segment returns the boot's first segment from an index on, nil when there is none. Of an earlier boot some in between
	// may be gone: the one with the first record of a streamed answer outlives its successors.
	segment func(index uint64) *segment
	// finished: the boot has ended, so what is not committed never will be.
	finished bool
	// skipped takes what a finished boot left undone: first records of streamed answers, and places that were never committed
	// (with a nil payload).
	skipped func(Record, uint32)
}

// Reader returns a reader of this boot from its beginning.
func (j *Journal) Reader() *Reader {
	return &Reader{at: Position{Offset: segmentHeader}, segment: func(index uint64) *segment {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.segments[index]
	}}
}

// Position is where the next record begins.
func (r *Reader) Position() Position { return r.at }

// Return goes back to a position that this reader was at, whose segment has not been released.
func (r *Reader) Return(to Position) { r.at, r.current = to, nil }

// Next returns the next final record. It reports false when there is none yet, or when the next one is reserved and not
// committed: then the caller tries again later.
func (r *Reader) Next() (Record, bool) {
	for {
		if r.current == nil || r.current.index != r.at.Segment {
			if r.current = r.segment(r.at.Segment); r.current == nil {
				return Record{}, false
			}
		}
		s := r.current
		if r.at.Offset+recordHeader > s.size {
			if !r.follow() {
				return Record{}, false
			}
			continue
		}
		space := atomic.LoadUint32(s.word(r.at.Offset))
		switch {
		case space == sealed:
			if !r.follow() {
				return Record{}, false
			}
			continue
		case !plausible(space, s.size-r.at.Offset):
			// Nothing was reserved here. In a finished boot a later segment can only come after a page that a lost machine did
			// not write out.
			if !r.finished || !r.follow() {
				return Record{}, false
			}
			continue
		}
		record, state := s.record(r.at.Offset)
		if state == stateReserved && !r.finished {
			return Record{}, false
		}
		r.at.Offset += int64(space)
		if state == stateFinal {
			return record, true
		}
		if r.skipped != nil {
			r.skipped(record, state)
		}
	}
}

// follow goes to the next segment if there is one.
func (r *Reader) follow() bool {
	next := r.segment(r.at.Segment + 1)
	if next == nil {
		return false
	}
	r.at = Position{Segment: next.index, Offset: segmentHeader}
	return true
}

func plausible(space uint32, left int64) bool {
	return space >= recordHeader && space%8 == 0 && int64(space) <= left
}

// record returns the record at an offset. One whose checksum is wrong counts as never committed.
func (s *segment) record(offset int64) (Record, uint32) {
	state := atomic.LoadUint32(s.word(offset + 4))
	h := s.data[offset:]
	r := Record{Seq: binary.LittleEndian.Uint64(h[8:]), CompletedAt: int64(binary.LittleEndian.Uint64(h[16:]))}
	if state == stateReserved {
		return r, state
	}
	length := int64(binary.LittleEndian.Uint32(h[24:]))
	space := int64(binary.LittleEndian.Uint32(h))
	if recordHeader+length > space || binary.LittleEndian.Uint32(h[28:]) != checksum(h, int(length)) {
		return r, stateReserved
	}
	r.Payload = h[recordHeader : recordHeader+length]
	return r, state
}
