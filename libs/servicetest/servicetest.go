// Package servicetest runs a control-plane service in a test as it runs in production: on a real NATS server and a
// database of its own, with signed tokens. It is for tests only and in no binary.
package servicetest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/libs/token"
)

// Env is the surroundings of a service in one test. It belongs to the test's goroutine.
type Env struct {
	NATS *testkit.NATSServer
	Bus  *bus.Bus
	tb   testing.TB
	key  ed25519.PrivateKey
	logs map[string]*eventlog.Log
}

const keyID = "test"

// New starts a NATS server and publishes the key that Token signs with, as identity would.
func New(tb testing.TB) *Env {
	tb.Helper()
	server := testkit.NATS(tb, testkit.MaxPayload(bus.MaxPayload))
	b, err := bus.Connect(bus.Config{URL: server.URL(), Name: "test", Replicas: 1})
	require.NoError(tb, err)
	tb.Cleanup(b.Close)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(tb, err)
	e := &Env{NATS: server, Bus: b, tb: tb, key: private, logs: map[string]*eventlog.Log{}}
	set, err := json.Marshal(token.JWKSet{Keys: []token.JWK{token.PublicJWK(keyID, public)}})
	require.NoError(tb, err)
	kv, err := b.Bucket(e.context(), bus.KeysBucket)
	require.NoError(tb, err)
	_, err = kv.Put(e.context(), token.KeysKey, set)
	require.NoError(tb, err)
	return e
}

// context is the test's, which ends just before its cleanups.
func (e *Env) context() context.Context {
	return e.tb.Context()
}

// Config returns the configuration of a service with a fresh database.
func (e *Env) Config(name string) service.Config {
	return service.Config{PostgresURL: testkit.Database(e.tb, name), NATSURL: e.NATS.URL(), NATSReplicas: 1}
}

// Deps returns what a service is given; clock may be nil.
func (e *Env) Deps(clock func() time.Time) service.Deps {
	return service.Deps{Bus: e.Bus, Log: testkit.Logger(e.tb), Clock: clock}
}

// Runner is a service that was built.
type Runner interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// Run runs a service until the test ends, and returns when it answers. stop ends it sooner.
func (e *Env) Run(s Runner) (stop func()) {
	e.tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		cancel()
		require.NoError(e.tb, err)
	case <-time.After(30 * time.Second):
		cancel()
		e.tb.Fatal("the service is not ready after 30 seconds")
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(e.tb, <-done)
	}
	e.tb.Cleanup(stop)
	return stop
}

// Token returns a signed token of a member of the tenant.
func (e *Env) Token(tenant string, scopes ...string) string {
	return e.TokenFor(principal.Principal{Tenant: tenant, Subject: "member:test", Scopes: scopes})
}

// TokenFor returns a signed token of a principal.
func (e *Env) TokenFor(p principal.Principal) string {
	e.tb.Helper()
	signed, _, err := token.Sign(e.key, keyID, p, time.Now())
	require.NoError(e.tb, err)
	return signed
}

// Emit appends events to the log of another service, as that service would, and relays them. It returns the position of
// the last one. version is the version of the stream before.
func (e *Env) Emit(log, tenant, streamType, streamID string, version uint64, events ...proto.Message) uint64 {
	e.tb.Helper()
	l := e.log(log)
	ctx := principal.With(e.context(), principal.Service(log, tenant))
	result, err := eventlog.Execute(ctx, l, func(_ context.Context, tx *eventlog.Tx) (struct{}, error) {
		tx.Append(streamType, streamID, version, events...)
		return struct{}{}, nil
	})
	require.NoError(e.tb, err)
	return result.Position
}

func (e *Env) log(name string) *eventlog.Log {
	if l, ok := e.logs[name]; ok {
		return l
	}
	db, err := postgres.Open(e.context(), postgres.Config{URL: testkit.Database(e.tb, name)})
	require.NoError(e.tb, err)
	l, err := eventlog.New(db, eventlog.Config{Name: name})
	require.NoError(e.tb, err)
	require.NoError(e.tb, l.Migrate(e.context()))
	relay, err := eventlog.NewRelay(l, e.Bus.JS, eventlog.RelayConfig{Replicas: 1, Logger: testkit.Logger(e.tb)})
	require.NoError(e.tb, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.context()))
	done := make(chan error, 1)
	go func() { done <- relay.Run(ctx) }()
	e.tb.Cleanup(func() {
		cancel()
		require.NoError(e.tb, <-done)
		db.Close()
	})
	e.logs[name] = l
	return l
}

