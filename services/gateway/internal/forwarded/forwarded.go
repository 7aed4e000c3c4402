// Package forwarded finds the client's address behind listed proxies, which tell it in X-Forwarded-For. What anybody else says there is
// not believed. It keeps nothing. Only the gateway's listeners import it: internal/proxy and internal/admin.
package forwarded

import (
	"net/netip"
	"strings"
)

// Proxies are the networks of those that are believed.
type Proxies []netip.Prefix

// Include says whether an address is one of a listed proxy.
func (p Proxies) Include(addr netip.Addr) bool {
	addr = addr.Unmap()
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Client returns the address of the client of a request that came from a peer with these values of X-Forwarded-For, each a list: the
// last address that is not a listed proxy's. What comes before one that cannot be read is not looked at.
func (p Proxies) Client(peer netip.Addr, values ...string) netip.Addr {
	client := peer.Unmap()
	if !p.Include(client) {
		return client
	}
	chain := strings.Split(strings.Join(values, ","), ",")
	for i := len(chain) - 1; i >= 0; i-- {
		addr, err := netip.ParseAddr(strings.TrimSpace(chain[i]))
		if err != nil {
			return client
		}
		client = addr.Unmap().WithZone("")
		if !p.Include(client) {
			return client
		}
	}
	return client
}
