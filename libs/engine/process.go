package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	firstPause = 50 * time.Millisecond // before the first restart; doubles with each failure in a row
	longPause  = 5 * time.Second

	firstAttempts = 6  // failures in a row that make a first start fail: about 2 s of pauses
	laterAttempts = 25 // failures in a row that end the supervision of a server that once was up: about 95 s

	pollReady   = 10 * time.Millisecond
	stopTimeout = 30 * time.Second // of an orderly stop whose context has no deadline
	killTimeout = 5 * time.Second  // between the harder ways to stop
)

// spec says how to run one kind of child.
type spec struct {
	name    string
	log     *slog.Logger
	prepare func(ctx context.Context) error                      // before every start
	command func(out *output) (*exec.Cmd, error)                 // a new, unstarted command writing to out
	handle  func(line string)                                    // a line the child wrote
	ready   func(ctx context.Context, pid int) (ready bool)      // polled until the child serves
	stop    []syscall.Signal                                     // how to stop it, from orderly to hard
	fatal   func(lastLines string) (reason error, hopeless bool) // whether another attempt is pointless
}

// process keeps one child running until it is stopped. Its methods may be called from any goroutine.
type process struct {
	spec  spec
	up    chan struct{} // closed when the child served for the first time
	stop  chan struct{} // closed when stopping begins
	done  chan struct{} // closed when no child runs any more and none will be started
	ended error         // why supervision ended without being asked to; set before done is closed

	mu       sync.Mutex
	command  *exec.Cmd // the running child
	stopping bool
}

// start runs the child and returns once it serves. If ctx ends earlier, or the child cannot be brought up, nothing is
// left running.
func start(ctx context.Context, s spec) (*process, error) {
	p := &process{spec: s, up: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{})}
	go p.supervise(context.WithoutCancel(ctx))
	select {
	case <-p.up:
		return p, nil
	case <-p.done:
		return nil, p.ended
	case <-ctx.Done():
		// The caller's context is over, the child still has to go.
		_ = p.Stop(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("start %s: %w", s.name, context.Cause(ctx))
	}
}

// supervise runs the child again and again. It stays on one operating system thread: the kernel sends the parent death
// signal when the thread that started the child ends, not when the process does.
func (p *process) supervise(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for failures := 0; ; {
		served, err := p.runOnce(ctx)
		if p.isStopping() {
			return
		}
		if served {
			failures = 0
		}
		failures++
		if p.hopeless(err, failures) {
			return
		}
		p.spec.log.Warn("engine ended unexpectedly, starting it again", "engine", p.spec.name, "error", err, "attempt", failures)
		select {
		case <-p.stop:
			return
		case <-time.After(min(firstPause<<(failures-1), longPause)):
		}
	}
}

// hopeless decides whether to give up after so many failures in a row, and keeps the reason.
func (p *process) hopeless(err error, failures int) bool {
	limit := laterAttempts
	select {
	case <-p.up:
	default:
		limit = firstAttempts
	}
	var final *finalError
	if failures < limit && !errors.As(err, &final) {
		return false
	}
	p.ended = fmt.Errorf("%s cannot be started: %w", p.spec.name, err)
	return true
}

// finalError is a reason for which another attempt is pointless.
type finalError struct{ reason error }

func (e *finalError) Error() string { return e.reason.Error() }
func (e *finalError) Unwrap() error { return e.reason }

// runOnce starts one child and waits until it ends. It reports whether the child ever served, and why it ended.
func (p *process) runOnce(ctx context.Context) (served bool, err error) {
	if err := p.spec.prepare(ctx); err != nil {
		return false, err
	}
	out := &output{handle: p.spec.handle}
	command, err := p.spec.command(out)
	if err != nil {
		return false, fmt.Errorf("prepare %s: %w", p.spec.name, err)
	}
	// Processes the child left behind may hold its output open; do not wait for them for long.
	command.WaitDelay = 2 * time.Second
	if err := p.launch(command); err != nil {
		return false, err
	}
	polling, cancel := context.WithCancel(ctx)
	result := make(chan bool, 1)
	go func() { result <- p.awaitReady(polling, command.Process.Pid) }()
	waitErr := command.Wait()
	p.mu.Lock()
	p.command = nil
	p.mu.Unlock()
	cancel()
	served = <-result
	if last := out.last(); last != "" {
		err = fmt.Errorf("%w: %s", endOf(waitErr), last)
	} else {
		err = endOf(waitErr)
	}
	if reason, hopeless := p.spec.fatal(out.last()); hopeless && !served {
		err = &finalError{reason}
	}
	return served, err
}

func endOf(waitErr error) error {
	if waitErr == nil {
		return errors.New("exited by itself")
	}
	return waitErr
}

func (p *process) launch(command *exec.Cmd) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return errors.New("stopping")
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("run %s: %w", command.Path, err)
	}
	p.command = command
	return nil
}

func (p *process) awaitReady(ctx context.Context, pid int) bool {
	ticker := time.NewTicker(pollReady)
	defer ticker.Stop()
	for !p.spec.ready(ctx, pid) {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
	select {
	case <-p.up:
	default:
		close(p.up)
	}
	return true
}

func (p *process) isStopping() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopping
}

// Pid is the process id of the running child, 0 while there is none.
func (p *process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command == nil {
		return 0
	}
	return p.command.Process.Pid
}

// Done is closed when the engine is down for good: after Stop, or when it could not be started again.
func (p *process) Done() <-chan struct{} { return p.done }

// Err tells why the engine is down for good. It is nil before Done is closed and after an orderly Stop.
func (p *process) Err() error {
	select {
	case <-p.done:
		return p.ended
	default:
		return nil
	}
}

// Stop ends the child: in order while ctx allows it (30 s without a deadline), then harder, at last with SIGKILL. It
// returns when nothing runs any more; the error tells that the orderly way was not enough. Stopping twice is no error.
func (p *process) Stop(ctx context.Context) error {
	p.mu.Lock()
	if !p.stopping {
		p.stopping = true
		close(p.stop)
	}
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	for i, signal := range append(p.spec.stop, syscall.SIGKILL) {
		if i > 0 {
			cancel()
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
			defer cancel()
		}
		p.signal(signal)
		select {
		case <-p.done:
			if i > 0 {
				return fmt.Errorf("stop %s: it did not end in time and was sent %s", p.spec.name, signal)
			}
			return nil
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("stop %s: process %d does not end, not even with SIGKILL", p.spec.name, p.Pid())
}

func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command != nil {
		// It fails only when the child has ended already, which is what is wanted.
		_ = p.command.Process.Signal(signal)
	}
}
