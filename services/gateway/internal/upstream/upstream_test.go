package upstream

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestEachTargetGetsItsWeightInEveryRound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(0, 50), 1, 8).Draw(t, "weights")
		targets := make([]*Target, len(weights))
		var total uint64
		for i, w := range weights {
			targets[i] = &Target{url: string(rune('a' + i))}
			total += uint64(w)
		}
		b := NewBalancer(targets, weights)
		rounds := total
		if total == 0 {
			rounds = uint64(len(weights))
		}
		got := map[*Target]uint64{}
		for range 3 * rounds {
			got[b.Next()]++
		}
		for i, w := range weights {
			want := uint64(w)
			if total == 0 {
				want = 1
			}
			if len(targets) == 1 {
				want = rounds
			}
			require.Equal(t, 3*want, got[targets[i]], "target %d of %v", i, weights)
		}
	})
}

func TestATargetsShareIsSpreadOverTheRound(t *testing.T) {
	t.Parallel()
	a, b := &Target{}, &Target{}
	balancer := NewBalancer([]*Target{a, b}, []uint32{50, 50})
	longest, run, last := 0, 0, (*Target)(nil)
	for range 100 {
		next := balancer.Next()
		if next == last {
			run++
		} else {
			run, last = 1, next
		}
		longest = max(longest, run)
	}
	require.LessOrEqual(t, longest, 3)
	require.NotSame(t, a, balancer.Other(a))
}

func TestTargetURLs(t *testing.T) {
	t.Parallel()
	pools := NewPools(Config{Guard: Guard{AllowLoopback: true}})
	for url, want := range map[string][3]string{
		"http://a.example":             {"a.example:80", "a.example", ""},
		"https://a.example:8443/base/": {"a.example:8443", "a.example:8443", "/base"},
		"http://[::1]:8080/a%2Fb":      {"[::1]:8080", "[::1]:8080", "/a%2Fb"},
	} {
		target, err := pools.Target(url)
		require.NoError(t, err)
		require.Equal(t, want, [3]string{target.address, target.host, target.base})
		again, err := pools.Target(url)
		require.NoError(t, err)
		require.Same(t, target, again, "a new configuration goes on with the connections of the old one")
	}
	for _, url := range []string{"", "a.example", "ftp://a", "http://", "http://u:p@a", "http://a?x", "http://a#x", "http://a b"} {
		_, err := pools.Target(url)
		require.Error(t, err, url)
	}
	secured, err := pools.Target("https://a.example")
	require.NoError(t, err)
	require.False(t, secured.tls.InsecureSkipVerify)
	require.Equal(t, "a.example", secured.tls.ServerName)
}

func TestPeek(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err := ln.Accept()
	require.NoError(t, err)
	defer server.Close()
	p := NewPeeker(server)
	require.Equal(t, Quiet, p.Peek())
	_, err = client.Write([]byte("x"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Peek() == Pending }, 5*time.Second, time.Millisecond)
	one := make([]byte, 1)
	_, err = server.Read(one)
	require.NoError(t, err)
	require.Equal(t, Quiet, p.Peek())
	require.NoError(t, client.Close())
	require.Eventually(t, func() bool { return p.Peek() == Gone }, 5*time.Second, time.Millisecond)
	in, out := net.Pipe()
	defer in.Close()
	defer out.Close()
	require.Equal(t, Quiet, NewPeeker(in).Peek(), "no socket")
}

func TestFieldsThatStay(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"Accept": true, "Authorization": false, "X-Api-Key": false, "Cookie": true, "Connection": false, "Te": false, "Transfer-Encoding": false, "Tollgate-Usage": false,
		"X-Forwarded-For": false, "X-Real-Ip": false, "X-Request-Id": true, "Host": false, "Upgrade": false, "Content-Length": false, "Content-Type": true,
		"Keep-Alive": false, "Proxy-Authorization": false, "Forwarded": false, "Expect": false, "Traceparent": true, "": false,
	} {
		require.Equal(t, want, passes([]byte(name), true), name)
	}
	require.True(t, passes([]byte("Authorization"), false))
	require.True(t, isNamed([]byte("close, X-A ,x-b"), []byte("X-B")))
	require.False(t, isNamed([]byte("close"), []byte("X-B")))
}
