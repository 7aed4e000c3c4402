package postgres_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/postgres"
)

func TestText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "plain": "plain", "exactly 12 b": "exactly 12 b", "longer than 12": "longer than ", "12345678901ü": "12345678901",
		"1234567890ü": "1234567890ü", "a\x00b": "ab", "a\xffb": "a\uFFFDb", "1234567890\xff": "1234567890", "\x00\x00": "",
	} {
		require.Equal(t, want, postgres.Text(text, 12), "%q", text)
	}
}
