package analytics_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	"github.com/tollgate/tollgate/services/analytics"
)

// spec makes a request body from pairs.
func spec(pairs ...any) map[string]any {
	fields := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		fields[pairs[i].(string)] = pairs[i+1]
	}
	return map[string]any{"spec": fields}
}

// mails is where mail is written to.
type mails struct{ folder string }

func (m mails) all(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(m.folder)
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".eml" {
			continue // not yet whole
		}
		raw, err := os.ReadFile(filepath.Join(m.folder, e.Name()))
		require.NoError(t, err)
		all = append(all, string(raw))
	}
	return all
}

// await waits until there are so many mails.
func (m mails) await(t testing.TB, n int) []string {
	t.Helper()
	testkit.Await(t, patience, func() error {
		if found := len(m.all(t)); found < n {
			return fmt.Errorf("%d mails of %d", found, n)
		}
		return nil
	})
	all := m.all(t)
	require.Len(t, all, n)
	return all
}

func startWithMail(t testing.TB) (*fixture, mails) {
	t.Helper()
	m := mails{t.TempDir()}
	return startOn(t, testkit.ClickHouse(t), func(c *analytics.Config) { c.Notify.MailURL = "file://" + m.folder }), m
}

type alertRule struct {
	ID, Name, State, Value, Cause string
	EvaluatedAt                   *time.Time `json:"evaluatedAt"`
}

func (f *fixture) rule(t testing.TB, name string) alertRule {
	t.Helper()
	var got alertRule
	f.client.Must("GET", "/analytics/v1/alert-rules/"+name, nil, &got)
	return got
}

// awaitRule moves the clock on and waits until a rule was evaluated then, and returns it.
func (f *fixture) awaitRule(t testing.TB, name string, by time.Duration) alertRule {
	t.Helper()
	now := f.clock.Advance(by)
	var got alertRule
	testkit.Await(t, patience, func() error {
		if got = f.rule(t, name); got.EvaluatedAt == nil || got.EvaluatedAt.Before(now) {
			return errors.New("the rule is not evaluated: " + got.Cause)
		}
		return nil
	})
	return got
}

// endpoint is a webhook's: it keeps what it was sent, and refuses the first request.
type endpoint struct {
	*httptest.Server
	mu       sync.Mutex
	requests int
	bodies   []string
	headers  []http.Header
}

func newEndpoint(t testing.TB) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.requests++
		e.bodies, e.headers = append(e.bodies, string(body)), append(e.headers, r.Header)
	}))
	t.Cleanup(e.Close)
	return e
}

