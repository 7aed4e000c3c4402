package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
)

// FuzzCursor reads cursors, which come back from clients: what is taken names a place, everything else is refused.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{"", "1773144000000000000.gw1.17.123456", "0.a.b.1.2", ".gw1.1.1", "1.gw1.0.1", "1.gw1.1", "-1.gw1.1.1", "99999999999999999999.gw1.1.1", "1.\x00.1.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var fields problem.Fields
		c := parseCursor(text, &fields)
		if c == nil {
			require.Equal(t, text != "", len(fields) == 1)
			return
		}
		require.Empty(t, fields)
		require.NotZero(t, c.Boot)
		require.NotZero(t, c.Seq)
		id, err := callset.Parse(callset.ID{Gateway: c.Gateway, Boot: c.Boot, Seq: c.Seq}.String())
		require.NoError(t, err)
		require.Equal(t, c.Gateway, id.Gateway)
	})
}

// FuzzStatus reads the filter of the status.
func FuzzStatus(f *testing.F) {
	for _, seed := range []string{"", "404", "4xx", "0xx", "xx", "099", "+40", "4.4", "٤٠٤"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		status, class, ok := parseStatus(text)
		if !ok || text == "" {
			return
		}
		require.True(t, (status >= 100 && status <= 599) != (class >= 1 && class <= 5), "%q", text)
	})
}

// FuzzCursors reads the cursors of tails and exports, and the words of a search.
func FuzzCursors(f *testing.F) {
	for _, seed := range []string{"", "1773147600.1-0.1-5", "1.2.3.gw1.1.1", "5.5.x", "1773147600.1-0.1--5", "M\u00fcnchen/a-b", "\xff."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parseTailCursor(text); err == nil {
			again, err := parseTailCursor(c.String())
			require.NoError(t, err)
			require.Equal(t, c, again)
		}
		if q, err := continued(Query{Cursor: text}); err == nil {
			require.True(t, q.From.Before(q.To))
		}
		for _, word := range clickhouse.Words(text) {
			require.NotEmpty(t, word)
			require.NotContains(t, word, "/")
		}
	})
}
