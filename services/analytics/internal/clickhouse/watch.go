package clickhouse

import (
	"context"
	"sync"
	"time"
)

// watchInterval is the time between two looks of a Watch.
const watchInterval = 5 * time.Second

// Watch looks again and again whether ClickHouse answers. It is safe for concurrent use.
type Watch struct {
	table *Table

	mu  sync.Mutex
	err error
}

// NewWatch returns a watch; Run starts it.
func NewWatch(t *Table) *Watch { return &Watch{table: t} }

// Run looks until ctx ends and then returns nil.
func (w *Watch) Run(ctx context.Context) error {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		err := w.table.Ping(ctx)
		if ctx.Err() == nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Err says that ClickHouse did not answer when it was looked at last, or nil.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
