package analytics_test

import (
	"bytes"
	"encoding/csv"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// export returns the pages of an export.
func (f *fixture) export(t testing.TB, query string) []string {
	t.Helper()
	var pages []string
	for path := "/analytics/v1/calls/export?" + query; path != ""; {
		answer := f.client.Must("GET", path, nil, nil)
		require.LessOrEqual(t, len(answer.Body), 8<<20)
		pages = append(pages, answer.Body)
		link := answer.Header.Get("Link")
		path = ""
		if link != "" {
			path = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		}
	}
	return pages
}

// TestExports exports more calls than a page has, with values that are hard to write.
func TestExports(t *testing.T) {
	t.Parallel()
	f := start(t)
	g := f.gateway("gw1")
	const n = 20_500
	strange := call("s1", noon.Add(-time.Second), func(c *callsv1.CallRecord) {
		c.Path, c.UserAgent, c.ClientAddress = "/a,\"b\"\nc", `=HYPERLINK("http://x")`, "192.0.2.7"
		c.Quantities = []*callsv1.Quantity{{Meter: "rows", Value: "12345678901234567890.123456789012"}}
	})
	all := []*callsv1.CallRecord{strange, call("s2", noon), call("s1", noon, func(c *callsv1.CallRecord) { c.Tenant = stranger })}
	for i := range n - 1 {
		all = append(all, call("s1", noon.Add(time.Duration(i)*time.Millisecond)))
	}
	for first := 0; first < len(all); first += 1000 {
		g.send(t, all[first:min(first+1000, len(all))]...)
	}
	t.Run("csv", func(t *testing.T) {
		pages := f.export(t, "method=GET&status=2xx&from=2026-03-10T00:00:00Z")
		require.Len(t, pages, 2)
		records, err := csv.NewReader(strings.NewReader(strings.Join(pages, ""))).ReadAll()
		require.NoError(t, err)
		require.Len(t, records, n+2, "a header and every call of the tenant")
		column := map[string]int{}
		for i, name := range records[0] {
			column[name] = i
		}
		require.Equal(t, "gw1.1.1", records[1][column["call"]], "the oldest first")
		require.Equal(t, "/a,\"b\"\nc", records[1][column["path"]])
		require.Equal(t, `'=HYPERLINK("http://x")`, records[1][column["user_agent"]], "no formula")
		require.Equal(t, "calls=1 rows=12345678901234567890.123456789012", records[1][column["quantities"]])
		seen := map[string]bool{}
		for _, r := range records[1:] {
			require.False(t, seen[r[0]], r[0])
			seen[r[0]] = true
		}
		require.NotContains(t, pages[0], "gw1.1.3,")
	})
	t.Run("parquet", func(t *testing.T) {
		pages := f.export(t, "format=parquet&from=2026-03-10T00:00:00Z")
		require.Len(t, pages, 2)
		total := 0
		for i, page := range pages {
			type row struct {
				Call        string    `parquet:"call"`
				CompletedAt time.Time `parquet:"completed_at,timestamp(nanosecond)"`
				UserAgent   string    `parquet:"user_agent"`
			}
			rows, err := parquet.Read[row](bytes.NewReader([]byte(page)), int64(len(page)))
			require.NoError(t, err)
			total += len(rows)
			if i == 0 {
				require.Equal(t, "gw1.1.1", rows[0].Call)
				require.Equal(t, noon.Add(-time.Second), rows[0].CompletedAt.UTC())
				require.Equal(t, `=HYPERLINK("http://x")`, rows[0].UserAgent, "as it is")
			}
		}
		require.Equal(t, n+1, total)
		f.readByClickHouse(t, pages[0])
	})
	require.Contains(t, f.client.Do("GET", "/analytics/v1/calls/export?format=xls", nil).Body, "is not csv or parquet")
	require.Contains(t, f.client.Do("GET", "/analytics/v1/calls/export?cursor=1.2", nil).Body, "is not the next of a page before")
}

// readByClickHouse reads a Parquet file with another implementation than the one that wrote it.
func (f *fixture) readByClickHouse(t *testing.T, page string) {
	t.Helper()
	require.NoError(t, f.table.Exec(t.Context(), `CREATE TABLE exported (call String, completed_at DateTime64(9, 'UTC'), status UInt16, quantities Array(Tuple(meter String, value Decimal(38, 12))), billable Bool) ENGINE = Memory`))
	address, err := url.Parse(f.config.ClickHouseURL)
	require.NoError(t, err)
	target := *address
	target.User, target.Path = nil, "/"
	target.RawQuery = url.Values{"database": {strings.TrimPrefix(address.Path, "/")}, "query": {"INSERT INTO exported FORMAT Parquet"}}.Encode()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target.String(), strings.NewReader(page))
	require.NoError(t, err)
	password, _ := address.User.Password()
	request.SetBasicAuth(address.User.Username(), password)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	require.NoError(t, err)
	require.Equal(t, 200, response.StatusCode, body.String())
	var got string
	require.NoError(t, f.table.QueryRow(t.Context(), `SELECT concat(call, ' ', toString(completed_at), ' ', toString(status), ' ', toString(quantities), ' ', toString(billable)) FROM exported ORDER BY completed_at LIMIT 1`).Scan(&got))
	require.Equal(t, "gw1.1.1 2026-03-10 11:59:59.000000000 200 [('calls',1),('rows',12345678901234567890.123456789012)] true", got)
}
