package app

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/inspect"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// publishTwo publishes two versions of an API, one after the other.
func publishTwo(ctx context.Context, t *testing.T, c *Catalog) {
	t.Helper()
	_, err := c.PutAPI(ctx, "a", &catalogv1.APISpec{Title: "A"})
	require.NoError(t, err)
	for i := range 2 {
		_, err := c.PutAPIVersion(ctx, "a", fmt.Sprintf("a-v%d", i), &catalogv1.APIVersionSpec{
			Openapi: "openapi: 3.1.0\ninfo: {title: T, version: '1'}\npaths: {/a: {get: {responses: {default: {description: d}}}}}\n",
			Stage:   "published", Route: &catalogv1.Route{Hosts: []string{"*"}, Prefix: fmt.Sprintf("/a/%d", i)},
			Upstream: &catalogv1.Upstream{Targets: []*catalogv1.Target{{Url: "http://127.0.0.1:1"}}},
		})
		require.NoError(t, err)
	}
}

// hanging is a runner whose children say that they have started, and do nothing.
func hanging(t *testing.T, timeout time.Duration) (r *inspect.Runner, started func() int) {
	t.Helper()
	dir := t.TempDir()
	r = inspect.NewRunner([]string{"/bin/sh", "-c", `: > "$0/$$"; exec /bin/sleep 600`, dir}, timeout, 1<<30)
	return r, func() int {
		all, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		return len(all)
	}
}

func TestWhatTakesTooLongIsKept(t *testing.T) {
	t.Parallel()
	c, ctx := newCatalog(t)
	publishTwo(ctx, t, c)
	var started func() int
	c.inspect, started = hanging(t, 300*time.Millisecond)
	for range 2 {
		entries, err := c.Changelog(ctx, "a", store.StageChange{}, 10)
		require.NoError(t, err)
		require.Contains(t, entries[0].Unknown, "took longer than 300ms")
		_, err = c.Compare(ctx, "a-v0", "a-v1")
		require.Equal(t, problem.Exhausted, problem.KindOf(err))
		require.ErrorContains(t, err, "took longer than 300ms")
		require.LessOrEqual(t, started(), 1, "it is tried once") // or not at all, where 300 ms are not enough to begin
	}
}

// TestAChangelogIsAnsweredInTime: what is not compared in the time of a request is left to another one.
func TestAChangelogIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	c, ctx := newCatalog(t)
	publishTwo(ctx, t, c)
	c.inspect, _ = hanging(t, time.Hour)
	bounded, cancel := context.WithTimeout(ctx, answerTime+time.Second)
	defer cancel()
	entries, err := c.Changelog(bounded, "a", store.StageChange{}, 10)
	require.NoError(t, err)
	require.Equal(t, notCompared, entries[0].Unknown)
	found, err := c.compared(ctx, entries[0].PreviousID, entries[0].APIVersionID)
	require.NoError(t, err)
	require.Nil(t, found, "nothing is kept of it")
}
