package eventlog_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
)

func load(ctx context.Context, log *eventlog.Log, streamType, id string) ([]eventlog.Event, error) {
	var events []eventlog.Event
	_, err := eventlog.Execute(ctx, log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
		var err error
		events, err = tx.Load(ctx, streamType, id)
		return len(events), err
	})
	return events, err
}

func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	db := openDB(t, 4)
	log := newLog(t, db)
	acme, globex, all := as(t.Context(), "acme"), as(t.Context(), "globex"), as(t.Context(), "*")
	_, err := appendTo(withKey(acme, "k", ""), log, "weather", 0, created("weather"), changed("weather"))
	require.NoError(t, err)

	events, err := load(globex, log, "api", "weather")
	require.NoError(t, err)
	require.Empty(t, events, "another tenant's stream looks empty")

	_, err = appendTo(globex, log, "weather", 0, created("weather"))
	require.NoError(t, err, "and blocks nobody")
	events, err = load(acme, log, "api", "weather")
	require.NoError(t, err)
	require.Len(t, events, 2)

	_, err = eventlog.Execute(globex, log, func(_ context.Context, tx *eventlog.Tx) (int, error) {
		tx.AppendFor("acme", "api", "rain", 0, created("rain"))
		return 0, nil
	})
	require.Equal(t, problem.Denied, problem.KindOf(err))
	require.EqualValues(t, 3, mustHead(t, log))

	_, err = load(all, log, "api", "weather")
	require.ErrorContains(t, err, "several tenants have one; use LoadFor")
	_, err = eventlog.Execute(all, log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
		events, err = tx.LoadFor(ctx, "acme", "api", "weather")
		if err != nil {
			return 0, err
		}
		tx.AppendFor("acme", "api", "weather", uint64(len(events)), changed("weather"))
		return 0, nil
	})
	require.NoError(t, err)
	require.Len(t, events, 2)
	events, err = load(acme, log, "api", "weather")
	require.NoError(t, err)
	require.Len(t, events, 3)
}

func TestLogTablesAreIsolated(t *testing.T) {
	t.Parallel()
	db := openDB(t, 1) // one connection, so that nothing may stick to it
	log := newLog(t, db)
	_, err := appendTo(withKey(as(t.Context(), "acme"), "k", ""), log, "weather", 0, created("weather"))
	require.NoError(t, err)
	for _, table := range []string{"events", "commands"} {
		count := `SELECT count(*) FROM ` + table
		for tenant, want := range map[string]int{"acme": 1, "globex": 0, "*": 1} {
			require.NoError(t, db.InTenant(t.Context(), tenant, func(tx pgx.Tx) error {
				var n int
				require.NoError(t, tx.QueryRow(t.Context(), count).Scan(&n))
				require.Equal(t, want, n, "%s for %s", table, tenant)
				return nil
			}))
		}
		var n int
		require.NoError(t, db.Pool().QueryRow(t.Context(), count).Scan(&n))
		require.Zero(t, n, "%s outside of any tenant", table)
	}
	require.ErrorContains(t, db.InTenant(t.Context(), "", func(pgx.Tx) error { return nil }), "no tenant given")
	err = db.InTenant(t.Context(), "globex", func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO commands VALUES ('acme', 'k2', '', '{}', 1, now())`)
		return err
	})
	require.ErrorContains(t, err, "row-level security")
}
