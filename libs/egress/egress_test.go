package egress_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/egress"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "100.63.255.255": true, "100.128.0.0": true, "172.32.0.1": true, "198.17.255.255": true, "198.20.0.0": true, "223.255.255.255": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "100.64.0.1": false, "127.0.0.1": false, "127.255.0.1": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.0.0.8": false, "192.0.2.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"2606:4700::1111": true, "2001:4860:4860::8888": true, "::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false,
		"fec0::1": false, "ff02::1": false, "2001:db8::1": false, "3fff::1": false, "100::1": false,
		"::ffff:1.1.1.1": true, "::ffff:127.0.0.1": false, "::127.0.0.1": false, "::7f00:1": false,
		"64:ff9b::101:101": true, "64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b::a00:1": false, "64:ff9b:1::101:101": false,
		"2002:101:101::1": true, "2002:7f00:1::": false, "2002:a00:1::1": false, "2002:c0a8:1::1": false, "2001:0:4136:e378:8000:63bf:3fff:fdd2": false,
	} {
		require.Equal(t, want, egress.Public(netip.MustParseAddr(address)), address)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	require.NoError(t, egress.Control("tcp4", "1.1.1.1:443", nil))
	require.NoError(t, egress.Control("tcp6", "[2606:4700::1111]:443", nil))
	require.ErrorIs(t, egress.Control("tcp6", "[::ffff:10.0.0.1]:443", nil), egress.ErrNotPublic)
	require.ErrorContains(t, egress.Control("tcp", "nothing", nil), "cannot be read")

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	dialer := &net.Dialer{Control: egress.Control}
	_, err = dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
	require.ErrorIs(t, err, egress.ErrNotPublic)
}

func FuzzControl(f *testing.F) {
	for _, seed := range []string{"1.1.1.1:443", "[::1]:80", "[fe80::1%eth0]:1", "x", "[64:ff9b::7f00:1]:80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if egress.Control("tcp", address, nil) != nil {
			return
		}
		at, err := netip.ParseAddrPort(address)
		require.NoError(t, err)
		ip := at.Addr().Unmap()
		require.True(t, ip.IsGlobalUnicast() && !ip.IsPrivate(), address)
	})
}
