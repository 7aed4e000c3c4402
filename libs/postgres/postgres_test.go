package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/postgres/postgrestest"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

var plans = fstest.MapFS{"00001_plans.sql": {Data: []byte(`-- +goose Up
CREATE TABLE plans (tenant_id text NOT NULL, name text NOT NULL, CONSTRAINT plans_name UNIQUE (tenant_id, name));
SELECT tollgate_isolate('plans');
-- +goose Down
DROP TABLE plans;
`)}}

func open(tb testing.TB, url string, conns int32) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(tb.Context(), postgres.Config{URL: url, MaxConns: conns})
	require.NoError(tb, err)
	tb.Cleanup(db.Close)
	return db
}

func openPlans(tb testing.TB) *postgres.DB {
	tb.Helper()
	db := open(tb, testkit.Database(tb, "postgres"), 1)
	require.NoError(tb, db.Migrate(tb.Context(), plans, "plan_versions"))
	return db
}

func insert(ctx context.Context, db *postgres.DB, as, tenant, name string) error {
	return db.InTenant(ctx, as, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO plans VALUES ($1, $2)`, tenant, name)
		return err
	})
}

func count(tb testing.TB, db *postgres.DB, as string) (n int) {
	tb.Helper()
	require.NoError(tb, db.InTenant(tb.Context(), as, func(tx pgx.Tx) error {
		return tx.QueryRow(tb.Context(), `SELECT count(*) FROM plans`).Scan(&n)
	}))
	return n
}

func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	db := openPlans(t)
	ctx := t.Context()
	require.NoError(t, insert(ctx, db, "acme", "acme", "gold"))
	require.NoError(t, insert(ctx, db, "*", "globex", "gold"))
	require.ErrorContains(t, insert(ctx, db, "acme", "globex", "silver"), "row-level security")
	for as, want := range map[string]int{"acme": 1, "globex": 1, "initech": 0, "*": 2} {
		require.Equal(t, want, count(t, db, as), as)
	}
	require.NoError(t, db.InTenant(ctx, "acme", func(tx pgx.Tx) error {
		for _, statement := range []string{`UPDATE plans SET name = 'x' WHERE tenant_id = 'globex'`, `DELETE FROM plans WHERE tenant_id = 'globex'`} {
			tag, err := tx.Exec(ctx, statement)
			require.NoError(t, err)
			require.Zero(t, tag.RowsAffected())
		}
		return nil
	}))
	require.ErrorIs(t, db.InTenant(ctx, "", func(pgx.Tx) error { return nil }), postgres.ErrNoTenant)
}

func TestASnapshotStaysAsItIs(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t, "postgres")
	db, writer := open(t, url, 1), open(t, url, 1)
	require.NoError(t, db.Migrate(t.Context(), plans, "plan_versions"))
	require.NoError(t, insert(t.Context(), db, "*", "globex", "gold"))
	for round := range 2 { // a connection that has been in one is as any other
		err := db.Snapshot(t.Context(), "acme", func(tx pgx.Tx) error {
			for look := range 2 {
				var n int
				require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM plans`).Scan(&n))
				require.Equal(t, 2*round, n)
				require.NoError(t, insert(t.Context(), writer, "acme", "acme", fmt.Sprint(round, look)))
			}
			_, err := tx.Exec(t.Context(), `DELETE FROM plans`)
			return err
		})
		require.ErrorContains(t, err, "read-only transaction")
		require.NoError(t, insert(t.Context(), db, "initech", "initech", fmt.Sprint(round)))
	}
}

func TestNoTenantSeesNothing(t *testing.T) {
	t.Parallel()
	db := openPlans(t)
	ctx := t.Context()
	var n int
	for range 2 { // a fresh connection, and one that has been in a tenant
		require.NoError(t, db.Pool().QueryRow(ctx, `SELECT count(*) FROM plans`).Scan(&n))
		require.Zero(t, n)
		for _, tenant := range []string{"acme", ""} {
			_, err := db.Pool().Exec(ctx, `INSERT INTO plans VALUES ($1, 'x')`, tenant)
			require.ErrorContains(t, err, "row-level security")
		}
		if err := insert(ctx, db, "acme", "acme", "gold"); err != nil {
			require.True(t, postgres.Violates(err, "plans_name"))
		}
	}
}

