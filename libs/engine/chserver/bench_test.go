package chserver_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

// BenchmarkInsert reports the rows of the call table inserted a second, in batches of 100,000.
func BenchmarkInsert(b *testing.B) {
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4} {
		b.Run(method.String(), func(b *testing.B) {
			connection := open(b, testkit.ClickHouse(b), func(o *clickhouse.Options) { o.Compression = &clickhouse.Compression{Method: method} })
			require.NoError(b, connection.Exec(b.Context(), callTable))
			const size = 100_000
			rows := 0
			for b.Loop() {
				require.NoError(b, fill(b, connection, b.Context(), rows, size))
				rows += size
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkRead reports the bytes a second of a streamed result, raw and decoded by clickhouse-go.
func BenchmarkRead(b *testing.B) {
	const rows = 2_000_000
	statement := fmt.Sprintf("SELECT number, toString(number) FROM numbers(%d)", rows)
	b.Run("RowBinary", func(b *testing.B) {
		speaker := plain(b, testkit.ClickHouse(b))
		for b.Loop() {
			request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, speaker.base, strings.NewReader(statement+" FORMAT RowBinary"))
			require.NoError(b, err)
			response, err := transport.RoundTrip(withAuthorization(request))
			require.NoError(b, err)
			size, err := io.Copy(io.Discard, response.Body)
			require.NoError(b, err)
			require.NoError(b, response.Body.Close())
			b.SetBytes(size)
		}
	})
	b.Run("driver", func(b *testing.B) {
		connection := open(b, testkit.ClickHouse(b))
		for b.Loop() {
			result, err := connection.Query(b.Context(), statement)
			require.NoError(b, err)
			var number uint64
			var text string
			for result.Next() {
				require.NoError(b, result.Scan(&number, &text))
			}
			require.NoError(b, result.Close())
		}
		b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

// BenchmarkSmallQuery is the cost of a request.
func BenchmarkSmallQuery(b *testing.B) {
	connection := open(b, testkit.ClickHouse(b))
	var one uint8
	for b.Loop() {
		require.NoError(b, connection.QueryRow(b.Context(), "SELECT 1").Scan(&one))
	}
}
