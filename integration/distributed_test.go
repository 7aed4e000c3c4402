package integration_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
)

// killsFor is how long TestDistributedUnderKills kills; TOLLGATE_CHAOS sets another time, as in 5m.
const killsFor = 15 * time.Second

const distributedResources = `
apiVersion: tollgate/v1
kind: API
metadata: {name: weather}
spec: {title: Weather}
---
apiVersion: tollgate/v1
kind: APIVersion
metadata: {name: weather-v1, api: weather}
spec:
  openapi: |
    openapi: 3.1.0
    info: {title: Weather, version: "1"}
    paths: {"/current/{city}": {get: {operationId: getCurrent, parameters: [{name: city, in: path, required: true, schema: {type: string}}], responses: {"200": {description: OK}}}}}
  stage: published
  route: {hosts: ["*"], prefix: /weather/v1, stripPrefix: true}
  upstream: {targets: [{url: "%s"}], timeout: 10s}
  authenticate: [apiKey]
---
apiVersion: tollgate/v1
kind: Product
metadata: {name: weather}
spec: {title: Weather, includes: [{apiVersion: weather-v1}]}
---
apiVersion: tollgate/v1
kind: Plan
metadata: {name: metered, product: weather}
spec:
  title: Metered
  currency: EUR
  approval: auto
  limits: [{quota: 100000000, meter: calls, per: month, mode: hard}]
  prices: [{name: calls, meter: calls, model: unit, unit: "0.01"}]
---
apiVersion: tollgate/v1
kind: Account
metadata: {name: acme}
spec: {title: Acme, currency: EUR}
---
apiVersion: tollgate/v1
kind: Application
metadata: {name: acme-app, account: acme}
spec: {title: Acme app}
---
apiVersion: tollgate/v1
kind: Subscription
metadata: {name: acme-weather, application: acme-app}
spec: {plan: metered}
`

// TestDistributedUnderKills: two replicas of every service, each a process of its own. Under load processes are killed at
// random: services, gateways, PostgreSQL, the ClickHouse engine, and once everything that the engines are, NATS included. After
// that every call that a client saw answered is in ClickHouse once and metered once, no gap is open, every event log equals its
// stream, and every table that follows from events equals what they say.
func TestDistributedUnderKills(t *testing.T) {
	t.Parallel()
	d := harness.StartDistributed(t, 2)
	t.Log("every replica is ready")
	api, key := publish(t, d, distributedResources)
	seen := &answeredCalls{ids: map[string]bool{}}
	stop := loadAll(t, d, key, seen)
	killed := killAtRandom(t, d)
	stop()
	d.AwaitReady(t)
	t.Logf("killed: %v; %d calls were seen answered", killed, len(seen.ids))
	require.Greater(t, len(seen.ids), 100)

	checkSettled(t, d, api, seen)
}

