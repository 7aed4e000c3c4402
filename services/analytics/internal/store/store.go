// Package store keeps analytics' tables in Postgres: what of the stream of calls has been landed, and names. Every function runs
// in the caller's transaction, which sees the rows of its tenant alone (row-level security), or of all tenants for the landing.
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

// Migrations returns the migrations of analytics' tables.
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

func one[T any](ctx context.Context, tx pgx.Tx, what, query string, args ...any) (T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		var none T
		return none, wrap(what, err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	return found, wrap(what, err)
}
