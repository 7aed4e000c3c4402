package billing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkRunOf500Subscriptions bills the next month of 500 subscriptions in each turn. Run it with -benchtime=5x.
func BenchmarkRunOf500Subscriptions(b *testing.B) {
	const n = 500
	f := startBilling(b)
	f.plan("pro", 1, pro())
	for i := range n {
		f.calls(f.subscribe(fmt.Sprintf("s%03d", i+1), "pro", january), 2, january.AddDate(0, 0, 3))
	}
	month := day("2026-02-01T00:00:00Z")
	f.bill("2026-01") // stores the periods
	b.ResetTimer()
	for range b.N {
		require.True(b, month.Before(time.Now().AddDate(0, -1, 0)), "no month is left: give a smaller -benchtime, such as 5x")
		require.Equal(b, n, f.bill(month.Format("2006-01")).Counts.Finalized)
		month = month.AddDate(0, 1, 0)
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "invoices/s")
}
