package integration_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
)

// TestAnEmptiedBucketRemovesNothing: all keys of the gateways' buckets are purged; the gateway serves on, and the services
// fill the buckets again.
func TestAnEmptiedBucketRemovesNothing(t *testing.T) {
	t.Parallel()
	s := harness.Up(t, harness.Dir(t), "--sample")
	key := harness.SampleKey(t, s)
	awaitStatus(t, s.Gateway, key, 200)
	conn, err := nats.Connect(s.NATS)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	for _, bucket := range []string{bus.APIsBucket, bus.EntitlementsBucket, bus.CredentialsBucket} {
		kv, err := js.KeyValue(t.Context(), bucket)
		require.NoError(t, err)
		keys, err := kv.Keys(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, keys)
		for _, k := range keys {
			require.NoError(t, kv.Purge(t.Context(), k))
		}
	}
	for range 50 {
		status, _, err := call(s.Gateway, request{method: "GET", path: "/weather/v1/current/Berlin", key: key})
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	testkit.Await(t, 30*time.Second, func() error {
		kv, err := js.KeyValue(t.Context(), bus.APIsBucket)
		if err != nil {
			return err
		}
		keys, err := kv.Keys(t.Context())
		if err == nil && len(keys) == 0 {
			err = fmt.Errorf("the bucket is still empty")
		}
		return err
	})
}

// TestGatewayStartsWithNATSDown: a gateway whose NATS, and everything else, is gone starts from its last good configuration
// and serves; what it answered meanwhile lands once the rest is back.
func TestGatewayStartsWithNATSDown(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"city":"Berlin","celsius":7,"at":"2026-11-24T08:00:00Z"}`))
	}))
	defer upstream.Close()
	data := harness.Dir(t)
	s := harness.Up(t, data, "--sample")
	sample, err := os.ReadFile(filepath.Join(data, "sample", "weather", "api.yaml"))
	require.NoError(t, err)
	moved := filepath.Join(data, "sample", "weather", "moved.yaml")
	require.NoError(t, os.WriteFile(moved, bytes.ReplaceAll(sample, []byte("${WEATHER_UPSTREAM:-http://127.0.0.1:8089}"), []byte(upstream.URL)), 0o600))
	code, stdout, stderr := harness.CLI(t, s.Admin, s.Token(t), "apply", "-f", moved)
	require.Equal(t, 0, code, stdout+stderr)
	require.NoError(t, os.Remove(moved))

	key := harness.SampleKey(t, s)
	g := harness.StartGateway(t, s.Ready, "lonely", harness.Dir(t))
	awaitStatus(t, g.Address, key, 200)
	g.Stop(t)
	s.Stop(t)
	g = g.Restart(t)
	seen := &answeredCalls{ids: map[string]bool{}}
	for range 100 {
		status, id, err := call(g.Address, request{method: "GET", path: "/weather/v1/current/Berlin", key: key})
		require.NoError(t, err)
		require.Equal(t, 200, status)
		seen.add(id)
	}
	s = harness.Up(t, data, "--sample")
	checkEachOnce(t, harness.NewAPI(t, s.Admin, s.Token(t)), "globex-weather", seen)
}
