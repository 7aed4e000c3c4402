package cli_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnInterruptedCommandIsNoSuccess interrupts this process while a command waits for its answer: no other test may run a command
// meanwhile.
func TestAnInterruptedCommandIsNoSuccess(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only after it does a server notice that a client is gone
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
		<-r.Context().Done()
	}))
	defer server.Close()
	for name, c := range map[string]struct {
		args []string
		code int
	}{
		"apply":  {[]string{"apply", "-f", filepath.Join(sample, "plans.yaml")}, 130},
		"get":    {[]string{"get", "apis"}, 130},
		"export": {[]string{"export", "-d", t.TempDir()}, 130},
		"tail":   {[]string{"calls", "tail"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := run(t, append(c.args, "--server", server.URL, "--token", "x")...)
			require.Equal(t, c.code, code, stderr)
			if c.code != 0 {
				require.Contains(t, stderr, "interrupted")
			}
		})
	}
}
