package money_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/money"
)

func dec(t require.TestingT, text string) money.Decimal {
	d, err := money.Parse(text)
	require.NoError(t, err)
	return d
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"0", "1", "-1", "12.50", "0.000000000001", "-0.5", "007.10",
		strings.Repeat("9", money.MaxDigits) + "." + strings.Repeat("9", money.MaxDecimals),
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			d, err := money.Parse(text)
			require.NoError(t, err)
			require.Equal(t, strings.TrimPrefix(text, "00"), d.String(), "decimals are kept as written")
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                       "is empty",
		" 1":                     "is not a decimal",
		"+1":                     "is not a decimal",
		"1e3":                    "is not a decimal",
		"1E-3":                   "is not a decimal",
		"NaN":                    "is not a decimal",
		"-Infinity":              "is not a decimal",
		"1,000":                  "is not a decimal",
		"1_000":                  "is not a decimal",
		".5":                     "is not a decimal",
		"5.":                     "is not a decimal",
		"--5":                    "is not a decimal",
		"-":                      "is not a decimal",
		"1.2.3":                  "is not a decimal",
		"0x10":                   "is not a decimal",
		"٣":                      "is not a decimal",
		strings.Repeat("9", 25):  "25 digits before the point; at most 24",
		"0." + repeat("1", 19):   "19 decimals; at most 18",
		strings.Repeat("x", 999): "…",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := money.Parse(text)
			require.ErrorContains(t, err, want)
			require.Less(t, len(err.Error()), 200)
		})
	}
	_, err := money.ParseScale("0.0000000000001", money.PriceDecimals)
	require.ErrorContains(t, err, "13 decimals; at most 12")
}

func repeat(text string, n int) string { return strings.Repeat(text, n) }

func TestJSON(t *testing.T) {
	t.Parallel()
	out, err := json.Marshal(map[string]money.Decimal{"amount": dec(t, "10.00")})
	require.NoError(t, err)
	require.JSONEq(t, `{"amount":"10.00"}`, string(out))

	var in struct{ Amount money.Decimal }
	require.NoError(t, json.Unmarshal([]byte(`{"amount":"10.00"}`), &in))
	require.Equal(t, "10.00", in.Amount.String())
	require.ErrorContains(t, json.Unmarshal([]byte(`{"amount":10.00}`), &in), "write it in quotes")
	require.ErrorContains(t, json.Unmarshal([]byte(`{"amount":null}`), &in), "write it in quotes")
	require.ErrorContains(t, json.Unmarshal([]byte(`{"amount":"1e3"}`), &in), "is not a decimal")
}

func TestRounding(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ currency, exact, want string }{
		{"USD", "10.275", "10.28"},
		{"USD", "-10.275", "-10.28"},
		{"USD", "10.2749999999", "10.27"},
		{"USD", "5", "5.00"},
		{"USD", "-0.004", "0.00"},
		{"JPY", "1023.5", "1024"},
		{"KWD", "1.2345", "1.235"},
		{"CLF", "0.00005", "0.0001"},
	} {
		t.Run(c.currency+" "+c.exact, func(t *testing.T) {
			t.Parallel()
			currency, err := money.ParseCurrency(c.currency)
			require.NoError(t, err)
			require.Equal(t, c.want, currency.Format(dec(t, c.exact)))
		})
	}
}

func TestPercentOfAmounts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ currency, percent, of, want string }{
		{"USD", "33.333", "10.00", "3.33"},
		{"USD", "8.875", "100", "8.88"},
		{"USD", "20", "99.99", "20.00"},
		{"JPY", "10.5", "999", "105"},
	} {
		t.Run(c.percent+" of "+c.of, func(t *testing.T) {
			t.Parallel()
			currency, err := money.ParseCurrency(c.currency)
			require.NoError(t, err)
			require.Equal(t, c.want, currency.Format(dec(t, c.of).Percent(dec(t, c.percent))))
		})
	}
}

func TestExact(t *testing.T) {
	t.Parallel()
	d, err := dec(t, "1.500").Exact(1)
	require.NoError(t, err)
	require.Equal(t, "1.5", d.String())
	_, err = dec(t, "1.501").Exact(1)
	require.EqualError(t, err, "1.501 has more than 1 decimals")
}

func TestTrim(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"1.500": "1.5", "100": "100", "0.00": "0", "-2.0": "-2", "10.01": "10.01"} {
		require.Equal(t, want, dec(t, text).Trim().String())
	}
}

func TestWholeQuotients(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ of, size, floor, ceil string }{
		{"0", "10", "0", "0"},
		{"9", "10", "0", "1"},
		{"10", "10", "1", "1"},
		{"10.5", "10", "1", "2"},
		{"1", "0.3", "3", "4"},
		{"5", "0", "0", "0"},
	} {
		require.Equal(t, c.floor, dec(t, c.of).QuoFloor(dec(t, c.size)).String())
		require.Equal(t, c.ceil, dec(t, c.of).QuoCeil(dec(t, c.size)).String())
	}
}

