package dashboards_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/dashboards"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/analytics"
)

var update = flag.Bool("update", false, "write the generated dashboards anew")

func TestMain(m *testing.M) {
	plugins.RegisterDefaultPlugins()
	cog.NewRuntime().RegisterDataqueryVariant(dashboards.ClickHouseVariant())
	testkit.Main(m)
}

func scopes() map[string]dashboards.Scope {
	return map[string]dashboards.Scope{
		"installation": dashboards.Installation(),
		"tenant":       {Tenant: "acme", Suffix: "-acme", ClickHouse: "tollgate-acme", Prometheus: "none"},
	}
}

// TestGeneratedDashboardsAreCommitted: the files are what the code generates.
func TestGeneratedDashboardsAreCommitted(t *testing.T) {
	t.Parallel()
	all, err := dashboards.Build(dashboards.Installation())
	require.NoError(t, err)
	names := map[string]bool{}
	for _, d := range all {
		raw, err := d.JSON()
		require.NoError(t, err)
		path := filepath.Join("generated", d.Name+".json")
		names[d.Name+".json"] = true
		if *update {
			require.NoError(t, os.WriteFile(path, raw, 0o644))
		}
		committed, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(committed), string(raw), "generate them with: go test . -update")
	}
	files, err := os.ReadDir("generated")
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, names[f.Name()], "%s is not generated", f.Name())
	}
}

// TestDashboardsFollowTheSchema: every field of every dashboard, panel and query is one of Grafana's kind schemas, of the right type.
func TestDashboardsFollowTheSchema(t *testing.T) {
	t.Parallel()
	for name, scope := range scopes() {
		all, err := dashboards.Build(scope)
		require.NoError(t, err)
		uids := map[string]bool{}
		for _, d := range all {
			t.Run(name+"/"+d.Name, func(t *testing.T) {
				raw, err := d.JSON()
				require.NoError(t, err)
				require.Empty(t, wrongWith(t, raw))
				for _, change := range [][2]string{ // the check would see it
					{`"fieldConfig"`, `"fieldconfig"`}, {`"type": "stat"`, `"type": "stat", "speed": 1`}, {`"showLegend": true`, `"showLegend": "yes"`}, {`"rawSql"`, `"statement"`}, {`"expr"`, `"expression"`},
				} {
					if changed := strings.Replace(string(raw), change[0], change[1], 1); changed != string(raw) {
						require.NotEmpty(t, wrongWith(t, []byte(changed)), change[1])
					}
				}
				var read dashboard.Dashboard //nolint:staticcheck // see model
				require.NoError(t, json.Unmarshal(raw, &read))
				require.NoError(t, read.Validate())
				require.NotEmpty(t, read.Panels)
				require.LessOrEqual(t, len(d.UID()), 40)
				require.False(t, uids[d.UID()])
				uids[d.UID()] = true
				ids := map[uint32]bool{}
				for _, p := range read.Panels {
					require.NotEmpty(t, *p.Panel.Description, *p.Panel.Title)
					require.Len(t, p.Panel.Targets, 1)
					require.False(t, ids[*p.Panel.Id])
					ids[*p.Panel.Id] = true
					require.LessOrEqual(t, p.Panel.GridPos.X+p.Panel.GridPos.W, uint32(24))
				}
				if scope.Tenant != "" {
					require.NotContains(t, string(raw), "tollgate-clickhouse", "the data source of the installation")
				}
			})
		}
	}
}

// wrongWith reads a dashboard strictly, and says what is wrong with it.
func wrongWith(t testing.TB, raw []byte) string {
	t.Helper()
	var read dashboard.Dashboard //nolint:staticcheck // see model
	err := read.UnmarshalJSONStrict(raw)
	var wrong cog.BuildErrors // the SDK returns it empty where nothing is wrong
	if err == nil || errors.As(err, &wrong) && len(wrong) == 0 {
		return ""
	}
	return err.Error()
}

func sample(t testing.TB) driver.Conn {
	t.Helper()
	url := testkit.ClickHouse(t)
	require.NoError(t, analytics.MigrateClickHouse(t.Context(), url, ""))
	options, err := driver.ParseDSN(url)
	require.NoError(t, err)
	conn, err := driver.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	for _, statement := range strings.Split(sampleSQL, ";\n") {
		require.NoError(t, conn.Exec(t.Context(), statement))
	}
	return conn
}

const sampleSQL = `INSERT INTO calls (gateway, boot, seq, started_at, completed_at, tenant, api, operation, account, subscription, plan, method, path_template, path, status, responder,
		error_reason, total_micros, upstream_micros, gateway_micros, bytes_in, bytes_out, billable, reason, call_units, meters, quantities, retention_days)
	SELECT 'gw1', 1, number + 1 + (number > 500), now() - 600 + number / 2, now() - 600 + number / 2, 'acme', concat('api', toString(number % 2 + 1)), 'getCurrent', concat('a', toString(number % 2 + 1)), 's1', 'p1',
		'GET', '/current/{city}', '/current/Berlin', multiIf(number % 10 = 0, 503, number % 10 = 1, 429, 200), if(number % 10 = 1, 'gateway', 'upstream'),
		if(number % 10 = 1, 'quota-exceeded', ''), 1000 + number, 900, 100, 10, 20, number % 10 > 1, if(number % 10 > 1, '', 'gateway_rejected'), 1, ['rows'], [2], 400 FROM numbers(1000);
INSERT INTO names VALUES ('acme', 'api', 'api1', 'weather'), ('acme', 'api', 'api2', 'maps'), ('acme', 'account', 'a1', 'globex'), ('acme', 'account', 'a2', 'initech'), ('acme', 'plan', 'p1', 'pro'), ('acme', 'subscription', 's1', 'globex-weather');
INSERT INTO invoice_lines (tenant, invoice, line, finalized_at, period_start, period_end, account, subscription, plan, plan_version, price, meter, quantity, amount, currency, calls)
	VALUES ('acme', 'i1', 1, now(), now() - INTERVAL 31 DAY, now() - 60, 'a1', 's1', 'p1', 1, 'calls', 'calls', 1000, 12.5, 'USD', 1000);
INSERT INTO billing_events VALUES ('acme', now() - 50, 'e1', 'started', 'r1', '2026-11', 0, 0, '', ''), ('acme', now() - 40, 'e2', 'held', '', '', 0, 0, 'i2', 'not-sealed'), ('acme', now() - 30, 'e3', 'finished', 'r1', '', 1, 1, '', '')`

