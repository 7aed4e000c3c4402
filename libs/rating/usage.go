package rating

import (
	"fmt"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
)

// Run says which of a period's runs is rated.
type Run uint8

// The runs of a period.
const (
	OnlyRun   Run = iota // the whole period at once
	FirstRun             // the first of several
	MiddleRun            // neither the first nor the last
	LastRun              // the last of several
	LateRun              // usage that came after the last run
)

// first says whether no run of the period took place before.
func (r Run) first() bool { return r == OnlyRun || r == FirstRun }

// closes says whether the period is over with the run.
func (r Run) closes() bool { return r == OnlyRun || r == LastRun || r == LateRun }

// Usage is what a subscription used in a period. The zero value is a whole period without usage.
type Usage struct {
	Run Run
	// By name of the meter. A meter without a price is ignored, a priced meter that is missing has no usage.
	Meters map[string]MeterUsage
	// What earlier runs billed, by name of the price, TrueUp and Cap. It follows from the earlier usage when missing.
	Billed map[string]money.Decimal
}

// MeterUsage is a meter's usage.
type MeterUsage struct {
	// Units that are new in this run. They may be negative, as a correction, while Previous + Quantity is not. With
	// Events it may be left at 0; else it must be their sum or their number.
	Quantity money.Decimal
	// Units that earlier runs of the period rated.
	Previous money.Decimal
	// What earlier runs of the period billed for the meter. Where several prices share it, use Usage.Billed.
	Billed *money.Decimal
	// Single amounts that are new in this run, and those that earlier runs rated, each in the order in which they came:
	// for prices that rate events. They must not be negative.
	Events, PreviousEvents []money.Decimal
}

// counted is a meter's usage for one price: before this run, and after it.
type counted struct {
	before, after units
}

// counts returns the meter's usage for p.
func (u Usage) counts(p *price) counted {
	m := u.Meters[p.meter]
	previous := unitsOf(m.Previous, m.PreviousEvents)
	all := m.Events
	if len(m.PreviousEvents) > 0 {
		all = append(append([]money.Decimal{}, m.PreviousEvents...), m.Events...)
	}
	return counted{
		before: units{quantity: previous, events: m.PreviousEvents, closed: u.Run == LateRun},
		after:  units{quantity: previous.Add(unitsOf(m.Quantity, m.Events)), events: all, closed: u.Run.closes()},
	}
}

// unitsOf returns a meter's units, from its events where it has any.
func unitsOf(stated money.Decimal, events []money.Decimal) money.Decimal {
	if len(events) == 0 {
		return stated
	}
	var sum money.Decimal
	for _, amount := range events {
		sum = sum.Add(amount)
	}
	return sum
}

// check notes what contradicts itself or the plan.
func (u Usage) check(plan *Plan, fields *problem.Fields) {
	for _, name := range plan.Meters() {
		u.checkMeter(name, fields)
	}
	for _, p := range plan.prices {
		if m := u.Meters[p.meter]; p.needsEvents() {
			needEvents(p, m.Quantity, m.Events, "meters."+p.meter+".quantity", "events."+p.meter, fields)
			needEvents(p, m.Previous, m.PreviousEvents, "meters."+p.meter+".previous", "previousEvents."+p.meter, fields)
		}
	}
	u.checkBilled(plan, fields)
}

func (u Usage) checkMeter(name string, fields *problem.Fields) {
	m, path := u.Meters[name], "meters."+name
	checkEvents(m.Quantity, m.Events, path+".quantity", "events."+name, fields)
	checkEvents(m.Previous, m.PreviousEvents, path+".previous", "previousEvents."+name, fields)
	fresh, previous := unitsOf(m.Quantity, m.Events), unitsOf(m.Previous, m.PreviousEvents)
	switch {
	case u.Run.first() && !previous.IsZero():
		fields.Add(path+".previous", "is %s, but this is the period's first run; leave it out, or say that earlier runs took place", previous)
	case previous.Sign() < 0:
		fields.Add(path+".previous", "is %s; it must not be negative", previous)
	case previous.Add(fresh).Sign() < 0:
		fields.Add(path+".quantity", "is %s, which is more than the %s units that earlier runs rated can be corrected by", fresh, previous)
	}
}

// checkEvents notes events that are negative and those that a stated quantity says otherwise of.
func checkEvents(stated money.Decimal, events []money.Decimal, path, eventsPath string, fields *problem.Fields) {
	for i, amount := range events {
		if amount.Sign() < 0 {
			fields.Add(fmt.Sprintf("%s[%d]", eventsPath, i), "is %s; the amount of an event must not be negative", amount)
		}
	}
	count, sum := int64(len(events)), unitsOf(stated, events)
	if count > 0 && !stated.IsZero() && !stated.Equal(sum) && !stated.Equal(money.Int(count)) {
		fields.Add(path, "is %s, which is neither the sum (%s) nor the number (%d) of %s; leave it out or correct it", stated, sum, count, eventsPath)
	}
}

func needEvents(p *price, stated money.Decimal, events []money.Decimal, path, eventsPath string, fields *problem.Fields) {
	if !stated.IsZero() && len(events) == 0 {
		fields.Add(path, "is %s without %s; price %q rates each event by itself and needs their amounts", stated, eventsPath, p.name)
	}
}

// billed returns what earlier runs billed for p, where it is stated.
func (u Usage) billed(p *price) (money.Decimal, bool) {
	if amount, stated := u.Billed[p.name]; stated {
		return amount, true
	}
	if stated := u.Meters[p.meter].Billed; stated != nil && p.meter != "" {
		return *stated, true
	}
	return money.Decimal{}, false
}

// checkBilled notes stated amounts that do not fit the plan, the currency or the run.
func (u Usage) checkBilled(plan *Plan, fields *problem.Fields) {
	names := map[string]bool{TrueUp: true, Cap: true}
	byMeter := map[string][]string{}
	for _, p := range plan.prices {
		names[p.name] = true
		if p.meter != "" {
			byMeter[p.meter] = append(byMeter[p.meter], p.name)
		}
	}
	check := func(path string, amount money.Decimal) {
		if _, err := amount.Exact(plan.currency.Decimals()); err != nil {
			fields.Add(path, "%s, and %s has no smaller unit", err, plan.currency)
		}
		if u.Run.first() && !amount.IsZero() {
			fields.Add(path, "is %s, but this is the period's first run; leave it out, or say that earlier runs took place", amount)
		}
	}
	for _, name := range sortedKeys(u.Billed) {
		if !names[name] {
			fields.Add("billed."+name, "is not a price of the plan")
			continue
		}
		check("billed."+name, u.Billed[name])
	}
	for _, name := range sortedKeys(u.Meters) {
		stated := u.Meters[name].Billed
		if stated == nil || len(byMeter[name]) == 0 {
			continue
		}
		path := "meters." + name + ".billed"
		if shared := byMeter[name]; len(shared) > 1 {
			fields.Add(path, "prices %q share the meter; say in billed.<price> what each was billed", shared)
		}
		check(path, *stated)
	}
}