// publish serves an upstream, applies resources that have its address for %s, and returns a client of the management API and an
// API key for their application.
func publish(t *testing.T, d *harness.Distributed, resources string) (api *harness.API, key string) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"sky":"clear"}`)) }))
	t.Cleanup(upstream.Close)
	admin := "http://" + d.Replicas["gateway"][0].Admin
	file := filepath.Join(t.TempDir(), "acme.yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, resources, upstream.URL), 0o600))
	code, stdout, stderr := harness.CLI(t, admin, d.Token, "apply", "-f", file)
	require.Equal(t, 0, code, stdout+stderr)
	api = harness.NewAPI(t, admin, d.Token)
	var issued struct{ Key string }
	api.Must("POST", "/identity/v1/applications/acme-app/credentials", map[string]string{"title": "Live"}, &issued)
	for _, g := range d.Replicas["gateway"] {
		awaitStatus(t, "http://"+g.Address, issued.Key, 200)
	}
	return api, issued.Key
}

// loadAll calls through every gateway until stop is called, with pauses: recovery takes as long as the machine is busy.
func loadAll(t *testing.T, d *harness.Distributed, key string, seen *answeredCalls) (stop func()) {
	t.Helper()
	stopped := make(chan struct{})
	var clients sync.WaitGroup
	for _, g := range d.Replicas["gateway"] {
		for range 3 {
			clients.Go(func() { load("http://"+g.Address, key, seen, stopped, 30*time.Millisecond) })
		}
	}
	var once sync.Once
	stop = func() {
		once.Do(func() { close(stopped) })
		clients.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// checkSettled checks that every call which a client saw answered is in ClickHouse once and metered once, that no gap is open,
// that every event log equals its stream, and that every table that follows from a log equals what the log says.
func checkSettled(t *testing.T, d *harness.Distributed, api *harness.API, seen *answeredCalls) {
	t.Helper()
	checkEachOnce(t, api, "acme-weather", seen)
	var gaps struct{ Items []json.RawMessage }
	testkit.Await(t, time.Minute, func() error {
		if err := api.Try("GET", "/metering/v1/gaps?state=open", &gaps); err != nil {
			return err
		}
		if len(gaps.Items) > 0 {
			return fmt.Errorf("open gaps: %s", gaps.Items)
		}
		return nil
	})
	for _, service := range harness.Services[:6] {
		testkit.Await(t, time.Minute, func() error {
			if code, output := d.Maintain(t, service, "check"); code != 0 || strings.Contains(output, "still to be published") {
				return fmt.Errorf("status %d: %s", code, output)
			}
			return nil
		})
	}
	checkLearned(t, d)
}

// killAtRandom kills one process after the other, each for a moment, and returns how often which.
func killAtRandom(t *testing.T, d *harness.Distributed) map[string]int {
	t.Helper()
	length := killsFor
	if text := os.Getenv("TOLLGATE_CHAOS"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	killed := map[string]int{}
	victims := append([]string{"postgres", "clickhouse"}, harness.Services...)
	rand.Shuffle(len(victims), func(i, k int) { victims[i], victims[k] = victims[k], victims[i] })
	over := time.Now().Add(length)
	for n := 0; n < len(victims) || time.Now().Before(over); n++ {
		wait(t, 200, 800)
		name := victims[n%len(victims)]
		killed[name]++
		switch name {
		case "postgres", "clickhouse":
			require.NoError(t, syscall.Kill(d.Engines.Child(t, name), syscall.SIGKILL)) // it is started again by its supervisor
		default:
			r := d.Replicas[name][rand.IntN(2)]
			if !r.Ended() {
				r.Kill(t)
			}
			wait(t, 0, 500)
			r.Start(t)
		}
	}
	killed["engines with NATS"]++
	d.Engines.KillAndRestart(t)
	wait(t, 2000, 3000)
	return killed
}

func wait(t *testing.T, from, to int) {
	t.Helper()
	select {
	case <-time.After(time.Duration(from+rand.IntN(to-from)) * time.Millisecond):
	case <-t.Context().Done():
	}
}

// learned are what one service's table must have in common with another's that it learned it from.
var learned = []struct{ owner, owned, learner, table, columns string }{
	{"identity", "accounts", "subscription", "accounts", "id, name"},
	{"identity", "applications", "subscription", "applications", "id, name"},
	{"identity", "accounts", "billing", "accounts", "id, name"},
	{"catalog", "plan_versions", "subscription", "plan_versions", "plan_id, version"},
	{"subscription", "subscriptions", "billing", "subscriptions", "id, name"},
	{"subscription", "subscriptions", "metering", "subscriptions", "id"},
}

// checkLearned compares what services keep of others' events with what those have.
func checkLearned(t *testing.T, d *harness.Distributed) {
	t.Helper()
	rows := func(service, table, columns string) []string {
		db, err := postgres.Open(t.Context(), postgres.Config{URL: d.DatabaseURL(service), MaxConns: 2})
		require.NoError(t, err)
		defer db.Close()
		var all []string
		require.NoError(t, db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
			found, err := tx.Query(t.Context(), "SELECT concat_ws(' ', "+columns+") FROM "+table+" ORDER BY 1")
			if err == nil {
				all, err = pgx.CollectRows(found, pgx.RowTo[string])
			}
			return err
		}))
		return all
	}
	for _, l := range learned {
		testkit.Await(t, time.Minute, func() error {
			want, got := rows(l.owner, l.owned, l.columns), rows(l.learner, l.table, l.columns)
			if len(want) == 0 || !slices.Equal(want, got) {
				return fmt.Errorf("%s.%s is %v, but %s has learned %v", l.owner, l.owned, want, l.learner, got)
			}
			return nil
		})
	}
}
