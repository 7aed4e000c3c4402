// Package store keeps metering's tables. Every function runs in the caller's transaction, which sees the rows of its tenant
// alone (row-level security), or of all tenants for the consumers of calls and of leases. A row that is not there, or not the
// tenant's, is pgx.ErrNoRows, which the app folder turns into a problem.
//
// Locks are taken in one order everywhere: partitions, then balances, then leases, then gateways, each by its key.
package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the migrations of metering's tables.
func Migrations() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is compiled in
	}
	return files
}

func collect[T any](ctx context.Context, tx pgx.Tx, what, query string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, wrap(what, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	return all, wrap(what, err)
}

func one[T any](ctx context.Context, tx pgx.Tx, what, query string, args ...any) (T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		var none T
		return none, wrap(what, err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	return row, wrap(what, err)
}

func exec(ctx context.Context, tx pgx.Tx, what, query string, args ...any) error {
	_, err := tx.Exec(ctx, query, args...)
	return wrap(what, err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