// TestAnAlertFiresAndIsResolved, is told of once each time, with two replicas that share the work.
func TestAnAlertFiresAndIsResolved(t *testing.T) {
	t.Parallel()
	f, m := startWithMail(t)
	f.run(t)
	hook := newEndpoint(t)
	url := hook.URL + "/hooks"
	errorRate := func(changes ...any) map[string]any {
		return spec(append([]any{
			"title", "Too many errors", "metric", "errorRate", "operator", "above", "value", "0.5", "window", "5m", "mail", []string{"ops@example.com"},
			"webhook", url, "filter", map[string]any{"operation": "getCurrent"},
		}, changes...)...)
	}
	answer := f.client.Do("PUT", "/analytics/v1/alert-rules/errors", errorRate())
	require.Equal(t, 409, answer.Status)
	require.Contains(t, answer.Body, "webhook-secret-missing")
	var secret struct{ Secret string }
	f.client.Must("POST", "/analytics/v1/webhook-secret", nil, &secret, "Idempotency-Key", "k1")
	require.Equal(t, 409, f.client.Do("POST", "/analytics/v1/webhook-secret", nil, "Idempotency-Key", "k1").Status, "it is shown once")

	f.client.Must("PUT", "/analytics/v1/alert-rules/errors", errorRate(), nil)
	rule := f.awaitRule(t, "errors", 0)
	require.Equal(t, "ok", rule.State, "without calls there is no rate")

	at := f.clock.Advance(time.Minute)
	g := f.gateway("gw1")
	failed := func(c *callsv1.CallRecord) { c.Status = 503 }
	g.send(t, call("s1", at.Add(-40*time.Second), failed), call("s1", at.Add(-39*time.Second), failed), call("s1", at.Add(-38*time.Second)),
		call("s1", at.Add(-38*time.Second), func(c *callsv1.CallRecord) { c.Operation = "other" }), call("s1", at.Add(-30*time.Second), func(c *callsv1.CallRecord) { c.Tenant = stranger }))
	rule = f.awaitRule(t, "errors", time.Minute)
	require.Equal(t, "firing", rule.State)
	require.Equal(t, "0.666666", rule.Value)
	fired := m.await(t, 1)[0]
	require.Contains(t, fired, "To: <ops@example.com>")
	require.Contains(t, fired, "Firing: Too many errors")
	require.Contains(t, fired, "0.666666")

	for range 3 { // it goes on firing, and nobody is told again
		rule = f.awaitRule(t, "errors", 30*time.Second)
		require.Equal(t, "firing", rule.State)
	}
	g.send(t, calls("s1", f.clock.Now().Add(-2*time.Minute), 5)...)
	rule = f.awaitRule(t, "errors", time.Minute)
	require.Equal(t, "ok", rule.State)
	m.await(t, 2)
	require.Equal(t, "AlertRulePut,AlertFired,AlertResolved", query[string](t, f,
		`SELECT string_agg(split_part(type, '.', 3), ',' ORDER BY position) FROM events WHERE stream_type = 'alert-rule'`))
	require.NotContains(t, query[string](t, f, `SELECT string_agg(encode(payload, 'escape'), ' ') FROM events`), "example.com", "no event carries an address")

	testkit.Await(t, patience, func() error {
		hook.mu.Lock()
		defer hook.mu.Unlock()
		if hook.requests < 2 {
			return errors.New("the endpoint was not told")
		}
		return nil
	})
	require.Equal(t, 2, hook.requests)
	var body struct {
		Type string
		Data struct{ Name, State, Value, Limit, Tenant string }
	}
	require.NoError(t, json.Unmarshal([]byte(hook.bodies[0]), &body))
	require.Equal(t, "alert.fired", body.Type)
	require.Equal(t, tenant, body.Data.Tenant)
	require.Equal(t, "0.5", body.Data.Limit)
	seconds, err := strconv.ParseInt(hook.headers[0].Get(notify.HeaderTimestamp), 10, 64)
	require.NoError(t, err)
	signature, err := notify.Sign(secret.Secret, hook.headers[0].Get(notify.HeaderID), time.Unix(seconds, 0), []byte(hook.bodies[0]))
	require.NoError(t, err)
	require.Equal(t, signature, hook.headers[0].Get(notify.HeaderSignature))
	var deliveries struct{ Items []struct{ Status string } }
	f.client.Must("GET", "/analytics/v1/deliveries", nil, &deliveries)
	require.Len(t, deliveries.Items, 4)
	require.Equal(t, "delivered", deliveries.Items[3].Status)

	f.client.Must("PUT", "/analytics/v1/alert-rules/errors", errorRate("paused", true), nil)
	require.Equal(t, "paused", f.rule(t, "errors").State)
	f.client.Must("DELETE", "/analytics/v1/alert-rules/errors", nil, nil)
	require.Equal(t, 404, f.client.Do("GET", "/analytics/v1/alert-rules/errors", nil).Status)
	f.client.Must("PUT", "/analytics/v1/alert-rules/errors", errorRate(), nil)
}

