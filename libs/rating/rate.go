package rating

import (
	"cmp"
	"maps"
	"slices"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
)

// Context is what else rating depends on. The zero value is a whole period.
type Context struct {
	// Share of the period that was served, as package period measures it; nil for all of it. It prorates amounts per
	// period. It may exceed 1 for a span of several periods.
	Share *money.Ratio
}

// Rate returns what usage costs under the plan. It fails, with an error of kind Invalid that names every field, when usage
// contradicts itself or the plan.
func Rate(plan *Plan, usage Usage, rc Context) (Result, error) {
	var fields problem.Fields
	usage.check(plan, &fields)
	if rc.Share != nil && rc.Share.Sign() < 0 {
		fields.Add("share", "is %s; a share of a period must not be negative", rc.Share)
	}
	if err := fields.Err("usage-invalid", "The usage cannot be rated."); err != nil {
		return Result{}, err
	}

	r := run{plan: plan, usage: usage, share: rc.Share}
	result := Result{Currency: plan.currency, Lines: make([]Line, 0, len(plan.prices)+1)}
	for _, p := range plan.prices {
		if p.flat != nil {
			result.Lines = r.recurring(p, result.Lines)
		} else {
			result.Lines = append(result.Lines, r.metered(p))
		}
	}
	result.Lines = r.commitment(result.Lines)
	result.Total = plan.currency.Round(money.Decimal{})
	for _, line := range result.Lines {
		result.Total = result.Total.Add(line.Amount)
	}
	return result, nil
}

// run is one call of Rate.
type run struct {
	plan  *Plan
	usage Usage
	share *money.Ratio
	// What earlier runs billed for the prices seen so far, and what this run adds.
	before, fresh money.Decimal
}

// recurring appends the line of an amount per period, where it is due in this run.
func (r *run) recurring(p *price, lines []Line) []Line {
	c := r.plan.currency
	exact := []part{{flat: p.flat.amount, amount: p.flat.amount}}
	if !p.discount.percent.IsZero() {
		exact = append(exact, p.discount.part(p.flat.amount))
	}
	amount := c.Round(sum(exact))
	if r.share != nil {
		amount = c.RoundRatio(sum(exact), *r.share)
		for i := range exact {
			// Only how the detail is spread depends on this: far more decimals than any currency has.
			exact[i].amount = exact[i].amount.RoundRatio(*r.share, money.MaxDecimals)
		}
	}
	due := r.usage.Run == OnlyRun || r.usage.Run == FirstRun && p.flat.advance || r.usage.Run == LastRun && !p.flat.advance
	if !due {
		r.before = r.before.Add(r.recurringBefore(p, amount))
		return lines
	}
	r.fresh = r.fresh.Add(amount)
	return append(lines, Line{Price: p.name, Quantity: money.Int(1), Amount: amount, Detail: detail(c, amount, exact, r.share)})
}

// recurringBefore returns what earlier runs billed of an amount per period.
func (r *run) recurringBefore(p *price, amount money.Decimal) money.Decimal {
	if stated, ok := r.usage.billed(p); ok {
		return stated
	}
	if p.flat.advance || r.usage.Run == LateRun {
		return amount
	}
	return money.Decimal{}
}

// metered returns the line of a usage price: what the period amounts to by now, less what earlier runs billed.
func (r *run) metered(p *price) Line {
	c := r.plan.currency
	count := r.usage.counts(p)
	b := p.bounds.prorate(c, r.share)
	before, billed, carried := r.earlier(p, count.before, b)
	after := p.statement(count.after, carried, b)
	amount := c.Round(c.Round(after.total).Sub(billed))
	r.before, r.fresh = r.before.Add(billed), r.fresh.Add(amount)
	return Line{
		Price:    p.name,
		Meter:    p.meter,
		Quantity: count.after.quantity.Sub(count.before.quantity).Trim(),
		Amount:   amount,
		Detail:   detail(c, amount, difference(after.parts, before.parts), nil),
	}
}

// earlier returns what the usage of earlier runs amounts to, what they billed for it, and what they billed for usage that
// is not stated: see the package doc.
func (r *run) earlier(p *price, u units, b bounds) (before statement, billed, carried money.Decimal) {
	if r.usage.Run.first() {
		return statement{}, money.Decimal{}, money.Decimal{}
	}
	c := r.plan.currency
	before = p.statement(u, money.Decimal{}, b)
	rated := c.Round(before.total)
	stated, ok := r.usage.billed(p)
	if !ok || stated.Equal(rated) {
		return before, rated, money.Decimal{}
	}
	if u.quantity.IsZero() && len(u.events) == 0 {
		carried = stated
		before = p.statement(u, carried, b)
	}
	if off := stated.Sub(c.Round(before.total)); !off.IsZero() {
		before.parts = append(before.parts, part{kind: KindAdjustment, amount: off})
	}
	return before, stated, carried
}

