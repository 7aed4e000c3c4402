package testkit

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
)

// Logger returns a logger, at level Debug, whose lines appear with the test's output. What is logged after the test's end is
// dropped.
func Logger(tb testing.TB) *slog.Logger {
	sink := &testOutput{tb: tb}
	tb.Cleanup(sink.close)
	return slog.New(slog.NewTextHandler(sink, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// testOutput writes lines to the test until it is over: logging then would panic.
type testOutput struct {
	mu   sync.Mutex
	tb   testing.TB
	over bool
}

func (o *testOutput) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.over {
		o.tb.Log(string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return len(line), nil
}

func (o *testOutput) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}
