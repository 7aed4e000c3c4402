package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

func TestBigBodiesStreamBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	body := make([]byte, 9<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(body)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		// As it reads, it writes: both directions are busy at once.
		if r.Header.Get("X-Length") != "" {
			rw.Header().Set("Content-Length", r.Header.Get("X-Length"))
		}
		_ = http.NewResponseController(rw).EnableFullDuplex()
		rw.WriteHeader(200)
		_, _ = io.Copy(rw, r.Body)
	})
	for name, tc := range map[string]struct {
		reader io.Reader
		length string
	}{
		"lengths":      {bytes.NewReader(body), fmt.Sprint(len(body))},
		"chunks":       {io.MultiReader(bytes.NewReader(body)), ""},
		"length, then": {bytes.NewReader(body), ""},
		"chunks, then": {io.MultiReader(bytes.NewReader(body)), fmt.Sprint(len(body))},
		"small chunks": {io.MultiReader(strings.NewReader("tiny")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			length := tc.length
			got := g.do("POST", "/weather/v1/forecasts", tc.reader, "X-API-Key", apiKey, "X-Length", length)
			require.Equal(t, 200, got.status)
			want := body
			if name == "small chunks" {
				want = []byte("tiny")
			}
			require.Equal(t, sha256.Sum256(want), sha256.Sum256([]byte(got.body)))
			record := w.record(got)
			require.True(t, record.GetBillable())
			require.Equal(t, uint64(len(want)), record.GetBytesIn())
			require.Equal(t, uint64(len(want)), record.GetBytesOut())
			require.Empty(t, record.GetEndReason())
		})
	}
}

func TestEventsArriveOneByOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	next := make(chan string)
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		rw.WriteHeader(200)
		_ = http.NewResponseController(rw).Flush()
		for event := range next {
			_, _ = io.WriteString(rw, "data: "+event+"\n\n")
			_ = http.NewResponseController(rw).Flush()
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+"/weather/v1/current/rome", nil)
	require.NoError(t, err)
	req.Header.Set("X-API-Key", apiKey)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	id := resp.Header.Get("Tollgate-Call-Id")
	require.NotEmpty(t, id)
	r := bufio.NewReader(resp.Body)
	for i := range 5 {
		next <- fmt.Sprint(i)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("data: %d\n", i), line)
		_, _ = r.ReadString('\n')
	}
	require.NotContains(t, w.records(), id, "the call is not over")
	close(next)
	_, err = io.ReadAll(r)
	require.NoError(t, err)
	record := w.record(reply{headers: resp.Header})
	require.True(t, record.GetBillable())
	require.Equal(t, uint64(5*len("data: 0\n\n")), record.GetBytesOut())
}

func TestAStreamThatBreaksOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	t.Run("upstream", func(t *testing.T) {
		w.answer(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1000000")
			_, _ = io.WriteString(rw, repeat("x", 200_000))
			panic(http.ErrAbortHandler)
		})
		got, err := g.try("GET", "/weather/v1/current/rome", nil, "X-API-Key", apiKey)
		require.Error(t, err, "the client sees it")
		record := w.record(got)
		require.Equal(t, callsv1.Reason_REASON_UPSTREAM_FAILED, record.GetReason())
		require.Equal(t, "upstream_gone", record.GetEndReason())
	})
	t.Run("client", func(t *testing.T) {
		release := make(chan struct{})
		w.answer(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, "begun")
			_ = http.NewResponseController(rw).Flush()
			<-release
			for r.Context().Err() == nil {
				if _, err := io.WriteString(rw, repeat("x", 100_000)); err != nil {
					return
				}
			}
		})
		conn, err := net.Dial("tcp", g.Addr())
		require.NoError(t, err)
		_, _ = io.WriteString(conn, "GET /weather/v1/current/rome HTTP/1.1\r\nHost: x\r\nX-API-Key: "+apiKey+"\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		buffer := make([]byte, 5)
		_, err = io.ReadFull(resp.Body, buffer)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		close(release)
		record := w.record(reply{headers: resp.Header})
		require.Equal(t, "client_gone", record.GetEndReason())
		require.True(t, record.GetBillable(), "the upstream answered and the client got some of it")
	})
}

