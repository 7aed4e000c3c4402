package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// arena sends the same bytes to net/http and to a gateway, and counts the requests that reach the handler behind each whole.
type arena struct {
	plain, gateway  string
	byPlain, behind atomic.Int64
	records         func() int
}

func newArena(t testing.TB) *arena {
	t.Helper()
	a := &arena{}
	count := func(n *atomic.Int64) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
			n.Add(1)
			rw.WriteHeader(204)
		}
	}
	plain := httptest.NewServer(count(&a.byPlain))
	t.Cleanup(plain.Close)
	a.plain = plain.Listener.Addr().String()
	w := newWorld(t)
	w.answer(count(&a.behind))
	api := w.api()
	api.Authenticate, api.Route = nil, &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/"}
	api.Operations = nil
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		for _, path := range []string{"/", "/{a}", "/{a}/{b}"} {
			api.Operations = append(api.Operations, &catalogv1.Operation{Id: method, Method: method, Path: path})
		}
	}
	w.publish(api)
	g := w.start(w.config(t.TempDir()))
	g.await("/x", 204)
	a.behind.Store(0)
	a.gateway = g.Addr()
	a.records = func() int { return int(g.journal.Mark().NextSeq) - 1 }
	return a
}

var statusLine = regexp.MustCompile(`(?m)^HTTP/1\.1 \d`)

// exchangeRaw sends a message, ends the sending side, and returns all that comes back.
func exchangeRaw(address string, message []byte) string {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = conn.Write(message)
	_ = conn.(*net.TCPConn).CloseWrite()
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(conn)
	return answer.String()
}

func TestMessagesThatTwoParsersCouldReadDifferently(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	const get = "GET /x HTTP/1.1\r\nHost: a\r\n"
	const post = "POST /x HTTP/1.1\r\nHost: a\r\n"
	for name, c := range map[string]struct {
		message string
		status  string
	}{
		"two lengths":                  {post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"},
		"two different lengths":        {post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"},
		"a list of lengths":            {post + "Content-Length: 3, 3\r\n\r\nabc", "400"},
		"a signed length":              {post + "Content-Length: +3\r\n\r\nabc", "400"},
		"a negative length":            {post + "Content-Length: -3\r\n\r\nabc", "400"},
		"an empty length":              {post + "Content-Length:\r\n\r\n", "400"},
		"a hexadecimal length":         {post + "Content-Length: 0x3\r\n\r\nabc", "400"},
		"length and chunks":            {post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"chunks and length":            {post + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"},
		"two codings":                  {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"another coding":               {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"},
		"identity":                     {post + "Transfer-Encoding: identity\r\n\r\n", "400"},
		"a tab in the coding":          {post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "400"},
		"chunks in 1.0":                {"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"a folded field":               {get + "X: a\r\n b\r\n\r\n", "400"},
		"a folded first field":         {"GET /x HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n", "400"},
		"a space before the colon":     {get + "X : a\r\n\r\n", "400"},
		"a space in a name":            {get + "X Y: a\r\n\r\n", "400"},
		"no colon":                     {get + "X\r\n\r\n", "400"},
		"no name":                      {get + ": a\r\n\r\n", "400"},
		"a bare line feed":             {get + "X: a\nY: b\r\n\r\n", "400"},
		"a bare carriage return":       {get + "X: a\rY: b\r\n\r\n", "400"},
		"a null byte in a value":       {get + "X: a\x00b\r\n\r\n", "400"},
		"a control byte in a name":     {get + "X\x01: a\r\n\r\n", "400"},
		"a letter no name has":         {get + "Xé: a\r\n\r\n", "400"},
		"no host":                      {"GET /x HTTP/1.1\r\n\r\n", "400"},
		"two hosts":                    {get + "Host: b\r\n\r\n", "400"},
		"a host with a space":          {"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
		"a host with a slash":          {"GET /x HTTP/1.1\r\nHost: a\"b\r\n\r\n", "400"},
		"a control byte in the target": {"GET /x\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"two spaces":                   {"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a space in the target":        {"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a fragment":                   {"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a wrong escape":               {"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"no target":                    {"GET HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a relative target":            {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"a method with a colon":        {"G:T /x HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"version 2.0":                  {"GET /x HTTP/2.0\r\nHost: a\r\n\r\n", "505"},
		"version 1.2":                  {"GET /x HTTP/1.2\r\nHost: a\r\n\r\n", "505"},
		"no version":                   {"GET /x\r\nHost: a\r\n\r\n", "400"},
		"lower case version":           {"GET /x http/1.1\r\nHost: a\r\n\r\n", "400"},
		"a large header":               {get + "X: " + repeat("x", 20_000) + "\r\n\r\n", "431"},
		"a chunk size with a sign":     {post + "Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", "400"},
		"a chunk size in 0x":           {post + "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", "400"},
		"a huge chunk size":            {post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\na\r\n0\r\n\r\n", "400"},
		"a bare LF after the size":     {post + "Transfer-Encoding: chunked\r\n\r\n1;x\na\r\n0\r\n\r\n", "400"},
		"a chunk without its end":      {post + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "400"},
		"a body that breaks off":       {post + "Content-Length: 20000\r\n\r\nabc", "400"},
		"another expectation":          {post + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\na", "417"},
		"right":                        {get + "\r\n", "204"},
		"right in chunks":              {post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "204"},
		"right with an extension":      {post + "Transfer-Encoding: chunked\r\n\r\n3;name=value\r\nabc\r\n0\r\n\r\n", "204"},
		"right with a trailer":         {post + "Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", "204"},
	} {
		t.Run(name, func(t *testing.T) {
			before, recorded := a.behind.Load(), a.records()
			// What follows must never be taken for a request after a refusal.
			got := exchangeRaw(a.gateway, []byte(c.message+"GET /x HTTP/1.1\r\nHost: smuggled\r\nConnection: close\r\n\r\n"))
			require.True(t, strings.HasPrefix(got, "HTTP/1.1 "+c.status+" "), got)
			if c.status == "204" {
				require.Equal(t, int64(2), a.behind.Load()-before)
				return
			}
			require.Equal(t, before, a.behind.Load(), "nothing reaches the upstream")
			require.Len(t, statusLine.FindAllString(got, -1), 1, "the connection is closed: %s", got)
			require.Contains(t, got, "Connection: close")
			require.Contains(t, got, "application/problem+json")
			require.LessOrEqual(t, a.records()-recorded, 1)
		})
	}
}

// FuzzStrict: what net/http does not hand to its handler does not reach an upstream.
func FuzzStrict(f *testing.F) {
	for _, seed := range []string{
		"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET http://b/x?y HTTP/1.0\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1\nHost: a\n\n",
		"GET /%41 HTTP/1.1\r\nHost: [::1]:80\r\nX:\ty \r\nConnection: close, x\r\nExpect: 100-continue\r\n\r\n",
		"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	a := newArena(f)
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) == 0 || len(message) > 8000 || message[0] == '\r' || message[0] == '\n' {
			return // a line before the request line may be ignored (RFC 9112, section 2.2); net/http does not
		}
		a.byPlain.Store(0)
		a.behind.Store(0)
		exchangeRaw(a.plain, message)
		exchangeRaw(a.gateway, message)
		if a.behind.Load() > 0 && a.byPlain.Load() == 0 {
			t.Errorf("net/http refuses %q, the gateway forwarded it", message)
		}
	})
}
