package engine_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestClickHouseConfigNamesEveryBadField(t *testing.T) {
	t.Parallel()
	_, err := engine.StartClickHouse(t.Context(), engine.ClickHouseConfig{Port: 70000, MemoryLimit: -1, Queries: -1})
	for _, field := range []string{"Engines:", "Data:", "Log:", "Port:", "Command:", "MemoryLimit:", "Queries:"} {
		require.ErrorContains(t, err, field)
	}
}

func TestClickHouseCannotBeStarted(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, command ...string) error {
		t.Helper()
		_, err := engine.StartClickHouse(t.Context(), engine.ClickHouseConfig{
			Engines: engines(t), Data: filepath.Join(folder(t), "clickhouse"), Log: testkit.Logger(t), Command: command,
		})
		return err
	}
	require.ErrorContains(t, start(t, "/nowhere/clickhouse-engine"), "find the program to run")
	err := start(t, "/bin/sh", "-c", "echo out of luck >&2; exit 3")
	require.ErrorContains(t, err, "ClickHouse cannot be started")
	require.ErrorContains(t, err, "out of luck")
	require.ErrorContains(t, err, "exit status 3")
}

func TestClickHouseCreatesDatabases(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	first, err := server.CreateDatabase(t.Context(), "tollgate")
	require.NoError(t, err)
	again, err := server.CreateDatabase(t.Context(), "tollgate")
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.True(t, strings.HasSuffix(first, "/tollgate"))
	_, err = server.CreateDatabase(t.Context(), "no`name")
	require.ErrorContains(t, err, "not a usable name")
	require.ErrorContains(t, engine.CreateClickHouseDatabase(t.Context(), "clickhouse://127.0.0.1:9000", "tollgate"), "is not a URL such as http://")
}

func TestClickHouseRunsAsAnotherUserThanRoot(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	info, err := os.Stat(filepath.Join("/proc", fmt.Sprint(server.Pid())))
	require.NoError(t, err)
	require.NotZero(t, info.Sys().(*syscall.Stat_t).Uid)
	arguments, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(server.Pid()), "cmdline"))
	require.NoError(t, err)
	environment, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(server.Pid()), "environ"))
	require.NoError(t, err)
	_, password, _ := strings.Cut(server.URL("default"), "default:")
	password, _, _ = strings.Cut(password, "@")
	require.NotEmpty(t, password)
	require.NotContains(t, string(arguments)+string(environment), password)
}

// Requests made while the engine is down wait for it: the parent holds the socket.
func TestClickHouseIsStartedAgain(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	port := server.Port()
	for range 2 {
		killed := server.Pid()
		kill(t, killed)
		testkit.Await(t, patience, func() error {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/ping", port), nil)
			if err != nil {
				return err
			}
			response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
			if err != nil {
				return err
			}
			return response.Body.Close()
		})
		awaitRestart(t, server.Pid, killed)
	}
	pid := server.Pid()
	require.NoError(t, server.Stop(context.WithoutCancel(t.Context())))
	require.True(t, gone(pid))
	require.Zero(t, server.Pid())
}
