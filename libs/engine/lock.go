package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockWait is how long a start waits for the previous owner of a data directory to let go of it.
const lockWait = 10 * time.Second

// lock takes the data directory for this process, waiting for a previous owner that is about to end. The lock goes with
// the process, however it ends. Close releases it.
func lock(ctx context.Context, data string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	deadline := time.Now().Add(lockWait)
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("lock the data directory %s: %w", data, err)
		}
		if time.Now().After(deadline) {
			_ = file.Close()
			return nil, fmt.Errorf("the data directory %s is in use by another process: stop it or choose another directory", data)
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, fmt.Errorf("wait for the data directory %s: %w", data, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// prepareFolder makes the data directory. Others may pass through it, not list it: the engine's own user needs to reach
// the part it owns.
func prepareFolder(data string) error {
	if err := os.MkdirAll(data, 0o711); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}
