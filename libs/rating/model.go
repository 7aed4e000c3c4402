package rating

import (
	"github.com/tollgate/tollgate/libs/money"
)

// units is what a model rates: usage of the period so far, less what is at no charge.
type units struct {
	quantity money.Decimal
	// Single amounts, in order, where they are known; they sum to quantity.
	events []money.Decimal
	// The period is over: usage that is zero stays so.
	closed bool
}

// model turns units into parts whose amounts sum to their exact price.
type model interface {
	rate(u units) []part
}

// part is one addend of a price. Parts of one price are told apart by kind and tier, so that those of two moments of a
// period can be compared.
type part struct {
	kind  Kind
	tier  int
	terms terms
	// What the part counts, the flat amount in it, and its exact amount.
	quantity, flat, amount money.Decimal
}

// terms are the figures of the plan that a part is computed with; nil where they do not apply.
type terms struct {
	unit, rate, size *money.Decimal
}

// tier is a step of a tiered price. upTo is inclusive, and nil for the last tier, which is open.
type tier struct {
	upTo, flat, unit, rate *money.Decimal
}

// part returns the part of n units that lie in the tier.
func (t tier) part(index int, n money.Decimal) part {
	p := part{tier: index, quantity: n, terms: terms{unit: t.unit, rate: t.rate}}
	if t.flat != nil {
		p.flat = *t.flat
		p.amount = *t.flat
	}
	if t.unit != nil {
		p.amount = p.amount.Add(n.Mul(*t.unit))
	}
	if t.rate != nil {
		p.amount = p.amount.Add(n.Percent(*t.rate))
	}
	return p
}

type perUnit struct{ unit money.Decimal }

func (m perUnit) rate(u units) []part {
	return []part{{quantity: u.quantity, terms: terms{unit: &m.unit}, amount: u.quantity.Mul(m.unit)}}
}

// graduated rates each tier's own units.
type graduated struct {
	tiers        []tier
	flatWhenZero bool
}

func (m graduated) rate(u units) []part {
	if u.quantity.Sign() == 0 {
		return zeroUsage(m.tiers, m.flatWhenZero && u.closed)
	}
	var parts []part
	var from money.Decimal
	for i, t := range m.tiers {
		to := u.quantity
		if t.upTo != nil {
			to = to.Min(*t.upTo)
		}
		parts = append(parts, t.part(i, to.Sub(from)))
		if to.Equal(u.quantity) {
			break
		}
		from = to
	}
	return parts
}

// volume rates all units in the tier that their total falls into. A stairstep is a volume of flat parts.
type volume struct {
	tiers        []tier
	flatWhenZero bool
}

func (m volume) rate(u units) []part {
	if u.quantity.Sign() == 0 {
		return zeroUsage(m.tiers, m.flatWhenZero && u.closed)
	}
	for i, t := range m.tiers {
		if t.upTo == nil || !t.upTo.Less(u.quantity) {
			return []part{t.part(i, u.quantity)}
		}
	}
	return nil
}

// zeroUsage is the first tier's flat part, where it is due without usage.
func zeroUsage(tiers []tier, due bool) []part {
	if !due {
		return nil
	}
	return []part{tiers[0].part(0, money.Decimal{})}
}

// packages rates begun or full packages.
type packages struct {
	size, unit money.Decimal
	full       bool
}

func (m packages) rate(u units) []part {
	count := u.quantity.QuoCeil(m.size)
	if m.full {
		count = u.quantity.QuoFloor(m.size)
	}
	return []part{{quantity: count, terms: terms{unit: &m.unit, size: &m.size}, amount: count.Mul(m.unit)}}
}

// dynamic takes the amounts from the events.
type dynamic struct{ multiplier money.Decimal }

func (m dynamic) rate(u units) []part {
	return []part{{quantity: u.quantity, terms: terms{unit: &m.multiplier}, amount: u.quantity.Mul(m.multiplier)}}
}
