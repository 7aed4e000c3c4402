// Package store keeps identity's tables: what its operations read, written in the transaction of the events. Every
// function runs in the caller's transaction, which sees the rows of its tenant alone (row-level security). A row that is
// not there, or not the tenant's, is pgx.ErrNoRows, which the app folder turns into a problem.
package store

import (
	"embed"
	"io/fs"
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
