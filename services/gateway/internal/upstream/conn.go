package upstream

import (
	"bufio"
	"net"
	"syscall"
	"time"
)

const bufferBytes = 8 << 10

// trusted is how short a connection was unused to be used again without a look at it.
const trusted = 50 * time.Millisecond

// conn is one connection to a target, with its buffers. It belongs to one exchange at a time.
type conn struct {
	net.Conn
	reader *bufio.Reader
	writer *bufio.Writer
	peeker *Peeker
	used   time.Time
	reused bool
	sent   int64 // bytes of the current request that the kernel took
	got    int64 // bytes of the current answer
}

func newConn(c, raw net.Conn) *conn {
	own := &conn{Conn: c, peeker: NewPeeker(raw)}
	own.reader = bufio.NewReaderSize(own, bufferBytes)
	own.writer = bufio.NewWriterSize(own, bufferBytes)
	return own
}

// Write counts, so that a request of which nothing was sent can be sent again.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent += int64(n)
	return n, err
}

// Read counts, so that a connection that the target closed while it was unused is told from an answer that broke off.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.got += int64(n)
	return n, err
}

// alive says whether a kept connection can be used: the target has neither closed it nor sent what nobody asked for.
func (c *conn) alive() bool {
	c.reused = true
	if c.reader.Buffered() > 0 {
		return false
	}
	return time.Since(c.used) < trusted || c.peeker.Peek() == Quiet
}

// PeekResult is what a look at a connection shows.
type PeekResult uint8

// The results.
const (
	// Quiet: open, nothing to read.
	Quiet PeekResult = iota
	// Pending: bytes wait to be read.
	Pending
	// Gone: closed or reset by the peer.
	Gone
)

// Peeker looks at a connection without reading from it. It belongs to one goroutine at a time.
type Peeker struct {
	raw    syscall.RawConn
	look   func(fd uintptr) bool
	result PeekResult
	one    [1]byte
}

// NewPeeker returns a peeker of a connection. One that is no socket always shows Quiet.
func NewPeeker(c net.Conn) *Peeker {
	p := &Peeker{}
	if s, ok := c.(syscall.Conn); ok {
		p.raw, _ = s.SyscallConn()
	}
	p.look = func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), p.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
			p.result = Quiet
		case err != nil || n == 0:
			p.result = Gone
		default:
			p.result = Pending
		}
		return true
	}
	return p
}

// Peek looks.
func (p *Peeker) Peek() PeekResult {
	if p.raw == nil {
		return Quiet
	}
	if err := p.raw.Read(p.look); err != nil {
		return Gone
	}
	return p.result
}