func TestIsolateNeedsTheColumn(t *testing.T) {
	t.Parallel()
	db := open(t, testkit.Database(t, "postgres"), 2)
	err := db.Migrate(t.Context(), fstest.MapFS{"00001_x.sql": {Data: []byte(
		"-- +goose Up\nCREATE TABLE x (tenant_id text); SELECT tollgate_isolate('x');")}}, "x_versions")
	require.ErrorContains(t, err, `it needs a column "tenant_id text NOT NULL"`)
	var exists bool
	require.NoError(t, db.Pool().QueryRow(t.Context(), `SELECT to_regclass('x') IS NOT NULL`).Scan(&exists))
	require.False(t, exists, "a failed migration leaves nothing")
}

func TestReplicasMigrateTogether(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t, "postgres")
	var group errgroup.Group
	for range 6 {
		db := open(t, url, 1)
		group.Go(func() error { return db.Migrate(t.Context(), plans, "plan_versions") })
	}
	require.NoError(t, group.Wait())
	var applied int
	require.NoError(t, open(t, url, 1).Pool().QueryRow(t.Context(), `SELECT count(*) FROM plan_versions WHERE version_id > 0`).Scan(&applied))
	require.Equal(t, 1, applied)
}

func TestTransactionEnds(t *testing.T) {
	t.Parallel()
	db := openPlans(t)
	ctx := t.Context()
	broken := errors.New("broken")
	fill := func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO plans VALUES ('acme', 'gold')`)
		return err
	}
	tests := map[string]struct {
		fn   func(tx pgx.Tx) (*pgx.Batch, error)
		want string
	}{
		"error": {func(tx pgx.Tx) (*pgx.Batch, error) { return nil, errors.Join(fill(tx), broken) }, "broken"},
		"ignored error": {func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(ctx, `SELECT 1/0`)
			require.Error(t, err)
			return nil, fill(tx)
		}, "current transaction is aborted"},
		"ignored error at the end": {func(tx pgx.Tx) (*pgx.Batch, error) {
			_, err := tx.Exec(ctx, `SELECT 1/0`)
			require.Error(t, err)
			return nil, nil
		}, "commit unexpectedly resulted in rollback"},
		"last statement": {func(tx pgx.Tx) (*pgx.Batch, error) {
			var last pgx.Batch
			last.Queue(`SELECT 1/0`)
			return &last, fill(tx)
		}, "division by zero"},
		"ended by its user": {func(tx pgx.Tx) (*pgx.Batch, error) { return nil, tx.Rollback(ctx) }, "leave that to InTenant"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := db.InTenantPipelined(ctx, "acme", test.fn)
			require.ErrorContains(t, err, test.want)
			require.NotErrorIs(t, err, postgres.ErrOutcomeUnknown)
			require.Zero(t, count(t, db, "*"))
		})
	}
	t.Run("panic", func(t *testing.T) {
		require.Panics(t, func() {
			_ = db.InTenant(ctx, "acme", func(tx pgx.Tx) error { panic(fill(tx)) })
		})
		require.Zero(t, count(t, db, "*"), "the only connection is usable again")
	})
	t.Run("end of the context", func(t *testing.T) {
		short, cancel := context.WithCancel(ctx)
		err := db.InTenant(short, "acme", func(tx pgx.Tx) error {
			err := fill(tx)
			cancel()
			return err
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, count(t, db, "*"))
	})
	t.Run("result of the last statement", func(t *testing.T) {
		err := db.InTenantPipelined(ctx, "acme", func(tx pgx.Tx) (*pgx.Batch, error) {
			var last pgx.Batch
			last.Queue(`SELECT 1 WHERE false`).QueryRow(func(row pgx.Row) error { return row.Scan(new(int)) })
			return &last, nil
		})
		require.ErrorIs(t, err, pgx.ErrNoRows)
		require.ErrorIs(t, err, postgres.ErrOutcomeUnknown)
	})
	t.Run("commit", func(t *testing.T) {
		var n int
		require.NoError(t, db.InTenantPipelined(ctx, "acme", func(tx pgx.Tx) (*pgx.Batch, error) {
			var last pgx.Batch
			last.Queue(`SELECT count(*) FROM plans`).QueryRow(func(row pgx.Row) error { return row.Scan(&n) })
			return &last, fill(tx)
		}))
		require.Equal(t, 1, n)
		require.Equal(t, 1, count(t, db, "*"))
	})
}

// TestBrokenConnections breaks the connection at each request of a transaction.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	direct := openPlans(t)
	config := direct.Pool().Config().ConnConfig
	proxy, url := postgrestest.NewURLProxy(t, config.ConnString())
	db := open(t, url, 1)
	require.NoError(t, insert(t.Context(), db, "acme", "acme", "first")) // prepares the statements
	before := proxy.Requests()
	require.NoError(t, insert(t.Context(), db, "acme", "acme", "second"))
	requests := proxy.Requests() - before
	require.GreaterOrEqual(t, requests, 3, "begin, insert, commit")
	for n := 1; n <= requests; n++ {
		for _, deliver := range []bool{false, true} {
			t.Run(fmt.Sprintf("request %d delivered %v", n, deliver), func(t *testing.T) {
				name := fmt.Sprintf("plan-%d-%v", n, deliver)
				require.NoError(t, insert(t.Context(), db, "acme", "acme", name+"-before")) // connects and prepares again
				proxy.CutAt(n, deliver)
				err := insert(t.Context(), db, "acme", "acme", name)
				if n == 1 { // nothing was done: it begins again on another connection
					require.NoError(t, err)
					return
				}
				require.Error(t, err)
				require.True(t, postgres.Transient(err))
				require.Equal(t, n == requests, errors.Is(err, postgres.ErrOutcomeUnknown), "%v", err)
				committed := n == requests && deliver
				require.Equal(t, committed, postgres.Violates(insert(t.Context(), db, "acme", "acme", name), "plans_name"))
			})
		}
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	deadlock := &pgconn.PgError{Code: "40P01"}
	other := errors.New("other")
	tests := map[string]struct {
		errs []error
		want error
		runs int
	}{
		"at once":        {[]error{nil}, nil, 1},
		"after failures": {[]error{deadlock, deadlock, nil}, nil, 3},
		"lasting":        {[]error{deadlock, other, nil}, other, 2},
		"too often":      {[]error{deadlock, deadlock, deadlock, deadlock, deadlock, deadlock, nil}, deadlock, 6},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := 0
			err := postgres.Retry(t.Context(), func(context.Context) error {
				runs++
				return test.errs[runs-1]
			})
			require.ErrorIs(t, err, test.want)
			require.Equal(t, test.runs, runs)
		})
	}
}

func TestTransient(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"08006": true, "40001": true, "40P01": true, "53300": true, "57P01": true, "57P03": true, "58030": true, "25006": true,
		"23505": false, "42601": false, "22012": false, "": false,
	} {
		require.Equal(t, want, postgres.Transient(fmt.Errorf("x: %w", &pgconn.PgError{Code: code})), code)
	}
	require.False(t, postgres.Transient(nil))
	require.False(t, postgres.Transient(context.Canceled))
	require.False(t, postgres.Transient(errors.New("x")))
}

func TestOpen(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	_, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://catalog:" + password + "@127.0.0.1:1/catalog"})
	require.ErrorContains(t, err, "The database catalog on 127.0.0.1 does not answer.")
	require.Equal(t, problem.Unavailable, problem.KindOf(err))
	require.NotContains(t, err.Error(), password)
	_, err = postgres.Open(t.Context(), postgres.Config{MaxConns: -1})
	require.ErrorContains(t, err, "postgres.url: is empty")
	require.ErrorContains(t, err, "postgres.maxConns: -1 is negative")
	_, err = postgres.Open(t.Context(), postgres.Config{URL: "postgres://catalog:" + password + "@127.0.0.1:port/catalog"})
	require.ErrorContains(t, err, "postgres.url")
	require.NotContains(t, err.Error(), password)
}
