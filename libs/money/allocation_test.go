package money_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/money"
)

func currency(t require.TestingT, code string) money.Currency {
	c, err := money.ParseCurrency(code)
	require.NoError(t, err)
	return c
}

func decs(t require.TestingT, texts ...string) []money.Decimal {
	out := make([]money.Decimal, len(texts))
	for i, text := range texts {
		out[i] = dec(t, text)
	}
	return out
}

func texts(decimals []money.Decimal) []string {
	out := make([]string, len(decimals))
	for i, d := range decimals {
		out[i] = d.String()
	}
	return out
}

func TestAllocate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, currency, total string
		weights, want         []string
	}{
		{"in three", "USD", "0.05", []string{"1", "1", "1"}, []string{"0.02", "0.02", "0.01"}},
		{"1:2:3", "USD", "100.00", []string{"1", "2", "3"}, []string{"16.67", "33.33", "50.00"}},
		{"credit", "USD", "-0.05", []string{"1", "1", "1"}, []string{"-0.02", "-0.02", "-0.01"}},
		{"mixed scales", "USD", "1.00", []string{"0.1", "0.20", "0.7"}, []string{"0.10", "0.20", "0.70"}},
		{"yen", "JPY", "100", []string{"1", "1", "1"}, []string{"34", "33", "33"}},
		{"a weight of zero", "USD", "0.01", []string{"0", "1"}, []string{"0.00", "0.01"}},
		{"nothing", "USD", "0", []string{"1", "1"}, []string{"0.00", "0.00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			shares, err := currency(t, c.currency).Allocate(dec(t, c.total), decs(t, c.weights...)...)
			require.NoError(t, err)
			require.Equal(t, c.want, texts(shares))
		})
	}
}

func TestAllocateRefuses(t *testing.T) {
	t.Parallel()
	usd := currency(t, "USD")
	_, err := usd.Allocate(dec(t, "0.005"), money.Int(1))
	require.ErrorContains(t, err, "0.005 has more than 2 decimals")
	_, err = usd.Allocate(dec(t, "1"), money.Int(1), money.Int(-1))
	require.ErrorContains(t, err, "weight 1 is -1")
	_, err = usd.Allocate(dec(t, "1"), money.Int(0))
	require.ErrorContains(t, err, "sum to zero")
	_, err = usd.Allocate(dec(t, "1"))
	require.ErrorContains(t, err, "sum to zero")
}

func TestRoundTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, total string
		parts, want []string
	}{
		{"thirds", "31.00", []string{"10.333333", "10.333333", "10.333333"}, []string{"10.34", "10.33", "10.33"}},
		{"largest remainder", "0.05", []string{"0.011", "0.018", "0.016"}, []string{"0.01", "0.02", "0.02"}},
		{"mixed signs", "-70.00", []string{"-150", "80"}, []string{"-150.00", "80.00"}},
		{"negative part", "-0.01", []string{"-0.005"}, []string{"-0.01"}},
		{"one below", "0.00", []string{"0.01", "0.002"}, []string{"0.00", "0.00"}},
		{"far off goes to all", "10.00", []string{"1", "1"}, []string{"5.00", "5.00"}},
		{"nothing", "0", nil, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, texts(currency(t, "USD").RoundTogether(dec(t, c.total), decs(t, c.parts...)...)))
		})
	}
}

func TestSharesSumToTheTotal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := currency(t, rapid.SampledFrom([]string{"USD", "JPY", "KWD"}).Draw(t, "currency"))
		total := money.NewDecimal(rapid.Int64().Draw(t, "units"), c.Decimals())
		n := rapid.IntRange(1, 12).Draw(t, "n")
		weights := make([]money.Decimal, n)
		for i := range weights {
			weights[i] = money.NewDecimal(rapid.Int64Range(0, 1e9).Draw(t, "weight"), rapid.Uint32Range(0, 12).Draw(t, "scale"))
		}
		weights[0] = weights[0].Add(money.Int(1))

		shares, err := c.Allocate(total, weights...)
		require.NoError(t, err)
		require.Equal(t, total.String(), sum(shares).String())
	})
}

func TestRoundedPartsSumToTheRoundedSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := currency(t, "USD")
		parts := make([]money.Decimal, rapid.IntRange(1, 12).Draw(t, "n"))
		for i := range parts {
			parts[i] = money.NewDecimal(rapid.Int64Range(-1e9, 1e9).Draw(t, "part"), rapid.Uint32Range(0, 8).Draw(t, "scale"))
		}
		total := c.Round(sum(parts))
		rounded := c.RoundTogether(total, parts...)
		require.True(t, total.Equal(sum(rounded)))
		for i, r := range rounded {
			off := r.Sub(parts[i])
			require.True(t, off.Less(dec(t, "0.01")) && dec(t, "-0.01").Less(off), "%s became %s", parts[i], r)
		}
	})
}

func sum(parts []money.Decimal) money.Decimal {
	var total money.Decimal
	for _, p := range parts {
		total = total.Add(p)
	}
	return total
}

func BenchmarkMulRound(b *testing.B) {
	quantity, unit := dec(b, "123456"), dec(b, "0.0012")
	usd := currency(b, "USD")
	b.ReportAllocs()
	for b.Loop() {
		if usd.Round(quantity.Mul(unit)).IsZero() {
			b.Fatal("rounded to zero")
		}
	}
}
