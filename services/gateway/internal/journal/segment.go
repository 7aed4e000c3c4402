package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A segment file: a header, then records one after the other, each aligned to 8 bytes.
//
//	segment header (64 bytes): magic(8) boot(8) index(8)
//	record: space(4) state(4) seq(8) completed(8) length(4) crc(4) payload
//
// space is the record's whole length; it is stored when the place is reserved, so that the chain of records can be walked
// past one that was never committed. state is stored last, when the record is complete. crc (CRC-32C) covers seq,
// completed and the payload, for pages that a lost machine did not write out.
const (
	segmentHeader = 64
	recordHeader  = 32
	segmentMagic  = "TGJRNL01"
	// sealed in place of space says that the records go on in the next segment.
	sealed = ^uint32(0)
)

const (
	stateReserved uint32 = iota
	stateFinal
	stateOpened
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type segment struct {
	boot, index uint64
	path        string
	file        *os.File
	data        []byte
	size        int64
	end         int64 // next free byte, guarded by the journal's mu
	open        atomic.Int32
}

func spaceFor(payload int) int64 { return (recordHeader + int64(payload) + 7) &^ 7 }

func segmentPath(dir string, boot, index uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%012d-%08d.journal", boot, index))
}

// newSegment makes a segment file with all its blocks allocated: writing to a map of a file with holes on a full disk would
// kill the process.
func newSegment(dir string, boot, index uint64, size int64) (_ *segment, err error) {
	path := segmentPath(dir, boot, index)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a journal segment: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(path))
		}
	}()
	if err = allocate(file, size); err != nil {
		return nil, fmt.Errorf("allocate a journal segment: %w", err)
	}
	s := &segment{boot: boot, index: index, path: path, file: file, size: size, end: segmentHeader}
	if s.data, err = unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map a journal segment: %w", err)
	}
	copy(s.data, segmentMagic)
	binary.LittleEndian.PutUint64(s.data[8:], boot)
	binary.LittleEndian.PutUint64(s.data[16:], index)
	if err = errors.Join(unix.Fdatasync(int(file.Fd())), syncDir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("sync a journal segment: %w", err), unix.Munmap(s.data))
	}
	return s, nil
}

func allocate(file *os.File, size int64) error {
	err := unix.Fallocate(int(file.Fd()), 0, 0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, 1<<20)
	for written := int64(0); written < size; {
		n, err := file.WriteAt(zeros[:min(int64(len(zeros)), size-written)], written)
		if err != nil {
			return err
		}
		written += int64(n)
	}
	return nil
}

// openSegment maps a segment of an earlier boot for reading.
func openSegment(dir string, boot, index uint64) (*segment, error) {
	path := segmentPath(dir, boot, index)
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open a journal segment: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a journal segment: %w", err), file.Close())
	}
	s := &segment{boot: boot, index: index, path: path, file: file, size: info.Size()}
	if s.size < segmentHeader {
		// The process was killed while it made the file.
		s.size = 0
		return s, nil
	}
	if s.data, err = unix.Mmap(int(file.Fd()), 0, int(s.size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(fmt.Errorf("map a journal segment: %w", err), file.Close())
	}
	if string(s.data[:8]) != segmentMagic {
		// Nothing was written yet, or the file is not ours: there are no records in it.
		s.size = 0
	}
	return s, nil
}

func (s *segment) word(offset int64) *uint32 { return (*uint32)(unsafe.Pointer(&s.data[offset])) }

// reserve writes a record's fixed part, its space last. The caller holds the journal's mu.
func (s *segment) reserve(p Place, space int64) {
	h := s.data[p.offset : p.offset+recordHeader]
	binary.LittleEndian.PutUint64(h[8:], p.Seq)
	binary.LittleEndian.PutUint64(h[16:], uint64(p.CompletedAt))
	atomic.StoreUint32(s.word(p.offset), uint32(space))
}

func (s *segment) commit(p Place, state uint32, payload []byte) {
	h := s.data[p.offset:]
	binary.LittleEndian.PutUint32(h[24:], uint32(len(payload)))
	copy(h[recordHeader:], payload)
	binary.LittleEndian.PutUint32(h[28:], checksum(h, len(payload)))
	atomic.StoreUint32(s.word(p.offset+4), state)
}

func checksum(record []byte, length int) uint32 {
	crc := crc32.Update(0, castagnoli, record[8:28])
	return crc32.Update(crc, castagnoli, record[recordHeader:recordHeader+length])
}

// seal says that the records go on in the next segment. The caller holds the journal's mu.
func (s *segment) seal() {
	if s.end+recordHeader <= s.size {
		atomic.StoreUint32(s.word(s.end), sealed)
	}
}

func (s *segment) close() error {
	var errs []error
	if s.data != nil {
		errs = append(errs, unix.Munmap(s.data))
		s.data = nil
	}
	return errors.Join(append(errs, s.file.Close())...)
}

func (s *segment) remove() error { return errors.Join(s.close(), os.Remove(s.path)) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
