// Package upstream owns the way to the servers behind the gateway: targets, their keep-alive connections, and one HTTP/1.1
// exchange over one of them.
//
// Messages are always framed anew: nothing of the client's framing, and no hop-by-hop field, reaches an upstream. TLS is always
// verified. It knows no engine of the front: a Request gives what is sent, a Response takes what comes back. Only the
// gateway's own packages import it.
package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config of the connections to all targets.
type Config struct {
	// ConnectTimeout bounds the making of a connection with its TLS handshake; 5 s when zero.
	ConnectTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept; 55 s when zero.
	IdleTimeout time.Duration
	// MaxIdle is how many unused connections a target keeps; 512 when zero.
	MaxIdle int
	// Roots verify the targets' certificates; the system's when nil.
	Roots *x509.CertPool
	// Guard says where targets must not be.
	Guard Guard
}

func (c Config) withDefaults() Config {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 55 * time.Second
	}
	if c.MaxIdle == 0 {
		c.MaxIdle = 512
	}
	return c
}

// Pools keeps one Target per URL, so that a new configuration goes on with the connections of the old one. It is safe for
// concurrent use.
type Pools struct {
	config  Config
	mu      sync.Mutex
	targets map[string]*Target
}

// NewPools returns pools without targets.
func NewPools(c Config) *Pools {
	return &Pools{config: c.withDefaults(), targets: map[string]*Target{}}
}

// Target returns the target of a URL, always the same one. The URL is http or https, with a host and an optional base path.
func (p *Pools) Target(address string) (*Target, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.targets[address]; t != nil {
		return t, nil
	}
	t, err := newTarget(address, p.config)
	if err != nil {
		return nil, err
	}
	p.targets[address] = t
	return t, nil
}

// CloseIdle closes connections that were unused for too long. It is called now and then.
func (p *Pools) CloseIdle() {
	for _, t := range p.list() {
		t.closeIdle(time.Now().Add(-p.config.IdleTimeout))
	}
}

// Close closes every unused connection.
func (p *Pools) Close() {
	for _, t := range p.list() {
		t.closeIdle(time.Now().Add(time.Hour))
	}
}

func (p *Pools) list() []*Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*Target, 0, len(p.targets))
	for _, t := range p.targets {
		list = append(list, t)
	}
	return list
}

// Target is one address of an upstream with its connections. It is safe for concurrent use.
type Target struct {
	config  Config
	url     string
	address string // host:port to dial
	host    string // value of the field Host
	base    string // path before every request's, without a slash at its end
	tls     *tls.Config
	control func(network, address string, c syscall.RawConn) error // looks at what is connected to

	mu   sync.Mutex
	idle []*conn // the last one used is the last
}

func newTarget(address string, c Config) (*Target, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not an http or https URL such as http://backend.example.com:8080/base", address)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q has user information, a query or a fragment; give host, port and base path only", u.Redacted())
	}
	if err := c.Guard.name(u.Hostname()); err != nil {
		return nil, fmt.Errorf("%q: %w: %w", address, ErrRefused, err)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	t := &Target{
		config: c, url: address, host: u.Host, address: net.JoinHostPort(u.Hostname(), port),
		base: strings.TrimSuffix(u.EscapedPath(), "/"), control: c.Guard.control,
	}
	if u.Scheme == "https" {
		t.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: c.Roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	return t, nil
}

// URL is the target's address as configured.
func (t *Target) URL() string { return t.url }

// get returns a connection, a kept one if there is one that lives.
func (t *Target) get(deadline time.Time) (*conn, error) {
	for {
		c := t.pop()
		if c == nil {
			return t.dial(deadline)
		}
		if c.alive() {
			return c, nil
		}
		_ = c.Close()
	}
}

func (t *Target) pop() *conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.idle)
	if n == 0 {
		return nil
	}
	c := t.idle[n-1]
	t.idle[n-1] = nil
	t.idle = t.idle[:n-1]
	return c
}

func (t *Target) dial(deadline time.Time) (*conn, error) {
	dialer := net.Dialer{Timeout: t.config.ConnectTimeout, Deadline: deadline, KeepAlive: 30 * time.Second, Control: t.control}
	raw, err := dialer.Dial("tcp", t.address)
	if err != nil {
		return nil, &Error{Kind: Connect, Err: err}
	}
	if t.tls == nil {
		return newConn(raw, raw), nil
	}
	secured := tls.Client(raw, t.tls)
	until := time.Now().Add(t.config.ConnectTimeout)
	if deadline.Before(until) {
		until = deadline
	}
	_ = raw.SetDeadline(until)
	if err := secured.Handshake(); err != nil { //nolint:noctx // the deadline is on the connection
		return nil, &Error{Kind: Connect, Err: errors.Join(err, raw.Close())}
	}
	return newConn(secured, raw), nil
}

func (t *Target) put(c *conn) {
	c.used = time.Now()
	t.mu.Lock()
	full := len(t.idle) >= t.config.MaxIdle
	if !full {
		t.idle = append(t.idle, c)
	}
	t.mu.Unlock()
	if full {
		_ = c.Close()
	}
}

func (t *Target) closeIdle(usedBefore time.Time) {
	t.mu.Lock()
	n := 0
	for n < len(t.idle) && t.idle[n].used.Before(usedBefore) {
		n++
	}
	old := append([]*conn(nil), t.idle[:n]...)
	t.idle = append(t.idle[:0], t.idle[n:]...)
	t.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}
