package gateway

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"

	"time"
)

// TestNobodysUpstream publishes versions whose upstreams would lead callers to what only the gateway can reach.
func TestNobodysUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	await := func(url, code string) {
		t.Helper()
		d := w.api()
		d.Upstream.Targets = []*catalogv1.Target{{Url: url}}
		w.publish(d)
		testkit.Await(t, time.Minute, func() bool {
			got := g.get("/weather/v1/current/rome")
			return got.status == 502 && got.problem(t).Code == code
		})
	}
	_, port, err := net.SplitHostPort(g.AdminAddr())
	require.NoError(t, err)
	for _, url := range []string{
		"http://" + g.AdminAddr() + "/metrics", "http://0.0.0.0:" + port, g.url, // its own listeners, even where loopback is allowed
	} {
		await(url, "upstream-refused")
	}
	// What is refused by its address alone is not published: the version before stays, and the status says why.
	d := w.api()
	d.Upstream.Targets = []*catalogv1.Target{{Url: "http://169.254.169.254/latest"}}
	w.publish(d)
	testkit.Await(t, time.Minute, func() bool {
		return strings.Contains(g.status().GetRejected()["gw_apis/weather-v1"], "link-local")
	})

	c := w.config(t.TempDir())
	c.Name, c.UpstreamAllowLoopback = "gw2", false
	w.publish(w.api())
	strict := w.start(c)
	testkit.Await(t, time.Minute, func() bool {
		return strings.Contains(strict.status().GetRejected()["gw_apis/weather-v1"], "upstream-allow-loopback")
	})
	require.Equal(t, 404, strict.get("/weather/v1/current/rome").status)
}
