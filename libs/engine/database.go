package engine

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var databaseName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// CreateDatabase makes, on the server at superuserURL, a database and a role of the same name that owns it, and sets the
// role's password. What exists already is kept. The role is no superuser and nobody else may connect to the database.
func CreateDatabase(ctx context.Context, superuserURL, name, password string) (err error) {
	if !databaseName.MatchString(name) || name == superuser {
		return fmt.Errorf("create database %q: not a usable name; use up to 63 lower case letters, digits and "+
			"underscores, beginning with a letter, and not %q", name, superuser)
	}
	connection, err := pgx.Connect(ctx, superuserURL)
	if err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, connection.Close(context.WithoutCancel(ctx))) }()
	quoted := pgx.Identifier{name}.Sanitize()
	// Statements of this kind take no parameters: name is checked above, format() quotes the password.
	var withPassword string
	err = connection.QueryRow(ctx, `SELECT format('LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD %L', $1::text)`,
		password).Scan(&withPassword)
	if err != nil {
		return fmt.Errorf("create role %s: %w", name, err)
	}
	if err := executeUnlessExists(ctx, connection, `CREATE ROLE `+quoted, pgDuplicateObject); err != nil {
		return fmt.Errorf("create role %s: %w", name, err)
	}
	if _, err := connection.Exec(ctx, `ALTER ROLE `+quoted+` WITH `+withPassword); err != nil {
		return fmt.Errorf("set the password of role %s: %w", name, err)
	}
	// Copying files takes a third of the time of writing the template's pages to the log, and these servers are small.
	statement := `CREATE DATABASE ` + quoted + ` OWNER ` + quoted + ` STRATEGY FILE_COPY`
	if err := executeUnlessExists(ctx, connection, statement, pgDuplicateDatabase); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	if _, err := connection.Exec(ctx, `REVOKE ALL ON DATABASE `+quoted+` FROM PUBLIC`); err != nil {
		return fmt.Errorf("close database %s to others: %w", name, err)
	}
	return nil
}

// DropDatabase ends the connections to a database that CreateDatabase made and removes it with its role. One that is
// not there is no error.
func DropDatabase(ctx context.Context, superuserURL, name string) (err error) {
	connection, err := pgx.Connect(ctx, superuserURL)
	if err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, connection.Close(context.WithoutCancel(ctx))) }()
	quoted := pgx.Identifier{name}.Sanitize()
	for _, statement := range []string{`DROP DATABASE IF EXISTS ` + quoted + ` WITH (FORCE)`, `DROP ROLE IF EXISTS ` + quoted} {
		if _, err := connection.Exec(ctx, statement); err != nil {
			return fmt.Errorf("drop database %s: %w", name, err)
		}
	}
	return nil
}

// Codes of PostgreSQL's documentation, appendix A.
const (
	pgDuplicateObject   = "42710"
	pgDuplicateDatabase = "42P04"
	pgUniqueViolation   = "23505" // two sessions making the same thing at once
)

func executeUnlessExists(ctx context.Context, connection *pgx.Conn, statement, exists string) error {
	_, err := connection.Exec(ctx, statement)
	var failure *pgconn.PgError
	if errors.As(err, &failure) && (failure.Code == exists || failure.Code == pgUniqueViolation) {
		return nil
	}
	return err
}
