package integration_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/testkit"
)

// aloneFor is how long everything but the gateways is down; TOLLGATE_ALONE sets another time, as in 5m.
const aloneFor = 10 * time.Second

// TestGatewaysAlone: every service but the gateways is killed, and all engines with NATS. Calls go on and their records wait in the
// journals; when the rest is back the journals are shipped to the last record and the counters agree.
func TestGatewaysAlone(t *testing.T) {
	t.Parallel()
	length := aloneFor
	if text := os.Getenv("TOLLGATE_ALONE"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	d := harness.StartDistributed(t, 2)
	// Units of a quota are leased from metering; without one a gateway needs nobody.
	api, key := publish(t, d, strings.Replace(distributedResources, "  limits: [{quota: 100000000, meter: calls, per: month, mode: hard}]\n", "", 1))
	seen := &answeredCalls{ids: map[string]bool{}}
	stop := loadAll(t, d, key, seen)
	for _, service := range harness.Services[:6] {
		for _, r := range d.Replicas[service] {
			r.Kill(t)
		}
	}
	d.Engines.Kill(t)
	before := seen.count()
	for over := time.Now().Add(length); time.Now().Before(over); {
		wait(t, 900, 1100)
		now := seen.count()
		require.Greater(t, now, before, "calls go on")
		before = now
	}
	waiting := unshipped(t, d)
	require.Greater(t, waiting, 100, "records wait in the journals")
	d.Engines.Restart(t)
	for _, service := range harness.Services[:6] {
		for _, r := range d.Replicas[service] {
			r.Start(t)
		}
	}
	d.AwaitReady(t)
	stop()
	testkit.Await(t, 3*time.Minute, func() error {
		if n := unshipped(t, d); n > 0 {
			return fmt.Errorf("%d records are still in the journals", n)
		}
		return nil
	})
	t.Logf("%d calls were answered, %d of their records waited when the rest came back after %v", seen.count(), waiting, length)
	checkSettled(t, d, api, seen)
}

// unshipped returns how many records the gateways' journals hold that the stream has not acknowledged.
func unshipped(t *testing.T, d *harness.Distributed) int {
	t.Helper()
	sum := 0
	for _, g := range d.Replicas["gateway"] {
		response, err := http.Get("http://" + g.Admin + "/metrics")
		require.NoError(t, err)
		lines := bufio.NewScanner(response.Body)
		found := false
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "tollgate_gateway_unshipped_records "); ok {
				n, err := strconv.ParseFloat(text, 64)
				require.NoError(t, err)
				sum, found = sum+int(n), true
			}
		}
		require.NoError(t, lines.Err())
		require.NoError(t, response.Body.Close())
		require.True(t, found)
	}
	return sum
}
