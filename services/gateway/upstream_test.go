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
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func TestUsageAndCharging(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(w.api())
	e := w.entitlement()
	e.Charging = &catalogv1.Charging{Billable: []string{"2xx"}}
	w.entitle(e)
	w.issue(apiKey, w.credential())
	free := w.entitlement()
	free.Application, free.Free = "app-free", true
	w.entitle(free)
	c := w.credential()
	c.Application = "app-free"
	w.issue("free", c)
	g := w.start(w.config(t.TempDir()))
	g.await("/weather/v1/current/rome", 200)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		for _, u := range r.Header.Values("X-Usage") {
			rw.Header().Add("Tollgate-Usage", u)
		}
		var status int
		_, _ = fmt.Sscan(r.Header.Get("X-Status"), &status)
		rw.WriteHeader(max(status, 200))
	})
	for name, tc := range map[string]struct {
		key, status, usage string
		reason             callsv1.Reason
		quantities         string
		source             string
	}{
		"reported":          {apiKey, "200", "rows=12, credits=0.50", 0, "rows=12 credits=0.5", "upstream"},
		"none":              {apiKey, "200", "", 0, "", ""},
		"undeclared":        {apiKey, "200", "rows=1, other=3", 0, "rows=1", "upstream"},
		"negative":          {apiKey, "200", "rows=-1, credits=2", 0, "credits=2", "invalid"},
		"no number":         {apiKey, "200", `rows="12"`, 0, "", "invalid"},
		"true":              {apiKey, "200", `rows`, 0, "", "invalid"},
		"broken":            {apiKey, "200", `rows=1,,`, 0, "", "invalid"},
		"too long":          {apiKey, "200", `rows=1234567890123456`, 0, "", "invalid"},
		"last one counts":   {apiKey, "200", `rows=1, rows=2;unit=x`, 0, "rows=2", "upstream"},
		"excluded":          {apiKey, "404", "rows=1", callsv1.Reason_REASON_STATUS_EXCLUDED, "rows=1", "upstream"},
		"upstream's fault":  {apiKey, "500", "", callsv1.Reason_REASON_UPSTREAM_FAILED, "", ""},
		"free":              {"free", "404", "rows=3", callsv1.Reason_REASON_FREE_PLAN, "rows=3", "upstream"},
		"free, their fault": {"free", "502", "", callsv1.Reason_REASON_UPSTREAM_FAILED, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := g.do("GET", "/weather/v1/current/rome", nil, "X-API-Key", tc.key, "X-Status", tc.status, "X-Usage", tc.usage)
			require.Empty(t, got.headers.Get("Tollgate-Usage"))
			record := w.record(got)
			require.Equal(t, tc.reason, record.GetReason())
			require.Equal(t, tc.reason == 0, record.GetBillable())
			require.Equal(t, tc.source, record.GetUsageSource())
			var quantities []string
			for _, q := range record.GetQuantities() {
				quantities = append(quantities, q.GetMeter()+"="+q.GetValue())
			}
			require.Equal(t, tc.quantities, strings.Join(quantities, " "))
		})
	}
}

