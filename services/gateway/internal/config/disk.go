package config

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Disk is the last good configuration on the local disk: a log of documents, rewritten when most of it is out of date. A
// document counts once it is whole; a write that was cut short is dropped at the next start. It is safe for concurrent use.
type Disk struct {
	mu       sync.Mutex
	path     string
	file     *os.File
	end      int64
	live     int64 // bytes of the entries that count
	entries  map[string]entry
	complete bool
	broken   error
	// refused are documents whose last version could not be stored.
	refused map[string]bool
}

// entry is where a document is in the file.
type entry struct {
	offset, length int64
}

// Complete says that the log has held a whole snapshot of every bucket.
const completeName = "\x00complete"

const (
	entryHeader  = 16 // length of name, length of value, CRC-32C, magic
	entryMagic   = 0x54474346
	compactSlack = 4 << 20
	maxEntry     = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenDisk opens the log in dir and hands every document in it to load, in the order in which they were stored.
func OpenDisk(dir string, load func(bucket, key string, value []byte)) (*Disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the configuration: %w", err)
	}
	path := filepath.Join(dir, "configuration")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the stored configuration: %w", err)
	}
	d := &Disk{path: path, file: file, entries: map[string]entry{}, refused: map[string]bool{}}
	if err := d.load(load); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return d, nil
}

func (d *Disk) load(load func(bucket, key string, value []byte)) error {
	info, err := d.file.Stat()
	if err != nil {
		return fmt.Errorf("read the stored configuration: %w", err)
	}
	r := bufio.NewReaderSize(d.file, 1<<20)
	for d.end < info.Size() {
		name, value, size, err := readEntry(r, info.Size()-d.end)
		if err != nil {
			if !errors.Is(err, errTorn) {
				// Not the tail of a write cut short: something else is wrong, so what follows may be missing.
				d.complete = false
			}
			if err := d.file.Truncate(d.end); err != nil {
				return fmt.Errorf("repair the stored configuration: %w", err)
			}
			break
		}
		if name == completeName {
			d.complete = true
		} else if bucket, key, ok := cutName(name); ok {
			load(bucket, key, value)
		}
		d.note(name, size)
	}
	if _, err := d.file.Seek(d.end, io.SeekStart); err != nil {
		return fmt.Errorf("read the stored configuration: %w", err)
	}
	return nil
}

func cutName(name string) (bucket, key string, ok bool) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:], true
		}
	}
	return "", "", false
}

func (d *Disk) note(name string, size int64) {
	d.live += size - d.entries[name].length
	d.entries[name] = entry{d.end, size}
	d.end += size
}

var (
	errTorn    = errors.New("a write was cut short")
	errDamaged = errors.New("damaged")
)

func readEntry(r io.Reader, left int64) (name string, value []byte, size int64, err error) {
	var header [entryHeader]byte
	if left < entryHeader {
		return "", nil, 0, errTorn
	}
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return "", nil, 0, err
	}
	nameLength, valueLength := int64(binary.LittleEndian.Uint32(header[0:])), int64(binary.LittleEndian.Uint32(header[4:]))
	if binary.LittleEndian.Uint32(header[12:]) != entryMagic || nameLength+valueLength > maxEntry {
		return "", nil, 0, errDamaged
	}
	size = entryHeader + nameLength + valueLength
	if size > left {
		return "", nil, 0, errTorn
	}
	content := make([]byte, nameLength+valueLength)
	if _, err := io.ReadFull(r, content); err != nil {
		return "", nil, 0, err
	}
	if crc32.Checksum(content, castagnoli) != binary.LittleEndian.Uint32(header[8:]) {
		if size == left {
			return "", nil, 0, errTorn
		}
		return "", nil, 0, errDamaged
	}
	return string(content[:nameLength]), content[nameLength:], size, nil
}

// Complete says whether the log has held a whole snapshot: then a gateway can serve from it.
func (d *Disk) Complete() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.complete
}

// MarkComplete notes that every document of every bucket was put. It fails while one of them could not be stored.
func (d *Disk) MarkComplete() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.complete {
		return nil
	}
	if n := len(d.refused); n > 0 {
		return fmt.Errorf("the stored configuration is not whole: %d documents could not be stored", n)
	}
	if err := d.append(completeName, nil); err != nil {
		return err
	}
	d.complete = true
	return d.file.Sync()
}

// Put stores a document, in place of the one that was stored under the same key.
func (d *Disk) Put(bucket, key string, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := bucket + "/" + key
	if err := d.append(name, value); err != nil {
		d.refused[name] = true
		return err
	}
	delete(d.refused, name)
	if d.end > 2*d.live+compactSlack {
		return d.compact()
	}
	return nil
}

// Sync makes what was stored survive a lost machine.
func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("sync the stored configuration: %w", err)
	}
	return nil
}

func (d *Disk) append(name string, value []byte) error {
	if d.broken != nil {
		return d.broken
	}
	if len(name)+len(value) > maxEntry {
		return fmt.Errorf("store a document: %s is larger than %d bytes", name, maxEntry)
	}
	b := make([]byte, entryHeader, entryHeader+len(name)+len(value))
	b = append(append(b, name...), value...)
	binary.LittleEndian.PutUint32(b[0:], uint32(len(name)))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(value)))
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[entryHeader:], castagnoli))
	binary.LittleEndian.PutUint32(b[12:], entryMagic)
	if _, err := d.file.WriteAt(b, d.end); err != nil {
		err = fmt.Errorf("store a document: %w", err)
		if cut := d.file.Truncate(d.end); cut != nil {
			d.broken = errors.Join(err, cut) // what is there after the end would be taken for documents
		}
		return err
	}
	d.note(name, int64(len(b)))
	return nil
}

// compact rewrites the log with the documents that count. The old log stays until the new one is whole on the disk.
func (d *Disk) compact() (err error) {
	path := d.path + ".new"
	temporary, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("rewrite the stored configuration: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("rewrite the stored configuration: %w", err)
		}
	}()
	fresh, err := d.rewrite(temporary)
	if err == nil {
		err = os.Rename(path, d.path)
	}
	if err != nil {
		return errors.Join(err, temporary.Close(), os.Remove(path))
	}
	old := d.file
	d.file, d.end, d.live, d.entries = fresh.file, fresh.end, fresh.live, fresh.entries
	return errors.Join(syncDir(filepath.Dir(d.path)), old.Close())
}

// rewrite copies the documents that count and syncs them; that the log is complete is said last, so that a copy without its end is not.
func (d *Disk) rewrite(file *os.File) (*Disk, error) {
	fresh := &Disk{file: file, entries: make(map[string]entry, len(d.entries))}
	w := bufio.NewWriterSize(file, 1<<20)
	names := slices.Collect(maps.Keys(d.entries))
	if i := slices.Index(names, completeName); i >= 0 {
		names = append(slices.Delete(names, i, i+1), completeName)
	}
	for _, name := range names {
		e := d.entries[name]
		if _, err := io.Copy(w, io.NewSectionReader(d.file, e.offset, e.length)); err != nil {
			return nil, err
		}
		fresh.note(name, e.length)
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return fresh, file.Sync()
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close closes the file.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := errors.Join(d.file.Sync(), d.file.Close())
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}
