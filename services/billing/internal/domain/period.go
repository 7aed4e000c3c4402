// Package domain decides what subscriptions are billed for: their periods, the lines of an invoice, whether the counters
// prove it, and the steps of an invoice and of a billing run. It is pure: no I/O, no clock, no random.
//
// All instants are exact to the nanosecond. A period is billed once, at its end, with the amounts due in advance and in
// arrears alike (rating.OnlyRun).
package domain

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tollgate/tollgate/libs/rating"
	"github.com/tollgate/tollgate/libs/rating/period"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// ErrPlanUnknown says that a plan version is not known here yet: catalog's log has not been followed so far.
var ErrPlanUnknown = errors.New("the plan version is not known yet")

// Phase is a time in which a subscription is under one plan version. It ends where the next one begins.
type Phase struct {
	From    time.Time
	PlanID  string
	Plan    string // name
	Version uint32
	// Spec is nil while the plan version is not known.
	Spec *catalogv1.PlanSpec
}

// Subscription is what billing knows of a subscription that has started.
type Subscription struct {
	ID, AccountID, TimeZone string
	StartedAt               time.Time
	// EndedAt is zero for one that goes on.
	EndedAt time.Time
	// Phases in order of time; the first begins with the subscription.
	Phases []Phase
}

// Period is a billing period of a subscription.
type Period struct {
	// Number counts the subscription's periods from 1.
	Number int
	// Interval is what is billed: the next period begins where it ends.
	period.Interval
	// Whole is the period of the plan's rule that Interval lies in: the same, or more where a calendar period began before
	// the subscription did, or was cut short by a plan with other periods. Amounts per period are due for the share of it.
	Whole period.Interval
}

// phaseAt returns the index of the phase in force at t.
func (s Subscription) phaseAt(t time.Time) int {
	i := len(s.Phases) - 1
	for i > 0 && t.Before(s.Phases[i].From) {
		i--
	}
	return i
}

// rule returns where periods under a phase's plan start and end. They count from the start of the subscription.
func (s Subscription) rule(p Phase) (period.Rule, error) {
	if p.Spec == nil {
		return period.Rule{}, fmt.Errorf("plan %s version %d: %w", p.PlanID, p.Version, ErrPlanUnknown)
	}
	return period.New(s.periodConfig(p), s.StartedAt)
}

// periodConfig is a plan's in the time zone of the subscription, which a change of plan does not move.
func (s Subscription) periodConfig(p Phase) period.Config {
	c := rating.PeriodConfig(p.Spec.GetPeriod())
	c.TimeZone = s.TimeZone
	return c
}

// boundaries says whether two configurations have the same boundaries.
func boundaries(a, b period.Config) bool {
	defaults := func(c period.Config) period.Config {
		if c.Every == "" {
			c.Every = period.Month
		}
		if c.Anchor == "" {
			c.Anchor = period.Anniversary
		}
		c.Proration = ""
		return c
	}
	return defaults(a) == defaults(b)
}

// next returns the period that begins at start. A later phase whose plan has other periods ends it.
func (s Subscription) next(number int, start time.Time) (Period, error) {
	if len(s.Phases) == 0 {
		return Period{}, fmt.Errorf("subscription %s has no plan: %w", s.ID, ErrPlanUnknown)
	}
	i := s.phaseAt(start)
	rule, err := s.rule(s.Phases[i])
	if err != nil {
		return Period{}, err
	}
	whole := rule.At(start)
	p := Period{Number: number, Interval: period.Interval{Start: start.UTC(), End: whole.End}, Whole: whole}
	for _, later := range s.Phases[i+1:] {
		if !later.From.Before(p.End) {
			break
		}
		if later.Spec == nil {
			return Period{}, fmt.Errorf("plan %s version %d: %w", later.PlanID, later.Version, ErrPlanUnknown)
		}
		if !boundaries(s.periodConfig(s.Phases[i]), s.periodConfig(later)) {
			p.End = later.From.UTC()
			break
		}
	}
	if closes := s.closes(); closes.After(start) && closes.Before(p.End) {
		p.End = closes
	}
	return p, nil
}

