package clickhouse_test

import (
	"fmt"
	"strings"
	"testing"

	driver "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func open(t *testing.T, url string) driver.Conn {
	t.Helper()
	options, err := driver.ParseDSN(url)
	require.NoError(t, err)
	conn, err := driver.Open(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// TestMigrationsForAClusterAreWellFormed has the engine's own parser read and print them.
func TestMigrationsForAClusterAreWellFormed(t *testing.T) {
	t.Parallel()
	conn := open(t, testkit.ClickHouse(t))
	all, err := clickhouse.Migrations("main-1")
	require.NoError(t, err)
	single, err := clickhouse.Migrations("")
	require.NoError(t, err)
	require.Len(t, all, len(single))
	for i, m := range all {
		require.Len(t, m.Statements, len(single[i].Statements))
		for _, statement := range m.Statements {
			var printed, tree string
			require.NoError(t, conn.QueryRow(t.Context(), "SELECT formatQuerySingleLine({q:String})", driver.Named("q", statement)).Scan(&printed), m.Name)
			require.Contains(t, printed, "ON CLUSTER `main-1`", m.Name)
			if strings.HasPrefix(printed, "CREATE TABLE") {
				require.Contains(t, printed, "ENGINE = Replicated")
			}
			if strings.HasPrefix(printed, "CREATE TABLE IF NOT EXISTS calls ") {
				require.Contains(t, printed, "ENGINE = ReplicatedMergeTree")
				require.Contains(t, printed, "replicated_deduplication_window = 1000")
				require.NotContains(t, printed, "non_replicated")
			}
			rows, err := conn.Query(t.Context(), "EXPLAIN AST "+statement)
			require.NoError(t, err, m.Name)
			for rows.Next() {
				var line string
				require.NoError(t, rows.Scan(&line))
				tree += line + "\n"
			}
			require.NoError(t, rows.Err())
			require.Regexp(t, `^(Create|Alter)`, tree)
		}
	}
	_, err = clickhouse.Open(t.Context(), testkit.ClickHouse(t), "no' cluster")
	require.ErrorContains(t, err, "is not the name of a cluster")
}

// TestMigrationsMayBeRunAgain by several processes at once, and after they were cut short anywhere.
func TestMigrationsMayBeRunAgain(t *testing.T) {
	t.Parallel()
	url := testkit.ClickHouse(t)
	conn := open(t, url)
	all, err := clickhouse.Migrations("")
	require.NoError(t, err)
	for _, m := range all[:2] { // cut short before the first of them was noted
		for _, statement := range m.Statements {
			require.NoError(t, conn.Exec(t.Context(), statement))
		}
	}
	done := make(chan error)
	for range 3 {
		go func() {
			table, err := clickhouse.Open(t.Context(), url, "")
			if err == nil {
				err = table.Close()
			}
			done <- err
		}()
	}
	for range 3 {
		require.NoError(t, <-done)
	}
	var names []string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT arraySort(groupUniqArray(name)) FROM calls_migrations").Scan(&names))
	require.Len(t, names, len(all))
}

// TestSearchesReadLittle: parts of the table that have none of a word are not read.
func TestSearchesReadLittle(t *testing.T) {
	t.Parallel()
	url := testkit.ClickHouse(t)
	table, err := clickhouse.Open(t.Context(), url, "")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, table.Close()) })
	conn := open(t, url)
	// 400,000 calls with an id of their own in each path.
	require.NoError(t, conn.Exec(t.Context(), `INSERT INTO calls (gateway, boot, seq, completed_at, tenant, api, path, error_reason)
		SELECT 'gw1', 1, number + 1, toDateTime64('2026-03-01 00:00:00', 9, 'UTC') + number, 'acme', 'api1', concat('/orders/', lower(hex(sipHash64(number))), '/items'), '' FROM numbers(400000)`))
	var id string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT splitByChar('/', path)[3] FROM calls WHERE seq = 123456").Scan(&id))
	f := clickhouse.Filter{Span: clickhouse.Span{Start: 0, End: 1 << 62}, Words: clickhouse.Words("/Orders/" + strings.ToUpper(id)), Limit: 10}
	rows, err := table.Calls(t.Context(), "acme", f)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	require.Equal(t, uint64(123456), rows[0].Seq)
	explained, err := conn.Query(t.Context(), "EXPLAIN indexes = 1 SELECT count() FROM calls WHERE tenant = 'acme' AND hasToken(lower(concat(path, ' ', error_reason)), {id:String})", driver.Named("id", id))
	require.NoError(t, err)
	var text string
	for explained.Next() {
		var line string
		require.NoError(t, explained.Scan(&line))
		text += line + "\n"
	}
	require.NoError(t, explained.Err())
	_, index, found := strings.Cut(text, "by_text")
	require.True(t, found, text)
	var read, all int
	_, granules, _ := strings.Cut(index, "Granules: ")
	_, err = fmt.Sscanf(granules, "%d/%d", &read, &all)
	require.NoError(t, err, text)
	require.Less(t, read, all/10, "of %d granules %d are read", all, read)
	require.Equal(t, []string{"a", "münchen", "b1"}, clickhouse.Words("/A/München-b1?"))
}
