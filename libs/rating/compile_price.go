package rating

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/libs/money"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// Names of the models.
const (
	modelFlat                = "flat"
	modelUnit                = "unit"
	modelGraduated           = "graduated"
	modelVolume              = "volume"
	modelPackage             = "package"
	modelStairstep           = "stairstep"
	modelPercentage          = "percentage"
	modelGraduatedPercentage = "graduatedPercentage"
	modelDynamic             = "dynamic"
)

var models = []string{
	modelFlat, modelUnit, modelGraduated, modelVolume, modelPackage, modelStairstep, modelPercentage, modelGraduatedPercentage, modelDynamic,
}

// usageFields are allowed in every price but flat ones.
var usageFields = []string{"meter", "included", "discount", "minimum", "maximum"}

// modelFields are the fields that each model has beside name and model.
var modelFields = map[string][]string{
	modelFlat:                {"amount", "timing", "discount"},
	modelUnit:                append([]string{"unit"}, usageFields...),
	modelGraduated:           append([]string{"tiers", "flatWhenZero"}, usageFields...),
	modelVolume:              append([]string{"tiers", "flatWhenZero"}, usageFields...),
	modelPackage:             append([]string{"size", "unit", "round"}, usageFields...),
	modelStairstep:           append([]string{"tiers", "flatWhenZero"}, usageFields...),
	modelPercentage:          append([]string{"rate", "fixed", "free", "perEvent"}, usageFields...),
	modelGraduatedPercentage: append([]string{"tiers", "flatWhenZero"}, usageFields...),
	modelDynamic:             append([]string{"multiplier"}, usageFields...),
}

func (c compiler) price(path string, spec *catalogv1.Price) *price {
	c.name(path+"name", spec.GetName())
	p := &price{name: spec.GetName(), meter: spec.GetMeter()}
	kind := spec.GetModel()
	allowed, known := modelFields[kind]
	if !known {
		if kind == "" {
			c.fields.Add(path+"model", "is missing; want one of %s", strings.Join(models, ", "))
		} else {
			c.fields.Add(path+"model", "%q is not a model; want one of %s", kind, strings.Join(models, ", "))
		}
		return p
	}
	for _, field := range setFields(spec) {
		if !slices.Contains(allowed, field) {
			c.fields.Add(path+field, "is not a field of model %s, which has %s", kind, strings.Join(allowed, ", "))
		}
	}
	p.discount = c.discount(path+"discount", kind, spec.GetDiscount())
	if kind == modelFlat {
		c.oneOf(path+"timing", spec.GetTiming(), "advance", "arrears")
		p.flat = &recurring{amount: c.required(path+"amount", spec.GetAmount()), advance: spec.GetTiming() == "advance"}
		return p
	}
	c.name(path+"meter", spec.GetMeter())
	p.included = orZero(c.decimal(path+"included", spec.GetIncluded()))
	p.bounds = c.bounds(path+"minimum", spec.GetMinimum(), path+"maximum", spec.GetMaximum())
	p.model = c.model(path, kind, spec)
	return p
}

// setFields returns the names of the optional fields that are set.
func setFields(p *catalogv1.Price) []string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"meter", p.GetMeter() != ""},
		{"amount", p.GetAmount() != ""},
		{"timing", p.GetTiming() != ""},
		{"unit", p.GetUnit() != ""},
		{"tiers", len(p.GetTiers()) > 0},
		{"size", p.GetSize() != ""},
		{"round", p.GetRound() != ""},
		{"rate", p.GetRate() != ""},
		{"fixed", p.GetFixed() != ""},
		{"free", p.GetFree() != nil},
		{"perEvent", p.GetPerEvent() != nil},
		{"multiplier", p.GetMultiplier() != ""},
		{"included", p.GetIncluded() != ""},
		{"discount", p.GetDiscount() != nil},
		{"minimum", p.GetMinimum() != ""},
		{"maximum", p.GetMaximum() != ""},
		{"flatWhenZero", p.GetFlatWhenZero()},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

