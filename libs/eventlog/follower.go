package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/postgres"
)

// OnFailure says what a follower does with an event that it cannot apply, for a reason that lies in the event or in the
// handler and not in the moment.
type OnFailure uint8

const (
	// Halt stops before the event: nothing after it is applied until it can be. Money and identity must use it.
	Halt OnFailure = iota
	// Park sets the event aside, in the same transaction that passes over it, until Follower.Replay.
	Park
)

// Handle applies one event. Everything it does goes through tx, which sees all tenants' rows and is committed together
// with the follower's offset, so that the effect happens exactly once; it may run several times until then. ctx carries the
// principal (the follower as a service, in the event's tenant) and the command's correlation and trace for Log.Within.
// Events that do not matter to it are left alone with a nil error.
type Handle func(ctx context.Context, tx pgx.Tx, e Event) error

const (
	defaultBatchSize = 500
	maxBatchSize     = 500
	// defaultHaltRetry is how often a halted follower tries again: its cause may have been mended in the tables.
	defaultHaltRetry = 30 * time.Second
)

// FollowerConfig says what to follow and how.
type FollowerConfig struct {
	// Name of the follower, unique in its database: lower case letters, digits and hyphens. Its offset is kept under it.
	Name string
	// Follow is the name of the log to follow; that of the own service is possible.
	Follow string
	// DB is where the effects and the offset are written.
	DB        *postgres.DB
	JS        jetstream.JetStream
	Logger    *slog.Logger
	OnFailure OnFailure
	Handle    Handle
	// BatchSize is the most events applied in one transaction, up to 500; 0 means 500.
	BatchSize int
	// HaltRetry is the time between two tries of a halted follower; 0 means 30 s.
	HaltRetry time.Duration
}

// Validate reports every field that is wrong.
func (c FollowerConfig) Validate() error {
	var errs []error
	for field, name := range map[string]string{"name": c.Name, "follow": c.Follow} {
		if !nameForm.MatchString(name) {
			errs = append(errs, fmt.Errorf("follower.%s: %q is not a name; use up to 63 lower case letters, digits and hyphens, "+
				"beginning with a letter", field, name))
		}
	}
	for field, missing := range map[string]bool{
		"db": c.DB == nil, "js": c.JS == nil, "logger": c.Logger == nil, "handle": c.Handle == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("follower.%s: missing", field))
		}
	}
	if c.OnFailure > Park {
		errs = append(errs, fmt.Errorf("follower.onFailure: %d is neither Halt nor Park", c.OnFailure))
	}
	if c.BatchSize < 0 || c.BatchSize > maxBatchSize {
		errs = append(errs, fmt.Errorf("follower.batchSize: %d is not 0 to %d", c.BatchSize, maxBatchSize))
	}
	if c.HaltRetry < 0 {
		errs = append(errs, fmt.Errorf("follower.haltRetry: %v is negative", c.HaltRetry))
	}
	return errors.Join(errs...)
}

// Follower applies the events of a log to a database, in order, each exactly once. Several copies (replicas of a service)
// may run at once under one name: they take turns and waste some work.
type Follower struct {
	config FollowerConfig
	status status
}

// NewFollower returns a follower; Run starts it.
func NewFollower(c FollowerConfig) (*Follower, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("make follower: %w", err)
	}
	if c.BatchSize == 0 {
		c.BatchSize = defaultBatchSize
	}
	if c.HaltRetry == 0 {
		c.HaltRetry = defaultHaltRetry
	}
	c.Logger = c.Logger.With("follower", c.Name, "log", c.Follow)
	return &Follower{config: c, status: status{moved: make(chan struct{})}}, nil
}

// Migrate makes the follower's tables in its database, or brings them up to date. Run does it too.
func (f *Follower) Migrate(ctx context.Context) error {
	if err := migrate(ctx, f.config.DB, "follow"); err != nil {
		return fmt.Errorf("migrate follower %s: %w", f.config.Name, err)
	}
	return nil
}

// Run follows until ctx ends and then returns nil. It outlives failures of the database and of NATS and does not return
// when it halts, so that one bad event takes nothing else down: Err tells, and the log.
func (f *Follower) Run(ctx context.Context) error {
	var wait backoff
	migrated := false
	for {
		before := f.Position()
		var err error
		if !migrated {
			err = f.Migrate(ctx)
			migrated = err == nil
		}
		if migrated {
			err = f.session(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if f.Position() > before {
			wait.reset()
		}
		f.fail(err)
		if !pause(ctx, wait.pause()) {
			return nil
		}
	}
}

// Position is up to where this process knows the log to be applied.
func (f *Follower) Position() uint64 { return f.status.snapshot().Position }

// Status returns how the follower is doing.
func (f *Follower) Status() Status { return f.status.snapshot() }

// Err returns why the follower does not get on at the moment, or nil. For health checks.
func (f *Follower) Err() error { return f.status.snapshot().Err }

// WaitFor waits until the log is applied up to a position, and returns ctx's error when that comes first.
func (f *Follower) WaitFor(ctx context.Context, position uint64) error {
	for {
		reached, moved := f.status.reached(position)
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("follower %s has applied log %s up to position %d, not yet %d: %w",
				f.config.Name, f.config.Follow, f.Position(), position, ctx.Err())
		}
	}
}

// fail notes the state and logs it when it changes.
func (f *Follower) fail(err error) {
	was := f.status.setErr(err)
	switch {
	case err != nil && (was == nil || was.Error() != err.Error()):
		f.config.Logger.Error("the follower does not get on", "position", f.Position(), "error", err)
	case err == nil && was != nil:
		f.config.Logger.Info("the follower gets on again", "position", f.Position())
	}
}

// Status is the state of a follower in this process.
type Status struct {
	// Position up to which the log is applied.
	Position uint64
	// Skipped counts the events passed over because this build does not know their type.
	Skipped uint64
	// Parked counts the events set aside since the process started; Follower.Parked lists those that still are.
	Parked uint64
	// Err is why it does not get on; nil when it does.
	Err error
}

type status struct {
	mu    sync.Mutex
	now   Status
	moved chan struct{} // closed when the position changes
}

func (s *status) snapshot() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *status) setErr(err error) (was error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, s.now.Err = s.now.Err, err
	return was
}

func (s *status) advance(position, skipped, parked uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Position = position
	s.now.Skipped += skipped
	s.now.Parked += parked
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *status) reached(position uint64) (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Position >= position, s.moved
}
