package testkit_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close(untilCleanup(t)) })
	return connection
}

func TestPostgresIsFreshAndOwnedByAnOrdinaryRole(t *testing.T) {
	t.Parallel()
	connection := connect(t, testkit.Postgres(t))
	var version int
	var super, bypass, owner bool
	require.NoError(t, connection.QueryRow(t.Context(), `
		SELECT current_setting('server_version_num')::int, rolsuper, rolbypassrls, pg_get_userbyid(datdba) = current_user
		FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()`).Scan(&version, &super, &bypass, &owner))
	require.GreaterOrEqual(t, version, 180000)
	require.False(t, super)
	require.False(t, bypass)
	require.True(t, owner)
	var tables int
	require.NoError(t, connection.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&tables))
	require.Zero(t, tables)
}

func TestPostgresBindsTheOwnerToForcedRowLevelSecurity(t *testing.T) {
	t.Parallel()
	connection := connect(t, testkit.Postgres(t))
	_, err := connection.Exec(t.Context(), `
		CREATE TABLE invoice (tenant text NOT NULL);
		ALTER TABLE invoice ENABLE ROW LEVEL SECURITY;
		ALTER TABLE invoice FORCE ROW LEVEL SECURITY;
		CREATE POLICY tenant ON invoice USING (tenant = current_setting('tollgate.tenant', true));
		SELECT set_config('tollgate.tenant', 'acme', false);
		INSERT INTO invoice VALUES ('acme')`)
	require.NoError(t, err)
	_, err = connection.Exec(t.Context(), `INSERT INTO invoice VALUES ('globex')`)
	require.ErrorContains(t, err, "row-level security")
	_, err = connection.Exec(t.Context(), `SET tollgate.tenant = 'globex'`)
	require.NoError(t, err)
	var visible int
	require.NoError(t, connection.QueryRow(t.Context(), `SELECT count(*) FROM invoice`).Scan(&visible))
	require.Zero(t, visible)
}

func TestDatabaseKeepsTestsApart(t *testing.T) {
	t.Parallel()
	var urls sync.Map
	t.Run("group", func(t *testing.T) {
		for range 4 {
			t.Run("member", func(t *testing.T) {
				t.Parallel()
				url := testkit.Database(t, "billing")
				_, seen := urls.LoadOrStore(url, true)
				require.False(t, seen)
				require.Contains(t, url, "/billing_")
				_, err := connect(t, url).Exec(t.Context(), `CREATE TABLE line (id int PRIMARY KEY)`)
				require.NoError(t, err)
			})
		}
	})
	urls.Range(func(url, _ any) bool {
		_, err := pgx.Connect(t.Context(), url.(string))
		require.Error(t, err, "the database is gone after its test, and its role with it")
		return true
	})
}

func TestDatabaseRefusesTheRoleOfAnother(t *testing.T) {
	t.Parallel()
	mine, other := testkit.Database(t, "metering"), testkit.Database(t, "billing")
	name := other[strings.LastIndex(other, "/"):]
	_, err := pgx.Connect(t.Context(), mine[:strings.LastIndex(mine, "/")]+name)
	require.ErrorContains(t, err, "permission denied for database")
}

func TestPostgresServerSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	server := testkit.PostgresServer(t, testkit.Fsync())
	url, err := server.CreateDatabase(t.Context(), "ledger")
	require.NoError(t, err)
	_, err = connect(t, url).Exec(t.Context(), `CREATE TABLE entry AS SELECT generate_series(1, 1000) AS id`)
	require.NoError(t, err)
	killed := server.Pid()
	kill(t, killed)
	testkit.Await(t, 20*time.Second, func() bool { return server.Pid() != killed && server.Pid() != 0 })
	var count int
	testkit.Await(t, 20*time.Second, func() error {
		connection, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return err
		}
		return errors.Join(connection.QueryRow(t.Context(), `SELECT count(*) FROM entry`).Scan(&count), connection.Close(t.Context()))
	})
	require.Equal(t, 1000, count)
}

func BenchmarkPostgresColdStart(b *testing.B) {
	for b.Loop() {
		testkit.PostgresServer(b)
	}
}

func BenchmarkPostgresDatabase(b *testing.B) {
	for b.Loop() {
		testkit.Postgres(b)
	}
}
