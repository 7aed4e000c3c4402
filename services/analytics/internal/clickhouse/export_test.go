package clickhouse

import (
	"context"
	"time"
)

// QueryTimeout is the bound of one query, for tests.
const QueryTimeout = queryTimeout

// SyncStatement is that of a cluster, for tests.
var SyncStatement = syncStatement

// CountAtOnce changes how many calls are counted by one statement.
func (t *Table) CountAtOnce(calls uint64) { t.countAtOnce = calls }

// SyncWith takes the table for one of a cluster.
func (t *Table) SyncWith(statement string) { t.sync = statement }

// EngineTimeout is what a query that reads calls says to the engine.
func (t *Table) EngineTimeout(ctx context.Context) (time.Duration, error) {
	var rows []struct {
		Seconds int64 `ch:"n"`
	}
	err := t.read(ctx, &rows, "*", "toInt64(getSetting('max_execution_time')) AS n", nil, "LIMIT 1")
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return time.Duration(rows[0].Seconds) * time.Second, nil
}