func TestAClientGoneBeforeTheFirstByteIsNotBilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	entered, release := make(chan struct{}), make(chan struct{})
	w.answer(func(rw http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(rw, "late")
	})
	conn, err := net.Dial("tcp", g.Addr())
	require.NoError(t, err)
	_, _ = io.WriteString(conn, "GET /weather/v1/current/gone HTTP/1.1\r\nHost: x\r\nX-API-Key: "+apiKey+"\r\n\r\n")
	<-entered
	require.NoError(t, conn.Close())
	close(release)
	testkit.Await(t, time.Minute, func() bool {
		for _, r := range w.records() {
			if r.GetPath() == "/weather/v1/current/gone" {
				return r.GetReason() == callsv1.Reason_REASON_CLIENT_GONE && !r.GetBillable()
			}
		}
		return false
	})
}

func TestRequestBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	c := w.config(t.TempDir())
	c.MaxBody, c.ReadTimeout = 100_000, 500*time.Millisecond
	g := w.start(c)
	g.await("/weather/v1/current/rome", 200)
	post := "POST /weather/v1/forecasts HTTP/1.1\r\nHost: x\r\nX-API-Key: " + apiKey + "\r\n"
	t.Run("continue", func(t *testing.T) {
		t.Parallel()
		got := raw(t, g.Addr(), post+"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
		require.True(t, strings.HasPrefix(got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), got)
	})
	t.Run("too long", func(t *testing.T) {
		t.Parallel()
		got := g.do("POST", "/weather/v1/forecasts", strings.NewReader(repeat("x", 100_001)), "X-API-Key", apiKey)
		require.Equal(t, "body-too-large", got.problem(t).Code)
		require.Equal(t, 413, got.status)
	})
	t.Run("too long in chunks", func(t *testing.T) {
		t.Parallel()
		got, err := g.try("POST", "/weather/v1/forecasts", io.MultiReader(strings.NewReader(repeat("x", 200_001))), "X-API-Key", apiKey)
		require.NoError(t, err)
		require.Equal(t, 413, got.status, got.body)
	})
	t.Run("broken chunks", func(t *testing.T) {
		t.Parallel()
		got := raw(t, g.Addr(), post+"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nXX\r\n")
		require.Contains(t, got, " 400 ")
		require.Contains(t, got, "body-invalid")
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		got := raw(t, g.Addr(), post+"Content-Length: 20000\r\n\r\n"+repeat("x", 9000))
		require.Contains(t, got, " 408 ")
	})
	t.Run("head", func(t *testing.T) {
		t.Parallel()
		got := g.do("HEAD", "/weather/v1/current/rome", nil, "X-API-Key", apiKey)
		require.Equal(t, 200, got.status)
		require.Empty(t, got.body)
		require.NotEmpty(t, got.headers.Get("Content-Length"))
		require.Zero(t, w.record(got).GetBytesOut())
	})
	t.Run("pipelined", func(t *testing.T) {
		t.Parallel()
		get := "GET /weather/v1/current/rome HTTP/1.1\r\nHost: x\r\nX-API-Key: " + apiKey + "\r\n"
		got := raw(t, g.Addr(), get+"\r\n"+post+"Content-Length: 3\r\n\r\nabc"+get+"Connection: close\r\n\r\n")
		require.Equal(t, 3, strings.Count(got, "HTTP/1.1 200 OK"), got)
	})
	t.Run("http 1.0", func(t *testing.T) {
		t.Parallel()
		got := raw(t, g.Addr(), "GET http://api.example/weather/v1/current/rome HTTP/1.0\r\nX-API-Key: "+apiKey+"\r\n\r\n")
		require.Contains(t, got, " 200 OK")
		require.Contains(t, got, `"X-Forwarded-Host":["api.example"]`)
	})
}
