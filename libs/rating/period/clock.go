package period

import "time"

// wallClock returns what a clock on the wall shows in zone at t, held as if it were UTC.
func wallClock(t time.Time, zone *time.Location) time.Time {
	l := t.In(zone)
	return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), l.Nanosecond(), time.UTC)
}

// instant returns when a clock in zone shows wall: the first time if twice; if never, the instant at which it would with
// the offset in force before the gap (RFC 5545, section 3.3.5). time.Date leaves both cases open.
func instant(wall time.Time, zone *time.Location) time.Time {
	// No zone is a day and a half off UTC, and none changes its offset twice in three days.
	const reach = 36 * time.Hour
	before, after := offset(wall.Add(-reach), zone), offset(wall.Add(reach), zone)
	early, late := wall.Add(-before), wall.Add(-after)
	if late.Before(early) {
		early, late = late, early
	}
	for _, t := range []time.Time{early, late} {
		if wallClock(t, zone).Equal(wall) {
			return t
		}
	}
	return wall.Add(-before)
}

// offset returns the offset from UTC in force at t.
func offset(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// addMonths returns wall n months on, on the last day of a month that lacks the day.
func addMonths(wall time.Time, n int) time.Time {
	first := time.Date(wall.Year(), wall.Month()+time.Month(n), 1, wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), time.UTC)
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(wall.Day(), last)-1)
}
