package testkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/libs/engine"
)

// startTimeout bounds the start of an engine, including making its template or its program the first time.
const startTimeout = 3 * time.Minute

// shared holds the engines of this test binary. Tests have no other common place than a package variable.
var shared sharedEngines

type sharedEngines struct {
	postgres   sharedServer[*engine.Postgres]
	clickHouse sharedServer[*engine.ClickHouse]
}

func (s *sharedEngines) stop() error {
	return errors.Join(s.postgres.stop(), s.clickHouse.stop())
}

// stopper is an engine that can be stopped.
type stopper interface {
	Stop(ctx context.Context) error
}

// sharedServer is a server started by the first who asks. A failed start is remembered: it would fail for every test.
type sharedServer[S stopper] struct {
	mu      sync.Mutex
	asked   bool
	running S
	err     error
	remove  func() error
}

// get starts the server in a folder of its own, unless it runs.
func (s *sharedServer[S]) get(start func(ctx context.Context, folder string) (S, error)) (S, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked {
		return s.running, s.err
	}
	s.asked = true
	folder, remove, err := temporaryFolder()
	if err != nil {
		s.err = err
		return s.running, err
	}
	// It outlives the test that asks first.
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if s.running, s.err = start(ctx, folder); s.err != nil {
		return s.running, errors.Join(s.err, remove())
	}
	s.remove = remove
	return s.running, nil
}

func (s *sharedServer[S]) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remove == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := errors.Join(s.running.Stop(ctx), s.remove())
	s.remove = nil
	return err
}

// removal waits for the end of its input, then removes the folder. The engines whose data it is end at the same moment, so it
// may take a few attempts.
const removal = `cat >/dev/null
for attempt in 1 2 3 4 5 6 7 8 9 10; do
	rm -rf -- "$1" 2>/dev/null && exit 0
	sleep 0.2
done
exit 1`

// temporaryFolder makes a folder that others may pass through (the engines may run as another user) and that a small process removes
// when remove is called or this process ends, even if it is killed.
func temporaryFolder() (folder string, remove func() error, err error) {
	folder, err = os.MkdirTemp("", "tollgate-test-")
	if err != nil {
		return "", nil, fmt.Errorf("make a folder for the engine: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(folder)
		}
	}()
	if err := os.Chmod(folder, 0o711); err != nil {
		return "", nil, fmt.Errorf("open the engine's folder: %w", err)
	}
	command := exec.Command("/bin/sh", "-c", removal, "sh", folder)
	command.Dir = "/"
	// An interrupt at the terminal is not for it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var input io.Closer
	if input, err = command.StdinPipe(); err != nil {
		return "", nil, fmt.Errorf("watch the engine's folder: %w", err)
	}
	if err := command.Start(); err != nil {
		return "", nil, fmt.Errorf("watch the engine's folder: %w", err)
	}
	return folder, func() error {
		if err := errors.Join(input.Close(), command.Wait()); err != nil {
			return fmt.Errorf("remove the engine's folder %s: %w", folder, err)
		}
		return nil
	}, nil
}