// TestAbsenceAndChange are told like a threshold. Calls that are in the stream and not landed are not taken for absent.
func TestAbsenceAndChange(t *testing.T) {
	t.Parallel()
	f, m := startWithMail(t)
	to := []string{"ops@example.com"}
	f.client.Must("PUT", "/analytics/v1/alert-rules/silence", spec("kind", "absence", "window", "5m", "mail", to), nil)
	f.client.Must("PUT", "/analytics/v1/alert-rules/fall", spec("kind", "change", "metric", "calls", "operator", "below", "value", "-50", "window", "5m", "minimumCalls", 0, "mail", to), nil)
	require.Equal(t, "firing", f.awaitRule(t, "silence", 0).State)
	require.Equal(t, "ok", f.awaitRule(t, "fall", 0).State, "there is nothing to compare with")
	m.await(t, 1)

	now := f.clock.Now()
	f.gateway("gw1").send(t, calls("s1", now.Add(-8*time.Minute), 10)...)
	f.gateway("gw2").send(t, calls("s1", now.Add(-time.Minute), 3)...)
	require.Equal(t, "ok", f.awaitRule(t, "silence", time.Minute).State)
	require.Equal(t, "firing", f.awaitRule(t, "fall", 0).State)
	told := strings.Join(m.await(t, 3), "\n")
	require.Contains(t, told, "Resolved: silence")
	require.Regexp(t, `it was =?\s*3, and 10 before`, told)
}

// TestAFaultyRuleHoldsUpNoOther: one that fails says so and is tried again; those of the same and of other tenants go on. Nor does a
// faulty report.
func TestAFaultyRuleHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	f, m := startWithMail(t)
	hook := newEndpoint(t)
	f.client.Must("POST", "/analytics/v1/webhook-secret", nil, nil)
	to := []string{"ops@example.com"}
	absence := func(more ...any) map[string]any {
		return spec(append([]any{"kind", "absence", "window", "5m"}, more...)...)
	}
	f.clock.Advance(-time.Second)
	f.client.Must("PUT", "/analytics/v1/alert-rules/faulty", absence("webhook", hook.URL, "paused", true), nil)
	f.client.Must("PUT", "/analytics/v1/alert-rules/unknown", absence("mail", to, "paused", true), nil)
	f.client.Must("PUT", "/analytics/v1/reports/faulty", spec("schedule", "daily", "mail", to), nil)
	change := func(sql string, args ...any) {
		t.Helper()
		require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql, args...)
			return err
		}))
	}
	change(`UPDATE settings SET webhook_secret = '\x00' WHERE tenant_id = $1`, tenant) // sealed with another key
	change(`UPDATE alert_rules SET spec = spec - 'paused', next_at = $1 WHERE name = 'faulty'`, f.clock.Now())
	change(`UPDATE alert_rules SET spec = '{"ofANewerBuild":1}', next_at = $1 WHERE name = 'unknown'`, f.clock.Now())
	change(`UPDATE reports SET spec = '{"ofANewerBuild":1}', next_at = $1`, f.clock.Now())
	f.clock.Advance(time.Second)
	f.client.Must("PUT", "/analytics/v1/alert-rules/sound", absence("mail", to), nil)
	other := f.Client(f.Token(stranger, "analytics.read", "analytics.write"))
	other.Must("PUT", "/analytics/v1/alert-rules/sound", absence("mail", []string{"ops@example.org"}), nil)
	told := strings.Join(m.await(t, 2), "\n")
	require.Contains(t, told, "ops@example.com")
	require.Contains(t, told, "ops@example.org")
	testkit.Await(t, patience, func() error {
		if cause := f.rule(t, "faulty").Cause; !strings.Contains(cause, "its operators find it in the log") {
			return errors.New("the cause is " + cause)
		}
		if n := query[int](t, f, `SELECT (SELECT count(*) FROM alert_rules WHERE cause LIKE '%stored specification%') + (SELECT count(*) FROM reports WHERE cause LIKE '%stored specification%')`); n != 2 {
			return errors.New("the rule and the report that cannot be read do not say so")
		}
		return nil
	})
	require.Zero(t, query[int](t, f, `SELECT count(*) FROM events e JOIN alert_rules r ON r.id = e.stream_id WHERE r.name = 'faulty' AND e.type LIKE '%AlertFired'`), "it is not half done")

	f.client.Must("POST", "/analytics/v1/webhook-secret", nil, nil)
	require.Equal(t, "firing", f.awaitRule(t, "faulty", time.Minute).State)
	require.Empty(t, f.rule(t, "faulty").Cause)
}

// TestADryRunMakesNoSecret.
func TestADryRunMakesNoSecret(t *testing.T) {
	t.Parallel()
	f := start(t)
	var got map[string]string
	f.client.Must("POST", "/analytics/v1/webhook-secret", nil, &got, operation.HeaderDryRun, "true")
	require.Empty(t, got)
	var settings struct{ WebhookSecret bool }
	f.client.Must("GET", "/analytics/v1/settings", nil, &settings)
	require.False(t, settings.WebhookSecret)
}

