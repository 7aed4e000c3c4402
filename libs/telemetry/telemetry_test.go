package telemetry_test

import (
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/telemetry"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	starting := errors.New("the service is starting")
	for name, test := range map[string]struct {
		ready error
		wrong string
	}{
		"ready":     {},
		"not ready": {ready: starting, wrong: "503 Service Unavailable: not ready: the service is starting"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(telemetry.Handler(telemetry.Registry(), func() error { return test.ready }))
			defer server.Close()
			address := strings.TrimPrefix(server.URL, "http://")
			_, port, err := net.SplitHostPort(address)
			require.NoError(t, err)
			for _, listen := range []string{address, "0.0.0.0:" + port, ":" + port} {
				err := telemetry.Probe(t.Context(), listen)
				if test.wrong == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, test.wrong)
				}
			}
		})
	}
}

func TestProbeNobodyThere(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	require.ErrorContains(t, telemetry.Probe(t.Context(), address), "refused")
	require.ErrorContains(t, telemetry.Probe(t.Context(), ""), "is not host:port")
}
