package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

func listenHTTP(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// childDirEnv makes the test binary a gateway, to be killed: its value is the JSON of a child.
const childDirEnv = "TOLLGATE_GATEWAY_TEST_CHILD"

type child struct {
	NATS   string
	Config Config
}

func runChild(text string) {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	b, err := bus.Connect(bus.Config{URL: c.NATS, Name: "child", Replicas: 1})
	if err != nil {
		panic(err)
	}
	g, err := New(c.Config, Deps{Bus: b, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		panic(err)
	}
	fmt.Println(g.Addr())
	if err := g.Run(context.Background()); err != nil {
		panic(err)
	}
}

// spawn starts a gateway as a process of its own and returns its address and a function that kills it.
func spawn(t testing.TB, c child) (address string, kill func()) {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDirEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line), kill
}

// TestAKilledGatewayLosesNoAnsweredCall kills a loaded gateway again and again: every answer that a client received whole must be in
// the stream, once its successor has shipped what the journal holds.
func TestAKilledGatewayLosesNoAnsweredCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "stream") { // in chunks, with a break
			_ = http.NewResponseController(rw).Flush()
		}
		_, _ = fmt.Fprint(rw, "weather")
	})
	c := child{NATS: w.nats.URL(), Config: w.config(t.TempDir())}
	answered := map[string]bool{}
	var mu sync.Mutex
	for round := range 5 {
		address, kill := spawn(t, c)
		var clients sync.WaitGroup
		enough := make(chan struct{})
		count := 0
		for i := range 16 {
			path := []string{"rome", "stream"}[i%2]
			clients.Go(func() {
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				for {
					req, _ := http.NewRequest("GET", "http://"+address+"/weather/v1/current/"+path, nil)
					req.Header.Set("X-API-Key", apiKey)
					resp, err := transport.RoundTrip(req)
					if err != nil {
						return // killed
					}
					var got strings.Builder
					_, err = bufio.NewReader(resp.Body).WriteTo(&got)
					_ = resp.Body.Close()
					if err != nil {
						return
					}
					if resp.StatusCode != 200 {
						continue // not ready yet
					}
					mu.Lock()
					answered[resp.Header.Get("Tollgate-Call-Id")] = true
					if count++; count == 500+round*300 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
		<-enough
		kill()
		clients.Wait()
	}
	last := w.start(c.Config)
	testkit.Await(t, time.Minute, func() bool { // every killed boot is shipped and closed
		closed := 0
		for _, b := range w.batches() {
			if b.GetBootClosed() {
				closed++
			}
		}
		return closed == 5
	})
	require.NoError(t, last.stop())
	records := w.records()
	for id := range answered {
		require.NotNil(t, records[id], "call %s was answered and has no record", id)
		require.True(t, records[id].GetBillable(), "%v", records[id])
	}
	t.Logf("%d calls were answered whole, %d are recorded", len(answered), len(records))
	// No hole: each boot's sequence numbers are contiguous, and each boot is closed.
	highest, count, closed := map[uint64]uint64{}, map[uint64]map[uint64]bool{}, map[uint64]bool{}
	for _, b := range w.batches() {
		if count[b.GetBoot()] == nil {
			count[b.GetBoot()] = map[uint64]bool{}
		}
		for _, r := range b.GetCalls() {
			count[b.GetBoot()][r.GetSeq()] = true
			highest[b.GetBoot()] = max(highest[b.GetBoot()], r.GetSeq())
		}
		if b.GetBootClosed() {
			closed[b.GetBoot()] = true
		}
	}
	require.Len(t, closed, 6)
	for boot, seqs := range count {
		require.Len(t, seqs, int(highest[boot]), "boot %d has holes", boot)
		require.True(t, closed[boot])
	}
	left, err := filepath.Glob(filepath.Join(c.Config.DataDir, "journal", "*.journal"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAFullJournal(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"refuse", "serve"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.standard()
			open := w.api()
			open.ApiVersion, open.Authenticate, open.Route.Prefix = "open-v1", nil, "/open"
			w.publish(open)
			c := w.config(t.TempDir())
			c.JournalSegmentBytes, c.JournalMaxBytes, c.MaxConnections, c.WhenJournalFull = 64<<10, 128<<10, 3, mode
			g := w.start(c)
			g.await("/weather/v1/current/rome", 200)
			g.await("/open/current/rome", 200)
			w.nats.Shutdown() // nothing is shipped any more
			var last reply
			testkit.Await(t, time.Minute, func() bool {
				last = g.get("/weather/v1/current/rome")
				return last.headers.Get("Tollgate-Call-Id") == ""
			})
			if mode == "refuse" {
				require.Equal(t, 503, last.status)
				require.Equal(t, "journal-full", last.problem(t).Code)
			} else {
				require.Equal(t, 200, last.status)
			}
			require.Equal(t, 200, g.get("/open/current/rome").status, "what nobody pays for goes on")
			_, metrics := adminGet(t, g, "/metrics")
			require.NotContains(t, metrics, "tollgate_gateway_unrecorded_total 0\n")
			w.nats.Start()
			testkit.Await(t, time.Minute, func() bool {
				got := g.get("/weather/v1/current/rome")
				return got.status == 200 && got.headers.Get("Tollgate-Call-Id") != ""
			})
		})
	}
}

func TestStrictMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	c := w.config(t.TempDir())
	c.JournalMode = "strict"
	g := w.start(c)
	g.await("/weather/v1/current/rome", 200)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 20 {
				if got, err := g.try("GET", "/weather/v1/current/rome", nil, "X-API-Key", apiKey); err != nil || got.status != 200 {
					t.Error(got.status, err)
				}
			}
		})
	}
	clients.Wait()
}

func TestShutdownDrainsShipsAndClosesTheBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	entered, release := make(chan struct{}), make(chan struct{})
	w.answer(func(rw http.ResponseWriter, _ *http.Request) { close(entered); <-release; rw.WriteHeader(204) })
	answer := make(chan reply, 1)
	go func() { r, _ := g.try("GET", "/weather/v1/current/rome", nil, "X-API-Key", apiKey); answer <- r }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- g.stop() }()
	testkit.Await(t, time.Minute, func() bool { // no new connections
		conn, err := net.Dial("tcp", g.Addr())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(release)
	got := <-answer
	require.Equal(t, 204, got.status)
	require.NoError(t, <-stopped)
	require.Contains(t, w.records(), got.headers.Get("Tollgate-Call-Id"))
	batches := w.batches()
	require.True(t, batches[len(batches)-1].GetBootClosed())
	require.Equal(t, g.journal.Boot(), batches[len(batches)-1].GetBoot())
}

func TestACallThatOutlastsTheDrainIsCutOffAndRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	c := w.config(t.TempDir())
	c.DrainTimeout = 100 * time.Millisecond
	g := w.start(c)
	g.await("/weather/v1/current/rome", 200)
	w.answer(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(rw, "begun")
		_ = http.NewResponseController(rw).Flush()
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(rw, repeat("x", 1000)); err != nil {
				return
			}
			_ = http.NewResponseController(rw).Flush()
		}
	})
	conn, err := net.Dial("tcp", g.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET /weather/v1/current/rome HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\n\r\n", apiKey)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, g.stop())
	record := w.records()[resp.Header.Get("Tollgate-Call-Id")]
	require.NotNil(t, record)
	require.Equal(t, "client_gone", record.GetEndReason())
	require.Equal(t, callsv1.Responder_RESPONDER_UPSTREAM, record.GetResponder())
}
