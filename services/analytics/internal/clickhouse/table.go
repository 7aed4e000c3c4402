// Package clickhouse owns the table calls in ClickHouse: every call, once. It makes the table, inserts blocks under a token that
// makes a repeated insert do nothing, and reads.
//
// Everything that reads goes through one function, Table.read, which adds the tenant to the conditions: there is no other
// statement that selects from the table. Only analytics' own packages import it.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// maxConns bounds the connections: each partition inserts over one, the rest is for reading.
const maxConns = 12

// Table is the table calls. It is safe for concurrent use.
type Table struct {
	conn driver.Conn
	// inserts has the settings of an insert besides those of Insert.
	inserts driver.Settings
	// sync is the statement before what must be complete; empty for a single server.
	sync string
	// countAtOnce is the most calls that one statement counts exactly.
	countAtOnce uint64
}

// CheckURL says what is wrong with the URL of a ClickHouse database, without its password.
func CheckURL(url string) error {
	if url == "" {
		return errors.New("clickhouse-url: is empty; give one as in clickhouse://analytics:SECRET@127.0.0.1:9000/analytics or http://analytics:SECRET@127.0.0.1:8123/analytics")
	}
	if _, err := driver.ParseDSN(url); err != nil {
		return errors.New("clickhouse-url: is not a URL as in clickhouse://user:password@host:9000/database")
	}
	return nil
}

// Open connects and migrates: in every server of a cluster, unless its name is empty.
func Open(ctx context.Context, url, cluster string) (*Table, error) {
	if err := errors.Join(CheckURL(url), CheckCluster(cluster)); err != nil {
		return nil, err
	}
	options, err := driver.ParseDSN(url)
	if err != nil {
		return nil, errors.New("clickhouse-url: is not valid")
	}
	options.MaxOpenConns, options.MaxIdleConns = maxConns, maxConns
	if options.Compression == nil {
		options.Compression = &driver.Compression{Method: driver.CompressionLZ4}
	}
	conn, err := driver.Open(options)
	if err != nil {
		return nil, fmt.Errorf("open ClickHouse: %w", err)
	}
	t := &Table{conn: conn, sync: syncStatement(cluster, options.Auth.Database), countAtOnce: maxCounted}
	if cluster != "" {
		// An insert is acknowledged once most of the replicas have it: it must survive the loss of one.
		t.inserts = driver.Settings{"insert_quorum": "auto"}
	}
	if err := t.migrate(ctx, cluster); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return t, nil
}

// Close closes the connections.
func (t *Table) Close() error { return t.conn.Close() }

// Ping says whether ClickHouse answers.
func (t *Table) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := t.conn.Ping(ctx); err != nil {
		return fmt.Errorf("ClickHouse does not answer: %w", err)
	}
	return nil
}