// listenRaw serves each connection with a script of its own.
func listenRaw(t testing.TB, serve func(net.Conn, *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

func (w *world) route(targets ...string) *running {
	api := w.api()
	api.Upstream.Targets = nil
	for _, url := range targets {
		api.Upstream.Targets = append(api.Upstream.Targets, &catalogv1.Target{Url: url})
	}
	api.Upstream.Timeout = "700ms"
	api.Upstream.Retries = &catalogv1.Retries{Attempts: 3, On: []string{"connect", "reset", "503"}}
	w.publish(api)
	w.entitle(w.entitlement())
	w.issue(apiKey, w.credential())
	return w.start(w.config(w.t.TempDir()))
}

func TestAnUpstreamThatFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		serve    func(net.Conn, *bufio.Reader)
		method   string
		status   int
		code     string
		attempts uint32
	}{
		"hangs":          {func(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }, "GET", 504, "upstream-timeout", 1},
		"closes":         {func(c net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) }, "GET", 502, "upstream-unreachable", 3},
		"closes on post": {func(c net.Conn, r *bufio.Reader) { _, _ = http.ReadRequest(r) }, "POST", 502, "upstream-unreachable", 1},
		"talks nonsense": {func(c net.Conn, r *bufio.Reader) { _, _ = io.WriteString(c, "SSH-2.0\r\n\r\n") }, "GET", 502, "upstream-invalid", 1},
		"two lengths": {func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
		}, "GET", 502, "upstream-invalid", 1},
		"breaks off": {func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
		}, "POST", 502, "upstream-unreachable", 1},
		"switches": {func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching\r\n\r\n")
		}, "POST", 502, "upstream-invalid", 1},
		"is at its limit": {func(c net.Conn, r *bufio.Reader) {
			_, _ = http.ReadRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
		}, "GET", 503, "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			g := w.route(listenRaw(t, tc.serve))
			path := map[string]string{"GET": "/weather/v1/current/rome", "POST": "/weather/v1/forecasts"}[tc.method]
			got := g.do(tc.method, path, strings.NewReader(""), "X-API-Key", apiKey)
			require.Equal(t, tc.status, got.status, got.body)
			if tc.code != "" {
				require.Equal(t, tc.code, got.problem(t).Code)
			}
			record := w.record(got)
			require.Equal(t, callsv1.Reason_REASON_UPSTREAM_FAILED, record.GetReason())
			require.Equal(t, tc.attempts, record.GetAttempts())
			require.Equal(t, tc.code, record.GetErrorReason())
		})
	}
}

func TestWhatWasNotSentIsSentAgainElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	g := w.route("http://"+closed.Addr().String(), w.target.URL)
	for range 6 {
		got := g.do("POST", "/weather/v1/forecasts", strings.NewReader(`{"days":1}`), "X-API-Key", apiKey)
		require.Equal(t, `{"days":1}`, got.echoed(t).Body)
		require.Equal(t, w.target.URL, w.record(got).GetTarget())
	}
}

func TestAKeptConnectionThatTheUpstreamClosed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var accepted atomic.Int64
	g := w.route(listenRaw(t, func(c net.Conn, r *bufio.Reader) {
		accepted.Add(1)
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") // and close, without saying so
		}
	}))
	for range 10 {
		require.Equal(t, 200, g.get("/weather/v1/current/rome").status)
	}
	require.Equal(t, int64(10), accepted.Load())
}

func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var accepted atomic.Int64
	g := w.route(listenRaw(t, func(c net.Conn, r *bufio.Reader) {
		accepted.Add(1)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Own: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n")
		}
	}))
	for range 20 {
		got := g.get("/weather/v1/current/rome")
		require.Equal(t, "ok", got.body)
		require.Equal(t, "2", got.headers.Get("X-Own"))
		for _, hop := range []string{"Keep-Alive", "X-Hop", "Connection", "Link"} {
			require.Empty(t, got.headers.Get(hop), hop)
		}
	}
	require.Equal(t, int64(1), accepted.Load())
}

func TestWeights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var hits [3]atomic.Int64
	api := w.api()
	api.Upstream.Targets = nil
	for i, weight := range []uint32{5, 3, 0} {
		url := listenRaw(t, func(c net.Conn, r *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(r); err != nil {
					return
				}
				hits[i].Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		api.Upstream.Targets = append(api.Upstream.Targets, &catalogv1.Target{Url: url, Weight: weight})
	}
	w.publish(api)
	w.entitle(w.entitlement())
	w.issue(apiKey, w.credential())
	g := w.start(w.config(t.TempDir()))
	for range 80 {
		require.Equal(t, 204, g.get("/weather/v1/current/rome").status)
	}
	require.Equal(t, []int64{50, 30, 0}, []int64{hits[0].Load(), hits[1].Load(), hits[2].Load()})
}

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
