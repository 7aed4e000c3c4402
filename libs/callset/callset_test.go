package callset_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/callset"
)

func TestParseIsTheReverseOfString(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := callset.ID{
			Gateway: rapid.StringMatching(`[a-z0-9.-]{1,20}`).Draw(t, "gateway"),
			Boot:    rapid.Uint64Min(1).Draw(t, "boot"),
			Seq:     rapid.Uint64Min(1).Draw(t, "seq"),
		}
		parsed, err := callset.Parse(id.String())
		require.NoError(t, err)
		require.Equal(t, id, parsed)
	})
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "gw1", "gw1.1", ".1.1", "gw1.0.1", "gw1.1.0", "gw1.x.1", "gw1.1.-1"} {
		_, err := callset.Parse(text)
		require.ErrorContains(t, err, "is not a call id", text)
	}
}

func TestDigestIsStable(t *testing.T) {
	t.Parallel()
	// printf gw1.17.123456 | sha256sum: its first 8 bytes, the last first.
	require.Equal(t, uint64(0xd9a07fd850321b77), callset.Digest("gw1", 17, 123456))
	require.NotEqual(t, callset.Digest("gw1", 17, 123456), callset.Digest("gw1", 171, 23456))
	require.Len(t, callset.Hex(0), 16)
}

func FuzzParse(f *testing.F) {
	f.Add("gw1.17.123456")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := callset.Parse(text)
		if err == nil {
			again, err := callset.Parse(id.String())
			require.NoError(t, err)
			require.Equal(t, id, again)
		}
	})
}
