// Package store keeps identity's tables: what its operations read, written in the transaction of the events. Every
// function runs in the caller's transaction, which sees the rows of its tenant alone (row-level security). A row that is
// not there, or not the tenant's, is pgx.ErrNoRows, which the app folder turns into a problem.
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

// Migrations returns the migrations of identity's tables.
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

// list keeps an empty list from being NULL.
func list(texts []string) []string { return append([]string{}, texts...) }

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
