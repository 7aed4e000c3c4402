package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

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
