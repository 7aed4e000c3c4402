package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirEnv); dir != "" {
		runChild(dir)
		return
	}
	// The engine keeps a clock for the field Date for as long as the process lives.
	testkit.Main(closing{m}, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// closing closes what the tests' own client keeps open.
type closing struct{ *testing.M }

func (c closing) Run() int {
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	return c.M.Run()
}

// world is what surrounds gateways: NATS with the configuration's buckets and the CALLS stream, and an upstream.
type world struct {
	t        testing.TB
	nats     *testkit.NATSServer // nil where the test has servers of its own
	natsURL  string
	replicas int
	bus      *bus.Bus
	revision uint64

	read sync.Mutex
	got  []*callsv1.CallBatch

	mu       sync.Mutex
	upstream http.HandlerFunc
	target   *httptest.Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	server := testkit.NATS(t)
	w := newWorldOn(t, server.URL(), 1)
	w.nats = server
	return w
}

// newWorldOn is newWorld on NATS servers of the test's own, with so many copies of each stream and bucket.
func newWorldOn(t testing.TB, natsURL string, replicas int) *world {
	t.Helper()
	w := &world{t: t, natsURL: natsURL, replicas: replicas}
	var err error
	w.bus, err = bus.Connect(bus.Config{URL: natsURL, Name: "test", Replicas: replicas})
	require.NoError(t, err)
	t.Cleanup(w.bus.Close)
	require.NoError(t, w.bus.Await(t.Context()))
	_, err = w.bus.EnsureCalls(t.Context())
	require.NoError(t, err)
	for _, name := range []string{bus.APIsBucket, bus.EntitlementsBucket, bus.CredentialsBucket} {
		_, err := w.bus.Bucket(t.Context(), name)
		require.NoError(t, err)
	}
	w.upstream = echo
	w.target = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		handler := w.upstream
		w.mu.Unlock()
		handler(rw, r)
	}))
	t.Cleanup(w.target.Close)
	return w
}

func (w *world) answer(handler http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.upstream = handler
}

// echo answers with what it got.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "uri": r.RequestURI, "host": r.Host, "headers": r.Header, "body": string(body), "length": r.ContentLength, "coding": r.TransferEncoding,
	})
}

type echoed struct {
	Method, URI, Host, Body string
	Headers                 http.Header
	Length                  int64
	Coding                  []string
}

func (w *world) put(bucket, key string, m proto.Message) {
	w.t.Helper()
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(w.t, err)
	kv, err := w.bus.Bucket(w.t.Context(), bucket)
	require.NoError(w.t, err)
	_, err = kv.Put(w.t.Context(), key, value)
	require.NoError(w.t, err)
}

func (w *world) next() uint64 {
	w.revision++
	return w.revision
}

const weatherDocument = `
openapi: 3.1.0
info: {title: Weather, version: 1.0.0}
paths:
  /current/{city}:
    get:
      operationId: getCurrent
      parameters:
        - {name: city, in: path, required: true, schema: {type: string, minLength: 2, maxLength: 80}}
        - {name: units, in: query, schema: {type: string, enum: [metric, imperial]}}
  /forecasts:
    post:
      operationId: createForecast
      requestBody:
        required: true
        content:
          application/json:
            schema: {type: object, required: [days], properties: {days: {type: integer, minimum: 1}}}
`

// api returns a version that tests change before they publish it.
func (w *world) api() *gatewayv1.APIDocument {
	return &gatewayv1.APIDocument{
		Revision: w.next(), Tenant: "t1", Api: "weather", ApiName: "weather", ApiVersion: "weather-v1", VersionName: "weather-v1", Stage: "published",
		Route: &catalogv1.Route{Hosts: []string{"*"}, Prefix: "/weather/v1", StripPrefix: true},
		Operations: []*catalogv1.Operation{
			{Id: "getCurrent", Method: "GET", Path: "/current/{city}"}, {Id: "createForecast", Method: "POST", Path: "/forecasts"},
		},
		Upstream:     &catalogv1.Upstream{Targets: []*catalogv1.Target{{Url: w.target.URL}}, Timeout: "5s"},
		Authenticate: []string{"apiKey"}, Meters: []string{"rows", "credits"}, Products: []string{"p1"}, Openapi: weatherDocument,
	}
}

func (w *world) publish(d *gatewayv1.APIDocument) { w.put(bus.APIsBucket, d.GetApiVersion(), d) }

func (w *world) entitlement() *gatewayv1.EntitlementDocument {
	return &gatewayv1.EntitlementDocument{
		Revision: w.next(), Tenant: "t1", Account: "acc1", Application: "app1", Product: "p1", Subscription: "sub1", State: "active", Plan: "plan1", PlanName: "pro", PlanVersion: 3,
	}
}

func (w *world) entitle(d *gatewayv1.EntitlementDocument) {
	w.put(bus.EntitlementsBucket, d.GetApplication()+"."+d.GetProduct(), d)
}

const apiKey = "tg_live_5up3rs3cr3t"

func credentialKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func (w *world) credential() *gatewayv1.CredentialDocument {
	return &gatewayv1.CredentialDocument{Revision: w.next(), Tenant: "t1", Account: "acc1", Application: "app1", Credential: "cred1", Kind: "apiKey"}
}

func (w *world) issue(key string, d *gatewayv1.CredentialDocument) {
	w.put(bus.CredentialsBucket, credentialKey(key), d)
}

// standard publishes one version with a subscription and a key.
func (w *world) standard() {
	w.publish(w.api())
	w.entitle(w.entitlement())
	w.issue(apiKey, w.credential())
}

// running is a gateway that serves.
type running struct {
	*Gateway
	w    *world
	url  string
	stop func() error
}

