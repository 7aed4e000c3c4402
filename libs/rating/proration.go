package rating

import (
	"github.com/tollgate/tollgate/libs/money"
)

// Charge returns the part of an amount per period that is due for a share of it, rounded once.
func Charge(c money.Currency, amount money.Decimal, share money.Ratio) money.Decimal {
	return c.RoundRatio(amount, share)
}

// Credit returns what is given back of a charge for the share of its period that is not served, as a negative amount. It
// is computed and rounded apart from any new charge, and all credits of a charge together never exceed it: credited is
// what was given back before, as a positive amount.
func Credit(c money.Currency, charged money.Decimal, unserved money.Ratio, credited money.Decimal) money.Decimal {
	left := charged.Sub(credited).Max(money.Decimal{})
	return c.Round(c.RoundRatio(charged, unserved).Max(money.Decimal{}).Min(left)).Neg()
}
