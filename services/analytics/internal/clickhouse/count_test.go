package clickhouse_test

import (
	"context"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
)

const patience = time.Minute

// TestCountsOfPartsAddUp: a span is counted in parts, between which no call is lost, counted twice or taken for another one.
func TestCountsOfPartsAddUp(t *testing.T) {
	t.Parallel()
	url := testkit.ClickHouse(t)
	table, err := clickhouse.Open(t.Context(), url, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, table.Close()) })
	conn := open(t, url)
	first := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for range 2 { // each call twice, as after an insert that was not known to be a repetition
		require.NoError(t, conn.Exec(t.Context(), `INSERT INTO calls (gateway, boot, seq, completed_at, tenant, call_units, reason)
			SELECT 'gw1', 1, number + 1, toDateTime64('2026-03-01 00:00:00', 9, 'UTC') + intDiv(number * number, 40), 'acme', 0.1, if(number % 3 = 0, '', 'free_plan') FROM numbers(2000)`))
	}
	span := clickhouse.Span{Start: first.Add(17 * time.Minute).UnixNano(), End: first.Add(26*time.Hour + time.Second).UnixNano()}
	want, err := table.Counts(t.Context(), "acme", "", span)
	require.NoError(t, err)
	require.Len(t, want, 2)
	require.Equal(t, want[0].Rows, 2*want[0].Distinct)
	for _, most := range []uint64{90, 1500} {
		table.CountAtOnce(most)
		got, err := table.Counts(t.Context(), "acme", "", span)
		require.NoError(t, err)
		require.Equal(t, want, got, "%d at once", most)
	}
	none, err := table.Counts(t.Context(), "globex", "", span)
	require.NoError(t, err)
	require.Empty(t, none)
	took, err := table.EngineTimeout(t.Context())
	require.NoError(t, err)
	require.InDelta(t, clickhouse.QueryTimeout.Seconds()+5, took.Seconds(), 2, "as the bound of a query says")
}

// TestEvidenceWaitsForTheReplicas: in a cluster what proves something is read once every replica has what the others have.
func TestEvidenceWaitsForTheReplicas(t *testing.T) {
	t.Parallel()
	url := testkit.ClickHouse(t)
	table, err := clickhouse.Open(t.Context(), url, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, table.Close()) })
	require.Empty(t, clickhouse.SyncStatement("", "analytics"))
	statement := clickhouse.SyncStatement("main-1", "it's `calls`")
	var printed string
	conn := open(t, url)
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT formatQuerySingleLine({q:String})", driver.Named("q", statement)).Scan(&printed))
	require.Equal(t, "SYSTEM SYNC REPLICA ON CLUSTER `main-1` `it's \\`calls\\``.calls LIGHTWEIGHT", printed)
	table.SyncWith(statement) // of a cluster that this server is not in
	span := clickhouse.Span{Start: 0, End: 1}
	for name, read := range map[string]func() error{
		"Counts":      func() error { _, err := table.Counts(t.Context(), "acme", "", span); return err },
		"MeterTotals": func() error { _, err := table.MeterTotals(t.Context(), "acme", "", span); return err },
		"Present":     func() error { _, err := table.Present(t.Context(), "gw1", 1, 1, 2, span); return err },
	} {
		err := read()
		require.ErrorContains(t, err, "wait for the replicas", name)
		require.NotContains(t, err.Error(), "Unknown setting", name)
	}
}

// TestAWatchTellsThatClickHouseIsAway.
func TestAWatchTellsThatClickHouseIsAway(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	url, err := server.CreateDatabase(t.Context(), "analytics")
	require.NoError(t, err)
	table, err := clickhouse.Open(t.Context(), url, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, table.Close()) })
	w := clickhouse.NewWatch(table)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	require.NoError(t, w.Err())
	require.NoError(t, server.Stop(t.Context()))
	testkit.Await(t, patience, func() bool { return w.Err() != nil })
	require.ErrorContains(t, w.Err(), "ClickHouse does not answer")
	cancel()
	require.NoError(t, <-done)
}
