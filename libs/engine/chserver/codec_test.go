package chserver

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	chcompress "github.com/ClickHouse/ch-go/compress"
	"github.com/stretchr/testify/require"
)

func TestChooseEncoding(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]string{
		"": "", "identity": "", "gzip": "gzip", "gzip, deflate, br": "br", "GZIP;q=0.5": "gzip", "gzip;q=0, deflate": "deflate",
		"zstd;q=0.1,gzip": "zstd", "compress": "", "*": "",
	} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, chooseEncoding(accept))
		})
	}
}

func blocks(tb testing.TB, parts ...string) []byte {
	tb.Helper()
	var written bytes.Buffer
	w := chcompress.NewWriter(chcompress.LevelZero, chcompress.LZ4)
	for _, part := range parts {
		require.NoError(tb, w.Compress([]byte(part)))
		written.Write(w.Data)
	}
	return written.Bytes()
}

// Data that ends within a block must not look like the data's end: rows would be lost in silence.
func TestBlockReaderTellsTheEndFromABreak(t *testing.T) {
	t.Parallel()
	first := blocks(t, "one")
	all := blocks(t, "one", "two")
	for length := range len(all) + 1 {
		got, err := io.ReadAll(newBlockReader(bytes.NewReader(all[:length])))
		switch length {
		case 0:
			require.NoError(t, err)
			require.Empty(t, got)
		case len(first):
			require.NoError(t, err)
			require.Equal(t, "one", string(got))
		case len(all):
			require.NoError(t, err)
			require.Equal(t, "onetwo", string(got))
		default:
			require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d of %d bytes", length, len(all))
		}
	}
}

func FuzzBlockReader(f *testing.F) {
	f.Add(blocks(f, "one", "two"))
	f.Add(blocks(f, ""))
	f.Add([]byte("not compressed at all, but longer than a head"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = io.Copy(io.Discard, newBlockReader(bytes.NewReader(data))) // neither panics nor hangs
	})
}

func TestBlockWriterRoundTrip(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), 3*blockBytes/10)
	for _, method := range []string{"", "LZ4", "zstd", "NONE"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			var written bytes.Buffer
			w, err := newBlockWriter(&written, method)
			require.NoError(t, err)
			_, err = w.Write(data)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			got, err := io.ReadAll(newBlockReader(&written))
			require.NoError(t, err)
			require.Equal(t, data, got)
		})
	}
	_, err := newBlockWriter(io.Discard, "rot13")
	require.ErrorContains(t, err, "use LZ4, ZSTD or NONE")
}

func TestParseException(t *testing.T) {
	t.Parallel()
	require.NoError(t, parseException(""))
	for message, want := range map[string]exception{
		"Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)":                 {62, "Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)"},
		"Code: 47. DB::Exception: x. (UNKNOWN_IDENTIFIER) (version 26.7.2.1)":   {47, "Code: 47. DB::Exception: x. (UNKNOWN_IDENTIFIER)"},
		"Code: 47. DB::Exception: x. (A) (version 26.7.2.1 (official build))\n": {47, "Code: 47. DB::Exception: x. (A)"},
		"something else":                       {1001, "Code: 1001. DB::Exception: something else. (STD_EXCEPTION)"},
		"Code: 99999999999999999999. Too much": {1001, "Code: 1001. DB::Exception: Code: 99999999999999999999. Too much. (STD_EXCEPTION)"},
	} {
		var got *exception
		require.ErrorAs(t, parseException(message), &got)
		require.Equal(t, want, *got)
	}
}

func FuzzParseException(f *testing.F) {
	f.Add("Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)")
	f.Add("Code: 1. ")
	f.Fuzz(func(t *testing.T, message string) {
		err := parseException(message)
		if message == "" {
			require.NoError(t, err)
			return
		}
		var got *exception
		require.ErrorAs(t, err, &got)
		require.GreaterOrEqual(t, got.status(), 400)
	})
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	err = Config{Listener: listener, MemoryLimit: 1}.Validate()
	for _, field := range []string{"Library:", "Data:", "Listener:", "Password:", "MemoryLimit:", "Queries:", "Log:"} {
		require.ErrorContains(t, err, field)
	}
	require.ErrorContains(t, Config{}.Validate(), "Listener: missing")
	require.ErrorContains(t, Run(t.Context(), Config{}), "serve ClickHouse")
}

func TestWithin(t *testing.T) {
	t.Parallel()
	require.NoError(t, within(nil))
	require.ErrorIs(t, within(io.EOF), io.ErrUnexpectedEOF)
	other := errors.New("other")
	require.ErrorIs(t, within(other), other)
}
