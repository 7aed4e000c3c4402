package domain

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/tollgate/tollgate/libs/rating/period"
)

const hour = int64(time.Hour)

// Phase is a time in which a subscription is under one plan version.
type Phase struct {
	// From is when it begins; it ends where the next one begins.
	From        int64
	Plan        string
	PlanVersion uint32
	// Period of the plan version.
	Period period.Config
}

// Calendar says where the time of a subscription is divided. The zero value divides by the hours of UTC only: it is that of
// calls without a subscription, and of one that is not known yet. A Calendar remembers the bucket of the last call; it is safe for
// concurrent use.
type Calendar struct {
	zone           *time.Location
	started, ended int64 // 0: not yet
	phases         []Phase
	rules          []period.Rule
	days           period.Rule

	mu       sync.Mutex        // guards what follows
	from, to int64             // of the last call
	windows  map[string]Window // the last one asked for, by length
}

// NewCalendar returns the calendar of a subscription. ended is 0 for one that has not; phases are in the order of time.
func NewCalendar(zone string, started, ended int64, phases []Phase) (*Calendar, error) {
	days, err := period.New(period.Config{Every: period.Day, Anchor: period.Calendar, TimeZone: zone}, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("calendar: %w", err)
	}
	c := &Calendar{started: started, ended: ended, phases: phases, days: days}
	if c.zone, err = time.LoadLocation(zone); err != nil {
		return nil, fmt.Errorf("calendar: %w", err)
	}
	for _, p := range phases {
		p.Period.TimeZone = zone
		rule, err := period.New(p.Period, time.Unix(0, started))
		if err != nil {
			return nil, fmt.Errorf("calendar: %w", err)
		}
		c.rules = append(c.rules, rule)
	}
	return c, nil
}

// Zone is the subscription's time zone.
func (c *Calendar) Zone() *time.Location {
	if c.zone == nil {
		return time.UTC
	}
	return c.zone
}

// Bucket returns the beginning of the bucket that an instant belongs to.
func (c *Calendar) Bucket(at int64) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.from <= at && at < c.to {
		return c.from
	}
	c.from, c.to = math.MinInt64, math.MaxInt64
	c.narrow(floor(at, hour), floor(at, hour)+hour)
	if c.zone != nil {
		c.narrow(localHour(at, c.zone))
		c.narrowTo(c.days.At(time.Unix(0, at)))
		c.cut(at, c.started)
		if c.ended != 0 {
			c.cut(at, c.ended)
			c.cut(at, c.ended+int64(period.Drain)) // where billing ends the last period
		}
		for _, p := range c.phases {
			c.cut(at, p.From)
		}
		if i := c.phase(at); i >= 0 {
			c.narrowTo(c.rules[i].At(time.Unix(0, at)))
		}
	}
	return c.from
}

func (c *Calendar) narrow(from, to int64) { c.from, c.to = max(c.from, from), min(c.to, to) }

func (c *Calendar) narrowTo(i period.Interval) { c.narrow(i.Start.UnixNano(), i.End.UnixNano()) }

// cut narrows to the side of an instant that at lies on.
func (c *Calendar) cut(at, instant int64) {
	switch {
	case instant == 0:
	case at < instant:
		c.to = min(c.to, instant)
	default:
		c.from = max(c.from, instant)
	}
}

// phase returns the index of the phase in force at an instant, -1 before the first.
func (c *Calendar) phase(at int64) int {
	i := len(c.phases) - 1
	for i >= 0 && at < c.phases[i].From {
		i--
	}
	return i
}

// Phase returns the phase in force at an instant, and false before the first.
func (c *Calendar) Phase(at int64) (Phase, bool) {
	if i := c.phase(at); i >= 0 {
		return c.phases[i], true
	}
	return Phase{}, false
}

// Window is the window of a quota, half-open.
type Window struct{ Start, End int64 }

// Contains says whether an instant is in the window.
func (w Window) Contains(at int64) bool { return w.Start <= at && at < w.End }

// Window returns the window of a quota per hour, day, week (from Monday), month or year that an instant lies in, by the clocks and
// the calendar of the subscription's time zone.
func (c *Calendar) Window(per string, at int64) (Window, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.windows[per]; ok && w.Contains(at) {
		return w, nil
	}
	w, err := c.window(per, at)
	if err == nil {
		if c.windows == nil {
			c.windows = map[string]Window{}
		}
		c.windows[per] = w
	}
	return w, err
}

func (c *Calendar) window(per string, at int64) (Window, error) {
	if per == "hour" {
		start, end := localHour(at, c.Zone())
		return Window{start, end}, nil
	}
	rule, err := period.New(period.Config{Every: per, Anchor: period.Calendar, TimeZone: c.Zone().String()}, time.Time{})
	if err != nil || per == "" {
		return Window{}, fmt.Errorf("%q is not a window of a quota; want hour, day, week, month or year", per)
	}
	i := rule.At(time.Unix(0, at))
	return Window{i.Start.UnixNano(), i.End.UnixNano()}, nil
}

// localHour returns the hour that clocks in zone show, by the offset in force at the instant.
func localHour(at int64, zone *time.Location) (from, to int64) {
	_, offset := time.Unix(0, at).In(zone).Zone()
	shift := int64(offset) * int64(time.Second)
	from = floor(at+shift, hour) - shift
	return from, from + hour
}

// floor rounds down to a multiple of unit.
func floor(at, unit int64) int64 {
	rest := at % unit
	if rest < 0 {
		rest += unit
	}
	return at - rest
}
