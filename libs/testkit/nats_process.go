package testkit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// natsRunner is a running NATS server, in this process or in one of its own.
type natsRunner interface {
	// shutdown stops it in order and waits for its end.
	shutdown() error
	// kill ends it as SIGKILL does.
	kill() error
}

// natsInside is a server in this process.
type natsInside struct{ server *server.Server }

func startNATSInside(options server.Options) (natsRunner, int, error) {
	running, err := server.NewServer(&options)
	if err != nil {
		return nil, 0, err
	}
	started := natsInside{running}
	running.Start()
	if !running.ReadyForConnections(natsTimeout) {
		return nil, 0, errors.Join(fmt.Errorf("the server is not ready after %v (port %d)", natsTimeout, options.Port), started.shutdown())
	}
	if !running.JetStreamEnabled() {
		return nil, 0, errors.Join(errors.New("the server runs without JetStream"), started.shutdown())
	}
	return started, options.Port, nil
}

func (n natsInside) shutdown() error {
	n.server.Shutdown()
	n.server.WaitForShutdown()
	return nil
}

func (n natsInside) kill() error {
	return errors.New("a server inside the test cannot be killed: start it with testkit.NATS(t, testkit.OwnProcess())")
}

// natsOutside is a server in a process of its own. The process ends when its input does, so it does not outlive the test binary.
type natsOutside struct {
	command *exec.Cmd
	stdin   io.Closer
	stderr  *bytes.Buffer
}

func startNATSOutside(ctx context.Context, options server.Options) (_ natsRunner, port int, err error) {
	program := filepath.Join(filepath.Dir(options.StoreDir), "nats-server")
	if err := buildProgram(ctx, "github.com/tollgate/tollgate/libs/testkit/cmd/nats-server", program); err != nil {
		return nil, 0, err
	}
	n := natsOutside{stderr: &bytes.Buffer{}}
	n.command = exec.Command(program, "-port", strconv.Itoa(options.Port), "-store", options.StoreDir, "-sync="+strconv.FormatBool(options.SyncAlways))
	n.command.Stderr = n.stderr
	if n.stdin, err = n.command.StdinPipe(); err != nil {
		return nil, 0, err
	}
	stdout, err := n.command.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	if err := n.command.Start(); err != nil {
		return nil, 0, err
	}
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	if port, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("the server told no port: %w", readErr), n.kill(), errors.New(n.stderr.String()))
	}
	return n, port, nil
}

func (n natsOutside) shutdown() error {
	if err := errors.Join(n.stdin.Close(), n.command.Wait()); err != nil {
		return fmt.Errorf("stop NATS: %w: %s", err, n.stderr)
	}
	return nil
}

func (n natsOutside) kill() error {
	if err := n.command.Process.Kill(); err != nil {
		return fmt.Errorf("kill NATS: %w", err)
	}
	_ = n.command.Wait() // "signal: killed"
	return nil
}
