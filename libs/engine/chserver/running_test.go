package chserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
	"github.com/tollgate/tollgate/libs/testkit"
)

// endless runs for hours and returns nothing before.
const endless = "SELECT sum(sipHash64(number)) FROM numbers(100000000000000)"

// A client that leaves takes its query with it, and the place it held is free again.
func TestQueryEndsWithItsClient(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t, testkit.Queries(1))
	for name, statement := range map[string]string{
		"query":        endless + " SETTINGS log_comment = 'leaver'",
		"insert":       "INSERT INTO FUNCTION null('x UInt64') " + endless,
		"not yet sent": "SELECT number FROM numbers(100000000000) WHERE sipHash64(number) = 0",
	} {
		t.Run(name, func(t *testing.T) {
			connection := open(t, server.URL("default"))
			ctx, leave := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- connection.Exec(ctx, statement) }()
			awaitStart(t, server)
			leave()
			require.ErrorIs(t, <-ended, context.Canceled)
			// There is one place only: this waits until it is free.
			require.Equal(t, "1\n", plain(t, server.URL("default")).query("SELECT 1"))
		})
	}
}

// awaitStart waits until the server, which has a single place, executes a query. What lists queries would wait for the place itself, KILL
// does not.
func awaitStart(t *testing.T, server *engine.ClickHouse) {
	t.Helper()
	speaker := plain(t, server.URL("default"))
	testkit.Await(t, patience, func() bool {
		// TEST lists what would be killed and kills nothing.
		return speaker.query("KILL QUERY WHERE query LIKE '%numbers(1000%' TEST") != ""
	})
}

func TestResultEndsWithItsClient(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t, testkit.Queries(1))
	speaker := plain(t, server.URL("default"))
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, speaker.base, strings.NewReader("SELECT number FROM numbers(100000000000) FORMAT CSV"))
	require.NoError(t, err)
	response, err := transport.RoundTrip(withAuthorization(request))
	require.NoError(t, err)
	_, err = bufio.NewReader(response.Body).ReadString('\n')
	require.NoError(t, err)
	leave()
	require.NoError(t, response.Body.Close())
	require.Equal(t, "1\n", speaker.query("SELECT 1"))
}

func TestInsertEndsWithItsClient(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t, testkit.Queries(1))
	speaker := plain(t, server.URL("default"))
	speaker.query("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
	body, data := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, speaker.base+"&query="+url.QueryEscape("INSERT INTO t FORMAT CSV"), body)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := transport.RoundTrip(withAuthorization(request)) //nolint:bodyclose // there is no response
		ended <- err
	}()
	_, err = io.Copy(data, repeat("1\n", 100_000))
	require.NoError(t, err)
	require.NoError(t, data.CloseWithError(errors.New("the client broke")))
	require.Error(t, <-ended)
	require.Equal(t, "0\n", speaker.query("SELECT count() FROM t"))
}

func TestKillQueryByTheClientsID(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t, testkit.Queries(1))
	speaker := plain(t, server.URL("default"))
	ended := make(chan answer, 1)
	var group sync.WaitGroup
	group.Go(func() {
		ended <- speaker.do(http.MethodPost, url.Values{"query_id": {"runaway"}}, strings.NewReader(endless))
	})
	awaitStart(t, server)
	again := speaker.do(http.MethodPost, url.Values{"query_id": {"other"}, "max_execution_time": {"1"}}, strings.NewReader("KILL QUERY WHERE query_id = 'nobody'"))
	require.Equal(t, http.StatusOK, again.status, again.body)
	killed := speaker.query("KILL QUERY WHERE query_id = 'runaway' SYNC")
	require.Contains(t, killed, "sipHash64")
	group.Wait()
	got := <-ended
	require.Equal(t, "394", got.header.Get("X-ClickHouse-Exception-Code"), got.body)
	require.Equal(t, "1\n", speaker.query("SELECT 1"))
}

func TestTimeLimitEndsAQuery(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	got := speaker.do(http.MethodPost, url.Values{"max_execution_time": {"0.3"}}, strings.NewReader(endless))
	require.Equal(t, http.StatusRequestTimeout, got.status, got.body)
	require.Equal(t, "159", got.header.Get("X-ClickHouse-Exception-Code"))
}

func TestDriversDeadlineEndsAQuery(t *testing.T) {
	t.Parallel()
	connection := open(t, testkit.ClickHouse(t))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, connection.Exec(ctx, endless), context.DeadlineExceeded)
}

// A result that breaks off after its head was sent is an error to every client.
func TestBrokenResultIsNotMistakenForAWholeOne(t *testing.T) {
	t.Parallel()
	speaker := plain(t, testkit.ClickHouse(t))
	got := speaker.do(http.MethodPost, nil, strings.NewReader("SELECT throwIf(number = 5000000) FROM numbers(10000000) FORMAT CSV"))
	require.Equal(t, http.StatusOK, got.status)
	require.ErrorIs(t, got.err, io.ErrUnexpectedEOF)
	tag := got.header.Get("X-ClickHouse-Exception-Tag")
	require.Len(t, tag, 16)
	require.Regexp(t, `(?s)\r\n__exception__\r\n`+tag+`\r\nCode: 395\. .*\n\d+ `+tag+`\r\n__exception__\r\n$`, got.body)

	waiting := speaker.do(http.MethodPost, url.Values{"wait_end_of_query": {"1"}},
		strings.NewReader("SELECT throwIf(number = 5000000) FROM numbers(10000000) FORMAT CSV"))
	require.Equal(t, http.StatusInternalServerError, waiting.status)
	require.Equal(t, "395", waiting.header.Get("X-ClickHouse-Exception-Code"))
}