// TestARuleIsReadWhileItIsEvaluated: no lock is held while ClickHouse is asked, and reading waits for none.
func TestARuleIsReadWhileItIsEvaluated(t *testing.T) {
	t.Parallel()
	f := start(t)
	to := []string{"ops@example.com"}
	f.client.Must("PUT", "/analytics/v1/alert-rules/x", spec("kind", "absence", "window", "5m", "mail", to), nil)
	f.client.Must("PUT", "/analytics/v1/reports/x", spec("schedule", "daily", "mail", to), nil)
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT FROM alert_rules, reports FOR UPDATE`); err != nil {
			return err
		}
		f.client.Must("GET", "/analytics/v1/alert-rules/x", nil, nil)
		f.client.Must("GET", "/analytics/v1/reports/x", nil, nil)
		f.client.Must("GET", "/analytics/v1/reports/x/table", nil, nil)
		return nil
	}))
}

// TestWrongRulesAndReportsAreExplained.
func TestWrongRulesAndReportsAreExplained(t *testing.T) {
	t.Parallel()
	f := start(t)
	to := []string{"ops@example.com"}
	for name, c := range map[string]struct {
		path string
		body map[string]any
		want []string
	}{
		"everything": {"alert-rules/x", spec("window", "1s", "metric", "speed", "operator", "over", "value", "much", "mail", []string{"nobody"}, "webhook", "ftp://x", "filter", map[string]any{"status": "7"}), []string{
			`\"1s\" is not a duration`, `\"speed\" is not a metric`, `\"over\" is not above or below`, `\"much\" is not a decimal`, "spec.mail[0]", "spec.webhook", "spec.filter.status",
		}},
		"nobody":          {"alert-rules/x", spec("kind", "absence", "window", "5m"), []string{"nobody would be told"}},
		"too much":        {"alert-rules/x", spec("kind", "absence", "window", "5m", "value", "1", "mail", to), []string{"leave out metric"}},
		"unknown kind":    {"alert-rules/x", spec("kind", "smell", "window", "5m", "mail", to), []string{"is not threshold, absence or change"}},
		"unknown field":   {"alert-rules/x", spec("windows", "5m"), []string{"is not a field here"}},
		"unknown thing":   {"alert-rules/x", spec("kind", "absence", "window", "5m", "mail", to, "filter", map[string]any{"account": "none"}), []string{"There is no account none."}},
		"a wrong name":    {"alert-rules/X_Y", spec("kind", "absence", "window", "5m", "mail", to), []string{"is not a name"}},
		"a wrong report":  {"reports/x", spec("schedule", "hourly", "timeZone", "Mars", "by", "tenant", "limit", 1000, "metrics", []string{"units"}), []string{"is not daily, weekly or monthly", "is not a time zone", "is not a dimension", "1000 is too many", "units is of a meter", "would be sent to nobody"}},
		"a report's name": {"reports/-", spec("schedule", "daily", "mail", to), []string{"is not a name"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := f.client.Do("PUT", "/analytics/v1/"+c.path, c.body)
			require.GreaterOrEqual(t, answer.Status, 400)
			require.Less(t, answer.Status, 500)
			for _, want := range c.want {
				require.Contains(t, answer.Body, want)
			}
		})
	}
}

// TestWithoutASealKeyNobodyIsTold: calls are landed, rules are refused.
func TestWithoutASealKeyNobodyIsTold(t *testing.T) {
	t.Parallel()
	f := startOn(t, testkit.ClickHouse(t), func(c *analytics.Config) { c.SealKey = "" })
	f.gateway("gw1").send(t, call("s1", noon))
	answer := f.client.Do("PUT", "/analytics/v1/alert-rules/x", spec("kind", "absence", "window", "5m", "mail", []string{"a@example.com"}))
	require.Equal(t, 503, answer.Status)
	require.Contains(t, answer.Body, "TOLLGATE_SEAL_KEY")
}
