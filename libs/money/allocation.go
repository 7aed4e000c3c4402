package money

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/apd/v3"
)

// Allocate splits total, an amount in c, in proportion to weights. The shares are amounts in c and sum to total. Each is
// its exact share rounded towards zero; the units left over go one each to the largest remainders, ties in order: 0.05 USD
// by 1:1:1 is 0.02, 0.02, 0.01.
//
// It fails when total is not an amount in c, when a weight is negative and when the weights sum to zero.
func (c Currency) Allocate(total Decimal, weights ...Decimal) ([]Decimal, error) {
	units, err := total.Exact(c.decimals)
	if err != nil {
		return nil, fmt.Errorf("allocate: %w of %s", err, c.code)
	}
	var sum Decimal
	for i, w := range weights {
		if w.Sign() < 0 {
			return nil, fmt.Errorf("allocate: weight %d is %s; a weight must not be negative", i, w)
		}
		sum = sum.Add(w)
	}
	if sum.IsZero() {
		return nil, errors.New("allocate: the weights sum to zero; at least one must be positive")
	}
	// A sum has the largest scale of its terms, so at its scale all weights are integers over the same divisor, and each
	// exact share is units × weight / sum.
	negative := units.Sign() < 0
	if negative {
		units = units.Neg()
	}
	shares := make([]share, len(weights))
	for i, w := range weights {
		var x, y, n apd.BigInt
		a, b, _ := align(&w, &sum, &x, &y)
		n.Mul(&units.coefficient, a)
		shares[i].units.DivMod(&n, b, &shares[i].remainder)
	}
	spread(shares, &units.coefficient)
	return c.amounts(shares, negative), nil
}

// RoundTogether rounds the parts of a total to amounts in c that sum to total, itself an amount in c: each part is rounded
// down, and what is left goes by largest remainder, ties in order. No part moves by a whole unit when total is the
// rounded sum of the parts. It is how the detail of an invoice line adds up to the line.
func (c Currency) RoundTogether(total Decimal, parts ...Decimal) []Decimal {
	total = c.Round(total)
	scale := c.decimals
	for _, p := range parts {
		scale = max(scale, p.scale)
	}
	unit := pow10(scale - c.decimals)
	shares := make([]share, len(parts))
	for i, p := range parts {
		n := p.Round(scale).coefficient
		shares[i].units.DivMod(&n, unit, &shares[i].remainder)
	}
	spread(shares, &total.coefficient)
	return c.amounts(shares, false)
}

// share is a part in whole units, and what was cut off from it.
type share struct {
	units, remainder apd.BigInt
}

// spread adjusts the shares until they sum to total: by single units, up by largest remainder or down by smallest. A
// difference of more units than there are shares goes to all of them evenly first.
func spread(shares []share, total *apd.BigInt) {
	if len(shares) == 0 {
		return
	}
	var left, each apd.BigInt
	left.Set(total)
	for i := range shares {
		left.Sub(&left, &shares[i].units)
	}
	each.QuoRem(&left, apd.NewBigInt(int64(len(shares))), &left)
	direction := left.Sign()
	order := make([]int, len(shares))
	for i := range shares {
		order[i] = i
		shares[i].units.Add(&shares[i].units, &each)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(0, shares[a].remainder.Cmp(&shares[b].remainder)*direction)
	})
	step := apd.NewBigInt(int64(direction))
	for i := 0; left.Sign() != 0; i++ {
		units := &shares[order[i]].units
		units.Add(units, step)
		left.Sub(&left, step)
	}
}

func (c Currency) amounts(shares []share, negate bool) []Decimal {
	amounts := make([]Decimal, len(shares))
	for i := range shares {
		amounts[i].scale = c.decimals
		amounts[i].coefficient.Set(&shares[i].units)
		if negate {
			amounts[i] = amounts[i].Neg()
		}
	}
	return amounts
}
