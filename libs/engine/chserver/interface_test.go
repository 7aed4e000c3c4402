package chserver_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

func TestPingNeedsNoPassword(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testkit.ClickHouse(t))
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address.Host+"/ping", nil)
	require.NoError(t, err)
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, "Ok.\n", string(body))
}

func TestPasswordIsRequired(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testkit.ClickHouse(t))
	require.NoError(t, err)
	password, _ := address.User.Password()
	for _, c := range []struct {
		name   string
		user   *url.Userinfo
		header http.Header
		values url.Values
		status int
		code   string
	}{
		{name: "none", status: http.StatusUnauthorized, code: "194"},
		{name: "wrong", user: url.UserPassword("default", "guess"), status: http.StatusForbidden, code: "516"},
		{name: "other user", user: url.UserPassword("admin", password), status: http.StatusForbidden, code: "516"},
		{name: "basic", user: url.UserPassword("default", password), status: http.StatusOK},
		{name: "headers", header: http.Header{"X-Clickhouse-User": {"default"}, "X-Clickhouse-Key": {password}}, status: http.StatusOK},
		{name: "wrong header", header: http.Header{"X-Clickhouse-User": {"default"}, "X-Clickhouse-Key": {"guess"}}, status: http.StatusForbidden, code: "516"},
		{name: "URL", values: url.Values{"user": {"default"}, "password": {password}}, status: http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			changed := *address
			changed.User = c.user
			speaker := plain(t, changed.String())
			speaker.headers = c.header
			got := speaker.do(http.MethodPost, c.values, strings.NewReader("SELECT 1"))
			require.Equal(t, c.status, got.status, got.body)
			require.Equal(t, c.code, got.header.Get("X-ClickHouse-Exception-Code"))
		})
	}
}

func TestQueryWherever(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	for _, c := range []struct {
		name, method string
		values       url.Values
		body, want   string
	}{
		{"GET", http.MethodGet, url.Values{"query": {"SELECT 1"}}, "", "1\n"},
		{"POST body", http.MethodPost, nil, "SELECT 2", "2\n"},
		{"POST URL", http.MethodPost, url.Values{"query": {"SELECT 3"}}, "", "3\n"},
		{"both", http.MethodPost, url.Values{"query": {"SELECT 4"}}, "+ 1", "5\n"},
		{"default format", http.MethodPost, url.Values{"default_format": {"JSONEachRow"}}, "SELECT 1 AS x", "{\"x\":1}\n"},
		{"format clause wins", http.MethodPost, url.Values{"default_format": {"Native"}}, "SELECT 1 AS x FORMAT CSV", "1\n"},
		{"format clause before settings", http.MethodPost, nil, "SELECT 1 AS x FORMAT CSVWithNames SETTINGS max_threads = 1;", "\"x\"\n1\n"},
		{"comment and semicolon", http.MethodPost, nil, "/* ; */ SELECT ';' -- ;\n ; ", ";\n"},
		{"parameter", http.MethodPost, url.Values{"param_x": {"7"}}, "SELECT {x:UInt8} + 1", "8\n"},
		{"statement without result", http.MethodPost, nil, "SET max_threads = 1", ""},
		{"not a stream", http.MethodPost, nil, "EXISTS TABLE nowhere", "0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := speaker.do(c.method, c.values, strings.NewReader(c.body))
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.Equal(t, c.want, got.body)
			require.NotEmpty(t, got.header.Get("X-ClickHouse-Query-Id"))
		})
	}
}

func TestHeadersTellAboutTheResult(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	got := speaker.do(http.MethodPost, url.Values{"query_id": {"my-query"}}, strings.NewReader("SELECT number FROM numbers(10) FORMAT JSON"))
	require.Equal(t, "my-query", got.header.Get("X-ClickHouse-Query-Id"))
	require.Equal(t, "JSON", got.header.Get("X-ClickHouse-Format"))
	require.Equal(t, "application/json; charset=UTF-8", got.header.Get("Content-Type"))
	require.Contains(t, got.header.Get("X-ClickHouse-Summary"), `"read_rows":"10"`)
	require.Contains(t, got.header.Get("X-ClickHouse-Summary"), `"result_rows":"10"`)
	require.Contains(t, got.body, `"rows": 10`)
}

