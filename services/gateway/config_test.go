package gateway

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestAGatewayStartsAndServesWithNATSDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	dir := t.TempDir()
	g := w.start(w.config(dir))
	g.await("/weather/v1/current/rome", 200)
	require.NoError(t, g.stop())
	w.nats.Shutdown()
	g = w.start(w.config(dir))
	got := g.get("/weather/v1/current/rome")
	require.Equal(t, 200, got.status, got.body)
	unseen := g.do("GET", "/weather/v1/current/rome", nil, "X-API-Key", "never seen")
	require.Equal(t, 503, unseen.status)
	require.Equal(t, "credential-unavailable", unseen.problem(t).Code)
	w.nats.Start()
	require.NoError(t, w.bus.Await(t.Context()))
	require.True(t, w.record(got).GetBillable(), "shipped once the bus is back")
}

func TestAFreshGatewayIsNotReadyWithNATSDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	w.nats.Shutdown()
	g := w.launch(w.config(t.TempDir()))
	require.Equal(t, "not-ready", g.get("/weather/v1/current/rome").problem(t).Code)
	require.Equal(t, 503, adminStatus(t, g, "/readyz"))
	require.Equal(t, 200, adminStatus(t, g, "/healthz"))
	w.nats.Start()
	g.await("/weather/v1/current/rome", 200)
	require.Equal(t, 200, adminStatus(t, g, "/readyz"))
}

func adminStatus(t testing.TB, g *running, path string) int {
	t.Helper()
	status, _ := adminGet(t, g, path)
	return status
}

func adminGet(t testing.TB, g *running, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.AdminAddr()+path, nil)
	require.NoError(t, err)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestWhatIsMissingRemovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := t.TempDir()
	w.standard()
	g := w.start(w.config(dir))
	g.await("/weather/v1/current/rome", 200)
	emptied := func(name string) {
		t.Helper()
		require.Equal(t, 200, g.get("/weather/v1/current/rome").status, name)
		require.NoError(t, g.stop())
		g = w.start(w.config(dir))
		require.Equal(t, 200, g.get("/weather/v1/current/rome").status, name+", after a restart")
	}
	for _, bucket := range []string{bus.APIsBucket, bus.EntitlementsBucket, bus.CredentialsBucket} {
		kv, err := w.bus.Bucket(t.Context(), bucket)
		require.NoError(t, err)
		keys, err := kv.Keys(t.Context())
		require.NoError(t, err)
		for _, key := range keys {
			require.NoError(t, kv.Delete(t.Context(), key))
			require.NoError(t, kv.Purge(t.Context(), key))
		}
	}
	emptied("deleted keys")
	for _, bucket := range []string{bus.APIsBucket, bus.EntitlementsBucket, bus.CredentialsBucket} {
		require.NoError(t, w.bus.JS.DeleteKeyValue(t.Context(), bucket))
	}
	emptied("deleted buckets")
	for _, bucket := range []string{bus.APIsBucket, bus.EntitlementsBucket, bus.CredentialsBucket} {
		_, err := w.bus.Bucket(t.Context(), bucket)
		require.NoError(t, err)
	}
	emptied("new and empty buckets")
	// The new buckets are followed, although their sequence numbers begin anew.
	removed := w.api()
	removed.Removed = true
	w.publish(removed)
	g.await("/weather/v1/current/rome", 404)
	require.NoError(t, g.stop())
	g = w.start(w.config(dir))
	require.Equal(t, 404, g.get("/weather/v1/current/rome").status)
}

func TestABucketMadeAnewIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	for range 20 { // so that the new bucket's sequence numbers are far behind
		w.publish(w.api())
	}
	require.NoError(t, w.bus.JS.DeleteKeyValue(t.Context(), bus.APIsBucket))
	require.NoError(t, w.bus.JS.DeleteKeyValue(t.Context(), bus.CredentialsBucket))
	_, err := w.bus.Bucket(t.Context(), bus.CredentialsBucket)
	require.NoError(t, err)
	revoked := w.credential()
	revoked.Revoked = true
	w.issue(apiKey, revoked)
	g.await("/weather/v1/current/rome", 401)
	removed := w.api()
	removed.Removed = true
	w.publish(removed)
	g.await("/weather/v1/current/rome", 404)
}

func TestOlderAndWrongDocumentsChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	for name, change := range map[string]func(*gatewayv1.APIDocument){
		"older":     func(d *gatewayv1.APIDocument) { d.Revision, d.Removed = 0, true },
		"policy":    func(d *gatewayv1.APIDocument) { d.Policies = []*catalogv1.Policy{{Kind: "waf"}} },
		"target":    func(d *gatewayv1.APIDocument) { d.Upstream.Targets[0].Url = "ftp://x" },
		"no target": func(d *gatewayv1.APIDocument) { d.Upstream.Targets = nil },
		"host":      func(d *gatewayv1.APIDocument) { d.Route.Hosts = []string{"a*b"} },
		"prefix":    func(d *gatewayv1.APIDocument) { d.Route.Prefix = "x/{y}" },
		"template":  func(d *gatewayv1.APIDocument) { d.Operations[0].Path = "/{a}{b}" },
		"timeout":   func(d *gatewayv1.APIDocument) { d.Upstream.Timeout = "soon" },
		"retries": func(d *gatewayv1.APIDocument) {
			d.Upstream.Retries = &catalogv1.Retries{Attempts: 99, On: []string{"always"}}
		},
		"credentials": func(d *gatewayv1.APIDocument) { d.Authenticate = []string{"password"} },
		"no issuer":   func(d *gatewayv1.APIDocument) { d.Authenticate = []string{"jwt"} },
		"issuer": func(d *gatewayv1.APIDocument) {
			d.Authenticate = []string{"jwt"}
			d.Issuers = []*catalogv1.Issuer{{Issuer: "x", JwksUri: "http://example.com/keys", Audiences: []string{"a"}}}
		},
		"no audience": func(d *gatewayv1.APIDocument) {
			d.Authenticate, d.Issuers = []string{"jwt"}, []*catalogv1.Issuer{{Issuer: "x", JwksUri: "https://example.com/keys"}}
		},
		"access": func(d *gatewayv1.APIDocument) { d.Access = []*gatewayv1.OperationAccess{{Operation: "unknown"}} },
		"document": func(d *gatewayv1.APIDocument) {
			d.Openapi, d.Policies = "openapi: 2", []*catalogv1.Policy{{Kind: "validate", Request: true}}
		},
		"operations": func(d *gatewayv1.APIDocument) {
			d.Operations[0].Path, d.Policies = "/unknown", []*catalogv1.Policy{{Kind: "validate", Request: true}}
		},
		"id": func(d *gatewayv1.APIDocument) { d.Tenant = repeat("t", 100) },
	} {
		d := w.api()
		change(d)
		value, err := proto.Marshal(d)
		require.NoError(t, err)
		news, err := g.store.Apply(bus.APIsBucket, "weather-v1", value)
		require.False(t, news, name)
		require.Equal(t, name != "older", err != nil, "%s: %v", name, err)
	}
	_, err := g.store.Apply(bus.APIsBucket, "weather-v1", []byte("nonsense"))
	require.Error(t, err)
	for _, change := range []func(*gatewayv1.EntitlementDocument){
		func(d *gatewayv1.EntitlementDocument) { d.State = "asleep" },
		func(d *gatewayv1.EntitlementDocument) { d.Limits = []*catalogv1.Limit{{Rate: 1, Per: "fortnight"}} },
		func(d *gatewayv1.EntitlementDocument) { d.Limits = []*catalogv1.Limit{{Quota: 1, Per: "second"}} },
		func(d *gatewayv1.EntitlementDocument) {
			d.Limits = []*catalogv1.Limit{{Quota: 1, Per: "day", Mode: "firm"}}
		},
		func(d *gatewayv1.EntitlementDocument) { d.Limits = []*catalogv1.Limit{{}} },
		func(d *gatewayv1.EntitlementDocument) { d.Charging = &catalogv1.Charging{Billable: []string{"all"}} },
		func(d *gatewayv1.EntitlementDocument) { d.Limits = hardQuotas(6) },
		func(d *gatewayv1.EntitlementDocument) { d.Application = "other" },
	} {
		d := w.entitlement()
		change(d)
		value, err := proto.Marshal(d)
		require.NoError(t, err)
		_, err = g.store.Apply(bus.EntitlementsBucket, "app1.p1", value)
		require.Error(t, err)
	}
	g.store.Publish()
	require.Equal(t, 200, g.get("/weather/v1/current/rome").status)
	_, body := adminGet(t, g, "/gateway/v1/status")
	var status gatewayv1.GatewayStatus
	require.NoError(t, protojson.Unmarshal([]byte(body), &status))
	require.Equal(t, g.journal.Boot(), status.GetBoot())
	require.Equal(t, uint64(1), status.GetRevisions()[bus.APIsBucket])
	require.Contains(t, status.GetRejected(), "gw_apis/weather-v1")
	require.Contains(t, status.GetRejected(), "gw_entitlements/app1.p1")
}

func TestARevokedKeyIsRefusedWithinASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	revoked := w.credential()
	revoked.Revoked = true
	w.issue(apiKey, revoked)
	begun := time.Now()
	g.await("/weather/v1/current/rome", 401)
	t.Logf("revoked after %v", time.Since(begun))
	// Also when it was revoked while the gateway was not there to see it.
	dir := g.config.DataDir
	require.NoError(t, g.stop())
	again := w.credential()
	w.issue(apiKey, again)
	g = w.start(w.config(dir))
	g.await("/weather/v1/current/rome", 200)
}

func TestANewKeyIsKnownAlthoughItWasAskedForBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	require.Equal(t, 401, g.do("GET", "/weather/v1/current/rome", nil, "X-API-Key", "new").status)
	w.issue("new", w.credential())
	testkit.Await(t, time.Minute, func() bool {
		return g.do("GET", "/weather/v1/current/rome", nil, "X-API-Key", "new").status == 200
	})
}

func TestNoCallFailsWhileTheConfigurationChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	second := httptestServer(t)
	var stop atomic.Bool
	var calls atomic.Int64
	failures := make(chan string, 100)
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for !stop.Load() {
				got, err := g.try("GET", "/weather/v1/current/rome", nil, "X-API-Key", apiKey)
				if err != nil || got.status != 200 {
					failures <- fmt.Sprint(got.status, got.body, err)
					return
				}
				calls.Add(1)
			}
		}()
	}
	for i := range 50 {
		d := w.api()
		d.Upstream.Targets = []*catalogv1.Target{{Url: w.target.URL, Weight: uint32(i)}, {Url: second, Weight: 1}}
		w.publish(d)
		e := w.entitlement()
		e.PlanVersion = uint32(i)
		w.entitle(e)
		before := calls.Load()
		testkit.Await(t, time.Minute, func() bool { return calls.Load() > before+10 || len(failures) > 0 })
	}
	testkit.Await(t, time.Minute, func() bool { return g.store.Snapshot().Revision == w.revision-1 })
	stop.Store(true)
	for range 8 {
		<-done
	}
	close(failures)
	for f := range failures {
		t.Error(f)
	}
	t.Logf("%d calls over 50 changes", calls.Load())
}

func httptestServer(t testing.TB) string {
	t.Helper()
	return listenHTTP(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "second") })
}

func TestTheOlderVersionKeepsARouteThatTwoClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	rival := w.api()
	rival.ApiVersion, rival.Tenant = "weather-v2", "t2"
	w.publish(rival)
	testkit.Await(t, time.Minute, func() bool {
		_, rejected := g.store.Report()
		return strings.Contains(rejected["gw_apis/weather-v2"], "version weather-v1 has it")
	})
	require.Equal(t, "weather-v1", w.record(g.get("/weather/v1/current/rome")).GetApiVersion())
}

func TestTheStatusIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	kv, err := w.bus.Bucket(t.Context(), bus.GatewaysBucket)
	require.NoError(t, err)
	testkit.Await(t, time.Minute, func() error {
		entry, err := kv.Get(t.Context(), "gw1")
		if err != nil {
			return err
		}
		var s gatewayv1.GatewayStatus
		if err := proto.Unmarshal(entry.Value(), &s); err != nil {
			return err
		}
		if s.GetBoot() != g.journal.Boot() || s.GetRevisions()[bus.APIsBucket] != 1 || s.GetReportedAt() == 0 {
			return fmt.Errorf("%v", &s)
		}
		return nil
	})
	status, metrics := adminGet(t, g, "/metrics")
	require.Equal(t, 200, status)
	require.Contains(t, metrics, `tollgate_gateway_answers_total{class="2xx",responder="upstream"}`)
	require.Contains(t, metrics, "tollgate_gateway_unshipped_records")
}

