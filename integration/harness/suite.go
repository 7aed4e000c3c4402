package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

// Ready is what a suite tells of itself in ready.json.
type Ready struct {
	Gateway        string         `json:"gateway"`
	Admin          string         `json:"admin"`
	AdminTokenFile string         `json:"adminTokenFile"`
	ClickHouse     string         `json:"clickhouse"`
	NATS           string         `json:"nats"`
	Postgres       string         `json:"postgres"`
	PID            int            `json:"pid"`
	Children       map[string]int `json:"children"`
	SampleKeyFile  string         `json:"sampleKeyFile"`
	SampleUpstream string         `json:"sampleUpstream"`
}

// Process is a running binary.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	out  *output
}

// output collects what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns what was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Start starts a binary; it is stopped at the test's end.
func Start(tb testing.TB, env []string, binary string, args ...string) *Process {
	tb.Helper()
	p := &Process{cmd: exec.Command(binary, args...), done: make(chan struct{}), out: &output{}}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	require.NoError(tb, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	tb.Cleanup(func() {
		p.Stop(tb)
		if printed := p.Output(); tb.Failed() && printed != "" {
			tb.Logf("%s printed at last:\n%s", filepath.Base(binary), printed[max(0, len(printed)-shown):])
		}
	})
	return p
}

// shown is how much of what a process printed is shown when its test has failed.
const shown = 4000

// Output returns what the process printed.
func (p *Process) Output() string { return p.out.String() }

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends the process with SIGKILL.
func (p *Process) Kill(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, p.cmd.Process.Kill())
	<-p.done
}

// Stop ends the process as Ctrl-C does, and fails the test when it takes longer than a minute.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.done
		tb.Errorf("the process did not stop within a minute; it printed:\n%s", p.Output())
	}
}

// Suite is a running `tollgate up`.
type Suite struct {
	*Process
	Ready
	Data string
	args []string
}

// Child returns the pid of an engine's process as it is now, also after it was started again.
func (s *Suite) Child(tb testing.TB, engine string) (pid int) {
	tb.Helper()
	mark := map[string]string{"postgres": "postgres", "clickhouse": "clickhouse-engine"}[engine]
	testkit.Await(tb, time.Minute, func() error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.Process.PID()))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			children, err := os.ReadFile(task)
			if err != nil {
				continue // the thread has ended
			}
			for text := range strings.FieldsSeq(string(children)) {
				command, err := os.ReadFile("/proc/" + text + "/cmdline")
				if err == nil && strings.Contains(string(command), mark) {
					pid, err = strconv.Atoi(text)
					return err
				}
			}
		}
		return fmt.Errorf("%s has no process at the moment", engine)
	})
	return pid
}

// KillAndRestart kills the suite, whose engines die with it, and starts it again on the same data.
func (s *Suite) KillAndRestart(tb testing.TB) {
	tb.Helper()
	s.Kill(tb)
	s.start(tb)
}

// Restart starts the suite again on the same data, after Kill or Stop.
func (s *Suite) Restart(tb testing.TB) {
	tb.Helper()
	s.start(tb)
}

// Dir returns a directory that engines under another uid can pass through.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "tollgate-integration-")
	require.NoError(tb, err)
	require.NoError(tb, os.Chmod(dir, 0o711))
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Up starts a suite on a data directory and waits until it is ready.
func Up(tb testing.TB, data string, args ...string) *Suite {
	tb.Helper()
	s := &Suite{Data: data, args: append([]string{"up", "--data", data, "--listen", FreeAddress(tb), "--admin", FreeAddress(tb)}, args...)}
	s.start(tb)
	return s
}

func (s *Suite) start(tb testing.TB) {
	tb.Helper()
	_ = os.Remove(filepath.Join(s.Data, "ready.json")) // of one that was killed
	s.Process = Start(tb, nil, Binary(tb, "tollgate"), s.args...)
	testkit.Await(tb, 90*time.Second, func() error {
		select {
		case <-s.done:
			tb.Fatalf("the suite ended: %v\n%s", s.err, s.Output())
		default:
		}
		raw, err := os.ReadFile(filepath.Join(s.Data, "ready.json"))
		if err != nil {
			return fmt.Errorf("%w\n%s", err, s.Output())
		}
		return json.Unmarshal(raw, &s.Ready)
	})
}

// FreeAddress returns a loopback address that nothing listens on.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer l.Close()
	return l.Addr().String()
}

// Token returns the first administrator's token.
func (s *Suite) Token(tb testing.TB) string {
	tb.Helper()
	secret, err := os.ReadFile(filepath.Join(s.Data, "admin-token"))
	require.NoError(tb, err)
	return strings.TrimSpace(string(secret))
}

// CLI runs the tollgate command line against an admin listener and returns its exit code and output.
func CLI(tb testing.TB, admin, token string, args ...string) (code int, stdout, stderr string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), Binary(tb, "tollgate"), args...)
	cmd.Env = append(os.Environ(), "TOLLGATE_SERVER="+admin, "TOLLGATE_TOKEN="+token)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !asExit(err, &exit) {
		require.NoError(tb, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

func asExit(err error, target **exec.ExitError) bool {
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // exec returns it unwrapped
	*target = exit
	return ok
}
