// Package admin owns the gateway's admin listener: health, metrics, the gateway's own status, and below /<service>/ the management
// API of the services.
//
// It is for operators and tools: loopback by default, and never the clients' listener. Only the gateway's root package imports it.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tollgate/tollgate/libs/telemetry"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/gateway/internal/forwarded"
)

// Config of the listener.
type Config struct {
	Registry *prometheus.Registry
	// Ready says why the gateway is not ready, or nil.
	Ready func() error
	// Status is shown at /gateway/v1/status.
	Status func() *gatewayv1.GatewayStatus
	// Next serves every other path.
	Next http.Handler
	Log  *slog.Logger
	// TrustedProxies may tell Next the client's address in X-Forwarded-For: it becomes the request's RemoteAddr, with port 0.
	TrustedProxies forwarded.Proxies
	// ReadTimeout is for a whole request, a minute when zero; Connections are those at once, 512 when zero: more wait.
	ReadTimeout time.Duration
	Connections int
}

// writeTimeout is for a whole answer, with the minute that a service has for it.
const writeTimeout = 3 * time.Minute

// Server is the listener, bound.
type Server struct {
	listener net.Listener
	server   *http.Server
}

// Listen binds the address.
func Listen(address string, c Config) (*Server, error) {
	if c.ReadTimeout == 0 {
		c.ReadTimeout = time.Minute
	}
	if c.Connections == 0 {
		c.Connections = 512
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for administration: %w", err)
	}
	mux := http.NewServeMux()
	health := telemetry.Handler(c.Registry, c.Ready)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, health)
	}
	mux.HandleFunc("GET /gateway/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		body, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(c.Status())
		if err != nil {
			c.Log.Error("the status cannot be shown", "error", err)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n'))
	})
	mux.Handle("/", behind(c.TrustedProxies, c.Next))
	return &Server{listener: netutil.LimitListener(listener, c.Connections), server: &http.Server{
		Handler: mux, ReadHeaderTimeout: min(5*time.Second, c.ReadTimeout), ReadTimeout: c.ReadTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: min(time.Minute, c.ReadTimeout), MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}}, nil
}

// Addr is the address that is listened on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve administration: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := s.server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.server.Close() // a long request of the management API
	}
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// Close closes the listener of a server that was not run.
func (s *Server) Close() error {
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
