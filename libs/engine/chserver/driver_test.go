package chserver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

const callTable = `
	CREATE TABLE call
	(
		id     UUID,
		tenant LowCardinality(String),
		time   DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
		path   String CODEC(ZSTD(3)),
		status UInt16 CODEC(T64, LZ4),
		price  Decimal(18, 6),
		tags   Array(LowCardinality(String)),
		labels Map(String, String),
		error  Nullable(String)
	)
	ENGINE = MergeTree
	PARTITION BY toYYYYMM(time)
	ORDER BY (tenant, time, id)
	TTL toDateTime(time) + INTERVAL 400 DAY
	SETTINGS non_replicated_deduplication_window = 1000`

// fill inserts calls with the numbers from from, a batch of size rows.
func fill(tb testing.TB, connection driver.Conn, ctx context.Context, from, size int) error {
	tb.Helper()
	batch, err := connection.PrepareBatch(ctx, "INSERT INTO call (id, tenant, time, path, status, price, tags, labels, error)")
	if err != nil {
		return err
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := from; i < from+size; i++ {
		var reason *string
		if i%10 == 0 {
			text := "upstream timed out"
			reason = &text
		}
		id := uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, i))
		err := batch.Append(id, fmt.Sprintf("tenant-%d", i%7), start.Add(time.Duration(i)*time.Microsecond), fmt.Sprintf("/v1/forecast/%d", i),
			uint16(200+i%3), "0.001250", []string{"eu", "beta"}, map[string]string{"plan": "pro"}, reason)
		if err != nil {
			return err
		}
	}
	return batch.Send()
}

// Every way clickhouse-go has of compressing what it sends and receives.
func TestDriver(t *testing.T) {
	t.Parallel()
	for _, method := range []clickhouse.CompressionMethod{
		clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD,
		clickhouse.CompressionGZIP, clickhouse.CompressionDeflate, clickhouse.CompressionBrotli,
	} {
		t.Run(method.String(), func(t *testing.T) {
			t.Parallel()
			connection := open(t, testkit.ClickHouse(t), func(o *clickhouse.Options) {
				o.Compression = &clickhouse.Compression{Method: method, Level: 3}
			})
			ctx := t.Context()
			require.NoError(t, connection.Ping(ctx))
			require.NoError(t, connection.Exec(ctx, callTable))
			const size = 100_000
			require.NoError(t, fill(t, connection, ctx, 0, size))
			checkCalls(t, connection, size)
		})
	}
}

func checkCalls(t *testing.T, connection driver.Conn, size int) {
	t.Helper()
	rows, err := connection.Query(t.Context(), "SELECT id, tenant, time, path, status, price::String, tags, labels, error FROM call ORDER BY time")
	require.NoError(t, err)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	count := 0
	for ; rows.Next(); count++ {
		var (
			id                  uuid.UUID
			tenant, path, price string
			at                  time.Time
			status              uint16
			tags                []string
			labels              map[string]string
			reason              *string
		)
		require.NoError(t, rows.Scan(&id, &tenant, &at, &path, &status, &price, &tags, &labels, &reason))
		if count%997 != 0 {
			continue // every value of every row would take most of the test's time
		}
		require.Equal(t, uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, count)), id)
		require.Equal(t, fmt.Sprintf("tenant-%d", count%7), tenant)
		require.Equal(t, start.Add(time.Duration(count)*time.Microsecond), at)
		require.Equal(t, fmt.Sprintf("/v1/forecast/%d", count), path)
		require.EqualValues(t, 200+count%3, status)
		require.Equal(t, "0.00125", price)
		require.Equal(t, []string{"eu", "beta"}, tags)
		require.Equal(t, map[string]string{"plan": "pro"}, labels)
		require.Equal(t, count%10 == 0, reason != nil)
	}
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
	require.Equal(t, size, count)
}

func TestDriverBindsNamedParameters(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t))
	for _, text := range []string{"", "plain", `quote ' and backslash \`, "tab\tand\nnew line", "‘unicode’ €", `{x:String}`} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			var got string
			var number int64
			row := connection.QueryRow(t.Context(), "SELECT {text:String}, {number:Int64}", clickhouse.Named("text", text), clickhouse.Named("number", -42))
			require.NoError(t, row.Scan(&got, &number))
			require.Equal(t, text, got)
			require.EqualValues(t, -42, number)
		})
	}
}

func TestDriverSeesErrorsWithTheirCode(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t), func(o *clickhouse.Options) {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	})
	for _, c := range []struct {
		name, query string
		code        int32
	}{
		{"syntax", "SELEKT 1", 62},
		{"table", "SELECT * FROM nowhere", 60},
		{"function", "SELECT nofunction()", 46},
		{"column", "SELECT nocolumn FROM system.one", 47},
		{"setting", "SELECT 1 SETTINGS nosetting = 1", 115},
		{"while running", "SELECT throwIf(number = 3000000) FROM numbers(4000000)", 395},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rows, err := connection.Query(t.Context(), c.query)
			if err == nil {
				for rows.Next() {
				}
				err = errors.Join(rows.Err(), rows.Close())
			}
			var failure *clickhouse.Exception
			require.ErrorAs(t, err, &failure)
			require.Equal(t, c.code, failure.Code, failure.Message)
		})
	}
}

func TestDriverReadsEmptyResults(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t))
	require.NoError(t, connection.Exec(t.Context(), callTable))
	rows, err := connection.Query(t.Context(), "SELECT tenant, time FROM call")
	require.NoError(t, err)
	require.False(t, rows.Next())
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
}

func TestDriverInsertsOnceForADeduplicationToken(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t))
	require.NoError(t, connection.Exec(t.Context(), callTable))
	with := func(token string) context.Context {
		return clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": token}))
	}
	for _, step := range []struct {
		name  string
		token string
		from  int
		want  uint64
	}{
		{"first", "CALLS-1-1000", 0, 1000},
		{"same token again", "CALLS-1-1000", 0, 1000},
		{"same token, other rows", "CALLS-1-1000", 5000, 1000},
		{"other token, same rows", "CALLS-1001-2000", 0, 2000},
	} {
		require.NoError(t, fill(t, connection, with(step.token), step.from, 1000), step.name)
		var count uint64
		require.NoError(t, connection.QueryRow(t.Context(), "SELECT count() FROM call").Scan(&count))
		require.Equal(t, step.want, count, step.name)
	}
}

func TestDriverQueriesSideBySide(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t), func(o *clickhouse.Options) { o.MaxOpenConns = 12 })
	require.NoError(t, connection.Exec(t.Context(), callTable))
	var group sync.WaitGroup
	errs := make(chan error, 24)
	for i := range 12 {
		group.Go(func() { errs <- fill(t, connection, t.Context(), i*1000, 1000) })
		group.Go(func() {
			var sum uint64
			errs <- connection.QueryRow(t.Context(), "SELECT sum(number) FROM numbers(1000000)").Scan(&sum)
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	checkCalls(t, connection, 12_000)
}

func TestDriverSettingsEndWithTheQuery(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t))
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_block_size": 7}))
	var value uint64
	require.NoError(t, connection.QueryRow(ctx, "SELECT toUInt64(getSetting('max_block_size'))").Scan(&value))
	require.EqualValues(t, 7, value)
	require.NoError(t, connection.Exec(t.Context(), "SET max_block_size = 9"))
	require.NoError(t, connection.QueryRow(t.Context(), "SELECT toUInt64(getSetting('max_block_size'))").Scan(&value))
	require.Greater(t, value, uint64(9))
}
