// Package proxy is the HTTP/1.1 front on the engine fasthttp: it takes requests, hands each to the pipeline as an exchange, and sends
// the answers.
//
// It owns strictness: a message that net/http rejects, or that two parsers could read differently, is answered 400 and the
// connection closed. Such a message is no call and has no record. Only the gateway's root package imports it.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
	"github.com/tollgate/tollgate/services/gateway/internal/forwarded"
	"github.com/tollgate/tollgate/services/gateway/internal/pipeline"
	"github.com/tollgate/tollgate/services/gateway/internal/upstream"
)

// Config of the front.
type Config struct {
	// MaxConnections are served at once; more are answered 503.
	MaxConnections int
	// MaxHeader is the largest header section, in bytes, with the request line.
	MaxHeader int
	// MaxBody is the largest request body, in bytes.
	MaxBody int64
	// ReadTimeout bounds the arrival of a request's head, and each wait for more of its body.
	ReadTimeout time.Duration
	// WriteTimeout bounds each wait for the client to take more of an answer.
	WriteTimeout time.Duration
	// IdleTimeout bounds the wait for another request on a connection.
	IdleTimeout time.Duration
	// TrustedProxies may tell the client's address in Forwarded and X-Forwarded-For.
	TrustedProxies forwarded.Proxies
}

// Front serves HTTP/1.1.
type Front struct {
	config   Config
	pipeline *pipeline.Pipeline
	log      *slog.Logger
	server   *fasthttp.Server
	sessions sync.Pool
	// connections that are open, to be closed when a drain takes too long.
	connections sync.Map
}

// New returns a front.
func New(c Config, p *pipeline.Pipeline, log *slog.Logger) *Front {
	f := &Front{config: c, pipeline: p, log: log, sessions: sync.Pool{New: func() any { return new(session) }}}
	f.server = &fasthttp.Server{
		Handler: f.handle, ErrorHandler: f.malformed, Logger: engineLog{log}, Name: "",
		Concurrency: c.MaxConnections, ReadBufferSize: c.MaxHeader, WriteBufferSize: 16 << 10,
		ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout, IdleTimeout: c.IdleTimeout,
		MaxRequestBodySize: int(c.MaxBody), StreamRequestBody: true, DisablePreParseMultipartForm: true,
		NoDefaultServerHeader: true, NoDefaultContentType: true, CloseOnShutdown: true, SecureErrorLogMessage: true, LazyRequestTime: true,
	}
	return f
}

// defaults restores on a response what the server sets on a fresh one.
func (f *Front) defaults(r *fasthttp.Response) {
	r.Header.SetNoDefaultContentType(true)
}

// Serve serves connections from ln until Shutdown.
func (f *Front) Serve(ln net.Listener) error {
	if err := f.server.Serve(listener{ln, f}); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// Shutdown takes no new connections, closes idle ones and waits for the others until ctx ends: then they are closed.
func (f *Front) Shutdown(ctx context.Context) error {
	err := f.server.ShutdownWithContext(ctx)
	if err == nil {
		return nil
	}
	f.connections.Range(func(key, _ any) bool {
		if c, ok := key.(*clientConn); ok {
			_ = c.Close()
		}
		return true
	})
	return fmt.Errorf("drain: %w", err)
}

func (f *Front) handle(ctx *fasthttp.RequestCtx) {
	h := &ctx.Request.Header
	if err := strict(head{method: h.Method(), target: h.RequestURI(), protocol: h.Protocol(), host: h.Host(), raw: h.RawHeaders()}); err != nil {
		f.refuse(ctx, err)
		return
	}
	if expect := h.Peek("Expect"); len(expect) > 0 && !ctx.Request.MayContinue() && h.IsHTTP11() {
		f.answer(ctx, 417, "expectation-failed", "The only expectation that is met here is 100-continue.")
		return
	}
	s, _ := f.sessions.Get().(*session)
	s.begin(f, ctx)
	f.pipeline.Serve(&s.Exchange)
	if !s.Streaming {
		f.release(s)
		return
	}
	f.pipeline.Stream(&s.Exchange, &s.stream, s.progress)
	resp := &ctx.Response
	size := resp.Header.ContentLength()
	resp.Header.Del("Transfer-Encoding")
	resp.ImmediateHeaderFlush = true
	resp.SetBodyStream((*streamBody)(s), max(size, -1))
}

func (f *Front) release(s *session) {
	s.reset()
	f.sessions.Put(s)
}

// progress puts the client's time-out off while an answer streams.
func (s *session) progress() {
	if t := s.front.config.WriteTimeout; t > 0 {
		_ = s.ctx.SetWriteDeadline(time.Now().Add(t))
	}
}

// streamBody is the body that the engine reads and closes.
type streamBody session

func (b *streamBody) Read(p []byte) (int, error) { return b.stream.Read(p) }

func (b *streamBody) Close() error {
	err := b.stream.Close()
	b.front.release((*session)(b))
	return err
}

// malformed answers what the engine could not parse.
func (f *Front) malformed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.As(err, &small):
		f.answer(ctx, 431, "header-too-large", fmt.Sprintf("The request line and header fields are larger than %d bytes.", f.config.MaxHeader))
	case errors.As(err, &network) && network.Timeout():
		f.answer(ctx, 408, "request-timeout", "The request did not arrive in time.")
	default:
		f.refuse(ctx, errors.New("it cannot be parsed"))
	}
}

func (f *Front) refuse(ctx *fasthttp.RequestCtx, err error) {
	if errors.Is(err, errVersion) {
		f.answer(ctx, 505, "version-unsupported", "Send HTTP/1.1.")
		return
	}
	f.answer(ctx, 400, "message-invalid", "The message is not as HTTP/1.1 has it: "+err.Error()+".")
}

// answer answers what is no call, and closes the connection.
func (f *Front) answer(ctx *fasthttp.RequestCtx, status int, code, detail string) {
	ctx.Response.Reset()
	f.defaults(&ctx.Response)
	ctx.SetStatusCode(status)
	ctx.Response.Header.Set("Content-Type", "application/problem+json")
	ctx.SetConnectionClose()
	ctx.Response.SetBody(exchange.AppendProblem(nil, &exchange.Problem{Status: status, Code: code, Detail: detail}, ""))
}

// engineLog brings the engine's messages to the log. They are about single connections.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Printf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

// listener wraps what it accepts.
type listener struct {
	net.Listener
	front *Front
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	own := newClientConn(c, l.front)
	l.front.connections.Store(own, nil)
	return own, nil
}

// clientConn is a client's connection with what is asked of it for each request.
type clientConn struct {
	net.Conn
	front  *Front
	peeker *upstream.Peeker
	addr   netip.Addr
	ip     string
}

func newClientConn(c net.Conn, front *Front) *clientConn {
	own := &clientConn{Conn: c, front: front, peeker: upstream.NewPeeker(c)}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		own.addr = ap.Addr().Unmap()
		own.ip = own.addr.String()
	}
	return own
}

// Close closes the connection.
func (c *clientConn) Close() error {
	c.front.connections.Delete(c)
	return c.Conn.Close()
}

// gone says whether the client closed the connection. One that only finished sending counts too, as it does for net/http.
func (c *clientConn) gone() bool { return c.peeker.Peek() == upstream.Gone }

var _ io.ReadCloser = (*streamBody)(nil)
