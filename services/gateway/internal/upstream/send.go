package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Request is what is sent to a target.
type Request interface {
	// Fields calls visit with every header field of the client.
	Fields(visit func(name, value []byte))
	// Header returns a field's first value, nil when there is none.
	Header(name string) []byte
	// Buffered returns the body, when all of it is in memory; otherwise ok is false.
	Buffered() (body []byte, ok bool)
	// Body streams a body that is not in memory, of Length bytes; -1 when unknown.
	Body() io.Reader
	Length() int64
	// Abandon makes a Read of Body that blocks return.
	Abandon()
}

// Response takes what a target answers.
type Response interface {
	// Receive reads the head of the final answer, and its body if that is short and known to be there, else returns a
	// reader of the body. keep says whether the connection can be used again after the body.
	Receive(r *bufio.Reader, method string) (body io.Reader, keep bool, err error)
	// Status is that of the answer received.
	Status() int
	// Reset drops what was received.
	Reset()
}

// Call is one exchange with a target: the parts of the request that the gateway decides.
type Call struct {
	Method string
	// Path is what comes after the target's base path, as in a request line, with the query.
	Path, Query string
	// Peer, Host and Scheme are told to the target in the Forwarded and X-Forwarded fields. Peer is the IP address of who
	// connected to the gateway.
	Peer, Host, Scheme string
	// Forwarded holds the values of the fields Forwarded and X-Forwarded-For that a listed proxy sent: they are extended. Empty
	// otherwise: what clients send is not passed on.
	Forwarded, ForwardedFor string
	// HideKey drops the fields that carried the API key.
	HideKey bool
	// Timeout bounds the time until the answer's head, and each wait for more of a body.
	Timeout time.Duration
}

// Kind says what went wrong in an exchange.
type Kind uint8

// The kinds.
const (
	// Connect: no connection could be made; nothing was sent.
	Connect Kind = iota + 1
	// Unsent: the connection failed before a byte of the request was sent.
	Unsent
	// Reset: the connection failed after something was sent.
	Reset
	// Timeout: the target did not answer in time.
	Timeout
	// Invalid: the target's answer is no HTTP.
	Invalid
	// Client: the client's body could not be read.
	Client
)

// Error is a failed exchange.
type Error struct {
	Kind Kind
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	names := [...]string{"", "connect", "send", "connection lost", "time-out", "invalid answer", "request body"}
	return fmt.Sprintf("%s: %v", names[e.Kind], e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Answer is a received answer. End is called once, when the body was read or is not wanted.
type Answer struct {
	// Body streams what Receive did not take in; nil when there is nothing more.
	Body   io.Reader
	target *Target
	conn   *conn
	req    Request
	upload chan error // nil unless the request's body is sent in the background
	keep   bool
	wait   time.Duration
}

// Do sends the request. On success the caller reads answer.Body and then calls answer.End.
//
// It is sent once; twice only when a kept connection turns out to be closed by the target, and nothing was sent or the method is
// idempotent (RFC 9110, section 9.2.2).
func (t *Target) Do(c *Call, req Request, resp Response, answer *Answer) error {
	deadline := time.Now().Add(c.Timeout)
	*answer = Answer{}
	conn, err := t.get(deadline)
	if err != nil {
		return err
	}
	err = t.attempt(conn, deadline, c, req, resp, answer)
	if err == nil || !conn.reused || !t.again(conn, c, req, err) {
		return err
	}
	resp.Reset()
	if conn, err = t.dial(deadline); err != nil {
		return err
	}
	return t.attempt(conn, deadline, c, req, resp, answer)
}

// again says whether the failure is that of a connection closed while it was unused.
func (t *Target) again(conn *conn, c *Call, req Request, err error) bool {
	var failed *Error
	_, replayable := req.Buffered()
	if !errors.As(err, &failed) || !replayable || conn.got > 0 {
		return false
	}
	return failed.Kind == Unsent || failed.Kind == Reset && Idempotent(c.Method)
}

// Idempotent says whether a method is (RFC 9110, section 9.2.2).
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	default:
		return false
	}
}

