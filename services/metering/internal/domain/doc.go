// Package domain decides what calls amount to: which bucket of the ledger a call belongs to, what a batch of calls adds up to,
// how far a quota may be leased and when a gateway has said everything about a period. It does no I/O and knows no clock;
// times are nanoseconds since the Unix epoch. Metering's other folders import it, and nobody else.
//
// # Buckets
//
// The ledger keeps totals by bucket and not by call. A bucket never lies across an instant at which a period, a plan, a quota's
// window or an hour begins, so that the usage between two such instants is the exact sum of buckets, to the nanosecond.
// Those of a subscription are: the hours of UTC and of its own time zone, the days of its time zone, the beginnings of
// its billing periods, of its plans (see Phase), of itself, and its end. Such an instant that becomes known later than calls that it
// divides splits their bucket: see the app folder's split.
package domain
