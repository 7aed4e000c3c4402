package money

import (
	"fmt"
	"math/big"

	"github.com/cockroachdb/apd/v3"
)

// Decimal is an exact decimal number: coefficient × 10^−scale. The zero value is 0. Copies are cheap and share nothing
// that changes.
type Decimal struct {
	// Small coefficients live inside the value; no operation ever writes to the coefficient of an operand.
	coefficient apd.BigInt
	// Digits after the point, never negative. It is kept as written and computed, so that "10.00" prints as "10.00".
	scale uint32
}

// NewDecimal returns unscaled × 10^−scale: NewDecimal(1050, 2) is 10.50.
func NewDecimal(unscaled int64, scale uint32) Decimal {
	d := Decimal{scale: scale}
	d.coefficient.SetInt64(unscaled)
	return d
}

// Int returns n as a Decimal.
func Int(n int64) Decimal { return NewDecimal(n, 0) }

// Scale returns the number of digits after the point.
func (d Decimal) Scale() uint32 { return d.scale }

// Sign returns −1, 0 or 1.
func (d Decimal) Sign() int { return d.coefficient.Sign() }

// IsZero says whether d is zero, at any scale.
func (d Decimal) IsZero() bool { return d.Sign() == 0 }

// Neg returns −d.
func (d Decimal) Neg() Decimal {
	r := Decimal{scale: d.scale}
	r.coefficient.Neg(&d.coefficient)
	return r
}

// Add returns d + e, exactly.
func (d Decimal) Add(e Decimal) Decimal {
	var x, y apd.BigInt
	a, b, scale := align(&d, &e, &x, &y)
	r := Decimal{scale: scale}
	r.coefficient.Add(a, b)
	return r
}

// Sub returns d − e, exactly.
func (d Decimal) Sub(e Decimal) Decimal {
	var x, y apd.BigInt
	a, b, scale := align(&d, &e, &x, &y)
	r := Decimal{scale: scale}
	r.coefficient.Sub(a, b)
	return r
}

// Mul returns d × e, exactly.
func (d Decimal) Mul(e Decimal) Decimal {
	r := Decimal{scale: d.scale + e.scale}
	r.coefficient.Mul(&d.coefficient, &e.coefficient)
	return r
}

// Percent returns percent per cent of d, exactly.
func (d Decimal) Percent(percent Decimal) Decimal {
	r := d.Mul(percent)
	r.scale += 2
	return r
}

// Cmp compares by value: −1 when d < e, 0 when equal (1.0 equals 1.00), 1 when d > e.
func (d Decimal) Cmp(e Decimal) int {
	var x, y apd.BigInt
	a, b, _ := align(&d, &e, &x, &y)
	return a.Cmp(b)
}

// Equal says whether d and e have the same value.
func (d Decimal) Equal(e Decimal) bool { return d.Cmp(e) == 0 }

// Less says whether d < e.
func (d Decimal) Less(e Decimal) bool { return d.Cmp(e) < 0 }

// Min returns the smaller of d and e.
func (d Decimal) Min(e Decimal) Decimal {
	if e.Less(d) {
		return e
	}
	return d
}

// Max returns the larger of d and e.
func (d Decimal) Max(e Decimal) Decimal {
	if d.Less(e) {
		return e
	}
	return d
}

// QuoFloor returns the whole number of times that e goes into d, rounded down. e must be positive; for any other e the
// result is 0, since "how many packages of nothing" has no answer: callers check sizes when they take them in.
func (d Decimal) QuoFloor(e Decimal) Decimal { return d.quoWhole(e, false) }

// QuoCeil is QuoFloor rounded up.
func (d Decimal) QuoCeil(e Decimal) Decimal { return d.quoWhole(e, true) }

func (d Decimal) quoWhole(e Decimal, up bool) Decimal {
	if e.Sign() <= 0 {
		return Decimal{}
	}
	var x, y, remainder apd.BigInt
	a, b, _ := align(&d, &e, &x, &y)
	var r Decimal
	r.coefficient.DivMod(a, b, &remainder)
	if up && remainder.Sign() != 0 {
		r.coefficient.Add(&r.coefficient, apd.NewBigInt(1))
	}
	return r
}

// Trim returns d without trailing zeros after the point: the canonical form of a quantity.
func (d Decimal) Trim() Decimal {
	var ten, quotient, remainder apd.BigInt
	ten.SetInt64(10)
	for d.scale > 0 {
		quotient.QuoRem(&d.coefficient, &ten, &remainder)
		if remainder.Sign() != 0 {
			break
		}
		d.coefficient = apd.BigInt{}
		d.coefficient.Set(&quotient)
		d.scale--
	}
	return d
}

// Round returns d with exactly so many decimals, half up.
func (d Decimal) Round(decimals uint32) Decimal { return d.roundRatio(nil, nil, decimals) }

// RoundRatio returns d × share with exactly so many decimals, half up: one rounding, of the exact product.
func (d Decimal) RoundRatio(share Ratio, decimals uint32) Decimal {
	num, den := share.bigs()
	return d.roundRatio(num, den, decimals)
}

// roundRatio rounds d × num / den; nil stands for 1.
func (d Decimal) roundRatio(num, den *big.Int, decimals uint32) Decimal {
	var n, m apd.BigInt
	n.Set(&d.coefficient)
	m.SetInt64(1)
	if num != nil {
		n.Mul(&n, new(apd.BigInt).SetMathBigInt(num))
		m.SetMathBigInt(den)
	}
	if decimals >= d.scale {
		n.Mul(&n, pow10(decimals-d.scale))
	} else {
		m.Mul(&m, pow10(d.scale-decimals))
	}
	r := Decimal{scale: decimals}
	divideHalfUp(&r.coefficient, &n, &m)
	return r
}

// divideHalfUp sets z to n / m rounded half up in magnitude; m is positive.
func divideHalfUp(z, n, m *apd.BigInt) {
	var remainder apd.BigInt
	sign := n.Sign()
	z.QuoRem(n, m, &remainder)
	remainder.Abs(&remainder)
	remainder.Add(&remainder, &remainder)
	if remainder.Cmp(m) >= 0 {
		z.Add(z, apd.NewBigInt(int64(sign)))
	}
}

// Exact returns d with exactly so many decimals, or an error when that would lose a digit other than 0.
func (d Decimal) Exact(decimals uint32) (Decimal, error) {
	r := d.Round(decimals)
	if !r.Equal(d) {
		return Decimal{}, fmt.Errorf("%s has more than %d decimals", d, decimals)
	}
	return r, nil
}

// align returns the coefficients of d and e at their common scale, using x and y for what has to be computed.
func align(d, e *Decimal, x, y *apd.BigInt) (a, b *apd.BigInt, scale uint32) {
	switch {
	case d.scale < e.scale:
		x.Mul(&d.coefficient, pow10(e.scale-d.scale))
		return x, &e.coefficient, e.scale
	case d.scale > e.scale:
		y.Mul(&e.coefficient, pow10(d.scale-e.scale))
		return &d.coefficient, y, d.scale
	default:
		return &d.coefficient, &e.coefficient, d.scale
	}
}

// pow10 returns 10^n.
func pow10(n uint32) *apd.BigInt {
	var p apd.BigInt
	if n < 19 {
		v := int64(1)
		for range n {
			v *= 10
		}
		return p.SetInt64(v)
	}
	return p.Exp(apd.NewBigInt(10), apd.NewBigInt(int64(n)), nil)
}
