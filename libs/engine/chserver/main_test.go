package chserver_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// open connects clickhouse-go to the database at an address.
func open(tb testing.TB, address string, change ...func(*clickhouse.Options)) driver.Conn {
	tb.Helper()
	options, err := clickhouse.ParseDSN(address)
	require.NoError(tb, err)
	for _, set := range change {
		set(options)
	}
	connection, err := clickhouse.Open(options)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, connection.Close()) })
	return connection
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// client speaks plain HTTP to the database at an address.
type client struct {
	t       testing.TB
	base    string
	headers http.Header
}

func plain(t testing.TB, address string) *client {
	t.Helper()
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	values := url.Values{"database": {strings.TrimPrefix(parsed.Path, "/")}}
	parsed.Path, parsed.RawQuery = "/", values.Encode()
	return &client{t: t, base: parsed.String(), headers: http.Header{}}
}

// transport keeps no connection: none is left when a test ends.
var transport = &http.Transport{DisableKeepAlives: true, DisableCompression: true}

func (c *client) do(method string, parameters url.Values, body io.Reader) answer {
	c.t.Helper()
	address := c.base
	if len(parameters) > 0 {
		address += "&" + parameters.Encode()
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, address, body)
	require.NoError(c.t, err)
	for name, values := range c.headers {
		request.Header[name] = values
	}
	response, err := transport.RoundTrip(withAuthorization(request))
	require.NoError(c.t, err)
	content, readErr := io.ReadAll(response.Body)
	require.NoError(c.t, response.Body.Close())
	return answer{status: response.StatusCode, header: response.Header, body: string(content), err: readErr}
}

// withAuthorization does what http.Client does with a user in the URL.
func withAuthorization(request *http.Request) *http.Request {
	if user := request.URL.User; user != nil && request.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	return request
}

// query posts a statement that must succeed, and returns the result.
func (c *client) query(statement string, parameters ...string) string {
	c.t.Helper()
	got := c.do(http.MethodPost, pairs(parameters), strings.NewReader(statement))
	require.NoError(c.t, got.err)
	require.Equal(c.t, http.StatusOK, got.status, got.body)
	return got.body
}

// pairs makes URL parameters of names and values in turn.
func pairs(names []string) url.Values {
	values := url.Values{}
	for i := 0; i+1 < len(names); i += 2 {
		values.Set(names[i], names[i+1])
	}
	return values
}

const patience = 30 * time.Second

func repeat(text string, times int) io.Reader {
	return io.LimitReader(&repeater{text: []byte(text)}, int64(len(text)*times))
}

// repeater is a text again and again.
type repeater struct {
	text []byte
	at   int
}

func (r *repeater) Read(p []byte) (int, error) {
	if len(p) > len(r.text)*1024 {
		p = p[:len(r.text)*1024]
	}
	n := 0
	for n < len(p) {
		copied := copy(p[n:], r.text[r.at:])
		n += copied
		r.at = (r.at + copied) % len(r.text)
	}
	return n, nil
}
