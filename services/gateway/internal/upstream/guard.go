package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/tollgate/tollgate/libs/egress"
)

// Guard says at which addresses nobody's upstream is: whoever may publish a version must not have the gateway call what only the
// gateway can reach. The zero Guard refuses loopback addresses too.
type Guard struct {
	// AllowLoopback lets upstreams be on the gateway's own machine.
	AllowLoopback bool
	// Own returns the addresses that this gateway listens on, which are refused in any case; none when nil.
	Own func() []netip.AddrPort
}

// credentialServices are addresses at which clouds give a machine its credentials, other than the link-local one.
var credentialServices = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200")}

// ErrRefused is what an address is answered with that the guard refuses.
var ErrRefused = errors.New("this is nobody's upstream")

var (
	errLoopback  = errors.New("it is a loopback address; allow those with upstream-allow-loopback")
	errLinkLocal = errors.New("it is a link-local address, where clouds give a machine its credentials")
	errMetadata  = errors.New("a cloud gives a machine its credentials there")
	errMulticast = errors.New("it is a multicast or broadcast address")
	errOwn       = errors.New("it is this gateway's own listener")
)

// control looks at the address that is really connected to, after the name was resolved: see net.Dialer.
func (g Guard) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address: %w", address, err)
	}
	err = g.check(to.Addr())
	if err == nil && g.own(to) {
		err = errOwn
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", address, ErrRefused, err)
	}
	return nil
}

// name refuses a host that is an address, or a name of this machine, that would be refused later anyway.
func (g Guard) name(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.check(ip)
	}
	if name := strings.TrimSuffix(strings.ToLower(host), "."); !g.AllowLoopback && (name == "localhost" || strings.HasSuffix(name, ".localhost")) {
		return errLoopback // RFC 6761, section 6.3
	}
	return nil
}

func (g Guard) check(ip netip.Addr) error {
	switch ip = egress.Destination(ip); {
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return errMulticast
	case ip.IsLinkLocalUnicast():
		return errLinkLocal
	case slices.Contains(credentialServices, ip):
		return errMetadata
	case (ip.IsLoopback() || ip.IsUnspecified()) && !g.AllowLoopback:
		return errLoopback
	}
	return nil
}

// own says whether this gateway listens there.
func (g Guard) own(to netip.AddrPort) bool {
	if g.Own == nil {
		return false
	}
	ip := egress.Destination(to.Addr())
	for _, listener := range g.Own() {
		if listener.Port() != to.Port() {
			continue
		}
		if at := egress.Destination(listener.Addr()); at == ip || ip.IsUnspecified() || at.IsUnspecified() && ofThisMachine(ip) {
			return true
		}
	}
	return false
}

func ofThisMachine(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	list, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(list, func(each net.Addr) bool {
		network, ok := each.(*net.IPNet)
		return ok && network.IP.Equal(ip.AsSlice())
	})
}
