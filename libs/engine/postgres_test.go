package engine_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestPostgresKeepsDataAndPasswords(t *testing.T) {
	t.Parallel()
	data := folder(t)
	first := startPostgres(t, engine.PostgresConfig{Data: data})
	superuser := first.URL("postgres")
	service, err := first.CreateDatabase(t.Context(), "catalog")
	require.NoError(t, err)
	ask[int](t, service, "WITH made AS (SELECT 1) SELECT * FROM made")
	connection, err := pgx.Connect(t.Context(), service)
	require.NoError(t, err)
	_, err = connection.Exec(t.Context(), "CREATE TABLE plan AS SELECT 7 AS price")
	require.NoError(t, err)
	require.NoError(t, connection.Close(t.Context()))
	pid := first.Pid()
	require.NoError(t, first.Stop(t.Context()))
	require.True(t, gone(pid))
	require.NoError(t, first.Err())
	<-first.Done()
	require.NoError(t, first.Stop(t.Context()), "stopping twice is no error")

	second := startPostgres(t, engine.PostgresConfig{Data: data, Port: first.Port()})
	require.Equal(t, superuser, second.URL("postgres"))
	again, err := second.CreateDatabase(t.Context(), "catalog")
	require.NoError(t, err)
	require.Equal(t, service, again)
	require.Equal(t, 7, ask[int](t, again, "SELECT price FROM plan"))
}

