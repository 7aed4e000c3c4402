package pipeline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
)

func TestParseUsage(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                             "",
		"rows=12":                      "rows=12",
		"rows=12, credits=0.5":         "rows=12 credits=0.5",
		"rows=012 ,\tcredits=000.500":  "rows=12 credits=0.5",
		"rows=1.000":                   "rows=1",
		"rows=0":                       "rows=0",
		"*a-b.c_d=1":                   "*a-b.c_d=1",
		"rows=1;unit=row;x, b=2":       "rows=1 b=2",
		"rows=1, rows=2":               "rows=2",
		"rows":                         "rows=",
		"rows=-1":                      "rows=",
		"rows=+1":                      "rows=",
		"rows=1.":                      "rows=",
		"rows=.5":                      "rows=",
		"rows=1e3":                     "rows=",
		"rows=1.2345":                  "rows=",
		"rows=1234567890123.5":         "rows=",
		"rows=999999999999999":         "rows=999999999999999",
		"rows=1000000000000000":        "rows=",
		`rows="1"`:                     "rows=",
		"rows=1,":                      "error",
		",rows=1":                      "error",
		"rows=1 credits=2":             "error",
		"Rows=1":                       "error",
		"1rows=1":                      "error",
		strings.Repeat("k", 65) + "=1": "error",
	} {
		quantities, err := parseUsage(text)
		if err != nil {
			require.Equal(t, "error", want, "%q: %v", text, err)
			continue
		}
		var got []string
		for _, q := range quantities {
			got = append(got, q.Meter+"="+q.Value)
		}
		require.Equal(t, want, strings.Join(got, " "), text)
	}
}

func TestUnitsAreRoundedUp(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int64{"0": 0, "1": 1, "0.001": 1, "2.5": 3, "12": 12, "999999999999999": 999999999999999} {
		require.Equal(t, want, units(value), value)
	}
}

func TestDecimalsKeepTheirValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[0-9]{1,12}(\.[0-9]{1,3})?`).Draw(t, "text")
		short := decimal(text)
		require.NotEmpty(t, short)
		require.Equal(t, short, decimal(short))
		whole, fraction, _ := strings.Cut(text, ".")
		w, f, _ := strings.Cut(short, ".")
		require.Equal(t, strings.TrimLeft(whole, "0"), strings.TrimLeft(w, "0"))
		require.Equal(t, strings.TrimRight(fraction, "0"), f)
	})
}

func TestTraceID(t *testing.T) {
	t.Parallel()
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", traceID([]byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")))
	for _, wrong := range []string{"", "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", strings.Repeat("-", 60)} {
		require.Empty(t, traceID([]byte(wrong)), wrong)
	}
}

func FuzzParseUsage(f *testing.F) {
	f.Add("rows=12, credits=0.5;x=y")
	f.Add("a=1,,b")
	f.Fuzz(func(t *testing.T, text string) {
		quantities, err := parseUsage(text)
		if err != nil {
			return
		}
		for _, q := range quantities {
			require.NotEmpty(t, q.Meter)
			require.LessOrEqual(t, len(q.Meter), callrecord.MaxID)
			require.LessOrEqual(t, len(q.Value), callrecord.MaxQuantity)
			if q.Value != "" {
				require.GreaterOrEqual(t, units(q.Value), int64(0))
			}
		}
	})
}
