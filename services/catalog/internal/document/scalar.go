package document

import (
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
)

// bounds returns the least and the greatest number of a schema, and whether each is excluded. They are infinite where there is
// none.
func bounds(s *openapi3.Schema) (low, high float64, above, below bool) {
	low, high = math.Inf(-1), math.Inf(1)
	if s.Min != nil {
		low = *s.Min
	}
	if s.Max != nil {
		high = *s.Max
	}
	// A boolean in OpenAPI 3.0, a bound of its own in 3.1.
	above, below = s.ExclusiveMin.Bool != nil && *s.ExclusiveMin.Bool, s.ExclusiveMax.Bool != nil && *s.ExclusiveMax.Bool
	if v := s.ExclusiveMin.Value; v != nil && *v >= low {
		low, above = *v, true
	}
	if v := s.ExclusiveMax.Value; v != nil && *v <= high {
		high, below = *v, true
	}
	return low, high, above, below
}

// integer returns a whole number within the bounds.
func integer(s *openapi3.Schema) any {
	low, high, above, below := bounds(s)
	step := 1.0
	if s.MultipleOf != nil && *s.MultipleOf > 0 {
		step = math.Max(1, *s.MultipleOf)
	}
	value := closest(low, high, above, below, step)
	if math.Abs(value) < 1<<53 {
		return int64(value)
	}
	return value
}

// number returns a number within the bounds.
func number(s *openapi3.Schema) any {
	low, high, above, below := bounds(s)
	if s.MultipleOf != nil && *s.MultipleOf > 0 {
		return closest(low, high, above, below, *s.MultipleOf)
	}
	value := closest(low, high, above, below, 1)
	if value > low && value < high || value == low && !above || value == high && !below {
		return value
	}
	return (low + high) / 2
}

// closest returns the multiple of step within the bounds that is closest to 1.
func closest(low, high float64, above, below bool, step float64) float64 {
	value := math.Ceil(1/step) * step
	if value < low || value == low && above {
		value = math.Ceil(low/step) * step
		if value == low && above {
			value += step
		}
	}
	if value > high || value == high && below {
		value = math.Floor(high/step) * step
		if value == high && below {
			value -= step
		}
	}
	return value
}

// formats are values of the formats of OpenAPI's registry and of JSON Schema.
var formats = map[string]string{
	"date-time": "2024-01-01T12:00:00Z", "date": "2024-01-01", "time": "12:00:00Z", "duration": "P1D",
	"email": "user@example.com", "idn-email": "user@example.com", "hostname": "example.com", "idn-hostname": "example.com",
	"ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "uri": "https://example.com/", "url": "https://example.com/", "uri-reference": "/example",
	"iri": "https://example.com/", "iri-reference": "/example", "uri-template": "/example/{id}", "uuid": "00000000-0000-4000-8000-000000000000",
	"byte": "dGV4dA==", "json-pointer": "/example", "relative-json-pointer": "0", "regex": "^text$",
}

// text returns a string of the schema's format, pattern and length; where they cannot be had together, the format or the pattern
// counts.
func text(s *openapi3.Schema) string {
	if s.Pattern != "" {
		if value, ok := matching(s.Pattern); ok {
			return value
		}
	}
	if value, known := formats[s.Format]; known {
		return value
	}
	value := "text"
	if least := int(min(s.MinLength, maxText)); len(value) < least {
		value = strings.Repeat(value, least/len(value)+1)[:least]
	}
	if s.MaxLength != nil && uint64(len(value)) > *s.MaxLength {
		value = value[:*s.MaxLength]
	}
	return value
}

// maxText is the longest string that is made, in bytes.
const maxText = 1000

// matching returns a string that matches a regular expression; not ok where it is not one of RE2 or asks too much.
func matching(pattern string) (string, bool) {
	if len(pattern) > maxText {
		return "", false
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	write(&b, parsed)
	compiled, err := regexp.Compile(pattern)
	if err != nil || b.Len() > maxText || !compiled.MatchString(b.String()) {
		return "", false
	}
	return b.String(), true
}

// write appends what the expression matches at least. Assertions are left to the check of the whole.
func write(b *strings.Builder, e *syntax.Regexp) {
	if b.Len() > maxText {
		return
	}
	switch e.Op {
	case syntax.OpLiteral:
		b.WriteString(string(e.Rune))
	case syntax.OpCharClass:
		b.WriteRune(member(e.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('a')
	case syntax.OpCapture, syntax.OpPlus:
		write(b, e.Sub[0])
	case syntax.OpRepeat:
		for range e.Min {
			write(b, e.Sub[0])
		}
	case syntax.OpConcat:
		for _, sub := range e.Sub {
			write(b, sub)
		}
	case syntax.OpAlternate:
		write(b, e.Sub[0])
	default: // nothing, for what may be left out and for assertions
	}
}

// member returns a character of a class, given as ranges: a letter or digit if there is one.
func member(ranges []rune) rune {
	for _, wanted := range "a0A" {
		for i := 0; i+1 < len(ranges); i += 2 {
			if ranges[i] <= wanted && wanted <= ranges[i+1] {
				return wanted
			}
		}
	}
	for i := 0; i+1 < len(ranges); i += 2 {
		if ranges[i] > ' ' && utf8.ValidRune(ranges[i]) {
			return ranges[i]
		}
	}
	if len(ranges) == 0 {
		return 'a'
	}
	return ranges[0]
}
