package money

import (
	"fmt"
	"math/big"
)

// Ratio is an exact rational number, such as the served share of a billing period. The zero value is 0.
type Ratio struct {
	// Never written to after construction; nil stands for 0.
	value *big.Rat
}

// NewRatio returns num / den in lowest terms. A denominator of 0 gives an error.
func NewRatio(num, den int64) (Ratio, error) {
	if den == 0 {
		return Ratio{}, fmt.Errorf("ratio %d/0: the denominator must not be 0", num)
	}
	return Ratio{value: big.NewRat(num, den)}, nil
}

// Whole returns n as a Ratio.
func Whole(n int64) Ratio { return Ratio{value: new(big.Rat).SetInt64(n)} }

// Add returns r + s, exactly.
func (r Ratio) Add(s Ratio) Ratio { return Ratio{value: new(big.Rat).Add(r.rat(), s.rat())} }

// Sub returns r − s, exactly.
func (r Ratio) Sub(s Ratio) Ratio { return Ratio{value: new(big.Rat).Sub(r.rat(), s.rat())} }

// Cmp compares by value.
func (r Ratio) Cmp(s Ratio) int { return r.rat().Cmp(s.rat()) }

// Sign returns −1, 0 or 1.
func (r Ratio) Sign() int { return r.rat().Sign() }

// String returns "num/den" in lowest terms, or "num" when the denominator is 1.
func (r Ratio) String() string { return r.rat().RatString() }

func (r Ratio) rat() *big.Rat {
	if r.value == nil {
		return new(big.Rat)
	}
	return r.value
}

func (r Ratio) bigs() (num, den *big.Int) {
	v := r.rat()
	return v.Num(), v.Denom()
}
