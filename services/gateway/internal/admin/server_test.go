package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, c Config) *Server {
	t.Helper()
	c.Registry, c.Log = prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	c.Ready, c.Status = func() error { return nil }, func() *gatewayv1.GatewayStatus { return nil }
	s, err := Listen("127.0.0.1:0", c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s
}

// TestASenderThatDoesNotGoOnIsCutOff sends a head and the beginning of a body, on the only connection there may be.
func TestASenderThatDoesNotGoOnIsCutOff(t *testing.T) {
	t.Parallel()
	read := make(chan error, 1)
	s := start(t, Config{ReadTimeout: 200 * time.Millisecond, Connections: 1, Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		read <- err
	})})
	slow, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer slow.Close()
	_, err = io.WriteString(slow, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	// The next one waits until the first is cut off.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + s.Addr() + "/healthz")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 200, response.StatusCode)
	var late net.Error
	require.ErrorAs(t, <-read, &late)
	require.True(t, late.Timeout())
}
