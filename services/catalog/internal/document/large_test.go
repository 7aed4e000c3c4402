package document_test

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/engine"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
)

// github returns the description of GitHub's REST API: thirteen megabytes.
func github(tb testing.TB) string {
	tb.Helper()
	engines, err := engine.Find()
	require.NoError(tb, err)
	text, err := os.ReadFile(filepath.Join(string(engines), "node_modules/@octokit/openapi/generated/api.github.com.json"))
	require.NoError(tb, err)
	return string(text)
}

// Not parallel with others: it limits the memory of the process and is itself the large one.
func TestReadALargeDocument(t *testing.T) { //nolint:paralleltest // see above
	text := github(t)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(600 << 20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := document.Read(t.Context(), text, document.Options{})
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(3)<<30, "all that is allocated on the way, garbage included")
	require.Len(t, d.Operations, 1223)
	require.Equal(t, "GET /", d.Operations[0].GetMethod()+" "+d.Operations[0].GetPath())
	packed, err := document.Pack(text, 0)
	require.NoError(t, err)
	require.Less(t, len(packed), 2<<20)
	unpacked, err := document.Unpack(packed)
	require.NoError(t, err)
	require.Equal(t, d.SHA256, document.Digest(unpacked))

	doc, err := document.Load(t.Context(), text)
	require.NoError(t, err)
	answers, err := document.Mocks(t.Context(), doc)
	require.NoError(t, err)
	size := 0
	answered := map[string]bool{}
	for _, a := range answers {
		size += len(a.GetBody())
		answered[a.GetOperation()] = true
	}
	t.Logf("%d answers, %d bytes", len(answers), size)
	require.Len(t, answered, 1223)
}

func BenchmarkReadALargeDocument(b *testing.B) {
	text := github(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := document.Read(b.Context(), text, document.Options{})
		require.NoError(b, err)
	}
}
