package money

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Bounds of the text that Parse accepts.
const (
	// MaxDigits is the largest number of digits before the point.
	MaxDigits = 24
	// MaxDecimals is the largest number of digits after the point.
	MaxDecimals = 18
	// PriceDecimals is the largest number of digits after the point that a unit price carries.
	PriceDecimals = 12
)

// Parse reads a decimal: an optional minus, 1 to MaxDigits digits, and optionally a point with 1 to MaxDecimals digits, as
// in "-12.50". Nothing else is accepted: no plus, no exponent, no grouping, no blanks, no NaN or Infinity. The number of
// decimals is kept.
func Parse(text string) (Decimal, error) { return ParseScale(text, MaxDecimals) }

// ParseScale is Parse with at most so many digits after the point.
func ParseScale(text string, maxDecimals uint32) (Decimal, error) {
	if text == "" {
		return Decimal{}, errors.New(`is empty; want a decimal such as "12.50"`)
	}
	digits := strings.TrimPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	if !isDigits(whole) || point && !isDigits(fraction) {
		return Decimal{}, fmt.Errorf(`%s is not a decimal; want digits with an optional point, such as "12.50"`, quoted(text))
	}
	if len(whole) > MaxDigits {
		return Decimal{}, fmt.Errorf("%s has %d digits before the point; at most %d are allowed", quoted(text), len(whole), MaxDigits)
	}
	if len(fraction) > int(maxDecimals) {
		return Decimal{}, fmt.Errorf("%s has %d decimals; at most %d are allowed", quoted(text), len(fraction), maxDecimals)
	}
	d := Decimal{scale: uint32(len(fraction))}
	if _, ok := d.coefficient.SetString(whole+fraction, 10); !ok {
		return Decimal{}, fmt.Errorf("%s is not a decimal", quoted(text))
	}
	if len(digits) < len(text) {
		return d.Neg(), nil
	}
	return d, nil
}

func isDigits(text string) bool {
	if text == "" {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// quoted quotes text for an error, shortened so that an error stays readable whatever was sent.
func quoted(text string) string {
	const most = 60
	if len(text) > most {
		return fmt.Sprintf("%q…", text[:most])
	}
	return fmt.Sprintf("%q", text)
}

// String returns d in the form that Parse reads, with exactly Scale decimals. A zero has no sign.
func (d Decimal) String() string {
	digits := d.coefficient.String()
	if d.scale == 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := int(d.scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(d.scale)
	return sign + digits[:point] + "." + digits[point:]
}

// MarshalText implements encoding.TextMarshaler; in JSON a Decimal is a string.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; see Parse.
func (d *Decimal) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// UnmarshalJSON implements json.Unmarshaler. It accepts a string only: a JSON number may have gone through a
// floating-point number on its way.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	var text string
	if len(data) == 0 || data[0] != '"' {
		return fmt.Errorf(`%s is not a decimal string; write it in quotes, such as "12.50"`, quoted(string(data)))
	}
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("read a decimal: %w", err)
	}
	return d.UnmarshalText([]byte(text))
}
