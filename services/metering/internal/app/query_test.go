package app

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever comes as a cursor, what is taken from it can be compared by the database, and stands for itself.
func FuzzUsageCursor(f *testing.F) {
	f.Add(usageCursor([]string{"1773100800", "calls", "true", "list"}), 4)
	f.Add(usageCursor([]string{"x", "calls", "true"}), 3)
	f.Add(usageCursor([]string{"1", "a\x00b", "true"}), 3)
	f.Add("W10", 3)
	f.Add("not a cursor", 3)
	f.Fuzz(func(t *testing.T, cursor string, parts int) {
		key, valid := parseUsageCursor(cursor, parts)
		if !valid {
			return
		}
		require.Len(t, key, parts)
		_, err := strconv.ParseInt(key[0], 10, 64)
		require.NoError(t, err)
		_, err = strconv.ParseBool(key[2])
		require.NoError(t, err)
		require.NotContains(t, strings.Join(key, ""), "\x00")
		again, valid := parseUsageCursor(usageCursor(key), parts)
		require.True(t, valid)
		require.Equal(t, key, again)
	})
}
