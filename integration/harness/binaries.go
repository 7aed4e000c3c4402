// Package harness starts Tollgate's own binaries for black-box tests: the whole suite, or single services against the
// engines of a suite, on free loopback ports and a data directory of the test's own. What it starts, it stops.
package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var build struct {
	once sync.Once
	dir  string
	err  error
}

// Binary returns the path of a binary built from this tree: "tollgate", or the name of a service. All are built once.
func Binary(tb testing.TB, name string) string {
	tb.Helper()
	build.once.Do(func() { build.dir, build.err = buildAll(context.Background()) })
	require.NoError(tb, build.err)
	return filepath.Join(build.dir, name)
}

// version is stamped in as make build does it, with a commit's name that is no semantic version.
const version = "-X github.com/tollgate/tollgate/libs/config.Version=0a1b2c3-dirty"

func buildAll(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	// Below the checkout, so that the engines are found beside the binary's folder.
	dir := filepath.Join(root, ".tmp", "integration-bin")
	for name, pkg := range map[string]string{"tollgate": "./deploy/tollgate", "gateway": "./services/gateway/cmd/gateway"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", version, "-o", filepath.Join(dir, name), pkg)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
}

// Root returns the root of the checkout.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.work above the working directory")
		}
		dir = parent
	}
}
