// Package rating owns what usage costs: it checks plans and rates usage by them.
//
// Rate is one pure function, plan × usage × context → lines. Invoices, previews, replays, the simulator and the command
// "tollgate rate" all call it, so they cannot disagree. It reads no clock, does no I/O and uses no floating point, and the
// same input gives the same bytes of JSON. Any package may import it; everything is safe for concurrent use.
//
// # Runs
//
// A period may be rated in several progressive runs. Rate computes what the period amounts to so far and takes off what
// earlier runs billed, so any number of runs bills the same total as one, rounding, bounds and tiers included. MeterUsage
// says what is new (Quantity, Events) and what earlier runs rated (Previous, PreviousEvents): the period's total is their
// sum. What earlier runs billed follows from that; it may be stated too (Billed), and then it is what is taken off, so that
// the period's total comes right even if earlier runs were billed otherwise. A stated amount that no earlier usage
// accounts for stands beside this run's usage as a charge of its own, which the price's minimum and maximum span.
//
// Only the last run knows that usage stayed at zero or below a minimum. Flat parts due at zero usage (flatWhenZero),
// minima and true-ups are therefore due in it, and a maximum in every run.
//
// Late usage is a LateRun: the difference it makes to a period whose last run took place. The caller decides whether its
// lines go on the next invoice or as a correction on the original period; the amounts are the same. A change that makes
// the period cheaper gives negative lines, never clamped: a negative invoice becomes a credit note.
//
// # A usage price
//
// In this order:
//  1. units at no charge come off the period's usage first, included ones and then discounted ones; tiers, packages and
//     events count what remains. Vector: packages of 10 at 100, 10 included: 121 units are 12 packages.
//  2. the model rates what remains.
//  3. a discount in per cent comes off.
//  4. the price's maximum caps, and in the last run its minimum lifts, what the period amounts to.
//  5. the result is rounded once, half up, to the currency's decimals. What earlier runs billed is taken off.
//
// The detail of a line adds up to the line: it is rounded by largest remainder.
//
// # Models
//
//   - flat: the amount, in the first run (timing advance) or the last (arrears).
//   - unit: quantity × unit.
//   - graduated: each tier's units at that tier's unit, and its flat part once a unit falls into it. upTo is inclusive.
//   - volume: all units at the unit of the tier that the total falls into, and that tier's flat part.
//   - package: begun (round up) or full (round down) packages of size units, at unit each.
//   - stairstep: the flat part of the tier that the total falls into.
//   - percentage: rate per cent of the events' amounts and a fixed part per event, each event's charge within perEvent. The
//     free allowance covers the first events and the first amount, and ends as soon as either is used up; an event that it
//     covers in full is free, fixed part included, and one that it covers in part is charged for the rest. Included units
//     cover amounts in the same way and come first.
//   - graduatedPercentage: as graduated, with rate per cent of each tier's amount in place of unit.
//   - dynamic: the events' amounts × multiplier.
//
// Without fixed, free and perEvent a percentage depends on the sum of the amounts only; quantity gives it as well as
// events do. dynamic and graduatedPercentage always do.
//
// # Plan minimum and maximum
//
// They bound the sum of the period's rounded lines, recurring and usage alike, over all runs. What is missing is a line of
// its own with the price TrueUp; what is too much, a negative line with the price Cap.
//
// # Shares of a period
//
// Context.Share prorates what is an amount per period: flat amounts, minima and maxima. Units, tiers and unit prices are
// not prorated.
package rating
