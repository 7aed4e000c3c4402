package billing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkRun bills the next month of so many subscriptions in each turn. Run it with -benchtime=2x: there are as many months as
// have passed since January 2026.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{500, 10_000} {
		b.Run(fmt.Sprintf("subscriptions=%d", n), func(b *testing.B) { benchmarkRun(b, n) })
	}
}

func benchmarkRun(b *testing.B, n int) {
	f := startBilling(b)
	f.patience = 10 * time.Minute
	f.plan("pro", 1, pro())
	for i := range n {
		f.calls(f.subscribe(fmt.Sprintf("s%05d", i+1), "pro", january), 2, january.AddDate(0, 0, 3))
	}
	month := day("2026-02-01T00:00:00Z")
	f.bill("2026-01") // stores the periods
	b.ResetTimer()
	for range b.N {
		require.True(b, month.Before(time.Now().AddDate(0, -1, 0)), "no month is left: give a smaller -benchtime, such as 2x")
		require.Equal(b, n, f.bill(month.Format("2006-01")).Counts.Finalized)
		month = month.AddDate(0, 1, 0)
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "invoices/s")
}
