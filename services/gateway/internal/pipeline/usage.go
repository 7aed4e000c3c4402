package pipeline

import (
	"errors"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
)

// usageHeader is the field in which an upstream reports quantities: a dictionary of structured fields (RFC 9651, section 3.2) whose
// members are integers or decimals by meter.
const usageHeader = "Tollgate-Usage"

// What usage_source says.
const (
	usageUpstream = "upstream"
	usageInvalid  = "invalid"
)

// usage takes the reported quantities out of the answer and into the record.
func (p *Pipeline) usage(x *exchange.Exchange) bool {
	if x.Response.Header(usageHeader) == nil {
		return true
	}
	var text []byte
	x.Response.Values(usageHeader, func(value []byte) {
		if len(text) > 0 {
			text = append(text, ',')
		}
		text = append(text, value...)
	})
	x.Response.DelHeader(usageHeader)
	quantities, err := parseUsage(string(text))
	x.Call.UsageSource = usageUpstream
	for _, q := range quantities {
		switch {
		case !slices.Contains(x.API.Meters, q.Meter):
			p.Metrics.usageUndeclared()
		case q.Value == "" || !x.Call.AddQuantity(q):
			err = errors.New("a quantity is no number from 0 up")
		}
	}
	if err != nil {
		x.Call.UsageSource = usageInvalid
		p.Metrics.usageInvalid()
	}
	return true
}

// parseUsage reads a dictionary. A member that is no number from 0 up has an empty value; text that is no dictionary is an error, and
// nothing of it counts.
func parseUsage(text string) ([]callrecord.Quantity, error) {
	var all []callrecord.Quantity
	rest := strings.Trim(text, " ")
	for rest != "" {
		key, after := cutKey(rest)
		if key == "" {
			return nil, errors.New("a member has no key")
		}
		q := callrecord.Quantity{Meter: key}
		rest = after
		if strings.HasPrefix(rest, "=") {
			end := strings.IndexAny(rest, ";, \t")
			if end < 0 {
				end = len(rest)
			}
			q.Value = decimal(rest[1:end])
			rest = rest[end:]
		}
		if i := strings.IndexByte(rest, ','); strings.HasPrefix(rest, ";") {
			// Parameters have no meaning here.
			if i < 0 {
				i = len(rest)
			}
			rest = rest[i:]
		}
		// Of a key that occurs twice the last member counts.
		all = append(slices.DeleteFunc(all, func(o callrecord.Quantity) bool { return o.Meter == key }), q)
		rest = strings.Trim(rest, " \t")
		if rest == "" {
			break
		}
		if rest[0] != ',' {
			return nil, errors.New("members are not separated by commas")
		}
		if rest = strings.TrimLeft(rest[1:], " \t"); rest == "" {
			return nil, errors.New("the last comma is followed by nothing")
		}
	}
	return all, nil
}

// cutKey takes a key off the front (RFC 9651, section 3.1.2), of at most callrecord.MaxID bytes.
func cutKey(text string) (key, rest string) {
	i := 0
	for i < len(text) {
		c := text[i]
		first := c >= 'a' && c <= 'z' || c == '*'
		if !first && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-' && c != '.') {
			break
		}
		i++
	}
	if i > callrecord.MaxID {
		return "", text
	}
	return text[:i], text[i:]
}

// decimal returns the text of an integer of at most 15 digits or a decimal of at most 12 and 3 digits (RFC 9651, sections
// 3.3.1 and 3.3.2), without needless zeros; empty when it is neither, or negative.
func decimal(text string) string {
	whole, fraction, has := strings.Cut(text, ".")
	if !digits(whole, 15) || has && (!digits(fraction, 3) || len(whole) > 12) {
		return ""
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

func digits(text string, most int) bool {
	if text == "" || len(text) > most {
		return false
	}
	return strings.Trim(text, "0123456789") == ""
}

// units is a decimal rounded up to whole units.
func units(value string) int64 {
	whole, fraction, _ := strings.Cut(value, ".")
	var n int64
	for _, c := range whole {
		n = n*10 + int64(c-'0')
	}
	if fraction != "" {
		n++
	}
	return n
}

// used is how many units of a quota's meter the call consumed.
func used(x *exchange.Exchange, meter string) int64 {
	for _, q := range x.Call.Quantities() {
		if q.Meter == meter {
			return units(q.Value)
		}
	}
	return 0
}
