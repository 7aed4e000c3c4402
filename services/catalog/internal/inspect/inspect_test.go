package inspect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/catalog/internal/inspect"
	"github.com/tollgate/tollgate/services/catalog/internal/ruleset"
)

// What this test's program does as a child.
const (
	child   = "inspect"
	hang    = "hang"
	chatter = "chatter"
	fail    = "fail"
	env     = "env"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case child:
			if err := inspect.Child(context.Background(), os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case hang:
			select {}
		case chatter:
			for {
				fmt.Println(strings.Repeat("x", 1<<20))
			}
		case fail:
			fmt.Fprintln(os.Stderr, "it broke")
			os.Exit(7)
		case env:
			_ = json.NewEncoder(os.Stdout).Encode(inspect.Response{Failure: strings.Join(os.Environ(), " ")})
			os.Exit(0)
		}
	}
	testkit.Main(m)
}

func runner(t *testing.T, command string, timeout time.Duration, memory int64) *inspect.Runner {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	return inspect.NewRunner([]string{program, command}, timeout, memory)
}

const base = `openapi: 3.0.3
info: {title: T, version: '1'}
paths:
  /a:
    get: {operationId: getA, parameters: [{name: q, in: query, schema: {type: string}}], responses: {'200': {description: ok, content: {application/json: {schema: {type: object, properties: {id: {type: integer}}, required: [id]}}}}}}
    delete: {operationId: deleteA, responses: {'204': {description: gone}}}
`

const revision = `openapi: 3.0.3
info: {title: T, version: '2'}
paths:
  /a:
    get: {operationId: getA, parameters: [{name: q, in: query, required: true, schema: {type: string}}], responses: {'200': {description: ok, content: {application/json: {schema: {type: object, properties: {id: {type: integer}}, required: [id]}}}}}}
  /b:
    get: {operationId: getB, responses: {'200': {description: ok}}}
`

func TestCompare(t *testing.T) {
	t.Parallel()
	r := runner(t, child, time.Minute, 1<<30)
	c, err := r.Compare(t.Context(), "t1", base, revision)
	require.NoError(t, err)
	require.Equal(t, 2, c.Breaking)
	require.Equal(t, c.Total, len(c.Changes))
	rules := map[string]string{}
	for _, change := range c.Changes {
		require.NotEmpty(t, change.Text)
		rules[change.Rule] = change.Level + " " + change.Method + " " + change.Path
	}
	require.Equal(t, "breaking GET /a", rules["request-parameter-became-required"])
	require.Equal(t, "breaking DELETE /a", rules["api-removed-without-deprecation"])
	require.Equal(t, "info GET /b", rules["endpoint-added"])
	require.Equal(t, inspect.Breaking, c.Changes[0].Level, "the gravest first")

	same, err := r.Compare(t.Context(), "t1", base, base)
	require.NoError(t, err)
	require.Zero(t, same.Total)
	_, err = r.Compare(t.Context(), "t1", base, "nothing")
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	require.ErrorContains(t, err, "the document after")
}

func TestLint(t *testing.T) {
	t.Parallel()
	r := runner(t, child, time.Minute, 1<<30)
	report, err := r.Lint(t.Context(), "t1", ruleset.Default, base)
	require.NoError(t, err)
	require.Positive(t, report.Warnings)
	_, err = r.Lint(t.Context(), "t1", "rules: 1", base)
	require.Equal(t, problem.Invalid, problem.KindOf(err))
}

func TestChildrenAreBounded(t *testing.T) {
	t.Parallel()
	_, err := runner(t, hang, 100*time.Millisecond, 1<<30).Lint(t.Context(), "t1", ruleset.Default, base)
	require.Equal(t, problem.Exhausted, problem.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "took longer than 100ms")

	_, err = runner(t, chatter, time.Minute, 1<<30).Lint(t.Context(), "t1", ruleset.Default, base)
	require.Equal(t, problem.Exhausted, problem.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "longer than 16 MiB")

	// The document alone is too large for so little.
	large := base + "x-large:\n" + strings.Repeat("  - {a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}}\n", 40_000)
	_, err = runner(t, child, time.Minute, 64<<20).Lint(t.Context(), "t1", ruleset.Default, large)
	require.Equal(t, problem.Exhausted, problem.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "took more than 64 MiB of memory")

	_, err = runner(t, fail, time.Minute, 1<<30).Lint(t.Context(), "t1", ruleset.Default, base)
	require.Equal(t, problem.Internal, problem.KindOf(err))
	require.ErrorContains(t, err, "it broke")

	_, err = inspect.NewRunner([]string{"/nothing/there"}, time.Minute, 1<<30).Lint(t.Context(), "t1", ruleset.Default, base)
	require.ErrorContains(t, err, "start the child")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = runner(t, hang, time.Minute, 1<<30).Lint(ended, "t1", ruleset.Default, base)
	require.ErrorIs(t, err, context.Canceled)
}

// TestOneChildOfEachTenant: a tenant whose children hang keeps nobody else waiting.
func TestOneChildOfEachTenant(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	require.NoError(t, err)
	// A child that says that it has started and waits for the gate, then fails; once the gate is open, one that does its work.
	dir := t.TempDir()
	r := inspect.NewRunner([]string{"/bin/sh", "-c", `if [ -e "$0/gate" ]; then exec "$1" inspect; fi
		: > "$0/started.$$"; while [ ! -e "$0/gate" ]; do /bin/sleep 0.01; done; exit 3`, dir, program}, time.Minute, 1<<30)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 8)
	for range cap(ended) {
		go func() {
			_, err := r.Lint(ctx, "greedy", ruleset.Default, base)
			ended <- err
		}()
	}
	other := make(chan error, 1)
	go func() {
		_, err := r.Lint(t.Context(), "other", ruleset.Default, base)
		other <- err
	}()
	testkit.Await(t, time.Minute, func() bool {
		started, err := filepath.Glob(filepath.Join(dir, "started.*"))
		require.NoError(t, err)
		return len(started) == 2
	})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gate"), nil, 0o600))
	require.ErrorContains(t, <-other, "exit status 3", "its child was running beside the other tenant's first")
	cancel()
	for range cap(ended) {
		require.Error(t, <-ended)
	}
	report, err := r.Lint(t.Context(), "greedy", ruleset.Default, base)
	require.NoError(t, err)
	require.Positive(t, report.Warnings)
}

func TestChildrenKnowNothing(t *testing.T) {
	t.Setenv("TOLLGATE_POSTGRES_URL", "secret")
	_, err := runner(t, env, time.Minute, 1<<30).Lint(t.Context(), "t1", ruleset.Default, base)
	require.ErrorContains(t, err, "GOMEMLIMIT")
	require.NotContains(t, err.Error(), "secret")
}
