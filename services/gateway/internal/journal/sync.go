package journal

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// syncGroup is those who wait for the same fdatasync.
type syncGroup struct {
	done chan struct{}
	err  error
}

// Await returns when every record committed so far by the caller is durable as the mode says: at once in mode Bounded,
// after an fdatasync in mode Strict.
func (j *Journal) Await() error {
	if j.config.Mode != Strict {
		return nil
	}
	j.groupMu.Lock()
	g := j.group
	if g == nil {
		g = &syncGroup{done: make(chan struct{})}
		j.group = g
	}
	j.groupMu.Unlock()
	select {
	case j.kick <- struct{}{}:
	default:
	}
	select {
	case <-g.done:
		return g.err
	case <-j.stop:
		return errors.New("the journal is closed")
	}
}

func (j *Journal) syncLoop() {
	defer j.stopped.Done()
	ticker := time.NewTicker(j.config.SyncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-j.kick:
		case <-ticker.C:
		}
		j.groupMu.Lock()
		g := j.group
		j.group = nil
		j.groupMu.Unlock()
		err := j.syncNow()
		if err != nil {
			// After a failed sync the kernel may have dropped the pages: no further call may rely on this journal.
			j.failed.Store(true)
			j.config.Log.Error("the journal cannot be synced; metered calls are refused until a restart", "error", err)
		}
		if g != nil {
			g.err = err
			close(g.done)
		}
	}
}

// syncNow makes everything committed so far durable.
func (j *Journal) syncNow() error {
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.mu.Lock()
	dirty := append(j.unsynced, j.active)
	j.unsynced = nil
	j.mu.Unlock()
	for _, s := range dirty {
		if s.data == nil {
			continue // released: its records are in the stream
		}
		if err := unix.Fdatasync(int(s.file.Fd())); err != nil {
			return fmt.Errorf("sync the journal: %w", err)
		}
	}
	return nil
}

// prepareRetry is how often a full journal tries to go on.
const prepareRetry = time.Second

// prepareLoop keeps one segment ready, so that no call waits for the making of a file, and finds out that the space is used up
// while a whole segment is still free.
func (j *Journal) prepareLoop() {
	defer j.stopped.Done()
	retry := time.NewTicker(prepareRetry)
	defer retry.Stop()
	failing := false
	for {
		select {
		case <-j.stop:
			return
		case <-j.prepare:
		case <-retry.C:
			if !j.lone.Load() {
				continue
			}
		}
		err := j.prepareSpare()
		switch {
		case err != nil && !failing:
			j.config.Log.Error("the journal has no further segment; metered calls are refused when this one is full", "error", err)
		case err == nil && failing:
			j.config.Log.Info("the journal has space again")
		}
		failing = err != nil
	}
}

func (j *Journal) prepareSpare() error {
	j.makeMu.Lock()
	defer j.makeMu.Unlock()
	if j.spare != nil {
		return nil
	}
	s, err := j.createSegment()
	if err != nil {
		return err
	}
	j.spare = s
	j.lone.Store(false)
	return nil
}

// takeSpare returns the spare segment, or makes one when the preparing goroutine is late. From here on calls are admitted by
// the room in the active segment, until another spare is ready.
func (j *Journal) takeSpare() (*segment, error) {
	j.makeMu.Lock()
	defer j.makeMu.Unlock()
	j.lone.Store(true)
	defer j.askForSpare()
	if s := j.spare; s != nil {
		j.spare = nil
		return s, nil
	}
	return j.createSegment()
}

func (j *Journal) askForSpare() {
	select {
	case j.prepare <- struct{}{}:
	default:
	}
}

// createSegment makes the next segment of this boot unless the journal is at its limit. The caller holds makeMu.
func (j *Journal) createSegment() (*segment, error) {
	used, err := segmentBytes(j.config.Dir)
	if err != nil {
		return nil, err
	}
	if used+j.config.SegmentBytes > j.config.MaxBytes {
		return nil, fmt.Errorf("%d of at most %d bytes are used", used, j.config.MaxBytes)
	}
	s, err := newSegment(j.config.Dir, j.boot, j.nextIndex, j.config.SegmentBytes)
	if err != nil {
		return nil, err
	}
	j.nextIndex++
	return s, nil
}

// Release deletes the segments before the position: their records are acknowledged. A segment with the first record of a
// call that still streams stays.
func (j *Journal) Release(before Position, records uint64) error {
	j.released.Add(records)
	j.syncMu.Lock()
	defer j.syncMu.Unlock()
	j.mu.Lock()
	var done []*segment
	for index, s := range j.segments {
		if index < before.Segment && s.open.Load() == 0 {
			done = append(done, s)
			delete(j.segments, index)
		}
	}
	j.mu.Unlock()
	var errs []error
	for _, s := range done {
		errs = append(errs, s.remove())
	}
	if len(done) > 0 && j.lone.Load() {
		j.askForSpare()
	}
	return errors.Join(errs...)
}