func (c compiler) model(path, kind string, p *catalogv1.Price) model {
	switch kind {
	case modelUnit:
		return perUnit{unit: c.required(path+"unit", p.GetUnit())}
	case modelGraduated, modelGraduatedPercentage:
		return graduated{tiers: c.tiers(path+"tiers", kind, p.GetTiers()), flatWhenZero: p.GetFlatWhenZero()}
	case modelVolume, modelStairstep:
		return volume{tiers: c.tiers(path+"tiers", kind, p.GetTiers()), flatWhenZero: p.GetFlatWhenZero()}
	case modelPackage:
		c.oneOf(path+"round", p.GetRound(), "up", "down")
		m := packages{size: c.required(path+"size", p.GetSize()), unit: c.required(path+"unit", p.GetUnit()), full: p.GetRound() == "down"}
		if p.GetSize() != "" && m.size.IsZero() {
			c.fields.Add(path+"size", "%q is no size of a package; want more than 0", p.GetSize())
		}
		return m
	case modelPercentage:
		return c.percentage(path, p)
	default:
		return dynamic{multiplier: c.required(path+"multiplier", p.GetMultiplier())}
	}
}

func (c compiler) percentage(path string, p *catalogv1.Price) model {
	m := percentage{
		percent:  c.required(path+"rate", p.GetRate()),
		fixed:    orZero(c.decimal(path+"fixed", p.GetFixed())),
		perEvent: c.bounds(path+"perEvent.min", p.GetPerEvent().GetMin(), path+"perEvent.max", p.GetPerEvent().GetMax()),
		free: allowance{
			events: c.decimal(path+"free.events", p.GetFree().GetEvents()),
			amount: c.decimal(path+"free.amount", p.GetFree().GetAmount()),
		},
	}
	if m.free.events != nil {
		if _, err := m.free.events.Exact(0); err != nil {
			c.fields.Add(path+"free.events", "%s is not a whole number of events", p.GetFree().GetEvents())
		}
	}
	return m
}

func (c compiler) discount(path, kind string, d *catalogv1.Discount) discount {
	if d == nil {
		return discount{}
	}
	out := discount{units: orZero(c.decimal(path+".units", d.GetUnits())), percent: orZero(c.decimal(path+".percent", d.GetPercent()))}
	switch {
	case (d.GetUnits() == "") == (d.GetPercent() == ""):
		c.fields.Add(path, "wants either units or percent")
	case kind == modelFlat && d.GetUnits() != "":
		c.fields.Add(path+".units", "is not for model flat, which has no units; want percent")
	case money.Int(100).Less(out.percent):
		c.fields.Add(path+".percent", "%s is more than 100", d.GetPercent())
	}
	return out
}

// tierFields says which parts of a tier a model takes; at least one of them must be there.
var tierFields = map[string][]string{
	modelGraduated: {"flat", "unit"}, modelVolume: {"flat", "unit"}, modelStairstep: {"flat"}, modelGraduatedPercentage: {"flat", "rate"},
}

func (c compiler) tiers(path, kind string, specs []*catalogv1.Tier) []tier {
	if len(specs) == 0 {
		c.fields.Add(path, "is missing; want at least one tier, the last of them without upTo")
	}
	tiers := make([]tier, len(specs))
	below := money.Decimal{}
	for i, spec := range specs {
		at := fmt.Sprintf("%s[%d].", path, i)
		tiers[i] = c.tier(at, kind, spec)
		last := i == len(specs)-1
		switch upTo := tiers[i].upTo; {
		case last && spec.GetUpTo() != "":
			c.fields.Add(at+"upTo", "%q ends the last tier, so that usage above has no price; leave it out, or add an open tier", spec.GetUpTo())
		case !last && spec.GetUpTo() == "":
			c.fields.Add(at+"upTo", "is missing; only the last tier is open")
		case upTo != nil && !below.Less(*upTo):
			c.fields.Add(at+"upTo", "%s does not rise; want more than %s", upTo, below)
		case upTo != nil:
			below = *upTo
		}
	}
	return tiers
}

func (c compiler) tier(path, kind string, spec *catalogv1.Tier) tier {
	allowed := tierFields[kind]
	priced := false
	for _, f := range []struct{ name, value string }{{"flat", spec.GetFlat()}, {"unit", spec.GetUnit()}, {"rate", spec.GetRate()}} {
		switch {
		case f.value == "":
		case slices.Contains(allowed, f.name):
			priced = true
		default:
			c.fields.Add(path+f.name, "is not a field of a tier of model %s, which has upTo, %s", kind, strings.Join(allowed, ", "))
		}
	}
	if !priced {
		c.fields.Add(path+allowed[0], "is missing; a tier of model %s has %s", kind, strings.Join(allowed, " or "))
	}
	return tier{
		upTo: c.decimal(path+"upTo", spec.GetUpTo()),
		flat: c.decimal(path+"flat", spec.GetFlat()),
		unit: c.decimal(path+"unit", spec.GetUnit()),
		rate: c.decimal(path+"rate", spec.GetRate()),
	}
}
