// Package period owns billing periods: where they start and end, and which share of them was served.
//
// A period is a half-open interval of instants, [Start, End): the end of one is the start of the next, so every instant
// belongs to exactly one period and no usage falls between two.
//
// Boundaries recur from the original anchor and never from the boundary before, so that a day that a month lacks moves
// only that one boundary: January 31 is followed by February 28 (29 in a leap year) and then by March 31.
//
// Boundaries are wall-clock times in the time zone of the rule, turned into instants by RFC 5545, section 3.3.5: a time
// that occurs twice, when clocks go back, means its first occurrence; a time that does not occur, when clocks go forward,
// is read with the offset in force before the change. A day of such a change has 23 or 25 hours. Where a zone skipped a
// whole day, as Samoa did in 2011, the daily period of that day is empty, and no instant belongs to it.
//
// Callers store the boundaries they bill by and never compute them again: an update of the time zone database must not
// move the past. The database is linked in, so that a name that is valid on one machine is valid on all.
//
// A calendar rule has its boundaries at local midnight: days, weeks from Monday (ISO 8601), months from the 1st, quarters
// from January, April, July and October 1st, years from January 1st. An anniversary rule counts from its anchor.
//
// Proration counts whole periods as exactly 1 each and the rest as the exact rational of its duration over the duration of
// the period it lies in, by the second or by the local day, start included and end excluded.
//
// Everything is pure and safe for concurrent use. Any package may import it.
package period