// memory of the child process, in bytes: the peak of what it had resident.
func peakMemory(t *testing.T, server *engine.ClickHouse) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server.Pid()))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			require.NoError(t, err)
			return kilobytes << 10
		}
	}
	t.Fatal("no peak in the process's status")
	return 0
}

const memoryLimit = 512 << 20

// Results and inserts larger than the engine's memory go through.
func TestLargeDataIsStreamed(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t, testkit.MemoryLimit(memoryLimit))
	speaker := plain(t, server.URL("default"))
	t.Run("result", func(t *testing.T) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, speaker.base,
			strings.NewReader("SELECT repeat('x', 1000), number FROM numbers(1100000) FORMAT TabSeparated"))
		require.NoError(t, err)
		response, err := transport.RoundTrip(withAuthorization(request))
		require.NoError(t, err)
		size, err := io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Greater(t, size, int64(2*memoryLimit))
	})
	t.Run("insert", func(t *testing.T) {
		speaker.query("CREATE TABLE t (a String CODEC(ZSTD(1))) ENGINE = MergeTree ORDER BY tuple()")
		const rows = 1_100_000
		got := speaker.do(http.MethodPost, url.Values{"query": {"INSERT INTO t FORMAT CSV"}}, repeat(strings.Repeat("y", 1000)+"\n", rows))
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.Equal(t, strconv.Itoa(rows)+"\n", speaker.query("SELECT count() FROM t"))
	})
	require.Less(t, peakMemory(t, server), 3*memoryLimit, "the library itself, mapped, counts as well")
}

func TestMemoryLimitFailsTheQueryAlone(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t, testkit.MemoryLimit(memoryLimit))
	speaker := plain(t, server.URL("default"))
	pid := server.Pid()
	for name, statement := range map[string]string{
		"state":             "SELECT groupArray(number) FROM numbers(1000000000)",
		"sort":              "SELECT number FROM numbers(1000000000) ORDER BY sipHash64(number) FORMAT Null SETTINGS max_bytes_before_external_sort = 0",
		"result as a whole": "SELECT repeat('x', 1000) FROM numbers(2000000) FORMAT JSON",
	} {
		t.Run(name, func(t *testing.T) {
			got := speaker.do(http.MethodPost, nil, strings.NewReader(statement))
			require.Equal(t, "241", got.header.Get("X-ClickHouse-Exception-Code"), first(got.body, 500))
			require.Equal(t, "1\n", speaker.query("SELECT 1"))
			require.Equal(t, pid, server.Pid(), "the process is the same")
		})
	}
}

func first(text string, length int) string { return text[:min(len(text), length)] }

// What was acknowledged is there after kill -9 of the engine, which comes back on the same address; a batch sent again counts once.
func TestDataSurvivesAKilledEngine(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	connection := open(t, server.URL("default"))
	require.NoError(t, connection.Exec(t.Context(), "CREATE DATABASE tollgate"))
	connection = open(t, server.URL("tollgate"))
	require.NoError(t, connection.Exec(t.Context(), callTable))
	for round := range 3 {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": fmt.Sprintf("batch-%d", round)}))
		require.NoError(t, fill(t, connection, ctx, round*5000, 5000))

		killed := server.Pid()
		require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
		testkit.Await(t, patience, func() bool { return server.Pid() != killed && server.Pid() != 0 })
		testkit.Await(t, patience, func() error { return connection.Ping(t.Context()) })

		// The sender did not see the answer.
		require.NoError(t, fill(t, connection, ctx, round*5000, 5000))
		checkCalls(t, connection, (round+1)*5000)
	}
}

func TestKilledWhileInserting(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	connection := open(t, server.URL("default"))
	require.NoError(t, connection.Exec(t.Context(), callTable))
	send := func(batch int) error {
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"insert_deduplication_token": fmt.Sprintf("batch-%d", batch)}))
		return fill(t, connection, ctx, batch*500, 500)
	}
	inserting := make(chan struct{})
	killed := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(killed)
		<-inserting
		_ = syscall.Kill(server.Pid(), syscall.SIGKILL) // whatever it is doing
	})
	const batches = 60
	for batch := range batches {
		if batch == batches/3 {
			close(inserting)
		}
		testkit.Await(t, patience, func() error { return send(batch) })
	}
	group.Wait()
	<-killed
	checkCalls(t, connection, batches*500)
}

// After an orderly stop everything is there again, on the next start.
func TestDataSurvivesAStop(t *testing.T) {
	t.Parallel()
	server := testkit.ClickHouseServer(t)
	speaker := plain(t, server.URL("default"))
	speaker.query("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
	speaker.query("INSERT INTO t VALUES (1), (2)")
	pid := server.Pid()
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	testkit.Await(t, patience, func() bool { return server.Pid() != pid && server.Pid() != 0 })
	require.Equal(t, "2\n", speaker.query("SELECT count() FROM t"))
}