func (w *world) config(dir string) Config {
	return Config{
		Name: "gw1", Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", DataDir: dir, JournalSegmentBytes: 1 << 20, JournalMaxBytes: 64 << 20,
		MaxConnections: 100, DrainTimeout: 3 * time.Second, UpstreamAllowLoopback: true, IssuerKeysAllowPrivate: true,
	}
}

// start runs a gateway until the test ends or stop is called.
func (w *world) start(c Config) *running {
	w.t.Helper()
	r := w.launch(c)
	select {
	case <-r.Ready():
	case <-time.After(time.Minute):
		w.t.Fatal("the gateway is not ready")
	}
	return r
}

// startStandard publishes the standard documents and starts a gateway that serves them.
func (w *world) startStandard() *running {
	w.t.Helper()
	w.standard()
	r := w.start(w.config(w.t.TempDir()))
	r.await("/weather/v1/current/rome", 200)
	return r
}

// launch is start without waiting for readiness.
func (w *world) launch(c Config) *running {
	w.t.Helper()
	b, err := bus.Connect(bus.Config{URL: w.natsURL, Name: c.Name, Replicas: w.replicas})
	require.NoError(w.t, err)
	log := slog.New(slog.DiscardHandler) // a fuzz target does not allow the log of its F
	if _, fuzzing := w.t.(*testing.F); !fuzzing {
		log = testkit.Logger(w.t)
	}
	g, err := New(c, Deps{Bus: b, Log: log})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	r := &running{Gateway: g, w: w, url: "http://" + g.Addr()}
	r.stop = sync.OnceValue(func() error {
		cancel()
		err := <-done
		b.Close()
		return err
	})
	w.t.Cleanup(func() { require.NoError(w.t, r.stop()) })
	return r
}

// settle waits until the gateway serves with a status other than the given ones: documents take a moment to arrive.
func (r *running) await(path string, status int) {
	r.w.t.Helper()
	testkit.Await(r.w.t, time.Minute, func() error {
		got := r.get(path)
		if got.status != status {
			return fmt.Errorf("%s answers %d %s", path, got.status, got.body)
		}
		return nil
	})
}

type reply struct {
	status  int
	body    string
	headers http.Header
}

func (r reply) problem(t testing.TB) problem.Document {
	t.Helper()
	require.Equal(t, "application/problem+json", r.headers.Get("Content-Type"), r.body)
	var d problem.Document
	require.NoError(t, json.Unmarshal([]byte(r.body), &d), r.body)
	require.Equal(t, r.status, d.Status)
	if id := r.headers.Get("Tollgate-Call-Id"); id != "" {
		require.Equal(t, "urn:tollgate:call:"+id, d.Instance)
	}
	return d
}

func (r reply) echoed(t testing.TB) echoed {
	t.Helper()
	require.Equal(t, 200, r.status, r.body)
	var e echoed
	require.NoError(t, json.Unmarshal([]byte(r.body), &e), r.body)
	return e
}

func (r *running) get(path string, headers ...string) reply {
	r.w.t.Helper()
	return r.do("GET", path, nil, append([]string{"X-API-Key", apiKey}, headers...)...)
}

func (r *running) do(method, path string, body io.Reader, headers ...string) reply {
	r.w.t.Helper()
	got, err := r.try(method, path, body, headers...)
	require.NoError(r.w.t, err)
	return got
}

func (r *running) try(method, path string, body io.Reader, headers ...string) (reply, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, r.url+path, body)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		} else if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		} else {
			req.Header.Del(headers[i])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, string(content), resp.Header}, err
}

// records returns every call record in the stream, by call id; a repeated one must be the same.
func (w *world) records() map[string]*callsv1.CallRecord {
	w.t.Helper()
	all := map[string]*callsv1.CallRecord{}
	for _, b := range w.batches() {
		for _, c := range b.GetCalls() {
			id := fmt.Sprintf("%s.%d.%d", b.GetGateway(), b.GetBoot(), c.GetSeq())
			if known := all[id]; known != nil && !proto.Equal(known, c) && known.GetEndReason() != "gateway_killed" {
				w.t.Errorf("call %s was shipped as %v and as %v", id, known, c)
			}
			all[id] = c
		}
	}
	return all
}

// batches returns everything in the stream. What was read before is not read again.
func (w *world) batches() []*callsv1.CallBatch {
	w.t.Helper()
	w.read.Lock()
	defer w.read.Unlock()
	stream, err := w.bus.JS.Stream(w.t.Context(), bus.CallsStream)
	require.NoError(w.t, err)
	info, err := stream.Info(w.t.Context())
	require.NoError(w.t, err)
	for len(w.got) < int(info.State.Msgs) {
		msg, err := stream.GetMsg(w.t.Context(), uint64(len(w.got)+1))
		require.NoError(w.t, err)
		b := &callsv1.CallBatch{}
		require.NoError(w.t, proto.Unmarshal(msg.Data, b))
		w.got = append(w.got, b)
	}
	return slices.Clone(w.got)
}

// record waits for a call's record.
func (w *world) record(r reply) *callsv1.CallRecord {
	w.t.Helper()
	id := r.headers.Get("Tollgate-Call-Id")
	require.NotEmpty(w.t, id)
	var found *callsv1.CallRecord
	testkit.Await(w.t, time.Minute, func() bool {
		found = w.records()[id]
		return found != nil
	})
	return found
}

// raw sends bytes on a connection of its own and returns all that comes back until the peer closes, or until quiet.
func raw(t testing.TB, address, message string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, message)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	var answer bytes.Buffer
	_, _ = answer.ReadFrom(conn)
	return answer.String()
}

func repeat(text string, n int) string { return strings.Repeat(text, n) }
