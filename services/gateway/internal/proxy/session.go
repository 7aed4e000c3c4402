package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
	"github.com/tollgate/tollgate/services/gateway/internal/pipeline"
)

// maxInterim bounds the 1xx answers before the final one.
const maxInterim = 16

// maxSmall is what the engine reads of a body of known length before it hands the request over.
const maxSmall = 8 << 10

// maxBuffered is the longest answer of known length that is taken in whole before it goes on: shorter ones are cheaper so.
const maxBuffered = 64 << 10

// session is one exchange on the engine: it implements exchange.Request and exchange.Response with the engine's types. Sessions are
// reused.
type session struct {
	exchange.Exchange
	front *Front
	ctx   *fasthttp.RequestCtx
	conn  *clientConn

	body     []byte
	buffered bool
	in       atomic.Uint64 // also counted while the answer is made
	small    []byte        // memory for short bodies, kept
	stream   pipeline.Stream
	// up holds the engine's reader of an answer that streams.
	up *fasthttp.Response
}

// begin takes a request in. What the exchange keeps beyond the parsed head is copied: the engine reuses its memory while the answer is
// made.
func (s *session) begin(front *Front, ctx *fasthttp.RequestCtx) {
	s.front, s.ctx = front, ctx
	s.conn, _ = ctx.Conn().(*clientConn)
	s.Request, s.Response = (*request)(s), (*response)(s)
	h := &ctx.Request.Header
	s.Method = s.Keep(h.Method())
	s.Scheme = "http"
	host, path := split(h.RequestURI(), h.Host())
	s.RawHost = s.Keep(host)
	s.Host = canonicalHost(s.RawHost)
	pathText := s.Keep(path)
	s.Path, s.Query, _ = strings.Cut(pathText, "?")
	s.Client, s.Peer = s.conn.ip, s.conn.ip
	if len(front.config.TrustedProxies) > 0 && front.config.TrustedProxies.Include(s.conn.addr) {
		s.forwarded()
	}
	length := h.ContentLength()
	switch body := ctx.Request.BodyStream(); {
	case length == 0 || body == nil:
		s.buffered = true
	case length > 0 && length <= maxSmall:
		// The engine has it in memory already.
		if cap(s.small) == 0 {
			s.small = make([]byte, maxSmall)
		}
		if _, err := io.ReadFull(body, s.small[:length]); err == nil {
			s.body, s.buffered = s.small[:length], true
			s.in.Store(uint64(length))
		}
	}
}

// reset makes the session ready for another request.
func (s *session) reset() {
	s.Exchange.Reset()
	s.releaseUp()
	s.ctx, s.conn, s.body, s.buffered, s.stream = nil, nil, nil, false, pipeline.Stream{}
	s.in.Store(0)
}

func (s *session) releaseUp() {
	if s.up != nil {
		_ = s.up.CloseBodyStream()
		fasthttp.ReleaseResponse(s.up)
		s.up = nil
	}
}

// split separates the host of an absolute target (RFC 9112, section 3.2.2) from its path.
func split(target, host []byte) ([]byte, []byte) {
	if len(target) > 0 && target[0] == '/' {
		return host, target
	}
	i := bytes.Index(target, []byte("://"))
	if i < 0 {
		return host, target
	}
	rest := target[i+3:]
	end := bytes.IndexAny(rest, "/?")
	switch {
	case end < 0:
		return rest, []byte("/")
	case rest[end] == '?':
		return rest[:end], append([]byte("/"), rest[end:]...)
	default:
		return rest[:end], rest[end:]
	}
}

// canonicalHost returns a host in lower case without its port.
func canonicalHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// forwarded takes over what a listed proxy says, and the client's address from it.
func (s *session) forwarded() {
	s.Forwarded, s.ForwardedFor = s.list("Forwarded"), s.list("X-Forwarded-For")
	s.Client = s.front.config.TrustedProxies.Client(s.conn.addr, s.ForwardedFor).String()
}

// list returns the value of a field that is a list, which may be there several times (RFC 9110, section 5.3).
func (s *session) list(name string) string {
	values := s.ctx.Request.Header.PeekAll(name)
	if len(values) == 1 {
		return s.Keep(values[0])
	}
	return s.Keep(bytes.Join(values, []byte(", ")))
}

// request is a session as exchange.Request.
type request session

func (r *request) Fields(visit func(name, value []byte)) {
	for name, value := range r.ctx.Request.Header.All() {
		visit(name, value)
	}
}

func (r *request) Header(name string) []byte { return r.ctx.Request.Header.Peek(name) }

func (r *request) Buffered() ([]byte, bool) { return r.body, r.buffered }

func (r *request) Length() int64 {
	if r.buffered {
		return int64(len(r.body))
	}
	return int64(r.ctx.Request.Header.ContentLength())
}

func (r *request) Body() io.Reader { return (*bodyReader)(r) }

func (r *request) BytesIn() uint64 { return r.in.Load() }

func (r *request) Buffer(limit int64) error {
	if r.buffered {
		if int64(len(r.body)) > limit {
			return exchange.ErrTooLarge
		}
		return nil
	}
	length := r.Length()
	if length > limit {
		return exchange.ErrTooLarge
	}
	var buffer bytes.Buffer
	if length > 0 {
		buffer.Grow(int(length) + bytes.MinRead)
	}
	n, err := buffer.ReadFrom(io.LimitReader((*bodyReader)(r), limit+1))
	if err != nil {
		return err
	}
	if n > limit {
		return exchange.ErrTooLarge
	}
	if length >= 0 && n != length {
		return io.ErrUnexpectedEOF
	}
	r.body, r.buffered = buffer.Bytes(), true
	return nil
}

