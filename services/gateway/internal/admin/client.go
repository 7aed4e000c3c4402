package admin

import (
	"net"
	"net/http"
	"net/netip"

	"github.com/tollgate/tollgate/services/gateway/internal/forwarded"
)

// behind has next see the client's address, where a listed proxy tells it.
func behind(proxies forwarded.Proxies, next http.Handler) http.Handler {
	if len(proxies) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && proxies.Include(peer.Addr()) {
			r = r.WithContext(r.Context()) // a handler must not change the one it was given
			r.RemoteAddr = net.JoinHostPort(proxies.Client(peer.Addr(), r.Header.Values("X-Forwarded-For")...).String(), "0")
		}
		next.ServeHTTP(w, r)
	})
}
