package cli

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOneThingIsShownLineByLine: a field on each line, texts that look like something else in quotes, and JSON where it is asked for.
func TestOneThingIsShownLineByLine(t *testing.T) {
	t.Parallel()
	raw := json.RawMessage(`{"name":"a","total":"49.00","calls":12,"lines":[{"line":1,"detail":[]},{"line":2,"detail":[{"unit":"0.10"}]}],"none":{}}`)
	var out bytes.Buffer
	require.NoError(t, printOne(&out, "table", raw))
	require.Equal(t, `name: a
total: "49.00"
calls: 12
lines:
  - line: 1
    detail: []
  - line: 2
    detail:
      - unit: "0.10"
none: {}
`, out.String())
	out.Reset()
	require.NoError(t, printOne(&out, "json", raw))
	require.JSONEq(t, string(raw), out.String())
}
