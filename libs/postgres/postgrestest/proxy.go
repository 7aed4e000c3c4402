// Package postgrestest breaks connections on purpose, for tests of what happens then. It owns a TCP proxy on loopback that
// cuts connections at a chosen message. Only tests may import it.
package postgrestest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy forwards connections to one server until it is told to break them. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	target   string
	group    sync.WaitGroup

	mu        sync.Mutex
	conns     map[net.Conn]struct{}
	cutAt     int // requests until the cut; 0 for none
	deliver   bool
	cutNext   bool // at the next answer
	mute      bool
	cuts      int
	forwarded int
}

// NewProxy starts a proxy to the server at target (host:port). It ends with the test.
func NewProxy(tb testing.TB, target string) *Proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("postgrestest: %v", err)
	}
	p := &Proxy{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	p.group.Add(1)
	go p.accept()
	tb.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		p.group.Wait()
	})
	return p
}

// NewURLProxy starts a proxy to the server of a URL and returns the URL to use instead.
func NewURLProxy(tb testing.TB, server string) (p *Proxy, through string) {
	tb.Helper()
	address, err := url.Parse(server)
	if err != nil {
		tb.Fatalf("postgrestest: %v", err)
	}
	p = NewProxy(tb, address.Host)
	address.Host = p.listener.Addr().String()
	return p, address.String()
}

// CutAt cuts all connections when the n-th piece of data from now on comes from a client. With deliver the server gets it
// and answers, but the answer does not come back; without it the server does not get it either.
func (p *Proxy) CutAt(n int, deliver bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAt, p.deliver = n, deliver
}

// Mute drops what servers send, or stops to: requests arrive, answers do not.
func (p *Proxy) Mute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

// Cut closes all connections. New ones are served.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

func (p *Proxy) cut() {
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
	p.cuts++
}

// Cuts returns how often connections were cut.
func (p *Proxy) Cuts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// Requests returns how many pieces of data came from clients.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forwarded
}

func (p *Proxy) accept() {
	defer p.group.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.group.Add(2)
		p.mu.Unlock()
		go p.copy(server, client, p.request)
		go p.copy(client, server, p.answer)
	}
}

// copy forwards data while pass allows it.
func (p *Proxy) copy(to, from net.Conn, pass func() (forward, cut bool)) {
	defer p.group.Done()
	defer func() { _, _ = to.Close(), from.Close() }()
	data := make([]byte, 256<<10)
	for {
		n, err := from.Read(data)
		if n > 0 {
			forward, cut := pass()
			if forward {
				if _, err := to.Write(data[:n]); err != nil {
					return
				}
			}
			if cut {
				p.Cut()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) request() (forward, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forwarded++
	if p.cutAt == 0 {
		return true, false
	}
	if p.cutAt--; p.cutAt > 0 {
		return true, false
	}
	p.cutNext = p.deliver
	return p.deliver, !p.deliver
}

func (p *Proxy) answer() (forward, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cutNext {
		p.cutNext = false
		return false, true
	}
	return !p.mute, false
}
