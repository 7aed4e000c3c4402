package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tollgate/tollgate/libs/problem"
)

// defaultMaxConns is small: the databases of all services may share one server with 100 connections.
const defaultMaxConns = 10

// connectTimeout bounds the making of one connection.
const connectTimeout = 5 * time.Second

// Config says which database to use.
type Config struct {
	// URL of the database (libpq connection URI), as in postgres://catalog:secret@db:5432/catalog. It holds a password: never
	// log it.
	URL string
	// MaxConns is the size of the pool; 0 means 10. A transaction holds one connection.
	MaxConns int32
}

// Validate reports every field that is wrong, without the URL's password.
func (c Config) Validate() error {
	var errs []error
	if c.URL == "" {
		errs = append(errs, errors.New("postgres.url: is empty; give one as in postgres://user:password@host:5432/database"))
	} else if _, err := pgxpool.ParseConfig(c.URL); err != nil {
		errs = append(errs, fmt.Errorf("postgres.url: %w", err)) // pgx leaves the password out
	}
	if c.MaxConns < 0 {
		errs = append(errs, fmt.Errorf("postgres.maxConns: %d is negative; give the number of connections, or 0 for %d",
			c.MaxConns, defaultMaxConns))
	}
	return errors.Join(errs...)
}

// DB is a service's database.
type DB struct {
	pool *pgxpool.Pool
}

// Open connects to the database and reports an error of kind problem.Unavailable when it does not answer.
func Open(ctx context.Context, c Config) (*DB, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	config.MaxConns = defaultMaxConns
	if c.MaxConns > 0 {
		config.MaxConns = c.MaxConns
	}
	config.ConnConfig.ConnectTimeout = connectTimeout
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "tollgate"
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, problem.NewUnavailable("database-unavailable", "The database %s on %s does not answer.",
			config.ConnConfig.Database, config.ConnConfig.Host).Wrap(err)
	}
	return &DB{pool: pool}, nil
}

// Close waits for the connections in use and closes all.
func (db *DB) Close() { db.pool.Close() }

// Pool is for what touches no tenant's rows: tables under row-level security look empty through it.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }
