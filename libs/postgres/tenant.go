package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// rollbackTimeout bounds a rollback, which happens even when the caller's context has ended.
const rollbackTimeout = 5 * time.Second

// ErrOutcomeUnknown says that the answer to a commit did not come or could not be read: the transaction may have been
// committed or not. Look before doing it again.
var ErrOutcomeUnknown = errors.New("no answer to the commit: the transaction may have been committed or not")

// ErrNoTenant says that a transaction was asked for without saying for which tenant.
var ErrNoTenant = errors.New(`no tenant given: name one, or "*" for a service that acts on all of them`)

// InTenant runs fn in a transaction (READ COMMITTED) that sees and writes the rows of one tenant, or of all for
// principal.AllTenants, and commits it when fn returns nil. On an error, a panic, or the end of ctx it is rolled back.
//
// fn must not end the transaction itself, nor use it after it returned. InTenant does not try again: see Retry. Unless its
// error is ErrOutcomeUnknown, nothing has been committed.
func (db *DB) InTenant(ctx context.Context, tenant string, fn func(pgx.Tx) error) error {
	return db.InTenantPipelined(ctx, tenant, func(tx pgx.Tx) (*pgx.Batch, error) { return nil, fn(tx) })
}

// Snapshot runs fn in a transaction that sees the rows of one tenant, or of all for principal.AllTenants, as they are at its first
// query, and writes nothing (REPEATABLE READ, READ ONLY): what its queries return belongs together, and it waits for nobody.
func (db *DB) Snapshot(ctx context.Context, tenant string, fn func(pgx.Tx) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return db.transact(ctx, tenant, options, func(tx pgx.Tx) (*pgx.Batch, error) { return nil, fn(tx) })
}

// InTenantPipelined is InTenant for transactions whose last statements are known in advance: the batch that fn returns
// is sent together with the commit, in one round trip. Locks that those statements take are held only while the
// server writes its log. A statement that fails prevents the commit. Results are read by the callbacks of the batch, which
// run before InTenantPipelined returns but after the commit: they cannot prevent it, and their error is reported as
// ErrOutcomeUnknown.
func (db *DB) InTenantPipelined(ctx context.Context, tenant string, fn func(pgx.Tx) (*pgx.Batch, error)) error {
	return db.transact(ctx, tenant, pgx.TxOptions{}, fn)
}

func (db *DB) transact(ctx context.Context, tenant string, options pgx.TxOptions, fn func(pgx.Tx) (*pgx.Batch, error)) (err error) {
	if tenant == "" {
		return fmt.Errorf("begin transaction: %w", ErrNoTenant)
	}
	conn, tx, err := db.begin(ctx, tenant, options)
	if err != nil {
		return fmt.Errorf("begin transaction for tenant %q: %w", tenant, err)
	}
	defer conn.Release() // a connection still in a transaction, as after a panic, is closed
	defer func() {
		if err != nil {
			rollback(ctx, conn, tx)
		}
	}()
	last, err := fn(tx)
	if err != nil {
		return err
	}
	if conn.Conn().PgConn().TxStatus() == 'I' {
		return errors.New("commit: the transaction was ended by its user; leave that to InTenant")
	}
	return commit(ctx, conn, last)
}

// begin takes a connection and begins. One that broke while nobody used it, as all do when the server restarts, shows only
// now: nothing has been done yet, so that it is safe to begin on a new one.
func (db *DB) begin(ctx context.Context, tenant string, options pgx.TxOptions) (*pgxpool.Conn, pgx.Tx, error) {
	for again := false; ; again = true {
		conn, err := db.pool.Acquire(ctx)
		if err != nil {
			return nil, nil, err
		}
		tx, err := bind(ctx, conn, tenant, options)
		if err == nil {
			return conn, tx, nil
		}
		dead := conn.Conn().IsClosed()
		conn.Release()
		if again || !dead || ctx.Err() != nil {
			return nil, nil, err
		}
		db.pool.Reset() // the other idle ones are likely as dead
	}
}

// bind is the one place where a transaction is bound to a tenant.
func bind(ctx context.Context, conn *pgxpool.Conn, tenant string, options pgx.TxOptions) (pgx.Tx, error) {
	var batch pgx.Batch
	batch.BeginTx(options)
	batch.Queue(`SELECT set_config('tollgate.tenant', $1, true)`, tenant)
	results := conn.SendBatch(ctx, &batch)
	tx := results.Tx()
	if err := results.Close(); err != nil {
		rollback(ctx, conn, tx)
		return nil, err
	}
	return tx, nil
}

func commit(ctx context.Context, conn *pgxpool.Conn, last *pgx.Batch) error {
	if last == nil {
		last = &pgx.Batch{}
	}
	last.Queue(`commit`).Exec(func(tag pgconn.CommandTag) error {
		if tag.String() == "ROLLBACK" {
			return pgx.ErrTxCommitRollback // a statement failed and its error was ignored
		}
		return nil
	})
	err := conn.SendBatch(ctx, last).Close()
	switch {
	case err == nil:
		return nil
	case refused(err) || pgconn.SafeToRetry(err) || conn.Conn().PgConn().TxStatus() == 'E':
		return fmt.Errorf("commit: %w", err)
	case errors.As(err, new(pgx.ErrPreprocessingBatch)) && !conn.Conn().IsClosed():
		return fmt.Errorf("commit: %w", err)
	default:
		return fmt.Errorf("commit: %w: %w", ErrOutcomeUnknown, err)
	}
}

// refused says that the server answered and the transaction was not committed. A server that is being shut down may
// answer after it has committed.
func refused(err error) bool {
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		return class(failure) != pgClassOperatorIntervention
	}
	return errors.Is(err, pgx.ErrTxCommitRollback)
}

func rollback(ctx context.Context, conn *pgxpool.Conn, tx pgx.Tx) {
	if tx == nil || conn.Conn().IsClosed() || conn.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	// One that cannot be rolled back is closed on release, which the server takes for a rollback.
	_ = tx.Rollback(ctx)
}
