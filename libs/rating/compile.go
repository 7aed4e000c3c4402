package rating

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating/period"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// Compile checks a plan and makes it ready to rate with. It checks all of the plan, limits and charging too, so that a
// plan that compiles is one that can be sold. The error is of kind Invalid and names every field that is wrong, with paths
// as in a plan document: "prices[1].tiers[0].upTo".
func Compile(spec *catalogv1.PlanSpec) (*Plan, error) {
	c := compiler{fields: &problem.Fields{}}
	plan := c.plan(spec)
	if err := c.fields.Err("plan-invalid", "The plan is not valid."); err != nil {
		return nil, err
	}
	return plan, nil
}

// PeriodConfig returns the billing period of a plan, in the words of package period.
func PeriodConfig(p *catalogv1.Period) period.Config {
	return period.Config{Every: p.GetEvery(), Anchor: p.GetAnchor(), TimeZone: p.GetTimeZone(), Proration: p.GetProration()}
}

// compiler collects what is wrong while it reads.
type compiler struct {
	fields *problem.Fields
}

func (c compiler) plan(spec *catalogv1.PlanSpec) *Plan {
	currency, err := money.ParseCurrency(spec.GetCurrency())
	if err != nil {
		c.fields.Add("currency", "%s", err)
	}
	c.oneOf("approval", spec.GetApproval(), "auto", "required")
	PeriodConfig(spec.GetPeriod()).Check("period.", c.fields)
	c.limits(spec.GetLimits())
	c.charging(spec.GetCharging())
	plan := &Plan{
		currency: currency,
		bounds:   c.bounds("minimum", spec.GetMinimum(), "maximum", spec.GetMaximum()),
	}
	seen := map[string]bool{TrueUp: true, Cap: true}
	for i, p := range spec.GetPrices() {
		path := fmt.Sprintf("prices[%d].", i)
		if p.GetName() != "" && seen[p.GetName()] {
			c.fields.Add(path+"name", "%q is taken; every price of a plan has its own name, and %s and %s are lines of the plan itself", p.GetName(), TrueUp, Cap)
		}
		seen[p.GetName()] = true
		plan.prices = append(plan.prices, c.price(path, p))
		if spec.GetPrepaid() && p.GetModel() != "unit" {
			c.fields.Add(path+"model", "%q cannot be prepaid; a prepaid call takes a fixed amount from the wallet, which model unit alone gives", p.GetModel())
		}
	}
	if spec.GetPrepaid() && len(spec.GetPrices()) == 0 {
		c.fields.Add("prices", "is empty; a prepaid plan needs a price that calls are paid by")
	}
	return plan
}

// oneOf notes a value that is none of wanted; empty stands for the default.
func (c compiler) oneOf(path, value string, wanted ...string) {
	if value == "" {
		return
	}
	for _, w := range wanted {
		if value == w {
			return
		}
	}
	c.fields.Add(path, "%q is not known; want %s", value, strings.Join(wanted, " or "))
}

// Names appear in paths and in the identity of invoice lines.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

func (c compiler) name(path, value string) {
	switch {
	case value == "":
		c.fields.Add(path, "is missing")
	case !namePattern.MatchString(value):
		c.fields.Add(path, "%q is not a name; want 1 to 63 letters, digits, dots, underscores and hyphens, with a letter or digit at both ends", value)
	}
}

// decimal reads a decimal that is not negative; nil when text is empty or wrong.
func (c compiler) decimal(path, text string) *money.Decimal {
	if text == "" {
		return nil
	}
	d, err := money.ParseScale(text, money.PriceDecimals)
	if err != nil {
		c.fields.Add(path, "%s", err)
		return nil
	}
	if d.Sign() < 0 {
		c.fields.Add(path, "%s is negative; want 0 or more", text)
		return nil
	}
	return &d
}

// required is decimal for a field that must be there. What is wrong reads as 0, and is noted.
func (c compiler) required(path, text string) money.Decimal {
	if text == "" {
		c.fields.Add(path, "is missing")
	}
	return orZero(c.decimal(path, text))
}

func orZero(d *money.Decimal) money.Decimal {
	if d == nil {
		return money.Decimal{}
	}
	return *d
}

func (c compiler) bounds(leastPath, least, mostPath, most string) bounds {
	b := bounds{least: c.decimal(leastPath, least), most: c.decimal(mostPath, most)}
	if b.least != nil && b.most != nil && b.most.Less(*b.least) {
		c.fields.Add(mostPath, "%s is less than the minimum %s", most, least)
	}
	return b
}
