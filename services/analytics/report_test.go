package analytics_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// TestAReportIsMailedOncePerPeriod, in its time zone, as text, HTML and CSV.
func TestAReportIsMailedOncePerPeriod(t *testing.T) {
	t.Parallel()
	f, m := startWithMail(t)
	f.run(t) // another replica
	f.after(t, "identity", f.Emit("identity", tenant, "account", "a1", 0, &identityv1.AccountCreated{Account: "a1", Name: "globex"}))
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	midnight := time.Date(2026, 3, 10, 0, 0, 0, 0, berlin)
	f.gateway("gw1").send(t,
		call("s1", midnight), call("s1", midnight.Add(time.Hour), func(c *callsv1.CallRecord) { c.Account = "=a2<b>" }), call("s1", midnight.Add(2*time.Hour)),
		call("s1", midnight.Add(-1)), call("s1", midnight.AddDate(0, 0, 1)),
	)
	daily := func(title string) {
		t.Helper()
		f.client.Must("PUT", "/analytics/v1/reports/daily", spec(
			"title", title, "schedule", "daily", "timeZone", "Europe/Berlin", "by", "account", "metrics", []string{"calls", "latencyP99"}, "mail", []string{"boss@example.com"},
		), nil)
	}
	daily("Calls")
	f.clock.Set(midnight.AddDate(0, 0, 1).Add(10 * time.Minute))
	var table struct {
		From, To time.Time
		Rows     []struct {
			Key   named
			Calls int
		}
	}
	f.client.Must("GET", "/analytics/v1/reports/daily/table", nil, &table)
	require.Equal(t, midnight.UTC(), table.From.UTC())
	require.Equal(t, 2, table.Rows[0].Calls)
	require.Equal(t, "globex", table.Rows[0].Key.Name)
	require.Empty(t, m.all(t), "it is not yet time")
	daily("Calls by account") // the report that is about to be made is not skipped

	f.clock.Set(midnight.AddDate(0, 0, 1).Add(16 * time.Minute))
	mail := m.await(t, 1)[0]
	require.Contains(t, mail, "Subject: Calls by account, 2026-03-10")
	require.Contains(t, mail, "text/html")
	require.Contains(t, mail, "=3Da2&lt;b&gt;", "HTML is escaped")
	require.Contains(t, mail, "daily-2026-03-10.csv")
	require.True(t, strings.Contains(mail, "globex"), mail)

	sent := func(n int) {
		t.Helper()
		testkit.Await(t, patience, func() error {
			if query[int](t, f, `SELECT count(*) FROM events WHERE type = 'analytics.v1.ReportSent'`) != n {
				return errors.New("the report is not sent")
			}
			return nil
		})
	}
	sent(1)
	f.clock.Set(midnight.AddDate(0, 0, 4).Add(20 * time.Minute))
	sent(2)
	m.await(t, 2)
	require.Contains(t, strings.Join(m.all(t), ""), "2026-03-13", "the last period of those that went by")
	f.client.Must("DELETE", "/analytics/v1/reports/daily", nil, nil)
	require.Equal(t, 404, f.client.Do("GET", "/analytics/v1/reports/daily", nil).Status)
}