// commitment appends the line that brings the period's total within the plan's bounds.
func (r *run) commitment(lines []Line) []Line {
	c := r.plan.currency
	b := r.plan.bounds.prorate(c, r.share)
	var earlier money.Decimal
	if !r.usage.Run.first() {
		earlier = b.gap(r.before, r.usage.Run == LateRun)
	}
	trueUp, trueUpStated := r.usage.Billed[TrueUp]
	lowered, capStated := r.usage.Billed[Cap]
	if trueUpStated || capStated {
		earlier = trueUp.Add(lowered)
	}
	now := b.gap(r.before.Add(r.fresh), r.usage.Run.closes())
	amount := c.Round(now).Sub(c.Round(earlier))
	if amount.IsZero() {
		return lines
	}
	// A cap that is released and a true-up that is taken back keep the names of what they change.
	name, kind := TrueUp, KindMinimum
	if now.Sign() < 0 || now.IsZero() && earlier.Sign() < 0 {
		name, kind = Cap, KindMaximum
	}
	line := Line{Price: name, Quantity: money.Int(1), Amount: amount}
	line.Detail = detail(c, amount, []part{{kind: kind, amount: amount}}, nil)
	return append(lines, line)
}

// statement is what a period's usage amounts to at some moment, exactly.
type statement struct {
	parts []part
	total money.Decimal
}

// statement rates u, beside carried, an amount that was billed for usage not in u.
func (p *price) statement(u units, carried money.Decimal, b bounds) statement {
	var parts []part
	u, parts = takeOff(u, p.included, KindIncluded, parts)
	u, parts = takeOff(u, p.discount.units, KindDiscount, parts)
	parts = append(parts, p.model.rate(u)...)
	amount := sum(parts)
	if !p.discount.percent.IsZero() {
		off := p.discount.part(amount)
		parts = append(parts, off)
		amount = amount.Add(off.amount)
	}
	amount = amount.Add(carried)
	gap := b.gap(amount, u.closed)
	switch gap.Sign() {
	case 1:
		parts = append(parts, part{kind: KindMinimum, amount: gap})
	case -1:
		parts = append(parts, part{kind: KindMaximum, amount: gap})
	}
	return statement{parts: parts, total: amount.Add(gap)}
}

// part is the discount in per cent of an amount.
func (d discount) part(of money.Decimal) part {
	return part{kind: KindDiscount, terms: terms{rate: &d.percent}, amount: of.Percent(d.percent).Neg()}
}

// takeOff takes the first units off u, and events in their order while any of off is left: one that is covered in full is
// no event any more. What happens to an event depends on those before it only.
func takeOff(u units, off money.Decimal, kind Kind, parts []part) (units, []part) {
	if off.Sign() <= 0 {
		return u, parts
	}
	taken := u.quantity.Min(off)
	u.quantity = u.quantity.Sub(taken)
	for left := off; left.Sign() > 0 && len(u.events) > 0; {
		if left.Less(u.events[0]) {
			u.events = append([]money.Decimal{u.events[0].Sub(left)}, u.events[1:]...)
			break
		}
		left = left.Sub(u.events[0])
		u.events = u.events[1:]
	}
	return u, append(parts, part{kind: kind, quantity: taken})
}

func sum(parts []part) money.Decimal {
	var total money.Decimal
	for _, p := range parts {
		total = total.Add(p.amount)
	}
	return total
}

// difference returns what turns before into after, without the parts that did not change.
func difference(after, before []part) []part {
	parts := slices.Clone(after)
	for _, b := range before {
		i := slices.IndexFunc(parts, func(p part) bool { return p.kind == b.kind && p.tier == b.tier })
		if i < 0 {
			i = len(parts)
			parts = append(parts, part{kind: b.kind, tier: b.tier, terms: b.terms})
		}
		p := &parts[i]
		p.quantity, p.flat, p.amount = p.quantity.Sub(b.quantity), p.flat.Sub(b.flat), p.amount.Sub(b.amount)
	}
	parts = slices.DeleteFunc(parts, func(p part) bool { return p.quantity.IsZero() && p.flat.IsZero() && p.amount.IsZero() })
	slices.SortStableFunc(parts, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.kind.rank(), b.kind.rank()), cmp.Compare(a.tier, b.tier))
	})
	return parts
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
