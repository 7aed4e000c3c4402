// Package lifecycle starts the parts of a process in order, tells when they are ready, and stops them in reverse.
//
// A part is a function that runs until its context ends. The next part is started when the one before has called
// ready. When one part fails, all are stopped, the last started first, each within the grace period.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Run is the body of a part. It calls ready once when others may rely on it, runs until ctx ends and returns nil then.
type Run func(ctx context.Context, ready func()) error

// Group is an ordered set of parts. It is built by one goroutine and run once.
type Group struct {
	// Grace is how long a part may take to stop; 10 seconds when zero.
	Grace time.Duration
	// Log receives starts and failures; slog's default when nil.
	Log   *slog.Logger
	parts []part
	ready chan struct{}
}

type part struct {
	name string
	run  Run
}

type running struct {
	name   string
	cancel context.CancelFunc
	done   chan error
}

// New returns an empty group.
func New(log *slog.Logger) *Group {
	return &Group{Log: log, ready: make(chan struct{})}
}

// Add appends a part.
func (g *Group) Add(name string, run Run) { g.parts = append(g.parts, part{name, run}) }

// AddSimple appends a part that is ready as soon as it runs.
func (g *Group) AddSimple(name string, run func(ctx context.Context) error) {
	g.Add(name, func(ctx context.Context, ready func()) error {
		ready()
		return run(ctx)
	})
}

// Ready is closed when every part is ready.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// Run starts the parts in order and waits until ctx ends or one of them fails; then it stops them in reverse. The
// error is that of the part that failed, joined with those of parts that did not stop in time.
func (g *Group) Run(ctx context.Context) error {
	failed := make(chan error, len(g.parts)+1)
	var started []*running
	err := g.start(ctx, &started, failed)
	if err == nil {
		close(g.ready)
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	return errors.Join(err, g.stop(started))
}

func (g *Group) start(ctx context.Context, started *[]*running, failed chan error) error {
	for _, p := range g.parts {
		r, isReady := launch(ctx, p, failed)
		*started = append(*started, r)
		select {
		case <-isReady:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func launch(ctx context.Context, p part, failed chan error) (*running, <-chan struct{}) {
	// A part lives until it is stopped in its turn, not until the group's context ends.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{name: p.name, cancel: cancel, done: make(chan error, 1)}
	isReady := make(chan struct{})
	go func() {
		var once bool
		err := p.run(own, func() {
			if !once {
				once = true
				close(isReady)
			}
		})
		if own.Err() == nil {
			if err == nil {
				err = errors.New("ended before it was stopped")
			}
			failed <- fmt.Errorf("%s: %w", p.name, err)
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		r.done <- err
	}()
	return r, isReady
}

func (g *Group) stop(started []*running) error {
	grace := g.Grace
	if grace == 0 {
		grace = 10 * time.Second
	}
	var errs []error
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		if stopped := r.alreadyDone(); stopped {
			continue
		}
		r.cancel()
		select {
		case err := <-r.done:
			if err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", r.name, err))
			}
		case <-time.After(grace):
			errs = append(errs, fmt.Errorf("stop %s: still running after %s", r.name, grace))
		}
	}
	return errors.Join(errs...)
}

func (r *running) alreadyDone() bool {
	select {
	case <-r.done: //nolint:errcheck // Run has the error already, through failed
		r.cancel()
		return true
	default:
		return false
	}
}
