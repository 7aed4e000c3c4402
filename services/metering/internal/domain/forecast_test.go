package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
)

const hour = int64(time.Hour)

// evenly is so much use in each hour from one hour of the window to another.
func evenly(from, to, units int64) []domain.Sample {
	var samples []domain.Sample
	for h := from; h < to; h++ {
		samples = append(samples, domain.Sample{From: h * hour, Quantity: money.Int(units)})
	}
	return samples
}

func TestForecast(t *testing.T) {
	t.Parallel()
	month := domain.Window{Start: 0, End: 720 * hour}
	quota := func(quota, used int64) domain.Balance { return domain.Balance{Quota: quota, Unleased: used} }
	for _, c := range []struct {
		name       string
		balance    domain.Balance
		since, now int64 // hours
		samples    []domain.Sample
		at         int64 // hours; -1 for none
	}{
		{"goes on as it went", quota(1000, 200), 0, 100, evenly(0, 100, 2), 500},
		{"the window ends before", quota(2000, 200), 0, 100, evenly(0, 100, 2), -1},
		{"used up just as it ends", quota(1440, 200), 0, 100, evenly(0, 100, 2), -1},
		{"used up just before it ends", quota(1438, 200), 0, 100, evenly(0, 100, 2), 719},
		{"counts from the subscription's beginning", quota(1000, 200), 400, 500, evenly(400, 500, 2), -1},
		{"began late and is fast", quota(500, 200), 400, 500, evenly(400, 500, 2), 650},
		{"leased units are not used", domain.Balance{Quota: 1000, Spent: 200, Leased: 800}, 0, 100, evenly(0, 100, 2), 500},
		{"faster of late", quota(1000, 200), 0, 100, evenly(50, 100, 4), 408},
		{"slower of late", quota(1000, 200), 0, 100, evenly(0, 50, 4), 671},
		{"no use yet", quota(1000, 0), 0, 100, nil, -1},
		{"used up", quota(200, 200), 0, 100, evenly(0, 100, 2), -1},
		{"overdrawn", quota(100, 200), 0, 100, evenly(0, 100, 2), -1},
		{"too early to tell", quota(1000, 200), 0, 7, evenly(0, 7, 100), -1},
		{"early enough", quota(1600, 800), 0, 8, evenly(0, 8, 100), 16},
		{"the window is over", quota(1000, 200), 0, 720, evenly(0, 100, 2), -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at, ok := domain.Forecast(c.balance, month, c.since*hour, c.now*hour, c.samples)
			require.Equal(t, c.at >= 0, ok)
			if ok {
				require.Equal(t, c.at, (at+hour/2)/hour)
			}
		})
	}
}

// A forecast is in the future and in the window, and a larger quota is not used up sooner.
func TestForecastProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(1, 720).Draw(t, "now")
		var samples []domain.Sample
		used := int64(0)
		for h := range now {
			units := rapid.Int64Range(0, 50).Draw(t, "units")
			used += units
			samples = append(samples, domain.Sample{From: h * hour, Quantity: money.Int(units)})
		}
		w := domain.Window{Start: 0, End: 720 * hour}
		small := rapid.Int64Range(1, 60_000).Draw(t, "quota")
		at, ok := domain.Forecast(domain.Balance{Quota: small, Unleased: used}, w, 0, now*hour, samples)
		if !ok {
			return
		}
		require.GreaterOrEqual(t, at, now*hour)
		require.Less(t, at, w.End)
		later, ok := domain.Forecast(domain.Balance{Quota: small + rapid.Int64Range(0, 1000).Draw(t, "more"), Unleased: used}, w, 0, now*hour, samples)
		require.True(t, !ok || later >= at)
	})
}
