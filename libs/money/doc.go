// Package money owns exact decimals, currencies, rounding and allocation.
//
// It guarantees:
//   - A Decimal is an integer divided by a power of ten. Sum, difference and product are exact, always. The only
//     operations that can lose digits say so in their name (the Round family); Exact refuses to.
//   - Nothing passes through a binary floating-point number, and text stands for one value only: no exponents, no NaN, no
//     infinities, no signs but a leading minus. In JSON a Decimal is a string.
//   - A currency is an ISO 4217 code with its number of decimals. An unknown code is an error, never "two decimals".
//   - Rounding is half up in magnitude (what General Decimal Arithmetic calls round-half-up): 10.275 becomes 10.28 and
//     −10.275 becomes −10.28, so that a credit mirrors its charge.
//   - What is split sums to what was split: remainders go by largest remainder, ties by order.
//
// Magnitude: Parse accepts at most MaxDigits digits before and MaxDecimals after the point, and intermediate results are as
// long as they need to be. Since text from outside is bounded and rating multiplies a fixed number of factors, so is memory.
//
// To and from Postgres, a Decimal travels as text (String and Parse) in a numeric column.
//
// Any package may import it. All values are immutable and safe for concurrent use.
package money
