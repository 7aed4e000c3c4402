package audit_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestForgetting: of whom, of which tenant, and what is recorded after it.
func TestForgetting(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: testkit.Database(t, "audit")})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	log, err := eventlog.New(db, eventlog.Config{Name: "audit"})
	require.NoError(t, err)
	require.NoError(t, log.Migrate(t.Context()))
	require.NoError(t, audit.Migrate(t.Context(), db))
	all := func(fn func(tx pgx.Tx) error) {
		t.Helper()
		require.NoError(t, db.InTenant(t.Context(), principal.AllTenants, fn))
	}
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	record := func(correlation, tenant, actor string, at time.Time) {
		t.Helper()
		all(func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO audit_requests (correlation_id, tenant_id, actor, address, user_agent, recorded_at)
				VALUES ($1, $2, $3, '192.0.2.7', '', $4)`, correlation, tenant, actor, at)
			return err
		})
	}
	kept := func() (correlations []string) {
		t.Helper()
		all(func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SELECT coalesce(array_agg(correlation_id ORDER BY correlation_id), '{}') FROM audit_requests`).Scan(&correlations)
		})
		return correlations
	}
	record("a", "t1", "member:m1", now)
	record("b", "*", "member:m1", now)
	record("c", "t1", "member:m2", now)
	record("d", "t2", "member:m1", now)
	record("e", "t1", "member:m2", now.Add(-time.Hour))

	handled := 0
	handle := audit.Forgetting(func(context.Context, pgx.Tx, eventlog.Event) error {
		handled++
		return nil
	})
	for range 2 { // an event may be handled again
		all(func(tx pgx.Tx) error {
			return handle(t.Context(), tx, eventlog.Event{Tenant: "t1", Payload: &identityv1.MemberErased{Member: "m1"}})
		})
	}
	all(func(tx pgx.Tx) error {
		return audit.Forgetting(nil)(t.Context(), tx, eventlog.Event{Tenant: "t1", Payload: &identityv1.MemberRemoved{Member: "m2"}})
	})
	require.Equal(t, 2, handled)
	require.Equal(t, []string{"c", "d", "e"}, kept())

	// A signed token was good for a few minutes more.
	record("f", "t1", "member:m1", now)
	record("g", "*", "member:m1", now)
	require.NoError(t, audit.Forget(t.Context(), db, now.Add(-time.Minute)))
	require.Equal(t, []string{"c", "d"}, kept(), "e is old")
}
