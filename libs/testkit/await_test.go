package testkit_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

func TestAwaitReturnsWhenTheConditionHolds(t *testing.T) {
	t.Parallel()
	t.Run("bool", func(t *testing.T) {
		t.Parallel()
		looks := 0
		testkit.Await(t, time.Minute, func() bool { looks++; return looks == 3 })
		require.Equal(t, 3, looks)
	})
	t.Run("error", func(t *testing.T) {
		t.Parallel()
		looks := 0
		testkit.Await(t, time.Minute, func() error {
			if looks++; looks < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		require.Equal(t, 3, looks)
	})
}

func TestAwaitFailsWithTheLastError(t *testing.T) {
	t.Parallel()
	for name, await := range map[string]func(tb testing.TB){
		"not yet":                     func(tb testing.TB) { testkit.Await(tb, time.Nanosecond, func() error { return errors.New("not yet") }) },
		"the condition does not hold": func(tb testing.TB) { testkit.Await(tb, time.Nanosecond, func() bool { return false }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			message := failureOf(t, await)
			require.Contains(t, message, "in vain: "+name)
		})
	}
}

// failureOf runs what is expected to end a test with Fatalf, and returns the message.
func failureOf(t *testing.T, run func(tb testing.TB)) string {
	t.Helper()
	recorded := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(recorded)
	}()
	<-done
	require.NotEmpty(t, recorded.message, "it did not fail")
	return recorded.message
}

// recorder takes a failure in place of the test it wraps.
type recorder struct {
	testing.TB
	message string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, arguments ...any) {
	r.message = fmt.Sprintf(format, arguments...)
	runtime.Goexit()
}

func TestClockStandsStillUntilItIsMoved(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC)
	clock := testkit.NewClock(start)
	require.Equal(t, start, clock.Now())
	require.Equal(t, start.Add(time.Second), clock.Advance(time.Second))
	require.Equal(t, start.Add(time.Second), clock.Now())
	clock.Set(start)
	require.Equal(t, start, clock.Now())
}

func TestLoggerIsSilentAfterTheTest(t *testing.T) {
	t.Parallel()
	var log func()
	t.Run("over", func(t *testing.T) {
		logger := testkit.Logger(t)
		log = func() { logger.Info("late") }
		log()
	})
	require.NotPanics(t, log)
}
