package period

import (
	"time"

	"github.com/tollgate/tollgate/libs/money"
)

// Share returns how many of the rule's periods span covers, as an exact rational: 1 for each whole period and the served
// fraction of the others. It is 0 for an empty span.
func (r Rule) Share(span Interval) money.Ratio {
	whole, rest := r.Measure(span)
	return money.Whole(whole).Add(rest)
}

// Measure counts the whole periods in span and returns the sum of the fractions of those it covers in part.
func (r Rule) Measure(span Interval) (whole int64, rest money.Ratio) {
	for p := range r.All(span) {
		served := p.Overlap(span)
		if served == p {
			whole++
			continue
		}
		rest = rest.Add(r.fraction(served, p))
	}
	return whole, rest
}

// Fraction returns the exact share of the period p, one of the rule's own or a stored one, that served covers: 0 to 1.
func (r Rule) Fraction(served, p Interval) money.Ratio {
	served = p.Overlap(served)
	if p.Empty() || served.Empty() {
		return money.Ratio{}
	}
	return r.fraction(served, p)
}

func (r Rule) fraction(served, p Interval) money.Ratio {
	part, full := int64(served.Duration()), int64(p.Duration())
	if r.byDay {
		part, full = r.days(served), r.days(p)
	}
	// A period of hours within one local day has no day of its own: nothing can be a share of it.
	ratio, err := money.NewRatio(part, full)
	if err != nil {
		return money.Ratio{}
	}
	return ratio
}

// days counts local days, the day of the start included and the day of the end excluded.
func (r Rule) days(i Interval) int64 {
	return int64(midnight(i.End, r.zone).Sub(midnight(i.Start, r.zone)) / (24 * time.Hour))
}

func midnight(t time.Time, zone *time.Location) time.Time {
	return wallClock(t, zone).Truncate(24 * time.Hour)
}
