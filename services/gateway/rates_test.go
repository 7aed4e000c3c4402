package gateway

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// TestGatewaysShareARateLimit sends more than is allowed to three gateways and compares what passes with the stated bound.
func TestGatewaysShareARateLimit(t *testing.T) {
	t.Parallel()
	const rate, burst, gateways, requests = 200, 50, 3, 500
	w := newWorld(t)
	w.limited([]*catalogv1.Limit{{Rate: rate, Per: "second", Burst: burst}}, false)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) })
	var running []*running
	for _, name := range []string{"gw1", "gw2", "gw3"} {
		c := w.config(t.TempDir())
		c.Name, c.Listen = name, "127.0.0.1:0"
		running = append(running, w.start(c))
	}
	for _, g := range running {
		testkit.Await(t, time.Minute, func() bool { return g.store.Snapshot().Revision > 0 && len(g.store.Entitlements("app1")) > 0 })
	}
	var passed atomic.Int64
	var clients sync.WaitGroup
	begun := time.Now()
	for _, g := range running {
		for range 4 {
			clients.Go(func() {
				for range requests {
					if g.get("/weather/v1/current/rome").status == 204 {
						passed.Add(1)
					}
				}
			})
		}
	}
	clients.Wait()
	took := time.Since(begun)
	// What a gateway is told late is bounded by how late: on a busy machine by the whole time.
	alone := int64(gateways * (burst + rate*took.Seconds()))
	shared := int64(gateways*burst + rate*(took.Seconds()+(gateways-1)*0.2))
	t.Logf("%d passed in %v; one gateway alone lets %.0f pass, three that do not share %d, the bound is %d", passed.Load(), took,
		burst+rate*took.Seconds(), alone, shared)
	require.LessOrEqual(t, passed.Load(), (alone+shared)/2)
	require.GreaterOrEqual(t, passed.Load(), int64(burst), "sharing takes nothing away")
}
