package period

import (
	"fmt"
	"time"
)

// Interval is a half-open interval of instants, [Start, End).
type Interval struct {
	Start, End time.Time
}

// Contains says whether t lies in the interval.
func (i Interval) Contains(t time.Time) bool { return !t.Before(i.Start) && t.Before(i.End) }

// Empty says whether no instant lies in the interval.
func (i Interval) Empty() bool { return !i.Start.Before(i.End) }

// Duration returns the time between the two ends.
func (i Interval) Duration() time.Duration { return i.End.Sub(i.Start) }

// Overlap returns the part of i that lies in o; it is empty when they do not meet.
func (i Interval) Overlap(o Interval) Interval {
	if o.Start.After(i.Start) {
		i.Start = o.Start
	}
	if o.End.Before(i.End) {
		i.End = o.End
	}
	return i
}

// String returns the interval as "[start, end)" in RFC 3339.
func (i Interval) String() string {
	return fmt.Sprintf("[%s, %s)", i.Start.UTC().Format(time.RFC3339Nano), i.End.UTC().Format(time.RFC3339Nano))
}