func (t *Target) attempt(conn *conn, deadline time.Time, c *Call, req Request, resp Response, a *Answer) error {
	conn.sent, conn.got = 0, 0
	_ = conn.SetDeadline(deadline)
	*a = Answer{target: t, conn: conn, req: req, wait: c.Timeout}
	sendErr := t.send(conn, c, req, a)
	if sendErr != nil && conn.sent == 0 {
		_ = conn.Close()
		*a = Answer{}
		kind := Unsent
		if isTimeout(sendErr) {
			kind = Timeout
		}
		return &Error{Kind: kind, Err: sendErr}
	}
	// Even after a failed send: a target may answer early, with 413 say, and close.
	var err error
	a.Body, a.keep, err = resp.Receive(conn.reader, c.Method)
	if err != nil {
		_ = conn.Close()
		err = a.failure(err, sendErr)
		*a = Answer{}
		return err
	}
	a.keep = a.keep && sendErr == nil
	if a.Body == nil && a.upload == nil {
		a.End(true)
	}
	return nil
}

// failure waits for the upload to stop and says what went wrong.
func (a *Answer) failure(err, sendErr error) error {
	if a.upload != nil {
		a.req.Abandon()
		if uploadErr := <-a.upload; sendErr == nil {
			sendErr = uploadErr
		}
	}
	var client *Error
	switch {
	case errors.As(sendErr, &client) && client.Kind == Client:
		return client
	case isTimeout(err):
		return &Error{Kind: Timeout, Err: err}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isNetwork(err):
		return &Error{Kind: Reset, Err: err}
	default:
		return &Error{Kind: Invalid, Err: err}
	}
}

// Extend puts the deadline off by the call's time-out: called before each wait for more of the body.
func (a *Answer) Extend() { _ = a.conn.SetReadDeadline(time.Now().Add(a.wait)) }

// End gives the connection back if the body was read to its end, or closes it. It waits until nothing reads the request any more.
func (a *Answer) End(whole bool) {
	if a.conn == nil {
		return
	}
	uploaded := true
	if a.upload != nil {
		uploaded = a.uploaded()
	}
	if whole && a.keep && uploaded {
		a.target.put(a.conn)
	} else {
		_ = a.conn.Close()
	}
	a.conn = nil
}

// uploadGrace is how long an answered request's body may still be on its way: often its last byte was just sent.
const uploadGrace = 50 * time.Millisecond

// uploaded waits for the end of the upload, and cuts it off if it goes on: the target has answered without it. It reports whether the
// body was sent whole.
func (a *Answer) uploaded() bool {
	select {
	case err := <-a.upload:
		return err == nil
	default:
	}
	grace := time.NewTimer(uploadGrace)
	defer grace.Stop()
	select {
	case err := <-a.upload:
		return err == nil
	case <-grace.C:
		_ = a.conn.Close()
		a.req.Abandon()
		<-a.upload //nolint:errcheck // the answer is given up for the abandonment already
		return false
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func isNetwork(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// send writes the request; a body that is not in memory goes on in the background, so that an answer that begins before the
// body has ended is not waited for in vain.
func (t *Target) send(conn *conn, c *Call, req Request, a *Answer) error {
	body, buffered := req.Buffered()
	length := int64(len(body))
	if !buffered {
		length = req.Length()
	}
	t.writeHead(conn.writer, c, req, length)
	if buffered {
		_, _ = conn.writer.Write(body)
		return conn.writer.Flush()
	}
	if err := conn.writer.Flush(); err != nil {
		return err
	}
	a.upload = make(chan error, 1)
	go func() {
		err := copyBody(conn, req.Body(), length, c.Timeout)
		if err != nil {
			// The target must not take a body that was cut short for a whole one, and the wait for its answer must end.
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			if isClient(err) {
				_ = conn.Close()
			}
		}
		a.upload <- err
	}()
	return nil
}

func isClient(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == Client
}

// copyBody sends a body of length bytes, or in chunks when length is -1.
func copyBody(conn *conn, body io.Reader, length int64, wait time.Duration) error {
	buffer := make([]byte, 32<<10)
	for {
		n, readErr := body.Read(buffer)
		if n > 0 {
			_ = conn.SetDeadline(time.Now().Add(wait))
			if length < 0 {
				_, _ = conn.writer.WriteString(strconv.FormatInt(int64(n), 16))
				_, _ = conn.writer.WriteString("\r\n")
			}
			_, _ = conn.writer.Write(buffer[:n])
			if length < 0 {
				_, _ = conn.writer.WriteString("\r\n")
			}
			if err := conn.writer.Flush(); err != nil {
				return err
			}
		}
		switch {
		case readErr == nil:
		case errors.Is(readErr, io.EOF) && length < 0:
			_, _ = conn.writer.WriteString("0\r\n\r\n")
			return conn.writer.Flush()
		case errors.Is(readErr, io.EOF):
			return nil
		default:
			return &Error{Kind: Client, Err: readErr}
		}
	}
}
