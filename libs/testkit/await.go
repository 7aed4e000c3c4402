package testkit

import (
	"testing"
	"time"
)

// pollAwait is the time between two looks at a condition.
const pollAwait = 5 * time.Millisecond

// Await waits until the condition holds (returns true, or no error) and fails the test when it does not within the timeout,
// telling the last error. It looks at least once. Call it from the test's own goroutine.
func Await[C func() bool | func() error](tb testing.TB, timeout time.Duration, condition C) {
	tb.Helper()
	holds := look(condition)
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	ticker := time.NewTicker(pollAwait)
	defer ticker.Stop()
	for {
		ok, reason := holds()
		if ok {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			tb.Fatalf("testkit: waited %v in vain: %v", timeout, reason)
		case <-tb.Context().Done():
			tb.Fatalf("testkit: the test ended while waiting: %v", reason)
		}
	}
}

func look[C func() bool | func() error](condition C) func() (bool, any) {
	switch condition := any(condition).(type) {
	case func() error:
		return func() (bool, any) {
			err := condition()
			return err == nil, err
		}
	default:
		holds := condition.(func() bool)
		return func() (bool, any) { return holds(), "the condition does not hold" }
	}
}
