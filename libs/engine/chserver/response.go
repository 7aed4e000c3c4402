package chserver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// holdBack is how much of a response is kept before its head is sent: an error until then becomes a proper error response.
const holdBack = 256 << 10

// holdAll is how much of it is kept for a client that waits for the end of its query.
const holdAll = 64 << 20

// response is the answer to a request: result → blocks at the client's revision → compression → the connection.
type response struct {
	w         http.ResponseWriter
	request   *request
	version   string
	done      summary
	tag       string // of an exception inside the body
	held      []byte
	committed bool // the head has been sent

	result  io.Writer // takes the result; for a client with a protocol revision, whole blocks at a time
	sink    io.Writer // takes the bytes of the response
	flushes []encoder // from the result's side to the connection's
}

func newResponse(w http.ResponseWriter, q *request, version string) (*response, error) {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails, see crypto/rand
	r := &response{w: w, request: q, version: version, tag: hex.EncodeToString(random)}
	r.sink = writerFunc(r.hold)
	if q.encoding != "" {
		e, err := encode(q.encoding, r.sink)
		if err != nil {
			return nil, err
		}
		r.sink, r.flushes = e, append(r.flushes, e)
	}
	if q.blocks {
		b, err := newBlockWriter(r.sink, q.blockMethod)
		if err != nil {
			return nil, err
		}
		r.sink, r.flushes = b, append([]encoder{b}, r.flushes...)
	}
	r.result = r.sink
	if q.revision > 0 && q.format == "Native" {
		r.result = &nativeWriter{w: r.sink, revision: q.revision}
	}
	return r, nil
}

// writerFunc is a function to write to.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// hold keeps the beginning of the response and passes the rest on.
func (r *response) hold(p []byte) (int, error) {
	if r.committed {
		return r.w.Write(p)
	}
	r.held = append(r.held, p...)
	switch {
	case r.request.waitForEnd && len(r.held) > holdAll:
		return 0, newException(codeNotImplemented, "NOT_IMPLEMENTED",
			"The result is longer than the %d bytes that wait_end_of_query can hold back: leave wait_end_of_query out", holdAll)
	case !r.request.waitForEnd && len(r.held) > holdBack:
		return len(p), r.commit()
	}
	return len(p), nil
}

// commit sends the head and what was held back.
func (r *response) commit() error {
	r.committed = true
	h := r.w.Header()
	h.Set("X-ClickHouse-Summary", r.summary())
	h.Set("X-ClickHouse-Format", r.request.format)
	h.Set("X-ClickHouse-Exception-Tag", r.tag)
	h.Set("Content-Type", contentType(r.request.format))
	if r.request.encoding != "" {
		h.Set("Content-Encoding", r.request.encoding)
	}
	r.w.WriteHeader(http.StatusOK)
	_, err := r.w.Write(r.held)
	r.held = nil
	return err
}

// flush sends what the compressors hold, so that a slow result moves. Before the head is sent there is nothing to hurry.
func (r *response) flush() error {
	if !r.committed {
		return nil
	}
	for _, e := range r.flushes {
		if err := e.Flush(); err != nil {
			return err
		}
	}
	if err := http.NewResponseController(r.w).Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// finish ends a response whose statement succeeded.
func (r *response) finish() error {
	for _, e := range r.flushes {
		if err := e.Close(); err != nil {
			return err
		}
	}
	if r.committed {
		return nil
	}
	r.w.Header().Set("Content-Length", strconv.Itoa(len(r.held)))
	return r.commit()
}

// fail answers with an exception. Once the head has been sent it goes into the body, framed as ClickHouse does, and the connection is
// cut: a client that does not know the frame must not take the body for a whole result.
func (r *response) fail(failure *exception) {
	message := failure.text + " (version " + r.version + " (libchdb))\n"
	if !r.committed {
		r.held = nil
		writeException(r.w, failure, message, func() { r.failureBody(message) })
		return
	}
	_, err := fmt.Fprintf(r.sink, "\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n", r.tag, message, len(message), r.tag)
	if err == nil {
		_ = r.flush() // the connection is cut anyway
	}
	panic(http.ErrAbortHandler)
}

// failureBody writes an exception as a whole body. As in ClickHouse, it is in compressed blocks if the result was to be.
func (r *response) failureBody(message string) {
	var body io.Writer = r.w
	if r.request.blocks {
		if b, err := newBlockWriter(r.w, r.request.blockMethod); err == nil {
			defer func() { _ = b.Close() }() // a client that is gone needs no answer
			body = b
		}
	}
	_, _ = io.WriteString(body, message)
}

func writeException(w http.ResponseWriter, failure *exception, message string, body func()) {
	h := w.Header()
	h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(failure.code))
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Del("Content-Encoding")
	if failure.code == codeRequiredPassword {
		h.Set("WWW-Authenticate", `Basic realm="ClickHouse server HTTP API"`)
	}
	w.WriteHeader(failure.status())
	body()
}

// summary is the value of X-ClickHouse-Summary: numbers as strings.
func (r *response) summary() string {
	return fmt.Sprintf(`{"read_rows":"%d","read_bytes":"%d","written_rows":"%d","written_bytes":"%d","total_rows_to_read":"0","result_rows":"%d","result_bytes":"%d"}`,
		r.done.readRows, r.done.readBytes, r.done.writtenRows, r.done.writtenBytes, r.done.resultRows, r.done.resultBytes)
}
