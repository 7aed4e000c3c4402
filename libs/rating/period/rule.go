package period

import (
	"errors"
	"iter"
	"time"
	// The zone database is linked in: see the package doc.
	_ "time/tzdata"

	"github.com/tollgate/tollgate/libs/problem"
)

// Lengths of a period.
const (
	Day     = "day"
	Week    = "week"
	Month   = "month" // the default
	Quarter = "quarter"
	Year    = "year"
)

// Anchors of a period.
const (
	Calendar    = "calendar"
	Anniversary = "anniversary" // the default
)

// Prorations.
const (
	BySecond = "second" // the default
	ByDay    = "day"
)

// Config describes a rule in the words of a plan. Empty texts stand for the defaults.
type Config struct {
	Every     string // day, week, month, quarter or year; month by default
	Anchor    string // calendar or anniversary; anniversary by default
	TimeZone  string // IANA name; UTC by default
	Proration string // second or day; second by default
}

// Validate returns an error of kind Invalid that names every field that is wrong.
func (c Config) Validate() error {
	var fields problem.Fields
	c.Check("", &fields)
	return fields.Err("period-invalid", "The period is not valid.")
}

// Check adds every field that is wrong to fields, with prefix before its path.
func (c Config) Check(prefix string, fields *problem.Fields) {
	if _, known := steps[orDefault(c.Every, Month)]; !known {
		fields.Add(prefix+"every", "%q is not a length of period; want day, week, month, quarter or year", c.Every)
	}
	if a := orDefault(c.Anchor, Anniversary); a != Calendar && a != Anniversary {
		fields.Add(prefix+"anchor", "%q is not an anchor; want calendar or anniversary", c.Anchor)
	}
	if _, err := location(c.TimeZone); err != nil {
		fields.Add(prefix+"timeZone", `%q is not a time zone; want an IANA name such as "Europe/Berlin"`, c.TimeZone)
	}
	if p := orDefault(c.Proration, BySecond); p != BySecond && p != ByDay {
		fields.Add(prefix+"proration", "%q is not a proration; want second or day", c.Proration)
	}
}

func orDefault(value, standard string) string {
	if value == "" {
		return standard
	}
	return value
}

// location loads a zone by its IANA name. "Local" is no name: it would mean another zone on every machine.
func location(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, errors.New("the zone of the machine has no fixed meaning")
	}
	return time.LoadLocation(name)
}

const secondsPerDay = 24 * 60 * 60

// step is the length of a period: calendar months or days, one of them 0.
type step struct{ months, days int }

var steps = map[string]step{
	Day: {days: 1}, Week: {days: 7}, Month: {months: 1}, Quarter: {months: 3}, Year: {months: 12},
}

// Rule says where periods start and end. The zero value is not usable: get one from New.
type Rule struct {
	step  step
	zone  *time.Location
	byDay bool
	// Wall-clock time that boundaries are counted from, held as if it were UTC.
	wall time.Time
	// The instant of boundary 0. An anniversary begins at its very anchor, even where the wall-clock time occurs twice.
	origin time.Time
}

// New returns the rule that c describes. anchor is the instant that an anniversary counts from; a calendar rule takes no
// account of it.
func New(c Config, anchor time.Time) (Rule, error) {
	if err := c.Validate(); err != nil {
		return Rule{}, err
	}
	zone, err := location(c.TimeZone)
	if err != nil {
		return Rule{}, err
	}
	r := Rule{step: steps[orDefault(c.Every, Month)], zone: zone, byDay: c.Proration == ByDay}
	if c.Anchor == Calendar {
		// The first day of a year, and a Monday: every calendar length has a boundary here.
		r.wall = time.Date(2001, time.January, 1, 0, 0, 0, 0, time.UTC)
		r.origin = instant(r.wall, zone)
		return r, nil
	}
	r.wall = wallClock(anchor, zone)
	r.origin = anchor.UTC()
	return r, nil
}

// Boundary returns the n-th boundary, in UTC: the anchor for 0, and earlier ones for n below 0. The n-th period is
// [Boundary(n), Boundary(n+1)).
func (r Rule) Boundary(n int) time.Time {
	if n == 0 {
		return r.origin
	}
	if r.step.months == 0 {
		return instant(r.wall.AddDate(0, 0, n*r.step.days), r.zone)
	}
	return instant(addMonths(r.wall, n*r.step.months), r.zone)
}

// Index returns the number of the period that t lies in.
func (r Rule) Index(t time.Time) int {
	wall := wallClock(t, r.zone)
	var n int
	if r.step.months == 0 {
		n = int((wall.Unix()-r.wall.Unix())/secondsPerDay) / r.step.days
	} else {
		n = ((wall.Year()-r.wall.Year())*12 + int(wall.Month()) - int(r.wall.Month())) / r.step.months
	}
	// The estimate is off by a period or two, for what was cut off and where clocks change.
	for t.Before(r.Boundary(n)) {
		n--
	}
	for !t.Before(r.Boundary(n + 1)) {
		n++
	}
	return n
}

// Period returns the n-th period.
func (r Rule) Period(n int) Interval { return Interval{Start: r.Boundary(n), End: r.Boundary(n + 1)} }

// At returns the period that t lies in.
func (r Rule) At(t time.Time) Interval { return r.Period(r.Index(t)) }

// After returns the period that follows p, one of the rule's own.
func (r Rule) After(p Interval) Interval { return r.At(p.End) }

// All returns an iterator over the periods that meet span, the first and the last of them in whole. Empty periods are
// left out.
func (r Rule) All(span Interval) iter.Seq[Interval] {
	return func(yield func(Interval) bool) {
		if span.Empty() {
			return
		}
		for n := r.Index(span.Start); ; n++ {
			p := r.Period(n)
			if !p.Start.Before(span.End) {
				return
			}
			if !p.Empty() && !yield(p) {
				return
			}
		}
	}
}