func TestCurrencies(t *testing.T) {
	t.Parallel()
	for code, decimals := range map[string]uint32{"USD": 2, "JPY": 0, "KWD": 3, "CLF": 4, "MGA": 2, "UGX": 0, "ISK": 0, "BHD": 3} {
		c, err := money.ParseCurrency(code)
		require.NoError(t, err)
		require.Equal(t, decimals, c.Decimals(), code)
	}
	for _, code := range []string{"", "usd", "US", "XYZ", "BTC", "USDT", "€"} {
		_, err := money.ParseCurrency(code)
		require.ErrorContains(t, err, "ISO 4217", code)
	}
	jpy, err := money.ParseCurrency("JPY")
	require.NoError(t, err)
	_, err = jpy.ParseAmount("10.5")
	require.EqualError(t, err, "10.5 has more than 0 decimals, and JPY has no smaller unit")
	amount, err := jpy.ParseAmount("10.0")
	require.NoError(t, err)
	require.Equal(t, "10", amount.String())
}

func TestRatio(t *testing.T) {
	t.Parallel()
	usd, err := money.ParseCurrency("USD")
	require.NoError(t, err)
	share, err := money.NewRatio(28, 31)
	require.NoError(t, err)
	require.Equal(t, "28/31", share.String())
	require.Equal(t, "0.90", usd.RoundRatio(dec(t, "1.00"), share).String())
	require.Equal(t, "3.90", usd.RoundRatio(dec(t, "1.00"), share.Add(money.Whole(3))).String())
	require.Equal(t, "0", money.Ratio{}.String())
	_, err = money.NewRatio(1, 0)
	require.ErrorContains(t, err, "denominator")
}

// anyDecimal draws a decimal that Parse accepts.
func anyDecimal() *rapid.Generator[money.Decimal] {
	return rapid.Custom(func(t *rapid.T) money.Decimal {
		return dec(t, rapid.StringMatching(`-?[0-9]{1,24}(\.[0-9]{1,18})?`).Draw(t, "text"))
	})
}

func rat(d money.Decimal) *big.Rat {
	r, _ := new(big.Rat).SetString(d.String())
	return r
}

func TestArithmeticIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyDecimal().Draw(t, "a"), anyDecimal().Draw(t, "b")
		before := a.String() + b.String()
		require.Zero(t, rat(a.Add(b)).Cmp(new(big.Rat).Add(rat(a), rat(b))))
		require.Zero(t, rat(a.Sub(b)).Cmp(new(big.Rat).Sub(rat(a), rat(b))))
		require.Zero(t, rat(a.Mul(b)).Cmp(new(big.Rat).Mul(rat(a), rat(b))))
		require.Zero(t, rat(a.Neg()).Cmp(new(big.Rat).Neg(rat(a))))
		require.Zero(t, rat(a.Trim()).Cmp(rat(a)))
		require.Equal(t, rat(a).Cmp(rat(b)), a.Cmp(b))
		require.Equal(t, before, a.String()+b.String(), "operands do not change")
	})
}

func TestRoundIsWithinHalfAUnit(t *testing.T) {
	t.Parallel()
	half := big.NewRat(1, 2)
	rapid.Check(t, func(t *rapid.T) {
		a := anyDecimal().Draw(t, "a")
		places := rapid.Uint32Range(0, 6).Draw(t, "places")
		num, den := rapid.Int64Range(-1e15, 1e15).Draw(t, "num"), rapid.Int64Range(1, 1e15).Draw(t, "den")
		share, err := money.NewRatio(num, den)
		require.NoError(t, err)

		rounded := a.RoundRatio(share, places)
		require.Equal(t, places, rounded.Scale())
		exact := new(big.Rat).Mul(rat(a), big.NewRat(num, den))
		unit := new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil))
		off := new(big.Rat).Sub(rat(rounded), exact)
		off.Quo(off, unit)
		require.LessOrEqual(t, new(big.Rat).Abs(off).Cmp(half), 0)
		if new(big.Rat).Abs(off).Cmp(half) == 0 {
			require.Equal(t, exact.Sign(), off.Sign(), "a tie goes away from zero")
		}
		require.Equal(t, a.Neg().RoundRatio(share, places).String(), rounded.Neg().String(), "a credit mirrors its charge")
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0", "-12.50", "1e3", "NaN", "+1", "0.1234567890123456789", "1.", ".1", "00", "９"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := money.Parse(text)
		if err != nil {
			return
		}
		again, err := money.Parse(d.String())
		require.NoError(t, err)
		require.Equal(t, d.String(), again.String())
		want, ok := new(big.Rat).SetString(text)
		require.True(t, ok)
		require.Zero(t, rat(d).Cmp(want))
	})
}
