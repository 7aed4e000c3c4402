package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// MaxBlock is the most calls of one insert. It stays one block, so that it becomes one part in each month, and the token
// holds for it as a whole.
const MaxBlock = 100_000

// insertTimeout bounds one insert.
const insertTimeout = time.Minute

// Insert inserts calls as one block. The same token makes a repetition of it do nothing, as long as fewer than 1000 other
// blocks came between.
func (t *Table) Insert(ctx context.Context, token string, calls []Call) (err error) {
	if len(calls) == 0 {
		return nil
	}
	if len(calls) > MaxBlock {
		return fmt.Errorf("insert calls: %d are more than a block of %d", len(calls), MaxBlock)
	}
	ctx, cancel := context.WithTimeout(ctx, insertTimeout)
	defer cancel()
	settings := driver.Settings{
		"insert_deduplication_token": token, "insert_deduplicate": 1, "async_insert": 0,
		"max_insert_threads": 1, "max_insert_block_size": 2 * MaxBlock, "min_insert_block_size_rows": 2 * MaxBlock,
		"max_partitions_per_insert_block": 0,
	}
	maps.Copy(settings, t.inserts)
	ctx = driver.Context(ctx, driver.WithColumnNamesAndTypes(kinds()), driver.WithSettings(settings))
	batch, err := t.conn.PrepareBatch(ctx, "INSERT INTO calls ("+names()+")")
	if err != nil {
		return fmt.Errorf("insert calls: %w", err)
	}
	defer func() { err = errors.Join(err, batch.Close()) }()
	for i, c := range columns {
		if err := batch.Column(i).Append(c.values(calls)); err != nil {
			return fmt.Errorf("insert calls: column %s: %w", c.name, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("insert calls: %w", err)
	}
	return nil
}
