package gateway

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
)

// TestAClusterLosesANode keeps three copies of the stream of calls and takes the server that leads it away under load: every call
// that was answered is in the stream, once.
func TestAClusterLosesANode(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartNATSCluster(t, 3)
	w := newWorldOn(t, cluster.URL(), 3)
	w.standard()
	c := w.config(t.TempDir())
	c.NATSReplicas = 3
	g := w.start(c)
	g.await("/weather/v1/current/rome", 200)
	var mu sync.Mutex
	answered := map[string]bool{}
	call := func(n int) {
		for range n {
			got := g.get("/weather/v1/current/rome")
			mu.Lock()
			answered[got.headers.Get("Tollgate-Call-Id")] = got.status == 200
			mu.Unlock()
		}
	}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() { call(200) })
	}
	leader := cluster.Leader(bus.CallsStream)
	leader.Shutdown()
	clients.Wait()
	call(100) // with two of three
	testkit.Await(t, time.Minute, func() error {
		if left := g.shipper.Unshipped(); left > 0 {
			return fmt.Errorf("%d records are not shipped", left)
		}
		return nil
	})
	leader.Start()
	cluster.AwaitLeader()
	require.Len(t, answered, 900)
	records := w.records()
	for id, ok := range answered {
		require.True(t, ok, "the gateway depends on no server: %s", id)
		require.Contains(t, records, id)
	}
}
