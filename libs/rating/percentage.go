package rating

import (
	"github.com/tollgate/tollgate/libs/money"
)

// percentage is a share of amounts, with a fixed part for each event.
type percentage struct {
	percent, fixed money.Decimal
	free           allowance
	perEvent       bounds
}

// needsEvents says whether the sum of the amounts is not enough.
func (m percentage) needsEvents() bool {
	return !m.fixed.IsZero() || m.free != allowance{} || m.perEvent != bounds{}
}

// needsEvents says whether the price rates single events.
func (p *price) needsEvents() bool {
	m, ok := p.model.(percentage)
	return ok && m.needsEvents()
}

func (m percentage) rate(u units) []part {
	if !m.needsEvents() {
		return []part{m.ofAmount(u.quantity)}
	}
	var free, charged, count, raised, lowered money.Decimal
	left := m.free
	for _, amount := range u.events {
		covered, whole := left.take(amount)
		free = free.Add(covered)
		if whole {
			continue
		}
		amount = amount.Sub(covered)
		charged = charged.Add(amount)
		count = count.Add(money.Int(1))
		gap := m.perEvent.gap(amount.Percent(m.percent).Add(m.fixed), true)
		if gap.Sign() > 0 {
			raised = raised.Add(gap)
		} else {
			lowered = lowered.Add(gap)
		}
	}
	return []part{
		{kind: KindFree, quantity: free},
		m.ofAmount(charged),
		{kind: KindFixed, quantity: count, terms: terms{unit: &m.fixed}, amount: m.fixed.Mul(count)},
		{kind: KindPerEventMinimum, amount: raised},
		{kind: KindPerEventMaximum, amount: lowered},
	}
}

func (m percentage) ofAmount(amount money.Decimal) part {
	return part{quantity: amount, terms: terms{rate: &m.percent}, amount: amount.Percent(m.percent)}
}

// allowance is what is free: so many events and so large an amount of them, whichever is used up first. A nil field is no
// limit; with both nil nothing is free.
type allowance struct {
	events, amount *money.Decimal
}

// take takes an event off the allowance and returns how much of its amount is covered, and whether all of it is.
func (a *allowance) take(amount money.Decimal) (covered money.Decimal, whole bool) {
	if a.events == nil && a.amount == nil || isUsedUp(a.events) || isUsedUp(a.amount) {
		return money.Decimal{}, false
	}
	covered = amount
	if a.amount != nil {
		covered = amount.Min(*a.amount)
		left := a.amount.Sub(covered)
		a.amount = &left
	}
	if a.events != nil {
		left := a.events.Sub(money.Int(1))
		a.events = &left
	}
	return covered, covered.Equal(amount)
}

func isUsedUp(left *money.Decimal) bool { return left != nil && left.Sign() <= 0 }
