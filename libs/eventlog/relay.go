package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrDiverged says that replica and log hold different events at the same position: the database was restored without a
// new epoch, or it is another database than the one the replica was filled from. Nothing is published until an operator
// has decided; if the database is the right one, Relay.BeginEpoch replaces the replica.
var ErrDiverged = errors.New("the replica holds other events than the log")

const (
	// pollInterval is how long events appended by other processes may wait for a relay.
	pollInterval = 100 * time.Millisecond
	// verifyInterval is how often an idle relay looks whether the replica is still whole.
	verifyInterval = 2 * time.Second
)

// RelayConfig says how to keep the replica.
type RelayConfig struct {
	// Replicas of the stream in a cluster of NATS servers; 0 and 1 mean one.
	Replicas int
	Logger   *slog.Logger
}

// Validate reports every field that is wrong.
func (c RelayConfig) Validate() error {
	var errs []error
	if c.Replicas < 0 || c.Replicas > 5 {
		errs = append(errs, fmt.Errorf("relay.replicas: %d is not 0 to 5", c.Replicas))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("relay.logger: missing"))
	}
	return errors.Join(errs...)
}

// Relay keeps the replica of a log equal to it: the sequence of each message is its event's position. Any number of
// relays may run at once, in any number of processes; one is enough. It needs no state of its own: it goes on after the
// last message of the replica, forward when an acknowledgement was lost, backward when messages were.
type Relay struct {
	log    *Log
	js     jetstream.JetStream
	config RelayConfig

	published atomic.Uint64
	replaced  atomic.Uint64
	mu        sync.Mutex
	err       error
}

// NewRelay returns a relay; Run starts it.
func NewRelay(log *Log, js jetstream.JetStream, c RelayConfig) (*Relay, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("make relay: %w", err)
	}
	return &Relay{log: log, js: js, config: c}, nil
}

// Run relays until ctx ends and then returns nil. It outlives failures of the database and of NATS; Err tells of them.
func (r *Relay) Run(ctx context.Context) error {
	var wait backoff
	for {
		before := r.published.Load()
		err := r.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if r.published.Load() > before {
			wait.reset()
		}
		r.fail(err)
		if !pause(ctx, wait.pause()) {
			return nil
		}
	}
}

// Err returns why the relay does not get on at the moment, or nil.
func (r *Relay) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Published returns how many events this relay has published, those published again included.
func (r *Relay) Published() uint64 { return r.published.Load() }

// fail notes the state and logs it when it changes.
func (r *Relay) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.err
	r.err = err
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		r.config.Logger.Error("the event log is not relayed", "log", r.log.name, "error", err)
	case err == nil && was != nil:
		r.config.Logger.Info("the event log is relayed again", "log", r.log.name)
	}
}

// session relays until something fails.
func (r *Relay) session(ctx context.Context) error {
	p, err := newPublisher(r.js.Conn(), ReplicaName(r.log.name))
	if err != nil {
		return err
	}
	defer p.close()
	at, err := r.synchronize(ctx)
	if err != nil {
		return err
	}
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	verified := time.Now()
	for {
		appended := r.log.Appended() // before reading, so that no append is missed
		if at, err = r.publish(ctx, p, at); err != nil {
			return err
		}
		r.fail(nil)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-appended:
			continue
		case <-poll.C:
		}
		head, err := r.log.Head(ctx)
		if err != nil {
			return err
		}
		// Another relay may have published what another process appended.
		if head >= at.next || time.Since(verified) >= verifyInterval {
			if at, err = r.synchronize(ctx); err != nil {
				return err
			}
			verified = time.Now()
		}
	}
}

// publish publishes up to the end of the log.
func (r *Relay) publish(ctx context.Context, p *publisher, at replicaEnd) (replicaEnd, error) {
	for {
		events, err := r.log.read(ctx, at.next-1, publishWindow)
		if err != nil || len(events) == 0 {
			return at, err
		}
		if events[0].Position != at.next {
			return at, fmt.Errorf("log %s: the event at position %d is missing in the table", r.log.name, at.next)
		}
		last := events[len(events)-1]
		if last.Epoch > at.epoch { // begun meanwhile
			if at, err = r.synchronize(ctx); err != nil {
				return at, err
			}
			continue
		}
		stored, err := p.publish(ctx, events)
		r.published.Add(uint64(stored))
		switch {
		case err == nil:
			at.next = last.Position + 1
		case wrongSequence(err):
			if at, err = r.synchronize(ctx); err != nil {
				return at, err
			}
		default:
			return at, fmt.Errorf("publish log %s from position %d: %w", r.log.name, at.next, err)
		}
	}
}