func (r *request) Abandon() {
	r.ctx.SetConnectionClose()
	_ = r.conn.SetReadDeadline(time.Unix(1, 0))
}

func (r *request) ClientGone() bool { return r.conn.gone() }

// bodyReader reads a body that streams, with a time-out for each wait and the gateway's limit.
type bodyReader session

func (b *bodyReader) Read(p []byte) (int, error) {
	if t := b.front.config.ReadTimeout; t > 0 {
		if err := b.ctx.SetReadDeadline(time.Now().Add(t)); err != nil {
			return 0, err
		}
	}
	n, err := b.ctx.Request.BodyStream().Read(p)
	if b.in.Add(uint64(n)) > uint64(b.front.config.MaxBody) {
		return 0, exchange.ErrTooLarge
	}
	return n, err
}

// response is a session as exchange.Response.
type response session

func (r *response) Status() int            { return r.ctx.Response.StatusCode() }
func (r *response) SetStatus(status int)   { r.ctx.Response.SetStatusCode(status) }
func (r *response) DelHeader(name string)  { r.ctx.Response.Header.Del(name) }
func (r *response) SetBody(body []byte)    { r.ctx.Response.SetBody(body) }
func (r *response) Close()                 { r.ctx.SetConnectionClose() }
func (r *response) Header(n string) []byte { return r.ctx.Response.Header.Peek(n) }
func (r *response) SetHeader(n, v string)  { r.ctx.Response.Header.Set(n, v) }
func (r *response) AddHeader(n, v string)  { r.ctx.Response.Header.Add(n, v) }

func (r *response) Values(name string, visit func(value []byte)) {
	for _, v := range r.ctx.Response.Header.PeekAll(name) {
		visit(v)
	}
}

func (r *response) Size() int64 {
	if body := r.ctx.Response.Body(); len(body) > 0 {
		return int64(len(body))
	}
	if n := r.ctx.Response.Header.ContentLength(); n >= 0 {
		return int64(n)
	}
	return -1
}

func (r *response) Bodiless(method string) bool {
	status := r.Status()
	return method == "HEAD" || status < 200 || status == 204 || status == 304
}

func (r *response) Reset() {
	(*session)(r).releaseUp()
	r.ctx.Response.Reset()
	r.front.defaults(&r.ctx.Response)
}

// Receive reads an answer into the engine's response: the head, after any interim ones, and the body if it is short and its length
// is known, or if all of it is already there.
func (r *response) Receive(from *bufio.Reader, method string) (io.Reader, bool, error) {
	resp := &r.ctx.Response
	for interim := 0; ; interim++ {
		if err := resp.Header.Read(from); err != nil {
			return nil, false, err
		}
		status := resp.StatusCode()
		if status >= 200 {
			break
		}
		if status == fasthttp.StatusSwitchingProtocols || interim == maxInterim {
			return nil, false, fmt.Errorf("an answer with status %d", status)
		}
	}
	keep := !resp.ConnectionClose()
	resp.Header.ResetConnectionClose() // the connection to the client is another one
	hopByHop(&resp.Header)
	if r.Bodiless(method) {
		resp.SkipBody = true
		return nil, keep, nil
	}
	length := resp.Header.ContentLength()
	if length >= 0 && length <= maxBuffered || length == -1 && complete(from) {
		if err := resp.ReadBody(from, 0); err != nil {
			return nil, false, whole(err)
		}
		if length == -1 {
			if err := resp.Header.ReadTrailer(from); err != nil {
				return nil, false, whole(err)
			}
			resp.Header.Del("Transfer-Encoding")
			resp.Header.SetContentLength(len(resp.Body()))
		}
		return nil, keep, nil
	}
	// The engine would close its own reader of the body when it is given the pipeline's: another response holds it.
	r.up = fasthttp.AcquireResponse()
	resp.Header.CopyTo(&r.up.Header)
	r.up.StreamBody = true
	if err := r.up.ReadBody(from, 0); err != nil {
		return nil, false, err
	}
	_ = resp.Header.SetTrailer("") // trailers are read and dropped
	return r.up.BodyStream(), keep && length != -2, nil
}

// whole makes an end of file within a body what it is.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// complete says whether a chunked body is in the buffer to its end.
func complete(from *bufio.Reader) bool {
	b, err := from.Peek(from.Buffered())
	return err == nil && (bytes.HasSuffix(b, []byte("\r\n0\r\n\r\n")) || string(b) == "0\r\n\r\n")
}

// hopByHop removes the fields that are for the connection to the target only (RFC 9110, section 7.6.1).
func hopByHop(h *fasthttp.ResponseHeader) {
	var named []byte
	found := false
	for name, value := range h.All() {
		switch string(name) {
		case "Connection":
			named, found = append(append(named, value...), ','), true
		case "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Upgrade", "Te":
			found = true
		}
	}
	if !found {
		return
	}
	for option := range bytes.SplitSeq(named, []byte(",")) {
		if option = bytes.TrimSpace(option); len(option) > 0 {
			h.DelBytes(option)
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Upgrade", "Te"} {
		h.Del(name)
	}
}
