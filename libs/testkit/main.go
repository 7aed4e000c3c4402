package testkit

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package, stops the engines they shared and fails if goroutines are left:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
//
// Without it the engines stop too, as soon as the test binary ends; only the goroutine check is missing. ignored are
// goroutines that a library keeps for as long as the process lives.
func Main(m interface{ Run() int }, ignored ...goleak.Option) {
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(append(ignored, natsGoroutines()...)...); err != nil {
			fmt.Fprintln(os.Stderr, "testkit: goroutines are left after all tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// VerifyNoLeaks fails the test if it leaves goroutines behind; those that keep the shared engines running do not count. Call
// it before anything that registers a cleanup. It cannot be used in parallel tests: it would see their goroutines.
func VerifyNoLeaks(tb testing.TB) {
	tb.Helper()
	ignored := append(append(sharedGoroutines(), natsGoroutines()...), goleak.IgnoreCurrent())
	tb.Cleanup(func() { goleak.VerifyNone(tb, ignored...) })
}

// natsGoroutines describes those that an embedded NATS server leaves behind when a stream is being made while it shuts down:
// the stream's store is opened after all others were closed.
func natsGoroutines() []goleak.Option {
	const server = "github.com/nats-io/nats-server/v2/server"
	return []goleak.Option{
		goleak.IgnoreAnyFunction(server + ".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreAnyFunction(server + "/ats.Register.func1"),
	}
}

// sharedGoroutines describes the goroutines that live as long as the shared engines.
func sharedGoroutines() []goleak.Option {
	const process = "github.com/tollgate/tollgate/libs/engine.(*process)"
	return []goleak.Option{
		goleak.IgnoreAnyFunction(process + ".supervise"),
		goleak.IgnoreAnyFunction(process + ".supervise.func1"),
		goleak.IgnoreAnyFunction(process + ".runOnce.func1"),
		// Copies a child's output.
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"),
	}
}
