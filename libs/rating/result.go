package rating

import (
	"github.com/tollgate/tollgate/libs/money"
)

// Result is what usage costs. As JSON it is what "tollgate rate" prints and what an invoice line keeps.
type Result struct {
	Currency money.Currency `json:"currency"`
	// Lines in the order of the plan's prices, then the true-up or cap. A usage price has its line even at no usage, so
	// that a meter nobody reported is seen.
	Lines []Line `json:"lines"`
	// Sum of the lines' amounts. It may be negative: see the package doc.
	Total money.Decimal `json:"total"`
}

// Line is one price's charge.
type Line struct {
	// Name of the price, or TrueUp or Cap.
	Price string `json:"price"`
	// Name of the meter; empty for amounts per period.
	Meter string `json:"meter,omitempty"`
	// Units of this run, those at no charge included; the sum of the amounts for a meter that reports events; 1 for an
	// amount per period.
	Quantity money.Decimal `json:"quantity"`
	// Rounded to the currency.
	Amount money.Decimal `json:"amount"`
	// What the amount is made of. The amounts are rounded to the currency and sum to Amount. In a later run these are
	// differences to the runs before.
	Detail []Detail `json:"detail"`
}

// Kind says what a Detail is, where it is not usage rated by the model.
type Kind string

// The kinds, in the order in which they stand in a line.
const (
	KindIncluded        Kind = "included"        // units at no charge
	KindFree            Kind = "free"            // amounts that the free allowance of a percentage covers
	KindUsage           Kind = ""                // usage or a recurring amount
	KindFixed           Kind = "fixed"           // fixed part per event
	KindPerEventMinimum Kind = "perEventMinimum" // what single events were raised by
	KindPerEventMaximum Kind = "perEventMaximum" // what single events were lowered by
	KindDiscount        Kind = "discount"        // units or per cent off
	KindMinimum         Kind = "minimum"         // what is missing to the minimum
	KindMaximum         Kind = "maximum"         // what is over the maximum
	KindAdjustment      Kind = "adjustment"      // earlier runs billed otherwise than this plan rates
)

// rank is the place of a kind in a line.
func (k Kind) rank() int {
	switch k {
	case KindIncluded:
		return 0
	case KindFree:
		return 1
	case KindUsage:
		return 2
	case KindFixed:
		return 3
	case KindPerEventMinimum:
		return 4
	case KindPerEventMaximum:
		return 5
	case KindDiscount:
		return 6
	case KindMinimum, KindMaximum:
		return 7
	default:
		return 8
	}
}

// Detail is one addend of a line. Figures that do not apply are left out.
type Detail struct {
	Kind Kind `json:"kind,omitempty"`
	// What is counted: units, packages, events, or an amount that a rate applies to.
	Quantity *money.Decimal `json:"quantity,omitempty"`
	// Units in one package.
	Size *money.Decimal `json:"size,omitempty"`
	// Flat amount of the tier or period.
	Flat *money.Decimal `json:"flat,omitempty"`
	// Price of one unit or package, fixed part of one event, or multiplier.
	Unit *money.Decimal `json:"unit,omitempty"`
	// Per cent.
	Rate *money.Decimal `json:"rate,omitempty"`
	// Share of the period as a fraction in lowest terms, where it was served in part.
	Share string `json:"share,omitempty"`
	// Amount rounded to the currency.
	Amount money.Decimal `json:"amount"`
}

// detail returns the parts as they are shown, with amounts that sum to total.
func detail(c money.Currency, total money.Decimal, parts []part, share *money.Ratio) []Detail {
	exact := make([]money.Decimal, len(parts))
	for i, p := range parts {
		exact[i] = p.amount
	}
	amounts := c.RoundTogether(total, exact...)
	details := make([]Detail, len(parts))
	for i, p := range parts {
		d := Detail{Kind: p.kind, Amount: amounts[i], Rate: p.terms.rate}
		if share != nil {
			d.Share = share.String()
		}
		if !p.quantity.IsZero() {
			quantity := p.quantity.Trim()
			d.Quantity, d.Unit, d.Size = &quantity, p.terms.unit, p.terms.size
		}
		if !p.flat.IsZero() {
			d.Flat = &p.flat
		}
		details[i] = d
	}
	return details
}
