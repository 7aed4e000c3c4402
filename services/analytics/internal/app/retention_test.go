package app_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// TestRetentionIsChangedOnceADay at most, however often a tenant changes its mind, and not while ClickHouse is still at it.
func TestRetentionIsChangedOnceADay(t *testing.T) {
	t.Parallel()
	f := start(t)
	change := func(tenant string, days int) {
		t.Helper()
		require.NoError(t, f.db.InTenant(t.Context(), tenant, func(tx pgx.Tx) error {
			return store.PutSettings(t.Context(), tx, store.Settings{Tenant: tenant, RetentionDays: days, ClientAddresses: store.AddressesFull})
		}))
		require.NoError(t, f.app.RetainOnce(t.Context()))
	}
	applied := func(tenant string) (days int) {
		t.Helper()
		require.NoError(t, f.db.InTenant(t.Context(), tenant, func(tx pgx.Tx) error {
			s, err := store.SettingsOf(t.Context(), tx, tenant)
			days = s.AppliedDays
			return err
		}))
		return days
	}
	idle := func() {
		t.Helper()
		testkit.Await(t, patience, func() bool {
			var n uint64
			require.NoError(t, f.table.QueryRow(t.Context(), `SELECT count() FROM system.mutations WHERE database = currentDatabase() AND NOT is_done`).Scan(&n))
			return n == 0
		})
	}
	first, end := f.answer(4)
	f.ship(t, first, end)
	require.NoError(t, f.land(t.Context(), t))
	require.NoError(t, f.table.Exec(t.Context(), "SYSTEM STOP MERGES calls"))
	change("acme", 500)
	require.Equal(t, 500, applied("acme"), "at once")
	change("globex", 600)
	require.Equal(t, 400, applied("globex"), "that of another is not carried out yet")
	require.NoError(t, f.table.Exec(t.Context(), "SYSTEM START MERGES calls"))
	idle()
	change("acme", 700)
	require.Equal(t, 500, applied("acme"), "it was changed today")
	require.Equal(t, 600, applied("globex"))
	idle()
	f.clock.Advance(24 * time.Hour)
	require.NoError(t, f.app.RetainOnce(t.Context()))
	require.Equal(t, 700, applied("acme"))
}
