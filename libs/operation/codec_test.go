package operation

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzEscapedNUL compares with the tokens that the JSON decoder sees.
func FuzzEscapedNUL(f *testing.F) {
	for _, seed := range []string{`{}`, `"a\u0000"`, `"\\u0000"`, `"\\\u0000"`, `{"\u0000":1}`, `["\u00001", "\\\\u0000"]`, `"\u000"`, `"\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		there := false
		decoder := json.NewDecoder(strings.NewReader(text))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			value, _ := token.(string)
			there = there || strings.ContainsRune(value, 0)
		}
		require.Equal(t, there, escapedNUL([]byte(text)) >= 0, text)
	})
}
