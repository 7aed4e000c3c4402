package rating

import (
	"github.com/tollgate/tollgate/libs/money"
)

// Names of the lines that a plan's minimum and maximum give. No price may have them.
const (
	TrueUp = "true-up"
	Cap    = "cap"
)

// Plan is a plan's prices, checked and ready to rate with. Get one from Compile.
type Plan struct {
	currency money.Currency
	prices   []*price
	bounds   bounds
}

// Currency returns the currency of the plan's amounts.
func (p *Plan) Currency() money.Currency { return p.currency }

// Meters returns the names of the meters that are priced, each once, in the order of the prices.
func (p *Plan) Meters() []string {
	var names []string
	seen := map[string]bool{"": true}
	for _, price := range p.prices {
		if !seen[price.meter] {
			seen[price.meter] = true
			names = append(names, price.meter)
		}
	}
	return names
}

// Free says whether the plan has no prices.
func (p *Plan) Free() bool { return len(p.prices) == 0 }

// NeedsEvents says whether a price of the meter rates single events, so that their sum is not enough.
func (p *Plan) NeedsEvents(meter string) bool {
	for _, price := range p.prices {
		if price.meter == meter && price.needsEvents() {
			return true
		}
	}
	return false
}

// price is one charge of a plan.
type price struct {
	name  string
	meter string
	// flat is set for recurring charges, model for usage.
	flat     *recurring
	model    model
	included money.Decimal
	discount discount
	bounds   bounds
}

// recurring is an amount per period.
type recurring struct {
	amount  money.Decimal
	advance bool
}

// discount comes off in units before the model, or in per cent after it; one of the two is 0.
type discount struct {
	units   money.Decimal
	percent money.Decimal
}

// bounds of an amount; nil stands for none.
type bounds struct {
	least, most *money.Decimal
}

// prorate returns the bounds of a share of a period, as amounts in the currency.
func (b bounds) prorate(c money.Currency, share *money.Ratio) bounds {
	return bounds{least: prorated(b.least, c, share), most: prorated(b.most, c, share)}
}

func prorated(amount *money.Decimal, c money.Currency, share *money.Ratio) *money.Decimal {
	if amount == nil || share == nil {
		return amount
	}
	part := c.RoundRatio(*amount, *share)
	return &part
}

// gap returns what has to be added to total to bring it within the bounds: negative over the maximum, positive under the
// minimum. The minimum counts only when the period is closed.
func (b bounds) gap(total money.Decimal, closed bool) money.Decimal {
	if b.most != nil && b.most.Less(total) {
		return b.most.Sub(total)
	}
	if closed && b.least != nil && total.Less(*b.least) {
		return b.least.Sub(total)
	}
	return money.Decimal{}
}
