package testkit_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

// abandon tells this test binary that it is the child of TestEnginesEndWithAKilledTestBinary, which waits to be killed.
const abandon = "TESTKIT_TEST_ABANDON"

func TestMain(m *testing.M) {
	if os.Getenv(abandon) != "" {
		os.Exit(m.Run())
	}
	testkit.Main(m)
}

// A test binary that is killed with SIGKILL leaves neither servers nor their data behind.
func TestEnginesEndWithAKilledTestBinary(t *testing.T) {
	t.Parallel()
	binary, err := os.Executable()
	require.NoError(t, err)
	folder := t.TempDir()
	require.NoError(t, os.Chmod(folder, 0o711))
	require.NoError(t, os.Chmod(filepath.Dir(folder), 0o711))
	child := exec.Command(binary, "-test.run=^TestServersRun$", "-test.v")
	child.Env = append(os.Environ(), abandon+"=yes", "TMPDIR="+folder)
	output, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	pids := servers(output)
	require.Len(t, pids, 2, "the child did not start its servers")
	for _, pid := range pids {
		require.NoError(t, syscall.Kill(pid, 0), "the server runs")
	}
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	for _, pid := range pids {
		testkit.Await(t, 20*time.Second, func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	}
	testkit.Await(t, 20*time.Second, func() bool {
		entries, err := os.ReadDir(folder)
		return err == nil && len(entries) == 0
	})
}

// servers reads the process ids that the child prints.
func servers(output io.Reader) (pids []int) {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "servers "); ok {
			var postgres, clickHouse int
			if n, err := fmt.Sscan(text, &postgres, &clickHouse); n == 2 && err == nil {
				return []int{postgres, clickHouse}
			}
		}
	}
	return nil
}

// In the child this holds the servers until it is killed.
func TestServersRun(t *testing.T) {
	t.Parallel()
	postgres, clickHouse := testkit.PostgresServer(t), testkit.ClickHouseServer(t)
	require.NotZero(t, postgres.Pid())
	require.NotZero(t, clickHouse.Pid())
	if os.Getenv(abandon) == "" {
		return
	}
	fmt.Println("servers", postgres.Pid(), clickHouse.Pid())
	select {
	case <-t.Context().Done():
	case <-time.After(time.Minute):
		t.Fatal("nobody killed this process")
	}
}
