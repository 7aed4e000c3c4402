package admin

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/services/gateway/internal/forwarded"
)

// What limits and keeps addresses sees the client's, not that of the load balancer that all clients come through.
func TestClientBehindATrustedProxy(t *testing.T) {
	t.Parallel()
	says := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = err.Error()
		}
		_, _ = io.WriteString(w, host)
	})
	seen := func(proxies forwarded.Proxies, values ...string) string {
		s := start(t, Config{Next: says, TrustedProxies: proxies})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/identity/v1/members", nil)
		require.NoError(t, err)
		r.Header["X-Forwarded-For"] = values
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(r)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	loopback := forwarded.Proxies{netip.MustParsePrefix("127.0.0.0/8")}
	require.Equal(t, "192.0.2.7", seen(loopback, "6.6.6.6, 192.0.2.7"))
	require.Equal(t, "192.0.2.7", seen(loopback, "6.6.6.6", "192.0.2.7"))
	require.Equal(t, "2001:db8::7", seen(loopback, "2001:db8::7"))
	require.Equal(t, "127.0.0.1", seen(loopback))
	require.Equal(t, "127.0.0.1", seen(nil, "192.0.2.7"), "who is not listed is not believed")
}
