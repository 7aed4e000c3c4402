package store_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// A token of before that was not restricted goes on as it was; one that was restricted acts on the installation no more.
func TestTokensOfBefore(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: testkit.Database(t, "identity")})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	before := fstest.MapFS{}
	for _, name := range []string{"00001_identity.sql", "00002_oauth.sql", "00003_people.sql", "00004_sso.sql"} {
		data, err := fs.ReadFile(store.Migrations(), name)
		require.NoError(t, err)
		before[name] = &fstest.MapFile{Data: data}
	}
	const versions = "identity_versions"
	require.NoError(t, db.Migrate(t.Context(), before, versions))
	all := func(fn func(tx pgx.Tx) error) {
		t.Helper()
		require.NoError(t, db.InTenant(t.Context(), principal.AllTenants, fn))
	}
	all(func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `WITH m AS (INSERT INTO members (id, tenant_id, display_name, email, roles, created_at)
				VALUES ('m', 't', 'Ada', '', '{owner,installer}', now()))
			INSERT INTO tokens (id, tenant_id, member_id, title, token_sha256, scopes, created_at)
			VALUES ('all', 't', 'm', 'First token', 'all', '{}', now()), ('some', 't', 'm', 'CI', 'some', '{catalog.read}', now())`)
		return err
	})
	require.NoError(t, db.Migrate(t.Context(), store.Migrations(), versions))
	all(func(tx pgx.Tx) error {
		token, err := store.FindTokenHolder(t.Context(), tx, []byte("all"))
		require.NoError(t, err)
		require.True(t, token.Unlimited && token.Operator)
		token, err = store.FindTokenHolder(t.Context(), tx, []byte("some"))
		require.NoError(t, err)
		require.False(t, token.Unlimited || token.Operator)
		require.Equal(t, []string{"catalog.read"}, token.Scopes)
		return nil
	})
}
