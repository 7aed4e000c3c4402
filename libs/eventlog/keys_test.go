package eventlog_test

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
)

// answerTo executes a command that answers with who gave it, and says whether it was replayed.
func answerTo(t *testing.T, log *eventlog.Log, p principal.Principal, key, body string) (string, bool) {
	t.Helper()
	ctx := withKey(principal.With(t.Context(), p), key, body)
	result, err := eventlog.Execute(ctx, log, func(context.Context, *eventlog.Tx) (string, error) { return p.Subject, nil })
	require.NoError(t, err)
	return result.Value, result.Replayed
}

// Two principals of a tenant, of two accounts even, may choose the same key: neither gets the other's answer.
func TestKeysBelongToWhoActs(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	people := []principal.Principal{
		{Tenant: tenant, Subject: "member:a", Account: "a"}, {Tenant: tenant, Subject: "member:b", Account: "b"}, {Tenant: tenant, Subject: "token:t"},
	}
	for _, replayed := range []bool{false, true} {
		for _, p := range people {
			answer, again := answerTo(t, log, p, "k", "body")
			require.Equal(t, p.Subject, answer)
			require.Equal(t, replayed, again)
		}
	}
	deleted, err := log.ForgetCommands(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.EqualValues(t, len(people), deleted)
}

// TestKeysOfBefore brings a database up to date that stored answers without saying whose they are: who repeats a command still gets
// its answer, and members of accounts get none that may be another's.
func TestKeysOfBefore(t *testing.T) {
	t.Parallel()
	db := openDB(t, 4)
	first := filepath.Join("migrations", "log", "00001_log.sql")
	data, err := os.ReadFile(first)
	require.NoError(t, err)
	require.NoError(t, db.Migrate(t.Context(), fstest.MapFS{filepath.Base(first): {Data: data}}, "tollgate_log_versions"))
	hash := sha256.Sum256([]byte("body"))
	execute(t, db, `INSERT INTO log_head (log, position) VALUES ('catalog', 2)`)
	execute(t, db, `INSERT INTO events (position, epoch, id, tenant_id, stream_type, stream_id, version, type, payload, meta, recorded_at)
		SELECT n, 1, n::text, 'acme', 'api', n::text, 1, 'catalog.v1.APICreated', '', '{"actor":"member:a"}', timestamptz '2026-01-01' + n * interval '1 minute' FROM generate_series(1, 2) n`)
	for key, at := range map[string]string{"with events": "2026-01-01 00:01", "without events": "2026-01-01 00:01:30"} {
		query[string](t, db, `INSERT INTO commands (tenant_id, key, request_hash, response, position, recorded_at)
			VALUES ('acme', $1, $2, '"stored"', 1, $3::text::timestamptz) RETURNING key`, key, hash[:], at)
	}
	log := newLog(t, db)
	a, b := principal.Principal{Tenant: tenant, Subject: "member:a"}, principal.Principal{Tenant: tenant, Subject: "member:b"}
	ofAccount := principal.Principal{Tenant: tenant, Subject: "member:c", Account: "c"}
	for name, c := range map[string]struct {
		by   principal.Principal
		key  string
		want string
	}{
		"who acted":                     {a, "with events", "stored"},
		"somebody else":                 {b, "with events", "member:b"},
		"who may have acted":            {a, "without events", "stored"},
		"a member of an account":        {ofAccount, "without events", "member:c"},
		"a member of an account, again": {ofAccount, "with events", "member:c"},
	} {
		answer, _ := answerTo(t, log, c.by, c.key, "body")
		require.Equal(t, c.want, answer, name)
	}
}