// closes returns when the last period of a subscription that has ended is over; zero for one that goes on.
func (s Subscription) closes() time.Time {
	if s.EndedAt.IsZero() {
		return time.Time{}
	}
	return s.EndedAt.Add(period.Drain).UTC()
}

// Extend returns the periods that are missing after last (nil for none), up to the one that now lies in; none begins after the
// subscription has ended and drained. Stored boundaries stay as they are, except that cut is last as Cut has it, when last is open.
func (s Subscription) Extend(last *Period, open bool, now time.Time) (cut *Period, more []Period, err error) {
	number, start := 1, s.StartedAt
	if last != nil {
		number, start = last.Number+1, last.End
		if open {
			if cut, err = s.Cut(*last); err != nil {
				return nil, nil, err
			}
			if cut != nil {
				start = cut.End
			}
		}
	}
	for !now.Before(start) && (s.EndedAt.IsZero() || start.Before(s.closes())) {
		p, err := s.next(number, start)
		if err != nil {
			return nil, nil, err
		}
		more = append(more, p)
		number, start = number+1, p.End
	}
	return cut, more, nil
}

// Cut returns the last period, an open one, with an earlier end, when a plan with other periods has come into force or the
// subscription has ended within it. When that plan came into force before it, which was learned late, it is as that plan has it: its
// end may be later. Else it returns nil.
func (s Subscription) Cut(p Period) (*Period, error) {
	again, err := s.next(p.Number, p.Start)
	if err != nil {
		return nil, err
	}
	rule, err := s.rule(s.Phases[s.phaseAt(p.Start)])
	switch {
	case err != nil:
		return nil, err
	case !of(rule, p.Whole):
		return &again, nil
	case !again.End.Before(p.End) || !s.beginsAt(again.End) && !again.End.Equal(s.closes()):
		return nil, nil
	}
	p.End = again.End
	return &p, nil
}

// shift is how far an update of the time zone database may move a boundary: by hours, or over the date line. Stored boundaries do not
// follow it.
const shift = 36 * time.Hour

// of says whether a period is one of a rule's, but for a shift.
func of(rule period.Rule, p period.Interval) bool {
	own := rule.At(p.Start.Add(p.Duration() / 2))
	return own.Start.Sub(p.Start).Abs() <= shift && own.End.Sub(p.End).Abs() <= shift
}

// beginsAt says whether a phase begins at t.
func (s Subscription) beginsAt(t time.Time) bool {
	return slices.ContainsFunc(s.Phases, func(p Phase) bool { return p.From.Equal(t) })
}

// Segment is the part of a period under one plan version.
type Segment struct {
	// Number counts the segments of the period from 1: it is the phase in the identity of an invoice line.
	Number int
	Phase
	// Usage is the time whose calls belong to the segment. The segments of a period cover it without gap or overlap.
	Usage period.Interval
	// Served is the time for which amounts per period are due: Usage, but not beyond the end of the subscription; empty after
	// it. Calls that were under way then are still billed.
	Served period.Interval
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Segments divides a period.
func (s Subscription) Segments(p Period) []Segment {
	var segments []Segment
	for i := s.phaseAt(p.Start); i >= 0 && i < len(s.Phases); i++ {
		phase := s.Phases[i]
		begin := phase.From
		if len(segments) == 0 {
			begin = p.Start
		}
		if len(segments) > 0 && (!begin.Before(p.End) || !s.EndedAt.IsZero() && !begin.Before(s.EndedAt)) {
			break
		}
		if n := len(segments); n > 0 {
			segments[n-1].Usage.End = begin.UTC()
		}
		segments = append(segments, Segment{
			Number: len(segments) + 1, Phase: phase, Usage: period.Interval{Start: begin.UTC(), End: p.End},
		})
	}
	for i := range segments {
		segments[i].Served = segments[i].Usage
		if !s.EndedAt.IsZero() && s.EndedAt.Before(segments[i].Served.End) {
			segments[i].Served.End = latest(s.EndedAt.UTC(), segments[i].Served.Start)
		}
	}
	return segments
}
