package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestUpTwiceOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel()
	s := harness.Up(t, harness.Dir(t), "--services", "none")
	second := harness.Start(t, nil, harness.Binary(t, "tollgate"), "up", "--data", s.Data, "--services", "none")
	<-second.Done()
	require.Contains(t, second.Output(), "is in use by another `tollgate up`")
	for _, secret := range []string{"ready.json", "nats-password"} {
		info, err := os.Stat(filepath.Join(s.Data, secret))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), secret)
	}
}

func TestATakenPortIsNamed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	p := harness.Start(t, nil, harness.Binary(t, "tollgate"), "up", "--data", harness.Dir(t), "--listen", taken.Addr().String(), "--admin", harness.FreeAddress(t))
	<-p.Done()
	require.Contains(t, p.Output(), "--listen: "+taken.Addr().String()+" cannot be listened on")
}

func TestWrongFlagsAreExplained(t *testing.T) {
	t.Parallel()
	p := harness.Start(t, nil, harness.Binary(t, "tollgate"), "up", "--data", harness.Dir(t), "--services", "gatewy")
	<-p.Done()
	require.Contains(t, p.Output(), `"gatewy" is not a service; want some of identity, catalog`)
}

// TestNothingToMaintain: a directory without a suite is not made one.
func TestNothingToMaintain(t *testing.T) {
	t.Parallel()
	data := filepath.Join(harness.Dir(t), "none")
	code, _, stderr := harness.CLI(t, "", "", "maintain", "check", "--data", data)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "--data: there is no suite in "+data)
	require.NoDirExists(t, data)
}

// TestStoppingLeavesNothingRunning, and what was there is there again.
func TestStoppingLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	data := harness.Dir(t)
	s := harness.Up(t, data, "--sample")
	require.Len(t, s.Children, 2)
	api := harness.NewAPI(t, s.Admin, s.Token(t))
	var before, after struct{ ID string }
	api.Must("GET", "/identity/v1/accounts/globex", nil, &before)
	s.Stop(t)
	for name, pid := range s.Children {
		testkit.Await(t, 5*time.Second, func() error {
			if err := syscall.Kill(pid, 0); err == nil {
				return fmt.Errorf("%s (pid %d) still runs", name, pid)
			}
			return nil
		})
	}
	require.NoFileExists(t, filepath.Join(data, "ready.json"))
	for _, task := range []string{"check", "rebuild", "check"} {
		code, stdout, stderr := harness.CLI(t, "", "", "maintain", task, "--data", data)
		require.Equal(t, 0, code, stdout+stderr)
		require.Contains(t, stdout, "catalog: ")
	}
	s = harness.Up(t, data, "--sample")
	harness.NewAPI(t, s.Admin, s.Token(t)).Must("GET", "/identity/v1/accounts/globex", nil, &after)
	require.Equal(t, before.ID, after.ID)
}

// TestAKilledEngineIsStartedAgain: the suite goes on when a child is killed.
func TestAKilledEngineIsStartedAgain(t *testing.T) {
	t.Parallel()
	s := harness.Up(t, harness.Dir(t), "--sample")
	key := harness.SampleKey(t, s)
	for _, pid := range s.Children {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	seen := &answeredCalls{ids: map[string]bool{}}
	for range 50 {
		status, id, err := call(s.Gateway, request{method: "GET", path: "/weather/v1/current/Berlin", key: key})
		require.NoError(t, err)
		require.Equal(t, 200, status)
		seen.add(id)
	}
	checkEachOnce(t, harness.NewAPI(t, s.Admin, s.Token(t)), "globex-weather", seen)
}

// TestEnginesAlone: teams run one service from their editor against them.
func TestEnginesAlone(t *testing.T) {
	t.Parallel()
	s := harness.Up(t, harness.Dir(t), "--services", "none")
	require.Empty(t, s.Gateway)
	response, err := http.Post(s.ClickHouse, "text/plain", strings.NewReader("SELECT 41 + 1"))
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "42\n", string(body))
}
