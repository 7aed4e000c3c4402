package exchange

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/problem"
)

func TestKeptTextsStayValid(t *testing.T) {
	t.Parallel()
	var x Exchange
	for range 3 {
		var kept []string
		for i := range 500 {
			kept = append(kept, x.Keep([]byte(strings.Repeat("a", i%50)+"z")))
			made := x.Format(func(b []byte) []byte { return append(b, "made"...) })
			require.Equal(t, "made", made)
		}
		for i, s := range kept {
			require.Equal(t, strings.Repeat("a", i%50)+"z", s)
		}
		require.Empty(t, x.Keep(nil))
		x.Reset()
	}
}

func TestProblemsAreJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		detail, path := rapid.String().Draw(t, "detail"), rapid.String().Draw(t, "path")
		var x Exchange
		require.False(t, x.Refuse(400, "request-invalid", detail))
		x.Problem.Fields = []problem.Field{{Path: path, Message: detail}, {Path: "b", Message: "c"}}
		x.Problem.Violated = "second"
		var doc problem.Document
		require.NoError(t, json.Unmarshal(AppendProblem(nil, x.Problem, "gw1.1.1"), &doc))
		require.Equal(t, problem.Document{
			Type: "urn:tollgate:problem:request-invalid", Title: "Bad Request", Status: 400, Detail: strings.ToValidUTF8(detail, "\ufffd"),
			Instance: "urn:tollgate:call:gw1.1.1", Code: "request-invalid", Errors: []problem.Field{{Path: strings.ToValidUTF8(path, "\ufffd"), Message: strings.ToValidUTF8(detail, "\ufffd")}, {Path: "b", Message: "c"}},
		}, doc)
	})
}