func TestTheManagementAPIIsForwardedOverNATS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	require.Equal(t, 503, adminStatus(t, g, "/catalog/v1/apis"), "no catalog runs here")
	require.Equal(t, 404, adminStatus(t, g, "/elsewhere"))
	require.Equal(t, 404, g.get("/gateway/v1/status").status, "clients do not reach it")
}

func TestTenThousandRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.startStandard()
	var last *gatewayv1.APIDocument
	kv, err := w.bus.Bucket(t.Context(), bus.APIsBucket)
	require.NoError(t, err)
	for i := range 1000 {
		d := w.api()
		d.ApiVersion, d.Route.Prefix = fmt.Sprintf("version-%d", i), fmt.Sprintf("/api%d", i)
		for o := range 9 {
			d.Operations = append(d.Operations, &catalogv1.Operation{Id: fmt.Sprint(o), Method: "GET", Path: fmt.Sprintf("/things%d/{id}", o)})
		}
		value, err := proto.Marshal(d)
		require.NoError(t, err)
		_, err = kv.Put(t.Context(), d.GetApiVersion(), value)
		require.NoError(t, err)
		last = d
	}
	testkit.Await(t, time.Minute, func() bool { return g.store.Snapshot().Revision == last.GetRevision() })
	require.Equal(t, 200, g.get("/api999/things8/7").status)
	begun := time.Now()
	next := w.api()
	w.publish(next)
	testkit.Await(t, time.Minute, func() bool { return g.store.Snapshot().Revision == next.GetRevision() })
	t.Logf("a change beside 11,000 routes serves after %v", time.Since(begun))
}

func TestTheBinaryLinksNoDatabaseAndNoGoKit(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/gateway").Output()
	require.NoError(t, err)
	for _, forbidden := range []string{"jackc/pgx", "lib/pq", "clickhouse", "go-kit", "tollgate/libs/eventlog", "tollgate/libs/postgres", "tollgate/libs/operation",
		"tollgate/libs/service", "tollgate/libs/testkit", "nats-server", "stretchr/testify"} {
		require.NotContains(t, strings.ToLower(string(out)), forbidden)
	}
}

func TestConfigNamesEveryWrongField(t *testing.T) {
	t.Parallel()
	err := Config{
		Name: "a b", Listen: "x", AdminListen: "y", MaxConnections: 1e9, MaxInFlight: -1, MaxHeader: 3, MaxBody: -1, ReadTimeout: 1, WhenJournalFull: "panic",
		TrustedProxies: []string{"everyone"}, JournalMode: "x",
	}.Validate()
	for _, want := range []string{"name", "data-dir", "listen", "admin-listen", "max-connections", "max-in-flight", "max-header", "max-body", "read-timeout", "when-journal-full", "trusted-proxies[0]", "journal.mode"} {
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, Config{DataDir: "x"}.Validate())
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.standard()
	c := w.config(filepath.Join(t.TempDir(), "new", "directory"))
	c.TrustedProxies = []string{"127.0.0.0/8", "10.0.0.0/8"}
	g := w.start(c)
	g.await("/weather/v1/current/rome", 200)
	got := g.get("/weather/v1/current/rome", "X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.1.1.1", "Forwarded", "for=192.0.2.7")
	e := got.echoed(t)
	require.Equal(t, "192.0.2.7", w.record(got).GetClientAddress())
	require.Equal(t, "6.6.6.6, 192.0.2.7, 10.1.1.1, 127.0.0.1", e.Headers.Get("X-Forwarded-For"))
	require.True(t, strings.HasPrefix(e.Headers.Get("Forwarded"), "for=192.0.2.7, for=127.0.0.1"), e.Headers.Get("Forwarded"))
	info, err := os.Stat(filepath.Join(c.DataDir, "configuration"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}
