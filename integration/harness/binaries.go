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

// Services are the services in the order in which they need each other the first time.
var Services = []string{"identity", "catalog", "subscription", "metering", "billing", "analytics", "gateway"}

// version is stamped in as make build does it, with a commit's name that is no semantic version.
const version = "-X github.com/tollgate/tollgate/libs/config.Version=0a1b2c3-dirty"

var builds struct {
	mu  sync.Mutex
	all map[string]func() (string, error)
}

// Binary returns the path of a binary built from this tree: "tollgate", or the name of a service. Each is built once.
func Binary(tb testing.TB, name string) string {
	tb.Helper()
	builds.mu.Lock()
	if builds.all == nil {
		builds.all = map[string]func() (string, error){}
	}
	build := builds.all[name]
	if build == nil {
		build = sync.OnceValues(func() (string, error) { return buildBinary(context.Background(), name) })
		builds.all[name] = build
	}
	builds.mu.Unlock()
	path, err := build()
	require.NoError(tb, err)
	return path
}

// buildBinary builds below the checkout, so that the engines are found beside the binary's folder. Test binaries that run at
// the same time have folders of their own.
func buildBinary(ctx context.Context, name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	pkg := "./deploy/tollgate"
	if name != "tollgate" {
		pkg = "./services/" + name + "/cmd/" + name
	}
	path := filepath.Join(root, ".tmp", filepath.Base(os.Args[0]), name)
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", version, "-o", path, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
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