// Answer is a response of the management API.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Decode reads the body into v.
func (a Answer) Decode(tb testing.TB, v any) {
	tb.Helper()
	require.NoError(tb, json.Unmarshal([]byte(a.Body), v), a.Body)
}

// Client calls the management API over NATS, as a gateway's admin listener does.
type Client struct {
	env     *Env
	handler http.Handler
	token   string
	address string
}

// From returns the client at an address, host and port.
func (c Client) From(address string) *Client {
	c.address = address
	return &c
}

// Client returns a client with a signed token.
func (e *Env) Client(signed string) *Client {
	services := []string{"identity", "catalog", "subscription", "metering", "analytics", "billing"}
	return &Client{env: e, token: signed, handler: apibridge.Handler(e.Bus, services, testkit.Logger(e.tb))}
}

// Do sends a request; body is encoded as JSON unless it is nil or a string. headers are pairs.
func (c *Client) Do(method, path string, body any, headers ...string) Answer {
	c.env.tb.Helper()
	encoded, isText := body.(string)
	if body != nil && !isText {
		raw, err := json.Marshal(body)
		require.NoError(c.env.tb, err)
		encoded = string(raw)
	}
	r, err := http.NewRequestWithContext(c.env.context(), method, path, strings.NewReader(encoded))
	require.NoError(c.env.tb, err)
	r.RemoteAddr = c.address
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	c.handler.ServeHTTP(w, r)
	return Answer{Status: w.status, Header: w.header, Body: w.body.String()}
}

// Must is Do that fails the test unless the status is 2xx, and decodes the body into out unless it is nil.
func (c *Client) Must(method, path string, body, out any, headers ...string) Answer {
	c.env.tb.Helper()
	a := c.Do(method, path, body, headers...)
	require.Less(c.env.tb, a.Status, 300, "%s %s: %s", method, path, a.Body)
	if out != nil {
		a.Decode(c.env.tb, out)
	}
	return a
}

type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }

var _ io.Writer = (*recorder)(nil)

// Attack calls every operation of the API as a stranger: with a token of another tenant that has every scope, and the
// victim's names and ids in the path's parameters. bodies gives a request body by operation name. Nothing may be answered
// with a 2xx that contains one of the secrets (names or ids of the victim's things), and no operation on a thing of the
// victim's may succeed. It returns the operations tried; allowed names those that a stranger may call with success, because
// they act on the stranger's own tenant, such as lists and creations.
func (e *Env) Attack(a *operation.API, stranger string, parameters map[string][]string, bodies map[string]any, queries map[string]string, allowed map[string]bool, secrets []string) int {
	e.tb.Helper()
	client := e.Client(stranger)
	tried := 0
	for _, p := range a.Permissions() {
		for _, path := range expand(p.Path, parameters) {
			answer := client.Do(p.Method, path+queries[p.Operation], bodies[p.Operation])
			tried++
			if answer.Status < 300 {
				require.True(e.tb, allowed[p.Operation] || p.Public, "%s %s answered a stranger with %d: %s", p.Method, path, answer.Status, answer.Body)
				for _, secret := range secrets {
					require.NotContains(e.tb, answer.Body, secret, "%s %s", p.Method, path)
				}
			}
			require.Less(e.tb, answer.Status, 500, "%s %s: %s", p.Method, path, answer.Body)
		}
	}
	return tried
}

// expand fills the parameters of a path in every combination.
func expand(path string, parameters map[string][]string) []string {
	start := strings.IndexByte(path, '{')
	if start < 0 {
		return []string{path}
	}
	end := strings.IndexByte(path, '}')
	values, ok := parameters[path[start+1:end]]
	if !ok {
		values = []string{"missing-parameter"}
	}
	var all []string
	for _, v := range values {
		all = append(all, expand(path[:start]+v+path[end+1:], parameters)...)
	}
	return all
}
