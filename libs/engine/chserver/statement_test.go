package chserver

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseStatement(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       statement
	}{
		{"query", "SELECT 1", statement{text: "SELECT 1"}},
		{"format", "SELECT 1 FORMAT JSON", statement{text: "SELECT 1 FORMAT JSON", format: "JSON"}},
		{"format in lower case, semicolon and comment", "select 1 format json; -- end", statement{text: "select 1 format json; -- end", format: "json"}},
		{"format before settings", "SELECT 1 FORMAT CSV SETTINGS a = 1", statement{text: "SELECT 1 FORMAT CSV SETTINGS a = 1", format: "CSV"}},
		{"a column called format", "SELECT format FROM t", statement{text: "SELECT format FROM t"}},
		{"format in quotes", "SELECT 'x FORMAT CSV'", statement{text: "SELECT 'x FORMAT CSV'"}},
		{"format in a heredoc", "SELECT $q$ FORMAT CSV$q$", statement{text: "SELECT $q$ FORMAT CSV$q$"}},
		{"kill", "/* now */ kill query where 1", statement{text: "/* now */ kill query where 1", kill: true}},
		{"values", "INSERT INTO t VALUES (1)", statement{text: "INSERT INTO t ", insert: true, format: "Values", data: " (1)"}},
		{"values with columns", "insert into t (a, `values`) values (1, 2);", statement{text: "insert into t (a, `values`) ", insert: true, format: "Values", data: " (1, 2);"}},
		{"format Values", "INSERT INTO t FORMAT Values (1)", statement{text: "INSERT INTO t ", insert: true, format: "Values", data: "(1)"}},
		{"data after a line's end", "INSERT INTO t FORMAT CSV\n1,2\n", statement{text: "INSERT INTO t ", insert: true, format: "CSV", data: "1,2\n"}},
		{"data that begins with a line's end", "INSERT INTO t FORMAT CSV\r\n\n1\n", statement{text: "INSERT INTO t ", insert: true, format: "CSV", data: "\n1\n"}},
		{"data that looks like SQL", "INSERT INTO t FORMAT LineAsString\nSELECT 1; INTO OUTFILE '", statement{text: "INSERT INTO t ", insert: true, format: "LineAsString", data: "SELECT 1; INTO OUTFILE '"}},
		{"binary data", "INSERT INTO t FORMAT Native \x01\x00'", statement{text: "INSERT INTO t ", insert: true, format: "Native", data: "\x01\x00'"}},
		{"settings before", "INSERT INTO t SETTINGS a = 'FORMAT X' FORMAT CSV", statement{text: "INSERT INTO t SETTINGS a = 'FORMAT X' ", insert: true, format: "CSV"}},
		{"settings after", "INSERT INTO t FORMAT CSV SETTINGS a = 1, b = 'x'\n1", statement{text: "INSERT INTO t  SETTINGS a = 1, b = 'x'", insert: true, format: "CSV", data: "1"}},
		{"neither", "INSERT INTO t (a);", statement{text: "INSERT INTO t (a)", insert: true, format: "Values"}},
		{"function", "INSERT INTO FUNCTION null('x UInt8') VALUES (1)", statement{text: "INSERT INTO FUNCTION null('x UInt8') ", insert: true, format: "Values", data: " (1)"}},
		{"of a query", "INSERT INTO t SELECT 1 FORMAT Null", statement{text: "INSERT INTO t SELECT 1 FORMAT Null", format: "Null"}},
		{"of a query in parentheses", "INSERT INTO t (a) (SELECT 1)", statement{text: "INSERT INTO t (a) (SELECT 1)"}},
		{"of a query with WITH", "INSERT INTO t WITH 1 AS x SELECT x", statement{text: "INSERT INTO t WITH 1 AS x SELECT x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStatement(c.text)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestParseStatementRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		code       int
	}{
		{"nothing", " \n-- only a comment", codeSyntaxError},
		{"two statements", "SELECT 1; SELECT 2", codeSyntaxError},
		{"two statements, one an insert", "SELECT 1; INSERT INTO t VALUES (1)", codeSyntaxError},
		{"an output file", "SELECT 1 INTO OUTFILE 'x'", codeNotImplemented},
		{"an output file in disguise", "SELECT 1 into/**/outfile 'x'", codeNotImplemented},
		{"an output file behind a quotation", "SELECT ‘'’ INTO OUTFILE 'x' --'", codeNotImplemented},
		{"an output file behind an escaped quotation", `SELECT '\'' INTO OUTFILE 'x' --'`, codeNotImplemented},
		{"an output file behind a doubled quotation", "SELECT '''' INTO OUTFILE 'x' --'", codeNotImplemented},
		{"an output file behind a heredoc", "SELECT $a$ ' $a$ INTO OUTFILE 'x' --'", codeNotImplemented},
		{"an output file behind a comment", "SELECT 1 /* ' */ INTO OUTFILE 'x' --'", codeNotImplemented},
		{"an output file behind a line comment", "SELECT 1 # '\n INTO OUTFILE 'x' --'", codeNotImplemented},
		{"an input file", "INSERT INTO t FROM INFILE 'x' FORMAT CSV", codeNotImplemented},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseStatement(c.text)
			var failure *exception
			require.ErrorAs(t, err, &failure)
			require.Equal(t, c.code, failure.code)
		})
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1 FORMAT CSV", "INSERT INTO t (a) VALUES (1)", "INSERT INTO t FORMAT CSV SETTINGS a = 1\n1", "SELECT 'a\\'b' -- c\n; /* d */",
		"SELECT $tag$ x $tag$", "SELECT ‘x’, “y”", "\x00\xff`", "INSERT", "INSERT INTO t FORMAT", "'", "/*", "$$",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		end := 0
		for {
			token, ok := scan(text, end)
			if !ok {
				break
			}
			require.GreaterOrEqual(t, token.start, end)
			require.Greater(t, token.end, token.start)
			require.LessOrEqual(t, token.end, len(text))
			end = token.end
		}
		s, err := parseStatement(text)
		if err != nil {
			var failure *exception
			require.ErrorAs(t, err, &failure)
			return
		}
		if !s.insert {
			require.Equal(t, text, s.text)
			return
		}
		require.True(t, strings.HasSuffix(text, s.data), "no data is lost")
		require.NotEmpty(t, s.format)
	})
}
