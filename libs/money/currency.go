package money

import (
	"fmt"

	"github.com/bojanz/currency"
)

// Currency is an ISO 4217 currency in which amounts are rounded and printed. The zero value is no currency: it has no
// code, and amounts in it have no decimals. Get one from ParseCurrency.
type Currency struct {
	code     string
	decimals uint32
}

// ParseCurrency returns the currency with that ISO 4217 code, in capitals as the standard writes it. The number of
// decimals is the standard's: 2 for USD, 0 for JPY, 3 for KWD. A payment provider may count differently; its table
// belongs to its adapter.
func ParseCurrency(code string) (Currency, error) {
	if code == "" {
		return Currency{}, fmt.Errorf(`is missing; want an ISO 4217 code such as "USD"`)
	}
	decimals, known := currency.GetDigits(code)
	if !known {
		return Currency{}, fmt.Errorf(`%s is not a currency; want an ISO 4217 code such as "USD"`, quoted(code))
	}
	return Currency{code: code, decimals: uint32(decimals)}, nil
}

// Code returns the ISO 4217 code.
func (c Currency) Code() string { return c.code }

// String returns the code.
func (c Currency) String() string { return c.code }

// Decimals returns the number of decimals of an amount, the exponent of ISO 4217.
func (c Currency) Decimals() uint32 { return c.decimals }

// MarshalText implements encoding.TextMarshaler with the code.
func (c Currency) MarshalText() ([]byte, error) { return []byte(c.code), nil }

// UnmarshalText implements encoding.TextUnmarshaler; see ParseCurrency.
func (c *Currency) UnmarshalText(text []byte) error {
	parsed, err := ParseCurrency(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// ParseAmount reads an amount that is payable in c: it has no more decimals than c, and gets exactly those.
func (c Currency) ParseAmount(text string) (Decimal, error) {
	d, err := Parse(text)
	if err != nil {
		return Decimal{}, err
	}
	amount, err := d.Exact(c.decimals)
	if err != nil {
		return Decimal{}, fmt.Errorf("%w, and %s has no smaller unit", err, c.code)
	}
	return amount, nil
}

// Round rounds d half up to an amount in c, with exactly c's decimals. It is the one rounding of an invoice line.
func (c Currency) Round(d Decimal) Decimal { return d.Round(c.decimals) }

// RoundRatio rounds d × share half up to an amount in c: the exact product is rounded, once.
func (c Currency) RoundRatio(d Decimal, share Ratio) Decimal { return d.RoundRatio(share, c.decimals) }

// Format returns d rounded to c, with exactly c's decimals: "10.00" in USD, "10" in JPY.
func (c Currency) Format(d Decimal) string { return c.Round(d).String() }