// TestEveryQueryReturnsRows runs each statement with the macros expanded, for all and for chosen values of the variables.
func TestEveryQueryReturnsRows(t *testing.T) {
	t.Parallel()
	conn := sample(t)
	at := panelTime{from: time.Now().Add(-time.Hour), to: time.Now().Add(time.Minute), interval: 20 * time.Second}
	run := func(t *testing.T, sql, kind string) {
		for _, all := range []bool{true, false} {
			expanded := expand(t, sql, at, all)
			rows, err := conn.Query(t.Context(), expanded)
			require.NoError(t, err, expanded)
			n := 0
			for rows.Next() {
				n++
			}
			require.NoError(t, rows.Err(), expanded)
			require.Positive(t, n, expanded)
			if kind == "timeseries" {
				require.Equal(t, "time", rows.Columns()[0], "the plugin takes it for the time")
				require.Regexp(t, `^DateTime`, rows.ColumnTypes()[0].DatabaseTypeName())
			}
			require.NoError(t, rows.Close())
		}
	}
	total := 0
	for name, scope := range scopes() {
		all, err := dashboards.Build(scope)
		require.NoError(t, err)
		for _, d := range all {
			for _, p := range d.Panels {
				if q, ok := p.Panel.Targets[0].(dashboards.ClickHouseQuery); ok {
					t.Run(name+"/"+d.Name+"/"+*p.Panel.Title, func(t *testing.T) { run(t, q.RawSQL, q.QueryType) })
					total++
				}
			}
			for _, v := range d.Templating.List {
				if v.Type == "query" {
					t.Run(name+"/"+d.Name+"/variable "+v.Name, func(t *testing.T) { run(t, *v.Query.String, "table") })
				}
			}
		}
	}
	for _, rule := range dashboards.AlertRules(dashboards.Installation()) {
		if rule.SQL != "" {
			t.Run("alert/"+rule.UID, func(t *testing.T) { run(t, rule.SQL, "table") })
			total++
		}
	}
	require.Greater(t, total, 50)
}

// TestNamesAreShown instead of ids.
func TestNamesAreShown(t *testing.T) {
	t.Parallel()
	conn := sample(t)
	at := panelTime{from: time.Now().Add(-time.Hour), to: time.Now().Add(time.Minute), interval: time.Minute}
	all, err := dashboards.Build(dashboards.Installation())
	require.NoError(t, err)
	for _, d := range all {
		for _, p := range d.Panels {
			if *p.Panel.Title != "Revenue by plan" {
				continue
			}
			var plan, currency string
			var invoices uint64
			rows, err := conn.Query(t.Context(), "SELECT plan_name, currency, toString(revenue), invoices FROM ("+expand(t, p.Panel.Targets[0].(dashboards.ClickHouseQuery).RawSQL, at, true)+")")
			require.NoError(t, err)
			require.True(t, rows.Next())
			var amount string
			require.NoError(t, rows.Scan(&plan, &currency, &amount, &invoices))
			require.NoError(t, rows.Close())
			require.Equal(t, "pro 12.5 USD", plan+" "+amount+" "+currency)
		}
	}
}

// TestMetricsExist: every metric that a panel or an alert asks Prometheus for is one that a process has.
func TestMetricsExist(t *testing.T) {
	t.Parallel()
	var sources bytes.Buffer
	for _, folder := range []string{"../services", "../libs"} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			raw, err := os.ReadFile(path)
			sources.Write(raw)
			return err
		}))
	}
	all, err := dashboards.Build(dashboards.Installation())
	require.NoError(t, err)
	var expressions []string
	for _, d := range all {
		for _, p := range d.Panels {
			if q, ok := p.Panel.Targets[0].(prometheus.Dataquery); ok {
				expressions = append(expressions, q.Expr)
			}
		}
	}
	for _, rule := range dashboards.AlertRules(dashboards.Installation()) {
		expressions = append(expressions, rule.Expression)
	}
	metric := regexp.MustCompile(`tollgate_[a-z_]+`)
	found := 0
	for _, e := range expressions {
		for _, name := range metric.FindAllString(e, -1) {
			require.Contains(t, sources.String(), `"`+strings.TrimSuffix(name, "_bucket")+`"`, "no process has %s", name)
			found++
		}
		require.Equal(t, strings.Count(e, "("), strings.Count(e, ")"), e)
	}
	require.Greater(t, found, 15)
}

func TestClickHouseQueriesAreReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"refId":"A","editorType":"sql","queryType":"table","format":1,"rawSql":"SELECT 1","speed":1}`: "unknown field",
		`{"refId":"A","editorType":"sql","queryType":"table","format":0,"rawSql":"SELECT 1"}`:           "does not go with format",
		`{"refId":"A","editorType":"builder","queryType":"table","format":1,"rawSql":"SELECT 1"}`:       "needs refId",
	} {
		_, err := dashboards.ClickHouseVariant().StrictDataqueryUnmarshaler(json.RawMessage(text))
		require.ErrorContains(t, err, want)
	}
}
