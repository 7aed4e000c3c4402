package harness

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

// Gateway is a gateway process of its own.
type Gateway struct {
	*Process
	// Address is the URL for clients, Admin that of the management API.
	Address, Admin string
	args           []string
}

// StartGateway starts a gateway on the engines of a suite and waits until it serves. journal is its data directory.
func StartGateway(tb testing.TB, r Ready, name, journal string) *Gateway {
	tb.Helper()
	listen, admin := FreeAddress(tb), FreeAddress(tb)
	g := &Gateway{Address: "http://" + listen, Admin: "http://" + admin, args: []string{
		"--name", name, "--listen", listen, "--admin-listen", admin, "--data-dir", journal, "--nats-url", r.NATS,
		"--upstream-allow-loopback",
	}}
	g.start(tb)
	return g
}

func (g *Gateway) start(tb testing.TB) {
	tb.Helper()
	g.Process = Start(tb, nil, Binary(tb, "gateway"), g.args...)
	testkit.Await(tb, 30*time.Second, func() error {
		select {
		case <-g.done:
			tb.Fatalf("the gateway ended: %v\n%s", g.err, g.Output())
		default:
		}
		response, err := http.Get(g.Admin + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %s", response.Status)
		}
		return nil
	})
}

// Restart starts the gateway again, after Kill or Stop, with the same name, addresses and journal.
func (g *Gateway) Restart(tb testing.TB) *Gateway {
	tb.Helper()
	again := &Gateway{Address: g.Address, Admin: g.Admin, args: g.args}
	again.start(tb)
	return again
}

// SampleKey returns the API key that the suite made for the sample's application.
func SampleKey(tb testing.TB, s *Suite) string {
	tb.Helper()
	key, err := os.ReadFile(s.SampleKeyFile)
	require.NoError(tb, err)
	return strings.TrimSpace(string(key))
}
