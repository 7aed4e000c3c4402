package analytics_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/analytics"
)

type settings struct {
	RetentionDays   int    `json:"retentionDays"`
	KeptDays        int    `json:"keptDays"`
	ClientAddresses string `json:"clientAddresses"`
}

func (f *fixture) set(t testing.TB, days int, addresses string) settings {
	t.Helper()
	var got settings
	f.client.Must("PUT", "/analytics/v1/settings", map[string]any{"retentionDays": days, "clientAddresses": addresses}, &got)
	return got
}

// TestClientAddressesAreAnonymized when they are landed.
func TestClientAddressesAreAnonymized(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	addresses := func(how string) []string {
		t.Helper()
		require.Equal(t, how, f.set(t, 400, how).ClientAddresses)
		require.NoError(t, f.table.Exec(t.Context(), "TRUNCATE TABLE calls"))
		var all []*callsv1.CallRecord
		for _, a := range []string{"192.0.2.77", "::ffff:192.0.2.77", "2001:db8:1:2::3", "not an address", ""} {
			all = append(all, call("s1", noon, func(c *callsv1.CallRecord) { c.ClientAddress = a }))
		}
		g.send(t, append(all, call("s1", noon, func(c *callsv1.CallRecord) { c.Tenant, c.ClientAddress = stranger, "192.0.2.9" }))...)
		var got []string
		require.NoError(t, f.table.QueryRow(t.Context(), "SELECT groupArray(client_address) FROM (SELECT client_address FROM calls ORDER BY seq)").Scan(&got))
		return got
	}
	require.Equal(t, []string{"192.0.2.77", "::ffff:192.0.2.77", "2001:db8:1:2::3", "not an address", "", "192.0.2.9"}, addresses("full"))
	require.Equal(t, []string{"192.0.2.0", "192.0.2.0", "2001:db8:1::", "", "", "192.0.2.9"}, addresses("truncated"))
	require.Equal(t, []string{"", "", "", "", "", "192.0.2.9"}, addresses("none"))
}

// TestCallsAreKeptAsLongAsTheirTenantWants: new ones and those that are there, and no longer.
func TestCallsAreKeptAsLongAsTheirTenantWants(t *testing.T) {
	t.Parallel()
	f := start(t)
	require.Equal(t, settings{400, 400, "full"}, f.set(t, 400, "full"), "the default")
	f.gateway("gw1").send(t, call("s1", noon), call("s1", time.Now()), call("s1", noon, func(c *callsv1.CallRecord) { c.Tenant = stranger }))
	f.Client(f.Token(stranger, "analytics.write")).Must("PUT", "/analytics/v1/settings", map[string]any{"retentionDays": 3650, "clientAddresses": "full"}, nil)
	require.Equal(t, 40, f.set(t, 40, "full").KeptDays)
	f.stop()
	f.service, f.stop = f.run(t) // what was changed is looked for at once
	testkit.Await(t, patience, func() error {
		var old uint64
		require.NoError(t, f.table.QueryRow(t.Context(), "SELECT countIf(retention_days NOT IN (40, 3650)) FROM calls").Scan(&old))
		if old > 0 {
			return errors.New("calls have their old retention")
		}
		return nil
	})
	require.NoError(t, f.table.Exec(t.Context(), "SYSTEM START TTL MERGES calls"))
	testkit.Await(t, patience, func() error {
		require.NoError(t, f.table.Exec(t.Context(), "OPTIMIZE TABLE calls FINAL"))
		if rows, _ := f.landed(t); rows != 2 {
			return errors.New("calls are there that are over")
		}
		return nil
	})
	var left []string
	require.NoError(t, f.table.QueryRow(t.Context(), "SELECT groupArray(call) FROM (SELECT call FROM calls ORDER BY seq)").Scan(&left))
	require.Equal(t, []string{"gw1.1.2", "gw1.1.3"}, left)
}

// TestCallsAreKeptUntilTheyAreInvoiced: no tenant keeps them for less than its longest billing period and the time for invoices.
func TestCallsAreKeptUntilTheyAreInvoiced(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.set(t, 50, "full")
	publish := func(version uint64, every string) {
		t.Helper()
		f.after(t, "catalog", f.Emit("catalog", tenant, "plan", "plan1", version, &catalogv1.PlanPublished{
			Plan: "plan1", Name: "pro", Version: uint32(version) + 1, Spec: &catalogv1.PlanSpec{Period: &catalogv1.Period{Every: every}},
		}))
	}
	publish(0, "")
	var got settings
	f.client.Must("GET", "/analytics/v1/settings", nil, &got)
	require.Equal(t, settings{50, 67, "full"}, got)
	publish(1, "year")
	publish(2, "day")
	f.client.Must("GET", "/analytics/v1/settings", nil, &got)
	require.Equal(t, settings{50, 402, "full"}, got)
	f.gateway("gw1").send(t, call("s1", noon))
	var days uint16
	require.NoError(t, f.table.QueryRow(t.Context(), "SELECT retention_days FROM calls").Scan(&days))
	require.Equal(t, uint16(402), days)
	answer := f.client.Do("PUT", "/analytics/v1/settings", map[string]any{"retentionDays": 100, "clientAddresses": "some"})
	require.Equal(t, 400, answer.Status)
	require.Contains(t, answer.Body, "the longest period of your plans makes that 402")
	require.Contains(t, answer.Body, "is not full, truncated or none")
	require.Equal(t, 403, f.Client(f.Token(tenant, "analytics.read")).Do("PUT", "/analytics/v1/settings", map[string]any{"retentionDays": 500, "clientAddresses": "full"}).Status)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	err := analytics.Config{ClickHouseURL: "http://127.0.0.1:8123/x", ClickHouseCluster: "it's"}.Validate()
	require.ErrorContains(t, err, `"it's" is not the name of a cluster`)
}
