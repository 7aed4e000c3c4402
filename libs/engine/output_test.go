package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOutputPassesWholeLinesOn(t *testing.T) {
	t.Parallel()
	var lines []string
	out := &output{handle: func(line string) { lines = append(lines, line) }}
	for _, part := range []string{"one\ntw", "o\r\n\n", "  indented  \n", strings.Repeat("x", 3*maxLine) + "\n", "unfinished"} {
		n, err := out.Write([]byte(part))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	require.Equal(t, []string{"one", "two", "  indented", strings.Repeat("x", maxLine)}, lines)
}

func TestOutputKeepsTheLastLines(t *testing.T) {
	t.Parallel()
	out := &output{handle: func(string) {}}
	for i := range 100 {
		_, err := fmt.Fprintln(out, i)
		require.NoError(t, err)
	}
	require.True(t, strings.HasSuffix(out.last(), "98; 99"))
	require.Equal(t, tailLines, strings.Count(out.last(), ";")+1)
}

func TestDerivedPasswordsDiffer(t *testing.T) {
	t.Parallel()
	require.Equal(t, secret("a").derive("x"), secret("a").derive("x"))
	require.NotEqual(t, secret("a").derive("x"), secret("a").derive("y"))
	require.NotEqual(t, secret("a").derive("x"), secret("b").derive("x"))
}
