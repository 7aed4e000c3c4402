package eventlog

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tollgate/tollgate/libs/postgres"
)

//go:embed migrations
var migrations embed.FS

// nameForm is that of logs and stream types: they are tokens of NATS subjects and parts of stream names.
var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Config says which log to keep.
type Config struct {
	// Name of the log, which is the service's: lower case letters, digits and hyphens.
	Name string
	// Clock gives the time events are recorded at; nil means time.Now.
	Clock func() time.Time
	// NewID gives the ids of events; nil means UUIDv7 (RFC 9562, section 5.7).
	NewID func() string
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	if !nameForm.MatchString(c.Name) {
		return fmt.Errorf("eventlog.name: %q is not a name; use up to 63 lower case letters, digits and hyphens, "+
			"beginning with a letter", c.Name)
	}
	return nil
}

// Log is the log of one service. It is safe for concurrent use, also by several processes at once.
type Log struct {
	db    *postgres.DB
	name  string
	clock func() time.Time
	newID func() string

	mu       sync.Mutex
	appended chan struct{} // closed at the next append of this process
}

// New returns the log that is kept in db. Call Migrate before it is used.
func New(db *postgres.DB, c Config) (*Log, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open event log: %w", err)
	}
	if db == nil {
		return nil, errors.New("open event log: no database given")
	}
	l := &Log{db: db, name: c.Name, clock: c.Clock, newID: c.NewID, appended: make(chan struct{})}
	if l.clock == nil {
		l.clock = time.Now
	}
	if l.newID == nil {
		l.newID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	return l, nil
}

// Name of the log.
func (l *Log) Name() string { return l.name }

// Migrate makes the log's tables, or brings them up to date. A database holds one log.
func (l *Log) Migrate(ctx context.Context) error {
	if err := migrate(ctx, l.db, "log"); err != nil {
		return fmt.Errorf("migrate event log %s: %w", l.name, err)
	}
	if _, err := l.db.Pool().Exec(ctx, `INSERT INTO log_head (log) VALUES ($1) ON CONFLICT DO NOTHING`, l.name); err != nil {
		return fmt.Errorf("create event log %s: %w", l.name, err)
	}
	var kept string
	if err := l.db.Pool().QueryRow(ctx, `SELECT log FROM log_head`).Scan(&kept); err != nil {
		return fmt.Errorf("read event log %s: %w", l.name, err)
	}
	if kept != l.name {
		return fmt.Errorf("migrate event log %s: the database holds the log %q; give each service a database of its own",
			l.name, kept)
	}
	return nil
}

func migrate(ctx context.Context, db *postgres.DB, set string) error {
	files, err := fs.Sub(migrations, "migrations/"+set)
	if err != nil {
		return err
	}
	return db.Migrate(ctx, files, "tollgate_"+set+"_versions")
}

// Appended returns a channel that is closed when this process next appends to the log. Get it before reading the log;
// appends of other processes do not close it.
func (l *Log) Appended() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appended
}

// announce wakes those that wait for Appended.
func (l *Log) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.appended)
	l.appended = make(chan struct{})
}
