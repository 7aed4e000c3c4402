package rating

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
)

// ParseUsage reads a usage file, one JSON object (RFC 8259) with these members, all optional:
//
//	meters.<meter>.quantity   what is new in this run
//	meters.<meter>.previous   what earlier runs of the period rated
//	meters.<meter>.billed     what earlier runs billed for the meter
//	events.<meter>            single amounts that are new in this run
//	previousEvents.<meter>    single amounts that earlier runs rated
//	billed.<price>            what earlier runs billed for the price
//	lastRun                   false when the period goes on; true by default
//	firstRun                  whether no run took place before; by default, whether nothing is said of earlier runs
//	late                      true for usage that came after the period's last run
//
// Numbers are decimals in strings. Unknown members, members that are there twice, and numbers that are not in strings are
// refused. The error is of kind Invalid and names every field that is wrong.
func ParseUsage(data []byte) (Usage, error) {
	var fields problem.Fields
	p := usageParser{fields: &fields}
	p.file(data)
	if err := fields.Err("usage-invalid", "The usage file is not valid."); err != nil {
		return Usage{}, err
	}
	return p.usage, nil
}

type usageParser struct {
	fields             *problem.Fields
	usage              Usage
	lastRun, firstRun  *bool
	late, earlierKnown bool
}

func (p *usageParser) file(data []byte) {
	p.usage.Meters = map[string]MeterUsage{}
	p.object("", data, func(key string, raw json.RawMessage) bool {
		switch key {
		case "meters":
			p.object(key, raw, func(meter string, raw json.RawMessage) bool {
				p.meter(meter, raw)
				return true
			})
		case "events":
			p.events(key, raw, func(m *MeterUsage, amounts []money.Decimal) { m.Events = amounts })
		case "previousEvents":
			p.events(key, raw, func(m *MeterUsage, amounts []money.Decimal) {
				m.PreviousEvents = amounts
				p.earlierKnown = p.earlierKnown || len(amounts) > 0
			})
		case "billed":
			p.usage.Billed = map[string]money.Decimal{}
			p.object(key, raw, func(price string, raw json.RawMessage) bool {
				p.usage.Billed[price] = p.earlier("billed."+price, raw)
				return true
			})
		case "lastRun":
			p.lastRun = p.boolean(key, raw)
		case "firstRun":
			p.firstRun = p.boolean(key, raw)
		case "late":
			if late := p.boolean(key, raw); late != nil {
				p.late = *late
			}
		default:
			return false
		}
		return true
	})
	p.run()
}

func (p *usageParser) meter(name string, raw json.RawMessage) {
	path := "meters." + name
	m := p.usage.Meters[name]
	p.object(path, raw, func(key string, raw json.RawMessage) bool {
		switch key {
		case "quantity":
			m.Quantity = p.decimal(path+".quantity", raw)
		case "previous":
			m.Previous = p.earlier(path+".previous", raw)
		case "billed":
			billed := p.earlier(path+".billed", raw)
			m.Billed = &billed
		default:
			return false
		}
		return true
	})
	p.usage.Meters[name] = m
}

func (p *usageParser) events(path string, raw json.RawMessage, set func(*MeterUsage, []money.Decimal)) {
	p.object(path, raw, func(meter string, raw json.RawMessage) bool {
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil || list == nil {
			p.fields.Add(path+"."+meter, `is not a list of amounts; want e.g. ["10", "80"]`)
			return true
		}
		amounts := make([]money.Decimal, len(list))
		for i, item := range list {
			amounts[i] = p.decimal(fmt.Sprintf("%s.%s[%d]", path, meter, i), item)
		}
		m := p.usage.Meters[meter]
		set(&m, amounts)
		p.usage.Meters[meter] = m
		return true
	})
}

// run works out which run the file describes.
func (p *usageParser) run() {
	last := p.lastRun == nil || *p.lastRun
	first := !p.earlierKnown
	if p.firstRun != nil {
		first = *p.firstRun
	}
	switch {
	case p.late && (!last || p.firstRun != nil && first):
		p.fields.Add("late", "is true, but lastRun or firstRun says that the period's last run has not taken place")
	case p.late:
		p.usage.Run = LateRun
	case first && last:
		p.usage.Run = OnlyRun
	case first:
		p.usage.Run = FirstRun
	case last:
		p.usage.Run = LastRun
	default:
		p.usage.Run = MiddleRun
	}
}

// earlier reads a decimal that, unless it is 0, tells of earlier runs.
func (p *usageParser) earlier(path string, raw json.RawMessage) money.Decimal {
	d := p.decimal(path, raw)
	p.earlierKnown = p.earlierKnown || !d.IsZero()
	return d
}

func (p *usageParser) decimal(path string, raw json.RawMessage) money.Decimal {
	var d money.Decimal
	if err := d.UnmarshalJSON(raw); err != nil {
		p.fields.Add(path, "%s", err)
		return money.Decimal{}
	}
	if _, err := d.Exact(money.PriceDecimals); err != nil {
		p.fields.Add(path, "%s", err)
	}
	return d
}

func (p *usageParser) boolean(path string, raw json.RawMessage) *bool {
	var value *bool
	if err := json.Unmarshal(raw, &value); err != nil || value == nil {
		p.fields.Add(path, "%s is neither true nor false", raw)
		return nil
	}
	return value
}

// object calls member for each member of the object in data, in order. member returns false for one that it does not know.
func (p *usageParser) object(path string, data []byte, member func(key string, raw json.RawMessage) bool) {
	prefix := path
	if prefix != "" {
		prefix += "."
	}
	if err := p.members(prefix, data, member); err != nil {
		p.fields.Add(path, "is not a JSON object: %s", err)
	}
}

func (p *usageParser) members(prefix string, data []byte, member func(key string, raw json.RawMessage) bool) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, err := decoder.Token(); err != nil {
		return err
	} else if token != json.Delim('{') {
		return errors.New(`it must start with "{"`)
	}
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		// The decoder gives nothing but strings as the keys of an object.
		key, _ := token.(string)
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return err
		}
		if seen[key] {
			p.fields.Add(prefix+key, "is there twice")
			continue
		}
		seen[key] = true
		if !member(key, raw) {
			p.fields.Add(prefix+key, "is not a known member")
		}
	}
	if _, err := decoder.Token(); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after its end")
	}
	return nil
}
