package chserver_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

// A result is decoded and encoded again for clickhouse-go: no value may change on the way. The engine's own text of each value is compared with
// its text after the value went to the driver and back.
func TestTypesSurviveTheWay(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t), func(o *clickhouse.Options) {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	})
	for _, c := range []struct{ kind, value string }{
		{"UInt8", "255"}, {"UInt64", "18446744073709551615"}, {"Int64", "-9223372036854775808"}, {"UInt256", "toUInt256('115792089237316195423570985008687907853269984665640564039457584007913129639935')"},
		{"Float64", "1.5"}, {"Bool", "true"}, {"Decimal(9, 2)", "'-1234567.89'"}, {"Decimal(38, 10)", "'1234567890123456789012345678.0123456789'"},
		{"String", "'it''s ünïcode'"}, {"FixedString(4)", "'abcd'"}, {"UUID", "'00112233-4455-6677-8899-aabbccddeeff'"},
		{"Date", "'2026-02-28'"}, {"Date32", "'1900-01-01'"}, {"DateTime('UTC')", "'2026-02-28 23:59:59'"}, {"DateTime64(9, 'UTC')", "'2026-02-28 23:59:59.123456789'"},
		{"DateTime64(3, 'Europe/Berlin')", "'2026-02-28 23:59:59.123'"},
		{"LowCardinality(String)", "'low'"}, {"LowCardinality(Nullable(String))", "NULL"}, {"Nullable(Int32)", "NULL"}, {"Nullable(String)", "'x'"},
		{"Enum8('a' = 1, 'b' = 2)", "'b'"}, {"IPv4", "'192.0.2.1'"}, {"IPv6", "'2001:db8::1'"},
		{"Array(Nullable(String))", "['a', NULL]"}, {"Array(Array(UInt8))", "[[1], [], [2, 3]]"}, {"Map(String, UInt64)", "map('a', 1)"},
		{"Tuple(UInt8, String)", "(1, 'x')"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			source := "SELECT CAST(" + c.value + ", '" + quoteType(c.kind) + "') AS value"
			var want string
			require.NoError(t, connection.QueryRow(ctx, "SELECT ifNull(toString(value), 'NULL') FROM ("+source+")").Scan(&want))

			rows, err := connection.Query(ctx, source)
			require.NoError(t, err)
			require.True(t, rows.Next())
			// The engine leaves out a DateTime's time zone, see nativeWriter.
			require.Equal(t, strings.ReplaceAll(c.kind, "DateTime('UTC')", "DateTime"), rows.ColumnTypes()[0].DatabaseTypeName())
			values := make([]any, 1)
			values[0] = newValue(rows.ColumnTypes()[0])
			require.NoError(t, rows.Scan(values...))
			require.False(t, rows.Next())
			require.NoError(t, rows.Err())
			require.NoError(t, rows.Close())

			table := "roundtrip"
			connection := open(t, testkit.ClickHouse(t))
			require.NoError(t, connection.Exec(ctx, "CREATE TABLE "+table+" (value "+c.kind+") ENGINE = Memory"))
			batch, err := connection.PrepareBatch(ctx, "INSERT INTO "+table)
			require.NoError(t, err)
			require.NoError(t, batch.Append(value(values[0])))
			require.NoError(t, batch.Send())
			var got string
			require.NoError(t, connection.QueryRow(ctx, "SELECT ifNull(toString(value), 'NULL') FROM "+table).Scan(&got))
			require.Equal(t, want, got)
		})
	}
}

// quoteType writes a type's name inside a string literal.
func quoteType(kind string) string { return strings.ReplaceAll(kind, "'", `\'`) }

// newValue makes a place for a column's value.
func newValue(column driver.ColumnType) any { return reflect.New(column.ScanType()).Interface() }

// value takes the value out of its place.
func value(place any) any { return reflect.ValueOf(place).Elem().Interface() }