// What ClickHouse's own clients and tools look at when something is wrong.
func TestErrors(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	for _, c := range []struct {
		name, method string
		values       url.Values
		body         string
		status       int
		code, text   string
	}{
		{"syntax", http.MethodPost, nil, "SELEKT 1", 400, "62", "Syntax error"},
		{"empty", http.MethodPost, nil, "  ", 400, "62", "Empty query"},
		{"two statements", http.MethodPost, nil, "SELECT 1; SELECT 2", 400, "62", "Multi-statements are not allowed"},
		{"table", http.MethodPost, nil, "SELECT * FROM nowhere", 404, "60", "nowhere"},
		{"database", http.MethodPost, nil, "SELECT * FROM no.where", 404, "81", "no"},
		{"setting", http.MethodPost, url.Values{"nosetting": {"1"}}, "SELECT 1", 404, "115", "nosetting"},
		{"no setting's name", http.MethodPost, url.Values{"a'b": {"1"}}, "SELECT 1", 404, "115", "a'b"},
		{"value of a setting", http.MethodPost, url.Values{"max_threads": {"many"}}, "SELECT 1", 400, "27", ""},
		{"missing parameter", http.MethodPost, nil, "SELECT {x:UInt8}", 500, "456", "x"},
		{"wrong parameter", http.MethodPost, url.Values{"param_x": {"abc"}}, "SELECT {x:UInt8}", 500, "457", "x"},
		{"session", http.MethodPost, url.Values{"session_id": {"s"}}, "SELECT 1", 501, "48", "Sessions are not supported"},
		{"outfile", http.MethodPost, nil, "SELECT 1 INTO OUTFILE '/tmp/outfile'", 501, "48", "INTO OUTFILE"},
		{"infile", http.MethodPost, nil, "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 501, "48", "FROM INFILE"},
		{"revision", http.MethodPost, url.Values{"client_protocol_version": {"new"}}, "SELECT 1", 400, "62", "client_protocol_version"},
		{"write by GET", http.MethodGet, url.Values{"query": {"CREATE TABLE t (x UInt8) ENGINE = Memory"}}, "", 500, "164", "readonly"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := speaker.do(c.method, c.values, strings.NewReader(c.body))
			require.Equal(t, c.code, got.header.Get("X-ClickHouse-Exception-Code"), got.body)
			require.Equal(t, c.status, got.status, got.body)
			require.Regexp(t, `^Code: `+c.code+`\. DB::Exception: `, got.body)
			require.Contains(t, got.body, c.text)
		})
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(testkit.ClickHouse(t))
	require.NoError(t, err)
	speaker := plain(t, address.String())
	require.Equal(t, http.StatusMethodNotAllowed, speaker.do(http.MethodDelete, nil, nil).status)
	speaker.base = "http://" + address.Host + "/play?"
	require.Equal(t, http.StatusNotFound, speaker.do(http.MethodGet, nil, nil).status)
}

// SQL must not reach the machine, even with the password.
func TestNothingOutsideTheDataIsReached(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	for _, statement := range []string{
		"SELECT * FROM file('/etc/hostname', LineAsString)",
		"INSERT INTO FUNCTION file('/tmp/written', CSV, 'x UInt8') SELECT 1",
		"SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
		"SELECT * FROM s3('http://127.0.0.1:1/bucket/key', CSV)",
		"SELECT * FROM remote('127.0.0.1:1', system.one)",
		"SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
		"CREATE TABLE f (x String) ENGINE = File(CSV, '/etc/hostname')",
		"CREATE TABLE u (x String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
		"CREATE TABLE s (x String) ENGINE = S3('http://127.0.0.1:1/bucket/key', CSV)",
		"CREATE TABLE q (x String) ENGINE = SQLite('/tmp/x.sqlite', 't')",
		"CREATE TABLE m (x String) ENGINE = MySQL('127.0.0.1:1', 'd', 't', 'u', 'p')",
		"SYSTEM SHUTDOWN",
		"BACKUP DATABASE default TO File('/tmp/backup.zip')",
		"BACKUP DATABASE default TO File('../../backup.zip')",
		"RESTORE DATABASE other FROM File('/tmp/backup.zip')",
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			got := speaker.do(http.MethodPost, nil, strings.NewReader(statement))
			require.NotEqual(t, http.StatusOK, got.status)
			// Not granted, not configured, and not the folder of backups.
			require.Contains(t, []string{"497", "318", "36"}, got.header.Get("X-ClickHouse-Exception-Code"), got.body)
		})
	}
}

