package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockDir makes sure that no other process uses the directory, until the file is closed.
func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the journal: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = fmt.Errorf("lock the journal: another process uses %s: %w", dir, err)
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// raiseBoot stores and returns the number of this boot, with the earlier boots that left segments.
//
// It is at least the time in seconds: a gateway whose directory was lost, or restored from a backup, must not repeat the
// identities of calls that it made before, they would be taken for repeated deliveries.
func raiseBoot(dir string, checkpointed uint64, now time.Time) (boot uint64, older []uint64, err error) {
	path := filepath.Join(dir, "boot")
	stored, err := readBoot(path)
	if err != nil {
		return 0, nil, err
	}
	names, err := listSegments(dir)
	if err != nil {
		return 0, nil, err
	}
	newest := max(stored, checkpointed)
	for _, n := range names {
		newest = max(newest, n.boot)
		if !slices.Contains(older, n.boot) {
			older = append(older, n.boot)
		}
	}
	boot = max(newest+1, uint64(max(0, now.Unix())))
	if err := replaceFile(path, []byte(strconv.FormatUint(boot, 10)+"\n")); err != nil {
		return 0, nil, fmt.Errorf("raise the boot counter: %w", err)
	}
	slices.Sort(older)
	return boot, older, nil
}

func readBoot(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the boot counter: %w", err)
	}
	boot, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the boot counter: %s holds %q; write the number of the last boot into it", path, text)
	}
	return boot, nil
}

// replaceFile writes a file so that a lost machine leaves the old or the new content.
func replaceFile(path string, content []byte) error {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

type segmentName struct{ boot, index uint64 }

// listSegments returns the segment files of all boots, in order.
func listSegments(dir string) ([]segmentName, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the journal: %w", err)
	}
	var names []segmentName
	for _, e := range entries {
		base, isSegment := strings.CutSuffix(e.Name(), ".journal")
		bootText, indexText, ok := strings.Cut(base, "-")
		boot, err1 := strconv.ParseUint(bootText, 10, 64)
		index, err2 := strconv.ParseUint(indexText, 10, 64)
		if isSegment && ok && err1 == nil && err2 == nil {
			names = append(names, segmentName{boot, index})
		}
	}
	slices.SortFunc(names, func(a, b segmentName) int {
		if a.boot != b.boot {
			return int(int64(a.boot) - int64(b.boot))
		}
		return int(int64(a.index) - int64(b.index))
	})
	return names, nil
}

// segmentBytes is the disk space of all segments.
func segmentBytes(dir string) (int64, error) {
	names, err := listSegments(dir)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, n := range names {
		info, err := os.Stat(segmentPath(dir, n.boot, n.index))
		if errors.Is(err, fs.ErrNotExist) {
			continue // released meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("measure the journal: %w", err)
		}
		total += info.Size()
	}
	return total, nil
}
