package deploy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/testkit"
)

// deployment is the project's services as processes of this machine: what their containers have, with the addresses of engines that
// are configured as the project's are.
type deployment struct {
	t       *testing.T
	project *types.Project
	// addresses of the engines, by host and port in the project.
	addresses map[string]string
	// clickhouse is the URL of an engine that has no users of its own.
	clickhouse string
	listens    map[string]string
	dir        string
}

// TestDistributed starts what docker-compose.yml describes, each service as a process of its own with its own user of NATS and its own
// database, and takes a call all the way to its invoice. Nothing that a service does on the way is against its permissions.
func TestDistributed(t *testing.T) {
	t.Parallel()
	project := loadProject(t, secrets(t), "")
	nats, log := startNATS(t, natsOptions(t, project, "nats"))
	postgres := startPostgres(t, project)
	d := &deployment{
		t: t, project: project, clickhouse: testkit.ClickHouse(t), listens: map[string]string{}, dir: t.TempDir(),
		addresses: map[string]string{"nats:4222": strings.TrimPrefix(nats.ClientURL(), "nats://"), "postgres:5432": postgres},
	}
	for _, service := range services {
		d.start(service)
	}
	token, err := os.ReadFile(filepath.Join(d.dir, "identity", "data", "admin-token"))
	require.NoError(t, err)
	admin, gateway := "http://"+d.listens["TOLLGATE_ADMIN_LISTEN"], "http://"+d.listens["TOLLGATE_GATEWAY_LISTEN"]
	secret := strings.TrimSpace(string(token))
	api := harness.NewAPI(t, admin, secret)
	key := offer(t, admin, secret, api)

	const calls = 20
	testkit.Await(t, 30*time.Second, func() error { return call(gateway, key) }) // the configuration and the key are on their way
	for range calls - 1 {
		require.NoError(t, call(gateway, key))
	}
	settle(t, admin, secret, api, calls)
	require.Empty(t, log.all(), "a service does what deploy/nats/accounts.conf does not allow")
}

// startPostgres starts a server, runs what the project's container runs at its first start, and returns its address.
func startPostgres(t *testing.T, project *types.Project) string {
	t.Helper()
	server := testkit.PostgresServer(t)
	administrator := server.URL("postgres")
	conn, err := pgx.Connect(t.Context(), administrator)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	script, ok := containerOf(t, project, "postgres").here("/docker-entrypoint-initdb.d/10-services.sql")
	require.True(t, ok)
	for line := range strings.Lines(read(t, script)) {
		_, err := conn.Exec(t.Context(), line)
		require.NoError(t, err, "the statement of a line")
	}
	address, err := url.Parse(administrator)
	require.NoError(t, err)
	return address.Host
}

// start starts a service and waits until its own health check, run as the container engine would run it, says that it is ready.
func (d *deployment) start(service string) {
	d.t.Helper()
	c := containerOf(d.t, d.project, service)
	env, args := c.process()
	data := filepath.Join(d.dir, service, "data")
	require.NoError(d.t, os.MkdirAll(data, 0o700))
	for name, value := range env {
		switch {
		case strings.HasSuffix(name, "_LISTEN"):
			d.listens[name] = harness.FreeAddress(d.t)
			env[name] = d.listens[name]
		case strings.HasPrefix(value, "/var/lib/tollgate"):
			env[name] = data + strings.TrimPrefix(value, "/var/lib/tollgate")
		default:
			env[name] = d.move(value)
		}
	}
	if service == "gateway" {
		env["TOLLGATE_UPSTREAM_ALLOW_LOOPBACK"] = "true" // the upstream is this test
	}
	for i, argument := range args {
		if settings, ok := c.here("/run/secrets/config"); ok && argument == settings {
			args[i] = write(d.t, d.move(read(d.t, settings)), d.dir, service, "config.yaml")
		}
	}
	process := harness.Start(d.t, pairs(env), binary(d.t, service), args...)
	testkit.Await(d.t, time.Minute, func() error {
		select {
		case <-process.Done():
			d.t.Fatalf("%s ended:\n%s", service, process.Output())
		default:
		}
		out, err := run(d.t, pairs(env), binary(d.t, service), c.HealthCheck.Test[2:]...)
		if err != nil {
			return fmt.Errorf("%s\n%s", out, process.Output())
		}
		return nil
	})
}

var clickhouseURL = regexp.MustCompile(`clickhouse://\S+`)

// move replaces the addresses of the project's engines.
func (d *deployment) move(text string) string {
	for from, to := range d.addresses {
		text = strings.ReplaceAll(text, from, to)
	}
	return clickhouseURL.ReplaceAllString(text, d.clickhouse)
}

