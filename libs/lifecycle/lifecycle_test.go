package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate/tollgate/libs/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) part(name string) lifecycle.Run {
	return func(ctx context.Context, ready func()) error {
		j.add("start " + name)
		ready()
		<-ctx.Done()
		j.add("stop " + name)
		return nil
	}
}

func TestStopsInReverse(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New(slog.New(slog.DiscardHandler))
	for _, name := range []string{"a", "b", "c"} {
		g.Add(name, j.part(name))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	<-g.Ready()
	cancel()
	require.NoError(t, <-done)
	require.Equal(t, []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}, j.lines)
}

func TestAFailureStopsTheRest(t *testing.T) {
	t.Parallel()
	var j journal
	g := lifecycle.New(slog.New(slog.DiscardHandler))
	g.Add("a", j.part("a"))
	g.Add("b", func(context.Context, func()) error { return errors.New("port taken") })
	g.Add("c", j.part("c"))
	err := g.Run(context.Background())
	require.ErrorContains(t, err, "b: port taken")
	require.Equal(t, []string{"start a", "stop a"}, j.lines)
}

func TestAPartThatDoesNotStopIsNamed(t *testing.T) {
	t.Parallel()
	g := lifecycle.New(slog.New(slog.DiscardHandler))
	g.Grace = 10 * time.Millisecond
	release := make(chan struct{})
	exited := make(chan struct{})
	g.AddSimple("stubborn", func(context.Context) error {
		defer close(exited)
		<-release
		return nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorContains(t, g.Run(ctx), "stop stubborn: still running")
	close(release)
	<-exited
}
