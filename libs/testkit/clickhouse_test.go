package testkit_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

func TestClickHouseIsFresh(t *testing.T) {
	t.Parallel()
	url := testkit.ClickHouse(t)
	base, database := url[:strings.LastIndex(url, "/")+1], url[strings.LastIndex(url, "/")+1:]
	response, err := http.Post(base+"?database="+database, "text/plain", strings.NewReader("SELECT currentDatabase(), count() FROM system.tables WHERE database = currentDatabase()"))
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode, string(body))
	require.Equal(t, database+"\t0\n", string(body))
	http.DefaultClient.CloseIdleConnections()
}

func BenchmarkClickHouseColdStart(b *testing.B) {
	for b.Loop() {
		testkit.ClickHouseServer(b)
	}
}