// offer applies the weather sample, whose upstream it serves and makes a key for the sample's application.
func offer(t *testing.T, admin, token string, api *harness.API) (key string) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"city":"Berlin","celsius":7,"at":"2026-11-24T08:00:00Z"}`))
	}))
	t.Cleanup(upstream.Close)
	dir := t.TempDir()
	sample := filepath.Join(root(t), "deploy", "tollgate", "internal", "sample", "weather")
	for _, name := range []string{"api.yaml", "consumers.yaml", "openapi.yaml", "plans.yaml"} {
		write(t, strings.ReplaceAll(read(t, sample, name), "${WEATHER_UPSTREAM:-http://127.0.0.1:8089}", upstream.URL), dir, name)
	}
	code, stdout, stderr := harness.CLI(t, admin, token, "apply", "-f", dir)
	require.Equal(t, 0, code, stdout+stderr)
	var issued struct{ Key string }
	api.Must("POST", "/identity/v1/applications/globex-app/credentials", map[string]string{"title": "Live"}, &issued)
	return issued.Key
}

func call(gateway, key string) error {
	r, err := http.NewRequest(http.MethodGet, gateway+"/weather/v1/current/Berlin", http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("X-API-Key", key)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the call was answered %s", response.Status)
	}
	return nil
}

// settle ends the subscription and bills it: that makes billing ask metering and analytics, and analytics ask metering.
func settle(t *testing.T, admin, token string, api *harness.API, calls int) {
	t.Helper()
	var page struct {
		Items []struct{ Call string }
	}
	testkit.Await(t, time.Minute, func() error {
		err := api.Try("GET", "/analytics/v1/calls?billable=true&limit=200", &page)
		if err == nil && len(page.Items) != calls {
			err = fmt.Errorf("%d of %d calls have landed", len(page.Items), calls)
		}
		return err
	})
	day := time.Now().UTC()
	code, stdout, stderr := harness.CLI(t, admin, token, "reconcile",
		"--from", day.AddDate(0, 0, -1).Format(time.DateOnly), "--to", day.AddDate(0, 0, 2).Format(time.DateOnly))
	require.Equal(t, 0, code, stdout+stderr)

	api.Must("POST", "/subscription/v1/subscriptions/globex-weather/cancel", map[string]string{}, nil, "Tollgate-Reason", "end of the test")
	var list struct {
		Items []struct{ ID, State string }
	}
	testkit.Await(t, time.Minute, func() error {
		code, stdout, stderr := harness.CLI(t, admin, token, "bill", "run", "--period", day.Format("2006-01"))
		if code != 0 {
			return fmt.Errorf("bill run: %s%s", stdout, stderr)
		}
		err := api.Try("GET", "/billing/v1/invoices?subscription=globex-weather", &list)
		if err == nil && (len(list.Items) != 1 || list.Items[0].State != "final") {
			err = fmt.Errorf("invoices: %+v\n%s", list.Items, stdout)
		}
		return err
	})
	var invoice struct {
		Lines []struct {
			Meter string
			Calls uint64
		}
	}
	api.Must("GET", "/billing/v1/invoices/"+list.Items[0].ID, nil, &invoice)
	for _, line := range invoice.Lines {
		if line.Meter == "calls" {
			require.EqualValues(t, calls, line.Calls)
			return
		}
	}
	require.Fail(t, "the invoice has no line for calls", "%+v", invoice)
}

// TestPostgresKeepsServicesApart: a service's role reaches its own database alone.
func TestPostgresKeepsServicesApart(t *testing.T) {
	t.Parallel()
	project := loadProject(t, secrets(t), "")
	address := startPostgres(t, project)
	login := regexp.MustCompile(`postgres-url: (\S+)`)
	for _, service := range services[:len(services)-1] {
		settings, ok := containerOf(t, project, service).here("/run/secrets/config")
		require.True(t, ok)
		own, err := url.Parse(login.FindStringSubmatch(read(t, settings))[1])
		require.NoError(t, err)
		require.Equal(t, "postgres:5432", own.Host)
		require.Equal(t, service, own.User.Username())
		own.Host = address
		for _, database := range append([]string{"postgres"}, services[:len(services)-1]...) {
			own.Path = "/" + database
			conn, err := pgx.Connect(t.Context(), own.String())
			if database != service && database != "postgres" {
				require.ErrorContains(t, err, "permission denied for database", "%s in the database of %s", service, database)
				continue
			}
			require.NoError(t, err)
			require.NoError(t, conn.Close(t.Context()))
		}
	}
}
