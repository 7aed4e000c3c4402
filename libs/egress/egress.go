// Package egress keeps calls to addresses that a user chose out of the network that a service runs in.
//
// Whoever may set a URL for a service to call could otherwise have it call the service's own network (server-side request forgery).
// A dialer with Control looks at the address that is really connected to, after the name was resolved, for each connection:
// no name and no redirect leads around it. Used by libs/notify, catalog and identity; it may be imported by anything that calls a
// URL it was given.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// ErrNotPublic says that an address is not one of the public internet. It does not name it: the error may be shown to whoever chose
// the URL, who could otherwise ask for the addresses of names that only the service's network knows.
var ErrNotPublic = errors.New("the address is not a public one")

// Control is net.Dialer's: it refuses to connect to addresses that are not Public, with ErrNotPublic.
func Control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address to connect to cannot be read: %w", err)
	}
	if !Public(at.Addr()) {
		return ErrNotPublic
	}
	return nil
}

var (
	// specialIPv4 are the blocks of IANA's special-purpose registry (RFC 6890) that are not globally reachable, multicast and what is
	// reserved.
	specialIPv4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")
	// global are the addresses of IPv6 that are given out (RFC 4291, section 2.4), of which specialIPv6 are not, or, as those of
	// Teredo (RFC 4380), hide an address of IPv4.
	global      = netip.MustParsePrefix("2000::/3")
	specialIPv6 = prefixes("2001::/23", "2001:db8::/32", "3fff::/20")
	// Addresses that lead to one of IPv4, which they hold from a byte on.
	embedding = []struct {
		prefix netip.Prefix
		at     int
	}{
		{netip.MustParsePrefix("64:ff9b::/96"), 12}, // NAT64 (RFC 6052)
		{netip.MustParsePrefix("2002::/16"), 2},     // 6to4 (RFC 3056)
	}
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// Public says whether an address is a unicast one of the public internet. An address of IPv6 that leads to one of IPv4 is as public as
// that one.
func Public(ip netip.Addr) bool {
	ip = Destination(ip)
	if ip.Is4() {
		return !within(specialIPv4, ip)
	}
	return global.Contains(ip) && !within(specialIPv6, ip)
}

// Destination is the address that a connection to an address ends at, as far as that one tells: without a zone, and of IPv4 where an
// address of IPv6 leads to one.
func Destination(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	for _, e := range embedding {
		if e.prefix.Contains(ip) {
			bytes := ip.As16()
			return netip.AddrFrom4([4]byte(bytes[e.at : e.at+4]))
		}
	}
	return ip
}

func within(all []netip.Prefix, ip netip.Addr) bool {
	for _, p := range all {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
