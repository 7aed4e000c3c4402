package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const patience = 30 * time.Second

// folder is one the engines' user can reach, unlike that of t.TempDir.
func folder(t *testing.T) string {
	t.Helper()
	made := t.TempDir()
	for _, path := range []string{made, filepath.Dir(made)} {
		require.NoError(t, os.Chmod(path, 0o711))
	}
	return made
}

func engines(t *testing.T) engine.Dir {
	t.Helper()
	found, err := engine.Find()
	require.NoError(t, err)
	return found
}

func startPostgres(t *testing.T, c engine.PostgresConfig) *engine.Postgres {
	t.Helper()
	c.Engines, c.Log, c.NoSync = engines(t), testkit.Logger(t), true
	server, err := engine.StartPostgres(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })
	return server
}

// ask runs a statement that returns one value.
func ask[V any](t *testing.T, url, statement string) V {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close(t.Context())) }()
	var value V
	require.NoError(t, connection.QueryRow(t.Context(), statement).Scan(&value))
	return value
}

func awaitRestart(t *testing.T, pid func() int, killed int) {
	t.Helper()
	testkit.Await(t, patience, func() bool { now := pid(); return now != killed && now != 0 })
}

func kill(t *testing.T, pid int) {
	t.Helper()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }
