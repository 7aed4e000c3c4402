package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
)

// Checkpoint says how far the records are acknowledged.
type Checkpoint struct {
	// Boot that is being shipped; every boot before it is closed.
	Boot uint64
	// Position before which the boot's records are acknowledged.
	Position Position
	// SealCeiling is at or after every time that was published as a seal, in nanoseconds since the Unix epoch: it is stored
	// before the seal is sent.
	SealCeiling int64
	// Closed: the boot is closed as well.
	Closed bool
}

// checkpointFile keeps two slots and writes them in turn, so that a write that is cut short leaves the other.
type checkpointFile struct {
	mu      sync.Mutex
	file    *os.File
	current Checkpoint
	turn    uint64
}

const slotBytes = 64

func openCheckpoint(dir string) (*checkpointFile, error) {
	file, err := os.OpenFile(filepath.Join(dir, "checkpoint"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal's checkpoint: %w", err)
	}
	c := &checkpointFile{file: file}
	content := make([]byte, 2*slotBytes)
	_, _ = file.ReadAt(content, 0) // a short file has fewer valid slots
	for slot := range 2 {
		if point, turn, ok := decodeSlot(content[slot*slotBytes : (slot+1)*slotBytes]); ok && turn >= c.turn {
			c.current, c.turn = point, turn
		}
	}
	return c, nil
}

func (c *checkpointFile) read() Checkpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

func (c *checkpointFile) write(point Checkpoint) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	if _, err := c.file.WriteAt(encodeSlot(point, c.turn), int64(c.turn%2)*slotBytes); err != nil {
		return fmt.Errorf("move the journal's checkpoint: %w", err)
	}
	c.current = point
	return nil
}

func (c *checkpointFile) close() error { return errors.Join(c.file.Sync(), c.file.Close()) }

func encodeSlot(point Checkpoint, turn uint64) []byte {
	b := make([]byte, 0, slotBytes)
	closed := uint64(0)
	if point.Closed {
		closed = 1
	}
	for _, v := range []uint64{turn, point.Boot, point.Position.Segment, uint64(point.Position.Offset), uint64(point.SealCeiling), closed} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:slotBytes]
}

func decodeSlot(b []byte) (point Checkpoint, turn uint64, ok bool) {
	if binary.LittleEndian.Uint32(b[48:]) != crc32.Checksum(b[:48], castagnoli) {
		return Checkpoint{}, 0, false
	}
	v := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	return Checkpoint{
		Boot: v(1), Position: Position{Segment: v(2), Offset: int64(v(3))}, SealCeiling: int64(v(4)), Closed: v(5) == 1,
	}, v(0), v(0) > 0
}

// Checkpoint returns how far the records are acknowledged.
func (j *Journal) Checkpoint() Checkpoint { return j.point.read() }

// MoveCheckpoint stores how far the records are acknowledged. A killed process does not lose it; a lost machine may, then
// records are shipped again.
func (j *Journal) MoveCheckpoint(c Checkpoint) error { return j.point.write(c) }
