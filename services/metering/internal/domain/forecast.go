package domain

import (
	"math/big"
	"time"

	"github.com/tollgate/tollgate/libs/money"
)

// Sample is the use of a quota in a part of its window: one bucket of an hour at most.
type Sample struct {
	// From is when the bucket begins.
	From     int64
	Quantity money.Decimal
}

// recency is how many times as much the newest use of a window weighs as the oldest.
const recency = 4

// Forecast returns when a quota will be used up, if it goes on as it went, and false when its window ends before, when there is
// nothing to go by, and when it is used up already.
//
// It goes by the use of the window so far, from the later of the window's beginning and since (the subscription's beginning).
// Use weighs the more the newer it is: linearly from 1 at that time to 4 now. So a change of pace shows soon, and one busy
// hour of a month does not decide. Before a hundredth of the window has passed there is nothing to go by.
func Forecast(b Balance, w Window, since, now int64, samples []Sample) (exhaustedAt int64, ok bool) {
	start := max(w.Start, since)
	elapsed := now - start
	if b.Exhausted() || !w.Contains(now) || elapsed <= 0 || elapsed < (w.End-w.Start)/100 {
		return 0, false
	}
	used := new(big.Rat)
	for _, s := range samples {
		from, to := max(s.From, start), min(s.From+int64(time.Hour), now)
		if quantity, valid := new(big.Rat).SetString(s.Quantity.String()); valid && from < to {
			used.Add(used, quantity.Mul(quantity, weight((from+to)/2-start, elapsed)))
		}
	}
	if used.Sign() <= 0 {
		return 0, false
	}
	// The weights of the whole time add up to its length times their mean. Use per nanosecond is used ÷ that.
	whole := new(big.Rat).Mul(new(big.Rat).SetInt64(elapsed), big.NewRat(1+recency, 2))
	left := new(big.Rat).SetInt64(b.Quota - b.Used())
	left.Mul(left, whole).Quo(left, used)
	nanoseconds := new(big.Int).Quo(left.Num(), left.Denom())
	if !nanoseconds.IsInt64() || nanoseconds.Int64() >= w.End-now {
		return 0, false
	}
	return now + nanoseconds.Int64(), true
}

// weight of use at a time after the beginning.
func weight(after, elapsed int64) *big.Rat {
	w := big.NewRat(after, elapsed)
	return w.Mul(w, big.NewRat(recency-1, 1)).Add(w, big.NewRat(1, 1))
}
