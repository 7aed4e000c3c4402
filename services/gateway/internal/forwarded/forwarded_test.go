package forwarded_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/services/gateway/internal/forwarded"
)

func TestClient(t *testing.T) {
	t.Parallel()
	proxies := forwarded.Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		peer   string
		values []string
		want   string
	}{
		"no proxy":                        {"192.0.2.1", []string{"198.51.100.1"}, "192.0.2.1"},
		"a proxy that says nothing":       {"10.0.0.1", nil, "10.0.0.1"},
		"a proxy":                         {"10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		"mapped":                          {"::ffff:10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		"of version 6":                    {"fd00::1", []string{"2001:db8::7"}, "2001:db8::7"},
		"several proxies":                 {"10.0.0.1", []string{"198.51.100.1, 10.0.0.3 ,fd00::2"}, "198.51.100.1"},
		"all are proxies":                 {"10.0.0.1", []string{"10.0.0.2, 10.0.0.3"}, "10.0.0.2"},
		"what the client made up":         {"10.0.0.1", []string{"6.6.6.6, 198.51.100.1"}, "198.51.100.1"},
		"what the client made up, apart":  {"10.0.0.1", []string{"6.6.6.6", "198.51.100.1"}, "198.51.100.1"},
		"no address":                      {"10.0.0.1", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		"no address behind another proxy": {"10.0.0.1", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
	} {
		require.Equal(t, c.want, proxies.Client(netip.MustParseAddr(c.peer), c.values...).String(), name)
	}
	require.Equal(t, "10.0.0.1", forwarded.Proxies(nil).Client(netip.MustParseAddr("10.0.0.1"), "6.6.6.6").String())
}

func FuzzClient(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.2")
	f.Add(",,fe80::1%eth0")
	proxies := forwarded.Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, value string) {
		require.True(t, proxies.Client(netip.MustParseAddr("10.0.0.1"), value).IsValid())
		require.Equal(t, "192.0.2.1", proxies.Client(netip.MustParseAddr("192.0.2.1"), value).String())
	})
}
