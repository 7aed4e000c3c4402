package subscription_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/postgres"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// TestPagesOfALongWaitingList counts what the database reads for a page far down two waiting lists: each list once, not once for
// every row of the page.
func TestPagesOfALongWaitingList(t *testing.T) {
	t.Parallel()
	const waiting, size = 2000, 200
	f := start(t)
	f.applications("a")
	for _, plan := range []string{"first", "second"} {
		f.publish(uuid.NewString(), plan, 1, &catalogv1.PlanSpec{Title: "S", Currency: "USD", Approval: "auto", Capacity: 1})
	}
	f.admin.Must("GET", path, nil, nil, f.after...)
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.config.PostgresURL, MaxConns: 1})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.InTenant(t.Context(), "t1", func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO applications (id, tenant_id, account_id, name)
			SELECT 'app' || n, 't1', account_id, 'app' || n FROM applications, generate_series(1, 2 * $1::int) n WHERE name = 'a'`, waiting)
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), `INSERT INTO subscriptions (id, tenant_id, name, state, account_id, application_id, product_id, plan_id, plan_version, requested_at, waiting)
			SELECT to_char(n, 'FM000000') || l.name, 't1', a.name, 'requested', a.account_id, a.id, l.product_id, l.id, 1, now(), 10 * n
			FROM generate_series(1, $1::int) n CROSS JOIN plans l JOIN applications a ON a.name = 'app' || (CASE l.name WHEN 'first' THEN n ELSE n + $1 END)
			WHERE l.name IN ('first', 'second')`, waiting)
		return err
	}))
	require.NoError(t, db.InTenant(t.Context(), "t1", func(tx pgx.Tx) error {
		page, err := store.List(t.Context(), tx, "t1", store.Filter{}, "001900", size)
		require.NoError(t, err)
		require.Len(t, page, size)
		for i, s := range page {
			require.EqualValues(t, 1900+i/2, *s.WaitingPosition, s.Name)
		}
		var read int
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT sum(pg_stat_get_xact_tuples_returned(c.oid)) FROM pg_class c
			WHERE c.oid = 'subscriptions'::regclass OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'subscriptions'::regclass)`).Scan(&read))
		require.Less(t, read, 10*waiting)
		return nil
	}))
}