// The engine's default database shows the file system's files as tables.
func TestFilesAreNoTables(t *testing.T) {
	t.Parallel()
	address := testkit.ClickHouse(t)
	speaker := plain(t, address[:strings.LastIndex(address, "/")]+"/default")
	got := speaker.do(http.MethodPost, nil, strings.NewReader("SELECT * FROM `/etc/hostname`"))
	require.Equal(t, "497", got.header.Get("X-ClickHouse-Exception-Code"), got.body)
}

func TestInsert(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, query, body, want string
	}{
		{"values in the body", "", "INSERT INTO t VALUES (1, 'one'), (2, 'it''s');", "1\tone\n2\tit\\'s\n"},
		{"values with columns and settings", "", "INSERT INTO t (b, a) SETTINGS max_threads = 1 VALUES ('one', 1)", "1\tone\n"},
		{"format in the body", "", "INSERT INTO t FORMAT CSV\n1,one\n2,two\n", "1\tone\n2\ttwo\n"},
		{"format and settings", "", "INSERT INTO t FORMAT CSV SETTINGS format_csv_delimiter = '|', max_threads = 1\n1|one\n", "1\tone\n"},
		{"data in the body", "INSERT INTO t FORMAT JSONEachRow", `{"a":1,"b":"one"}`, "1\tone\n"},
		{"data in both", "INSERT INTO t FORMAT CSV\n1,one\n", "2,two\n", "1\tone\n2\ttwo\n"},
		{"no format", "INSERT INTO t (a, b)", "(1, 'one')", "1\tone\n"},
		{"a query", "", "INSERT INTO t SELECT number, 'n' FROM numbers(2)", "0\tn\n1\tn\n"},
		{"a query in parentheses", "", "INSERT INTO t (a, b) (SELECT 1, 'one')", "1\tone\n"},
		{"a query with WITH", "", "INSERT INTO t WITH 5 AS five SELECT five, 'five'", "5\tfive\n"},
		{"words inside quotes", "", "INSERT INTO `t` (`a`, b) VALUES (1, 'SELECT FORMAT ; VALUES')", "1\tSELECT FORMAT ; VALUES\n"},
		{"no rows", "INSERT INTO t FORMAT CSV", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			speaker := plain(t, testkit.ClickHouse(t))
			speaker.query("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
			values := url.Values{}
			if c.query != "" {
				values.Set("query", c.query)
			}
			got := speaker.do(http.MethodPost, values, strings.NewReader(c.body))
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.Empty(t, got.body)
			require.Equal(t, c.want, speaker.query("SELECT a, b FROM t ORDER BY a"))
		})
	}
}

func TestInsertThatFailsInsertsNothing(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	speaker.query("CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
	for _, c := range []struct{ name, query, body, code string }{
		{"a broken row", "INSERT INTO t FORMAT CSV", "1,one\nx,two\n", "27"},
		{"no table", "INSERT INTO nowhere FORMAT CSV", "1\n", "60"},
		{"no column", "INSERT INTO t (c) FORMAT CSV", "1\n", "16"},
		{"no format", "INSERT INTO t FORMAT Nothing", "1\n", "73"},
		{"a broken constraint", "INSERT INTO t FORMAT Native", "garbage", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := speaker.do(http.MethodPost, url.Values{"query": {c.query}}, strings.NewReader(c.body))
			require.NotEqual(t, http.StatusOK, got.status)
			if c.code != "" {
				require.Equal(t, c.code, got.header.Get("X-ClickHouse-Exception-Code"), got.body)
			}
			require.Equal(t, "0\n", speaker.query("SELECT count() FROM t"))
		})
	}
}

