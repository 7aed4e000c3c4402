package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

const (
	// namesTick is how late a name may come to ClickHouse, where only who reads its tables directly misses it.
	namesTick = time.Second
	// maxNames bounds the names of one insert.
	maxNames = 10_000
)

// NoteNames brings names to ClickHouse until ctx ends, many with one insert. Any number may run at once; one works.
func (a *Analytics) NoteNames(ctx context.Context) error {
	return a.every(ctx, namesTick, "names cannot be brought to ClickHouse; it is tried again", a.noteNames)
}

func (a *Analytics) noteNames(ctx context.Context) error {
	for {
		n := 0
		err := a.all(ctx, func(tx pgx.Tx) error {
			n = 0
			names, err := store.TakeUnnoted(ctx, tx, maxNames)
			if err != nil || len(names) == 0 {
				return err
			}
			rows := make([]clickhouse.Name, len(names))
			for i, name := range names {
				rows[i] = clickhouse.Name(name)
			}
			if err := a.Table.PutNames(ctx, rows); err != nil {
				return err
			}
			n = len(names)
			return store.SetNoted(ctx, tx, names)
		})
		if err != nil || n < maxNames {
			return err
		}
	}
}