func TestPostgresIsClosedToStrangers(t *testing.T) {
	t.Parallel()
	data := folder(t)
	server := startPostgres(t, engine.PostgresConfig{Data: data})
	catalog, err := server.CreateDatabase(t.Context(), "catalog")
	require.NoError(t, err)
	_, err = server.CreateDatabase(t.Context(), "billing")
	require.NoError(t, err)

	for name, change := range map[string]func(u *url.URL){
		"no password":      func(u *url.URL) { u.User = url.User("postgres") },
		"wrong password":   func(u *url.URL) { u.User = url.UserPassword("postgres", "postgres") },
		"another database": func(u *url.URL) { u.Path = "/billing" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, err := url.Parse(catalog)
			require.NoError(t, err)
			change(address)
			_, err = pgx.Connect(t.Context(), address.String())
			require.Error(t, err)
		})
	}
	require.Equal(t, "127.0.0.1", ask[string](t, server.URL("postgres"), "SHOW listen_addresses"))
	require.Empty(t, ask[string](t, server.URL("postgres"), "SHOW unix_socket_directories"))
	require.Equal(t, "scram-sha-256", ask[string](t, server.URL("postgres"), "SHOW password_encryption"))
	require.False(t, ask[bool](t, catalog, "SELECT rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"))
	info, err := os.Stat(filepath.Join(data, "password"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(data, "cluster"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestPostgresSyncsUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	server := testkit.PostgresServer(t, testkit.Fsync())
	require.Equal(t, "on", ask[string](t, server.URL("postgres"), "SHOW fsync"))
	require.Equal(t, "on", ask[string](t, server.URL("postgres"), "SHOW synchronous_commit"))
	require.Equal(t, "on", ask[string](t, server.URL("postgres"), "SHOW data_checksums"))
}

func TestPostgresIsStartedAgain(t *testing.T) {
	t.Parallel()
	server := startPostgres(t, engine.PostgresConfig{Data: folder(t)})
	port := server.Port()
	for range 2 {
		killed := server.Pid()
		kill(t, killed)
		awaitRestart(t, server.Pid, killed)
		testkit.Await(t, patience, func() error {
			connection, err := pgx.Connect(t.Context(), server.URL("postgres"))
			if err != nil {
				return err
			}
			return connection.Close(t.Context())
		})
		require.Equal(t, port, server.Port())
	}
}

// A server that was killed leaves its lock file, and its process id may belong to another program later: this one.
func TestPostgresIgnoresAStaleLockFile(t *testing.T) {
	t.Parallel()
	data := folder(t)
	first := startPostgres(t, engine.PostgresConfig{Data: data})
	require.NoError(t, first.Stop(t.Context()))
	stale := fmt.Sprintf("%d\n%s\n1\n5432\n\n127.0.0.1\n\nready   \n", os.Getpid(), filepath.Join(data, "cluster"))
	require.NoError(t, os.WriteFile(filepath.Join(data, "cluster", "postmaster.pid"), []byte(stale), 0o600))
	startPostgres(t, engine.PostgresConfig{Data: data})
}

// initdb that was killed leaves an unfinished cluster, which is made anew.
func TestPostgresStartsOverAfterAnUnfinishedInit(t *testing.T) {
	t.Parallel()
	data := folder(t)
	require.NoError(t, os.MkdirAll(filepath.Join(data, "cluster.unfinished", "base"), 0o700))
	server := startPostgres(t, engine.PostgresConfig{Data: data})
	require.Equal(t, 1, ask[int](t, server.URL("postgres"), "SELECT 1"))
	require.NoDirExists(t, filepath.Join(data, "cluster.unfinished"))
}

func TestPostgresErrors(t *testing.T) {
	t.Parallel()
	config := func(t *testing.T) engine.PostgresConfig {
		return engine.PostgresConfig{Engines: engines(t), Data: folder(t), Log: testkit.Logger(t), NoSync: true}
	}
	t.Run("every bad field is named", func(t *testing.T) {
		t.Parallel()
		_, err := engine.StartPostgres(t.Context(), engine.PostgresConfig{Port: -1})
		for _, field := range []string{"Engines:", "Data:", "Log:", "Port:"} {
			require.ErrorContains(t, err, field)
		}
	})
	t.Run("a port that is taken", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, listener.Close()) })
		c := config(t)
		c.Port = listener.Addr().(*net.TCPAddr).Port
		_, err = engine.StartPostgres(t.Context(), c)
		require.ErrorContains(t, err, "the port is taken by another process")
	})
	t.Run("no engines", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		c.Engines = engine.Dir(folder(t))
		_, err := engine.StartPostgres(t.Context(), c)
		require.ErrorContains(t, err, "no such file")
	})
	t.Run("a cluster that is damaged", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		require.NoError(t, engine.InitPostgres(t.Context(), c))
		require.NoError(t, os.Remove(filepath.Join(c.Data, "cluster", "global", "pg_control")))
		_, err := engine.StartPostgres(t.Context(), c)
		require.ErrorContains(t, err, "PostgreSQL cannot be started")
		require.ErrorContains(t, err, "pg_control")
	})
	t.Run("a password that is lost", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		require.NoError(t, engine.InitPostgres(t.Context(), c))
		require.NoError(t, os.Truncate(filepath.Join(c.Data, "password"), 0))
		_, err := engine.StartPostgres(t.Context(), c)
		require.ErrorContains(t, err, "is empty")
	})
	t.Run("a context that ends", func(t *testing.T) {
		t.Parallel()
		c := config(t)
		require.NoError(t, engine.InitPostgres(t.Context(), c))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := engine.StartPostgres(ctx, c)
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("names of databases", func(t *testing.T) {
		t.Parallel()
		server := testkit.PostgresServer(t)
		for _, name := range []string{"", "postgres", "Upper", "with-dash", "1st", `quo"te`, strings.Repeat("x", 64)} {
			_, err := server.CreateDatabase(t.Context(), name)
			require.ErrorContains(t, err, "not a usable name", name)
		}
	})
}

// Another user must be able to pass every folder on the way: the error says which one does not allow it.
func TestPostgresNamesTheFolderInTheWay(t *testing.T) {
	t.Parallel()
	closed := folder(t)
	data := filepath.Join(closed, "closed", "data")
	require.NoError(t, os.Mkdir(filepath.Dir(data), 0o700))
	_, err := engine.StartPostgres(t.Context(), engine.PostgresConfig{Engines: engines(t), Data: data, Log: testkit.Logger(t), NoSync: true})
	if os.Geteuid() != 0 {
		require.Error(t, err, "an ordinary user runs PostgreSQL as itself and needs nobody's permission")
		return
	}
	require.ErrorContains(t, err, filepath.Join(closed, "closed")+" has mode 0700")
	require.ErrorContains(t, err, "chmod o+x")
}

func TestPostgresHasOneOwner(t *testing.T) {
	t.Parallel()
	data := folder(t)
	server := startPostgres(t, engine.PostgresConfig{Data: data})
	_, err := engine.StartPostgres(t.Context(), engine.PostgresConfig{Engines: engines(t), Data: data, Log: testkit.Logger(t), NoSync: true})
	require.ErrorContains(t, err, "is in use by another process")
	require.Equal(t, 1, ask[int](t, server.URL("postgres"), "SELECT 1"), "and is left alone")
}
