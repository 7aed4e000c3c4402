package testkit

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsTimeout bounds the start of a NATS server.
const natsTimeout = 10 * time.Second

// NATSServer is a NATS server with JetStream of one test. It listens on loopback, keeps its port and its store over restarts, and is
// removed at the test's end. It is safe for concurrent use; what fails the test is for the test's own goroutine.
type NATSServer struct {
	tb      testing.TB
	options natsOptions

	mu      sync.Mutex
	running natsRunner // nil while it is down
}

type natsOptions struct {
	server     server.Options
	ownProcess bool
}

// NATSOption changes a NATS server before it starts.
type NATSOption func(*natsOptions)

// SyncAlways makes JetStream sync each write to the disk before it acknowledges, as it does in production: for benchmarks.
func SyncAlways() NATSOption {
	return func(o *natsOptions) { o.server.SyncAlways = true }
}

// MaxPayload sets the largest message, in bytes, for a server in the test's process; without it, it is NATS's own default of 1 MiB.
func MaxPayload(bytes int32) NATSOption {
	return func(o *natsOptions) { o.server.MaxPayload = bytes }
}

// OwnProcess runs the server in a process of its own, so that it can be killed. Without it, it runs in the test's process.
func OwnProcess() NATSOption {
	return func(o *natsOptions) { o.ownProcess = true }
}

// NATS starts a NATS server with JetStream on a store of its own.
func NATS(tb testing.TB, options ...NATSOption) *NATSServer {
	tb.Helper()
	s := &NATSServer{tb: tb, options: natsOptions{server: server.Options{
		ServerName: "testkit",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		NoLog:      true,
		NoSigs:     true,
		JetStream:  true,
		StoreDir:   filepath.Join(tb.TempDir(), "jetstream"),
	}}}
	for _, option := range options {
		option(&s.options)
	}
	tb.Cleanup(s.Shutdown)
	s.Start()
	return s
}

// Start starts the server again after Shutdown or Kill, on the same port and store. A running one is left alone.
func (s *NATSServer) Start() {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return
	}
	var err error
	if s.options.ownProcess {
		s.running, s.options.server.Port, err = startNATSOutside(s.tb.Context(), s.options.server)
	} else {
		s.running, s.options.server.Port, err = startNATSInside(s.options.server)
	}
	if err != nil {
		s.tb.Fatalf("testkit: a test needs NATS: %v", err)
	}
}

// Shutdown stops the server in order and keeps its store. A stopped one is left alone.
func (s *NATSServer) Shutdown() {
	s.tb.Helper()
	s.end(natsRunner.shutdown)
}

// Kill ends the server as kill -9 does and keeps its store as it is. It is for servers with OwnProcess. A stopped one is left alone.
func (s *NATSServer) Kill() {
	s.tb.Helper()
	s.end(natsRunner.kill)
}

func (s *NATSServer) end(how func(natsRunner) error) {
	s.tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	if err := how(s.running); err != nil {
		s.tb.Fatalf("testkit: %v", err)
	}
	s.running = nil
}

// Restart stops the server and starts it again on the same port and store.
func (s *NATSServer) Restart() {
	s.tb.Helper()
	s.Shutdown()
	s.Start()
}

// URL is the address clients connect to. It stays the same over restarts.
func (s *NATSServer) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("nats://127.0.0.1:%d", s.options.server.Port)
}

// StoreDir is the folder of JetStream's store.
func (s *NATSServer) StoreDir() string { return s.options.server.StoreDir }

// Connect returns a connection that is closed at the test's end and that reconnects for as long as the test runs.
func (s *NATSServer) Connect(options ...nats.Option) *nats.Conn {
	s.tb.Helper()
	options = append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond)}, options...)
	connection, err := nats.Connect(s.URL(), options...)
	if err != nil {
		s.tb.Fatalf("testkit: connect to NATS: %v", err)
	}
	s.tb.Cleanup(connection.Close)
	return connection
}

// JetStream returns a JetStream context on a connection of Connect.
func (s *NATSServer) JetStream(options ...nats.Option) jetstream.JetStream {
	s.tb.Helper()
	stream, err := jetstream.New(s.Connect(options...))
	if err != nil {
		s.tb.Fatalf("testkit: use JetStream: %v", err)
	}
	return stream
}
