// Package harness starts Tollgate's own binaries for black-box tests: the whole suite, or single services against the
// engines of a suite, on free loopback ports and a data directory of the test's own. What it starts, it stops.
package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	return once(tb, name, func() (string, error) { return buildBinary(context.Background(), name) })
}

// once builds something the first time that it is asked for.
func once(tb testing.TB, name string, make func() (string, error)) string {
	tb.Helper()
	builds.mu.Lock()
	if builds.all == nil {
		builds.all = map[string]func() (string, error){}
	}
	build := builds.all[name]
	if build == nil {
		build = sync.OnceValues(make)
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
	return buildIn(ctx, root, filepath.Join(root, ".tmp", filepath.Base(os.Args[0]), name), name)
}

// buildIn builds a binary of the tree at root to path.
func buildIn(ctx context.Context, root, path, name string) (string, error) {
	pkg := "./deploy/tollgate"
	if name != "tollgate" {
		pkg = "./services/" + name + "/cmd/" + name
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", version, "-o", path, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// PreviousBinary returns the path of a service's binary built from the previous commit: the last one, if the tree has
// changes that are not committed. Where there is no history of it, as in an archive, it is that of this tree.
func PreviousBinary(tb testing.TB, name string) string {
	tb.Helper()
	root, err := Root()
	require.NoError(tb, err)
	commit, ok := previousCommit(tb, root)
	if !ok {
		tb.Log("there is no history: the previous binary is that of this tree")
		return Binary(tb, name)
	}
	tree := once(tb, "tree of "+commit, func() (string, error) { return extract(root, commit) })
	return once(tb, name+" of "+commit, func() (string, error) {
		return buildIn(context.Background(), tree, filepath.Join(tree, ".tmp", name), name)
	})
}

func previousCommit(tb testing.TB, root string) (commit string, ok bool) {
	tb.Helper()
	of := "HEAD^"
	changes, err := git(tb.Context(), root, "status", "--porcelain")
	if err != nil {
		return "", false
	}
	if changes != "" {
		of = "HEAD"
	}
	commit, err = git(tb.Context(), root, "rev-parse", "--verify", "--quiet", of+"^{commit}")
	return commit, err == nil
}

// extract writes the tree of a commit to a folder beside this tree's binaries.
func extract(root, commit string) (string, error) {
	dir := filepath.Join(root, ".tmp", "previous-"+commit[:12])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "tree.tar")
	if _, err := git(context.Background(), root, "archive", "--output", archive, commit); err != nil {
		return "", err
	}
	out, err := exec.Command("tar", "-xf", archive, "-C", dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("unpack commit %s: %w: %s", commit, err, out)
	}
	return dir, os.Remove(archive)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
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
