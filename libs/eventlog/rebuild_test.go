package eventlog_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

const listTables = `
CREATE TABLE api_list (
	tenant_id text NOT NULL, api text NOT NULL, changes bigint NOT NULL DEFAULT 0, doubled bigint GENERATED ALWAYS AS (changes * 2) STORED,
	CONSTRAINT api_list_api PRIMARY KEY (tenant_id, api)
);
SELECT tollgate_isolate('api_list');
CREATE TABLE api_count (tenant_id text PRIMARY KEY, n bigint NOT NULL)`

// list applies an event to the tables, inline and when they are rebuilt.
func list(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	switch e.Payload.(type) {
	case *catalogv1.APICreated:
		if _, err := tx.Exec(ctx, `INSERT INTO api_list (tenant_id, api) VALUES ($1, $2)`, e.Tenant, e.StreamID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO api_count VALUES ($1, 1) ON CONFLICT (tenant_id) DO UPDATE SET n = api_count.n + 1`, e.Tenant)
		return err
	case *catalogv1.APIChanged:
		_, err := tx.Exec(ctx, `UPDATE api_list SET changes = changes + 1 WHERE tenant_id = $1 AND api = $2`, e.Tenant, e.StreamID)
		return err
	default:
		return fmt.Errorf("unexpected %T", e.Payload)
	}
}

// listed executes commands that write the tables inline.
func listed(ctx context.Context, log *eventlog.Log, tenant string, from, to int) error {
	for i := from; i < to; i++ {
		_, err := eventlog.Execute(as(ctx, tenant), log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
			api := fmt.Sprintf("api-%d", i)
			tx.Append("api", api, 0, created(api), changed(api))
			events, err := tx.Load(ctx, "api", api)
			if err != nil {
				return 0, err
			}
			for _, e := range events {
				if err := list(ctx, tx, e); err != nil {
					return 0, err
				}
			}
			return 0, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var lists = eventlog.Projection{Name: "lists", Tables: []string{"api_list", "api_count"}, Apply: list}

func newLists(t *testing.T) (*postgres.DB, *eventlog.Log) {
	t.Helper()
	db := openDB(t, 6)
	log := newLog(t, db)
	execute(t, db, listTables)
	return db, log
}

func rebuild(t *testing.T, log *eventlog.Log) *eventlog.Rebuild {
	t.Helper()
	rebuilt, err := log.Rebuild(t.Context(), lists)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rebuilt.Close(context.WithoutCancel(t.Context()))) })
	return rebuilt
}

func TestRebuildEqualsInline(t *testing.T) {
	t.Parallel()
	db, log := newLists(t)
	var group errgroup.Group
	for i := range 3 {
		group.Go(func() error { return listed(t.Context(), log, fmt.Sprintf("tenant-%d", i), 0, 120) })
	}
	require.NoError(t, listed(t.Context(), log, "tenant-9", 0, 10))
	rebuilt := rebuild(t, log) // while commands are executed
	differences, err := rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
	require.NoError(t, group.Wait())
	differences, err = rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
	require.Equal(t, 370, query[int](t, db, `SELECT count(*) FROM api_list`))
}

func TestSwapMendsTheLiveTables(t *testing.T) {
	t.Parallel()
	db, log := newLists(t)
	require.NoError(t, listed(t.Context(), log, "acme", 0, 20))
	execute(t, db, `DELETE FROM api_list WHERE api = 'api-3'`, `UPDATE api_list SET changes = 7 WHERE api = 'api-4'`,
		`INSERT INTO api_list (tenant_id, api) VALUES ('acme', 'never-was')`)
	rebuilt := rebuild(t, log)
	differences, err := rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []eventlog.RowDifference{
		{Table: "api_list", Live: true, Row: "(acme,api-4,7,14)"},
		{Table: "api_list", Live: true, Row: "(acme,never-was,0,0)"},
		{Table: "api_list", Live: false, Row: "(acme,api-3,1,2)"},
		{Table: "api_list", Live: false, Row: "(acme,api-4,1,2)"},
	}, differences)
	require.NoError(t, listed(t.Context(), log, "acme", 20, 25))
	require.NoError(t, rebuilt.Swap(t.Context()))
	differences, err = rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
	require.Equal(t, 25, query[int](t, db, `SELECT count(*) FROM api_list`))
	require.NoError(t, listed(t.Context(), log, "acme", 25, 26), "the live tables are as usable as before")
}

func TestWhatNoEventHasIsLeftOut(t *testing.T) {
	t.Parallel()
	db, log := newLists(t)
	execute(t, db, `ALTER TABLE api_list ADD COLUMN contact text NOT NULL DEFAULT ''`)
	require.NoError(t, listed(t.Context(), log, "acme", 0, 3))
	execute(t, db, `UPDATE api_list SET contact = 'kim@example.com' WHERE api = 'api-1'`)
	p := lists
	p.Beside = map[string][]string{"api_list": {"contact"}}
	rebuilt, err := log.Rebuild(t.Context(), p)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rebuilt.Close(context.WithoutCancel(t.Context()))) })
	differences, err := rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, differences)
	execute(t, db, `UPDATE api_list SET changes = 7 WHERE api = 'api-1'`)
	differences, err = rebuilt.Compare(t.Context())
	require.NoError(t, err)
	require.Len(t, differences, 2)
	require.ErrorIs(t, rebuilt.Swap(t.Context()), eventlog.ErrNotWhole)
	require.Equal(t, 1, query[int](t, db, `SELECT count(*) FROM api_list WHERE contact <> ''`))
}

func TestRebuildRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(p *eventlog.Projection)
		want   string
	}{
		"table that is not its own": {func(p *eventlog.Projection) { p.Tables = []string{"api_list"} }, `relation "api_count" does not exist`},
		"table without a key":       {func(p *eventlog.Projection) { p.Tables = []string{"keyless"} }, "table keyless has no primary key"},
		"missing table":             {func(p *eventlog.Projection) { p.Tables = []string{"nowhere"} }, `nowhere" does not exist`},
		"name":                      {func(p *eventlog.Projection) { p.Name = "x; DROP" }, "projection.name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, log := newLists(t)
			execute(t, db, `CREATE TABLE keyless (n bigint)`)
			require.NoError(t, listed(t.Context(), log, "acme", 0, 2))
			p := lists
			test.change(&p)
			_, err := log.Rebuild(t.Context(), p)
			require.ErrorContains(t, err, test.want)
			require.Zero(t, query[int](t, db, `SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'rebuild%'`), "nothing is left")
		})
	}
}
