package metering_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

type usageItem struct {
	Start                                                                         time.Time
	Meter, Subscription, Application, Account, API, APIVersion, Operation, Reason string
	Plan, Quantity                                                                string
	PlanVersion                                                                   int
	Billable                                                                      bool
	Calls                                                                         int
}

func (u usageItem) String() string {
	return strings.Join(strings.Fields(fmt.Sprintln(u.Start.Format("01-02T15"), u.Meter, u.Billable, u.Subscription, u.Application, u.Account, u.API, u.APIVersion, u.Operation, u.Plan, u.Reason, u.Quantity, u.Calls)), " ")
}

// usageQuery reads every page of a query, two items at a time.
func (f *fixture) usageQuery(t *testing.T, query string) []string {
	t.Helper()
	client := f.Client(f.Token(tenant, "metering.read"))
	var all []string
	for cursor := ""; ; {
		var page struct {
			Items []usageItem
			Next  string
		}
		client.Must("GET", "/metering/v1/usage/query?limit=2&"+query+"&cursor="+url.QueryEscape(cursor), nil, &page)
		require.LessOrEqual(t, len(page.Items), 2)
		for _, item := range page.Items {
			all = append(all, item.String())
		}
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

// More slices than are shown are refused, not left out.
func TestTooManySlicesAreRefused(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{})
	insert := func(first, last int) {
		require.NoError(t, f.db.InTenant(t.Context(), tenant, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO usage (tenant_id, subscription, bucket, partition, meter, reason, plan, plan_version, api, api_version, quantity, calls, digest, first_completed, last_completed, generation, sequence)
				SELECT $1, 's1', $2, 0, 'meter' || n, '', '', 0, '', '', 1, 1, 0, $2, $2, 0, 1 FROM generate_series($3::int, $4::int) AS n`,
				tenant, began.Truncate(time.Hour).UnixNano(), first, last)
			return err
		}))
	}
	look := func() int {
		return f.Client(f.Token(tenant, "metering.read")).Do("GET", "/metering/v1/usage?subscription=s1&by=day&from=2026-03-10T00:00:00Z&to=2026-03-11T00:00:00Z", nil).Status
	}
	insert(1, 20_000)
	require.Equal(t, 200, look())
	insert(20_001, 20_001)
	require.Equal(t, 400, look())
}

func TestUsageByTimeAndDimensions(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.subscribe(t, "s1", &catalogv1.PlanSpec{Period: &catalogv1.Period{TimeZone: "Europe/Berlin"}})
	f.subscribe(t, "s2", &catalogv1.PlanSpec{})
	of := func(subscription, operation string, at time.Time, change func(*callsv1.CallRecord)) *callsv1.CallRecord {
		c := call(subscription, at)
		c.Operation = operation
		if change != nil {
			change(c)
		}
		return c
	}
	rows := func(value string) func(*callsv1.CallRecord) {
		return func(c *callsv1.CallRecord) {
			c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: value}}
		}
	}
	rejected := func(c *callsv1.CallRecord) { c.Billable, c.Reason = false, callsv1.Reason_REASON_GATEWAY_REJECTED }
	other := func(c *callsv1.CallRecord) { c.Application, c.Account, c.Api = "p2", "a2", "api2" }
	midnight := time.Date(2026, 3, 10, 23, 0, 0, 0, time.UTC) // of Berlin
	f.gateway("gw1").send(t,
		of("s1", "list", began, rows("0.1")), of("s1", "list", midnight.Add(-1), rows("0.000000000001")), of("s1", "get", midnight, nil),
		of("s1", "get", began.Add(time.Minute), rejected), of("s2", "list", began, other), of("s2", strings.Repeat("x", 300), began, other),
		of("s2", "list", began.Add(30*time.Minute), other))

	const march = "from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z"
	require.Equal(t, []string{
		"03-01T00 calls false 1 1", "03-01T00 calls true 6 6", "03-01T00 rows true 0.100000000001 2",
	}, f.usageQuery(t, march+"&by=total"))
	require.Equal(t, []string{
		"03-09T23 calls false gateway_rejected 1 1", "03-09T23 calls true 2 2", "03-09T23 rows true 0.100000000001 2", "03-10T23 calls true 1 1",
	}, f.usageQuery(t, march+"&subscription=name-of-s1&dimension=reason"), "days of the subscription's time zone")
	require.Equal(t, []string{
		"03-10T00 calls true s1 get 1 1", "03-10T00 calls true s1 list 2 2",
	}, f.usageQuery(t, march+"&dimension=subscription&dimension=operation&meter=calls&api=api1&timeZone=UTC")[1:])
	require.Equal(t, []string{
		"03-10T09 calls true p2 a2 3 3",
	}, f.usageQuery(t, march+"&by=hour&dimension=account&dimension=application&application=p2"))
	require.Equal(t, []string{"03-01T00 calls true " + strings.Repeat("x", 200) + " 1 1"}, f.usageQuery(t, march+"&by=month&dimension=operation&account=a2&operation="+strings.Repeat("x", 200)))
	require.Equal(t, []string{"03-01T00 calls true api1 v1 plan-s1 3 3"}, f.usageQuery(t, march+"&by=month&subscription=s1&dimension=api&dimension=apiVersion&dimension=plan&meter=calls&timeZone=UTC")[1:])

	client := f.Client(f.Token(tenant, "metering.read"))
	for query, want := range map[string]string{
		march + "&by=week": `"path":"by"`, march + "&dimension=colour": `"path":"dimension"`, march + "&dimension=api&dimension=api": `"path":"dimension"`,
		march + "&timeZone=Mars": `"path":"timeZone"`, march + "&cursor=x": `"path":"cursor"`, march + "&by=hour&timeZone=Asia/Kolkata": "usage-not-divided",
		"from=2026-03-10T09:17:23.000000001Z&to=2026-03-10T12:00:00Z": "", "from=2026-01-01T00:00:00Z&to=2026-03-01T00:00:00Z&by=hour": `"path":"to"`,
	} {
		answer := client.Do("GET", "/metering/v1/usage/query?"+query, nil)
		if want == "" {
			require.Equal(t, 200, answer.Status, answer.Body)
			continue
		}
		require.Equal(t, 400, answer.Status, query)
		require.Contains(t, answer.Body, want)
	}
	require.Equal(t, 404, client.Do("GET", "/metering/v1/usage/query?"+march+"&subscription=nothing", nil).Status)
}
