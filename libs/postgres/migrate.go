package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var base embed.FS

// baseTable is the table of versions of this package's own migrations.
const baseTable = "tollgate_versions"

// Migrate brings one set of migrations (goose, *.sql in the root of fsys) up to date; table holds the versions of
// that set. Replicas that start together wait for each other. The migrations of this package, which define
// tollgate_isolate, come before. Migrations run outside of any tenant and are applied in order, each in a transaction.
func (db *DB) Migrate(ctx context.Context, fsys fs.FS, table string) (err error) {
	own, err := fs.Sub(base, "migrations")
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	// Connections of their own: migrating with the pool would starve when it is small.
	conns := stdlib.OpenDB(*db.pool.Config().ConnConfig)
	defer func() { err = errors.Join(err, conns.Close()) }()
	if err := up(ctx, conns, own, baseTable); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	if err := up(ctx, conns, fsys, table); err != nil {
		return fmt.Errorf("migrate database (versions in %s): %w", table, err)
	}
	db.pool.Reset() // statements prepared before may have other results now
	return nil
}

func up(ctx context.Context, conns *sql.DB, fsys fs.FS, table string) error {
	provider, err := goose.NewProvider(goose.DialectPostgres, conns, fsys,
		goose.WithTableName(table), goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()), goose.WithSessionLocker(sessionLock{}))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// sessionLock keeps replicas from migrating at the same time. Goose's own waits a second or more between two looks.
type sessionLock struct{}

// lockPoll is the time between two looks. Waiting within the server would block CREATE INDEX CONCURRENTLY of the holder.
const lockPoll = 25 * time.Millisecond

func (sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		var locked bool
		err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, lock.DefaultLockID).Scan(&locked)
		if err != nil {
			return fmt.Errorf("lock the database for migrations: %w", err)
		}
		if locked {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock the database for migrations: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

func (sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, lock.DefaultLockID); err != nil {
		return fmt.Errorf("unlock the database after migrations: %w", err)
	}
	return nil
}
