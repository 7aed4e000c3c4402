package upstream

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAddressesThatAreNobodysUpstream(t *testing.T) {
	t.Parallel()
	const own = ":8081"
	for _, c := range []struct {
		address       string
		strict, loose string // what is wrong, without and with loopback addresses
	}{
		{"203.0.113.7:80", "", ""},
		{"10.1.2.3:8081", "", ""},
		{"[2001:db8::1]:8081", "", ""},
		{"[fd12::1]:80", "", ""},
		{"127.0.0.1:80", "loopback", ""},
		{"127.9.9.9:80", "loopback", ""},
		{"[::1]:80", "loopback", ""},
		{"0.0.0.0:80", "loopback", ""},
		{"[::]:80", "loopback", ""},
		{"[::ffff:127.0.0.1]:80", "loopback", ""},
		{"[64:ff9b::7f00:1]:80", "loopback", ""},
		{"[2002:7f00:1::]:80", "loopback", ""},
		{"169.254.169.254:80", "link-local", "link-local"},
		{"[fe80::1%lo]:80", "link-local", "link-local"},
		{"[::ffff:169.254.169.254]:80", "link-local", "link-local"},
		{"[64:ff9b::a9fe:a9fe]:80", "link-local", "link-local"},
		{"[fd00:ec2::254]:80", "credentials", "credentials"},
		{"100.100.100.200:80", "credentials", "credentials"},
		{"224.0.0.1:80", "multicast", "multicast"},
		{"[ff02::1]:80", "multicast", "multicast"},
		{"255.255.255.255:80", "multicast", "multicast"},
		{"127.0.0.1" + own, "loopback", "own listener"},
		{"[::1]" + own, "loopback", "own listener"},
		{"0.0.0.0" + own, "loopback", "own listener"},
		{"[::ffff:127.0.0.1]" + own, "loopback", "own listener"},
	} {
		for allow, want := range map[bool]string{false: c.strict, true: c.loose} {
			g := Guard{AllowLoopback: allow, Own: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0" + own)} }}
			err := g.control("tcp", c.address, nil)
			if want == "" {
				require.NoError(t, err, c.address)
			} else {
				require.ErrorContains(t, err, want, "%s with loopback allowed: %v", c.address, allow)
			}
		}
	}
}

// TestOwnListenersByAnyAddress finds the listener by the machine's addresses only where it listens on all of them.
func TestOwnListenersByAnyAddress(t *testing.T) {
	t.Parallel()
	list, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, each := range list {
		ip, ok := netip.AddrFromSlice(each.(*net.IPNet).IP)
		require.True(t, ok)
		if ip = ip.Unmap(); ip.IsLinkLocalUnicast() {
			continue
		}
		everywhere := Guard{AllowLoopback: true, Own: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("[::]:8081")} }}
		require.ErrorContains(t, everywhere.control("tcp", netip.AddrPortFrom(ip, 8081).String(), nil), "own listener")
		require.NoError(t, everywhere.control("tcp", netip.AddrPortFrom(ip, 8082).String(), nil))
		elsewhere := Guard{AllowLoopback: true, Own: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.77:8081")} }}
		require.NoError(t, elsewhere.control("tcp", netip.AddrPortFrom(ip, 8081).String(), nil))
	}
}

func TestTargetsThatAreRefusedBeforeTheyAreCalled(t *testing.T) {
	t.Parallel()
	strict, loose := NewPools(Config{}), NewPools(Config{Guard: Guard{AllowLoopback: true}})
	for _, url := range []string{"http://127.0.0.1:8089", "https://[::1]/base", "http://localhost:80", "http://api.LOCALHOST"} {
		_, err := strict.Target(url)
		require.ErrorContains(t, err, "upstream-allow-loopback", url)
		_, err = loose.Target(url)
		require.NoError(t, err, url)
	}
	for _, p := range []*Pools{strict, loose} {
		_, err := p.Target("http://169.254.169.254/latest/meta-data")
		require.ErrorContains(t, err, "link-local")
		_, err = p.Target("http://10.1.2.3:8080")
		require.NoError(t, err)
	}
}

func TestANameIsLookedAtWhenItIsResolved(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	// No name of its own is needed to have one that leads to a loopback address.
	target, err := newTarget(strings.Replace(server.URL, "127.0.0.1", "example.com", 1), Config{}.withDefaults())
	require.NoError(t, err)
	target.address = strings.TrimPrefix(server.URL, "http://")
	_, err = target.get(time.Now().Add(time.Minute))
	var failed *Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, Connect, failed.Kind)
	require.ErrorIs(t, err, ErrRefused)
	require.ErrorContains(t, err, "upstream-allow-loopback")
}
