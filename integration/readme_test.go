package integration_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
)

var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// TestTheReadmeTourWorks runs every command of the README's tour, as pasted, against a suite of its own.
func TestTheReadmeTourWorks(t *testing.T) {
	t.Parallel()
	root, err := harness.Root()
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	blocks := shellBlock.FindAllSubmatch(readme, -1)
	require.Len(t, blocks, 4)
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, b := range blocks {
		// A difference is what diff is for, so its exit code does not end the tour.
		script.WriteString("echo '--- step'\n" + string(b[1]))
	}
	dir := harness.Dir(t)
	s := harness.Up(t, filepath.Join(dir, ".data"), "--sample")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.Symlink(harness.Binary(t, "tollgate"), filepath.Join(dir, "bin", "tollgate")))
	text := strings.NewReplacer("http://127.0.0.1:8080", s.Gateway, "http://127.0.0.1:8081", s.Admin).Replace(script.String())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", text)
	cmd.WaitDelay = time.Second
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, s.Output())
	got := string(out)
	t.Log(got)
	require.Contains(t, got, "Tollgate-Call-Id: ")
	require.Contains(t, got, "request-invalid", "the refused call says why")
	require.Contains(t, got, "/weather/v1/current/Berlin")
	require.Contains(t, got, "Subscription acme-weather created")
	require.Contains(t, got, "200\n200\n200\n200\n429\n", "exactly the quota succeeds")
	require.Contains(t, got, "INV-")
	require.Contains(t, got, "agree: true")
	require.Contains(t, got, `"total": "182.00"`)
}
