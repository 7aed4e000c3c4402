package rating_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"gopkg.in/yaml.v3"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func dec(t require.TestingT, text string) money.Decimal {
	d, err := money.Parse(text)
	require.NoError(t, err)
	return d
}

func decs(t require.TestingT, texts ...string) []money.Decimal {
	out := make([]money.Decimal, len(texts))
	for i, text := range texts {
		out[i] = dec(t, text)
	}
	return out
}

// specOf reads a plan's specification as it stands in a YAML document.
func specOf(t require.TestingT, document []byte) *catalogv1.PlanSpec {
	var tree any
	require.NoError(t, yaml.Unmarshal(document, &tree))
	raw, err := json.Marshal(tree)
	require.NoError(t, err)
	spec := &catalogv1.PlanSpec{}
	require.NoError(t, protojson.Unmarshal(raw, spec))
	return spec
}

// plan compiles a specification in YAML; the currency is USD where it names none.
func plan(t require.TestingT, document string) *rating.Plan {
	spec := specOf(t, []byte(document))
	if spec.GetCurrency() == "" {
		spec.Currency = "USD"
	}
	p, err := rating.Compile(spec)
	require.NoError(t, err, "%v", problem.From(err).Errors)
	return p
}

// priced compiles a plan of one price for the meter "calls", given by what stands in it beside name and meter.
func priced(t require.TestingT, price string) *rating.Plan {
	return plan(t, "prices: [{name: calls, meter: calls, "+price+"}]")
}

func usage(t require.TestingT, file string) rating.Usage {
	u, err := rating.ParseUsage([]byte(file))
	require.NoError(t, err, "%v", problem.From(err).Errors)
	return u
}

func rate(t require.TestingT, p *rating.Plan, u rating.Usage) rating.Result {
	result, err := rating.Rate(p, u, rating.Context{})
	require.NoError(t, err, "%v", problem.From(err).Errors)
	requireConsistent(t, result)
	return result
}

// requireConsistent asserts what holds of every result: details sum to lines, lines to the total, and every amount has
// exactly the currency's decimals.
func requireConsistent(t require.TestingT, r rating.Result) {
	var total money.Decimal
	for _, line := range r.Lines {
		var sum money.Decimal
		for _, d := range line.Detail {
			require.Equal(t, r.Currency.Decimals(), d.Amount.Scale())
			sum = sum.Add(d.Amount)
		}
		require.True(t, sum.Equal(line.Amount), "the detail of %s sums to %s, not %s", line.Price, sum, line.Amount)
		require.Equal(t, r.Currency.Decimals(), line.Amount.Scale())
		total = total.Add(line.Amount)
	}
	require.True(t, total.Equal(r.Total))
	require.Equal(t, r.Currency.Decimals(), r.Total.Scale())
}

// fieldsOf returns what an error of kind Invalid says, by path.
func fieldsOf(t require.TestingT, err error) map[string]string {
	require.Error(t, err)
	require.Equal(t, problem.Invalid, problem.KindOf(err))
	out := map[string]string{}
	for _, f := range problem.From(err).Errors {
		require.NotContains(t, out, f.Path, "one message for one field")
		out[f.Path] = f.Message
	}
	return out
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return string(out)
}