func TestInsertDeduplicatesByToken(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	speaker.query("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100")
	for range 2 {
		got := speaker.do(http.MethodPost, url.Values{"query": {"INSERT INTO t FORMAT CSV"}, "insert_deduplication_token": {"batch-1"}}, strings.NewReader("1\n2\n"))
		require.Equal(t, http.StatusOK, got.status, got.body)
	}
	require.Equal(t, "2\n", speaker.query("SELECT count() FROM t"))
}

// Compression of requests (Content-Encoding, decompress) and of responses (Accept-Encoding, compress).
func TestCompression(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		encode func(w io.Writer) io.WriteCloser
		decode func(r io.Reader) (io.Reader, error)
	}{
		"gzip":    {func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		"deflate": {func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }},
		"br":      {func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil }},
		"lz4":     {func(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) }, func(r io.Reader) (io.Reader, error) { return lz4.NewReader(r), nil }},
		"zstd": {func(w io.Writer) io.WriteCloser {
			e, err := zstd.NewWriter(w)
			require.NoError(t, err)
			return e
		}, func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			speaker := plain(t, testkit.ClickHouse(t))
			speaker.query("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
			var body bytes.Buffer
			w := c.encode(&body)
			_, err := io.Copy(w, repeat("1\n2\n3\n", 10_000))
			require.NoError(t, err)
			require.NoError(t, w.Close())
			speaker.headers = http.Header{"Content-Encoding": {name}}
			got := speaker.do(http.MethodPost, url.Values{"query": {"INSERT INTO t FORMAT CSV"}}, &body)
			require.Equal(t, http.StatusOK, got.status, got.body)

			speaker.headers = http.Header{"Accept-Encoding": {name}}
			got = speaker.do(http.MethodPost, nil, strings.NewReader("SELECT count() FROM t"))
			require.Equal(t, name, got.header.Get("Content-Encoding"))
			r, err := c.decode(strings.NewReader(got.body))
			require.NoError(t, err)
			decoded, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, "30000\n", string(decoded))
		})
	}
}

func TestCompressedBlocks(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]chcompress.Method{"LZ4": chcompress.LZ4, "ZSTD": chcompress.ZSTD, "NONE": chcompress.None} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			speaker := plain(t, testkit.ClickHouse(t))
			speaker.query("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
			w := chcompress.NewWriter(chcompress.LevelZero, method)
			require.NoError(t, w.Compress([]byte("1\n2\n3\n")))
			got := speaker.do(http.MethodPost, url.Values{"query": {"INSERT INTO t FORMAT CSV"}, "decompress": {"1"}}, bytes.NewReader(w.Data))
			require.Equal(t, http.StatusOK, got.status, got.body)
			got = speaker.do(http.MethodPost, url.Values{"compress": {"1"}, "network_compression_method": {name}},
				strings.NewReader("SELECT number FROM numbers(1000000) FORMAT CSV"))
			require.Equal(t, http.StatusOK, got.status)
			decoded, err := io.ReadAll(chcompress.NewReader(strings.NewReader(got.body)))
			require.ErrorIs(t, err, io.EOF) // the reader wraps it
			require.Equal(t, 1_000_000, bytes.Count(decoded, []byte("\n")))
			require.Equal(t, "6\n", speaker.query("SELECT sum(a) FROM t"))
		})
	}
}

func TestBrokenBodiesAreRefused(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	speaker.query("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
	for _, c := range []struct {
		name, encoding string
		values         url.Values
		code           string
	}{
		{"gzip", "gzip", nil, "271"},
		{"unknown", "rot13", nil, "48"},
		{"blocks", "", url.Values{"decompress": {"1"}}, "271"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			speaker := plain(t, speaker.base)
			speaker.base += "&"
			if c.encoding != "" {
				speaker.headers.Set("Content-Encoding", c.encoding)
			}
			got := speaker.do(http.MethodPost, c.values, strings.NewReader("INSERT INTO t FORMAT CSV\n1\n this is not compressed at all"))
			require.Equal(t, c.code, got.header.Get("X-ClickHouse-Exception-Code"), got.body)
		})
	}
}
