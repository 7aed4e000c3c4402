// Package domain decides what follows from alert rules, reports and what was measured: each aggregate has commands that return
// events and an Evolve that applies one. It does no I/O and knows no clock. Only analytics' app folder imports it.
package domain

import (
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/money"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
)

// Kinds of alert rules.
const (
	Threshold = "threshold" // the default
	Absence   = "absence"
	Change    = "change"
)

// Operators of alert rules.
const (
	Above = "above"
	Below = "below"
)

// Rule is an alert rule.
type Rule struct {
	ID, Name string
	// Spec is without addresses.
	Spec    *analyticsv1.AlertRuleSpec
	Firing  bool
	Deleted bool
}

// Evolve applies an event.
func (r Rule) Evolve(event proto.Message) Rule {
	switch e := event.(type) {
	case *analyticsv1.AlertRulePut:
		r.ID, r.Name, r.Spec = e.GetRule(), e.GetName(), e.GetSpec()
		r.Firing = r.Firing && !e.GetSpec().GetPaused()
	case *analyticsv1.AlertRuleDeleted:
		r.Deleted, r.Firing = true, false
	case *analyticsv1.AlertFired:
		r.Firing = true
	case *analyticsv1.AlertResolved:
		r.Firing = false
	}
	return r
}

// PutRule makes the rule as the spec says. No event comes of a change of addresses alone.
func (r Rule) PutRule(id, name string, spec *analyticsv1.AlertRuleSpec) []proto.Message {
	bare := proto.CloneOf(spec)
	bare.Mail, bare.Webhook = nil, ""
	if r.Spec != nil && proto.Equal(r.Spec, bare) {
		return nil
	}
	return []proto.Message{&analyticsv1.AlertRulePut{Rule: id, Name: name, Spec: bare}}
}

// Delete ends the rule.
func (r Rule) Delete() []proto.Message {
	return []proto.Message{&analyticsv1.AlertRuleDeleted{Rule: r.ID}}
}

// Measured is what was measured of a window. Value is nil where there was nothing to measure.
type Measured struct {
	Start, End int64
	Calls      uint64
	Value      *money.Decimal
	// Before is that of the window before, for a change.
	BeforeCalls uint64
	Before      *money.Decimal
}

// Evaluate says what follows from what was measured: that the alert fires or is resolved, or nothing.
func (r Rule) Evaluate(m Measured) []proto.Message {
	holds, decided := Holds(r.Spec, m)
	if !decided || holds == r.Firing {
		return nil
	}
	if holds {
		return []proto.Message{&analyticsv1.AlertFired{Rule: r.ID, Start: m.Start, End: m.End, Value: text(m.Value), Before: text(m.Before), Calls: m.Calls}}
	}
	return []proto.Message{&analyticsv1.AlertResolved{Rule: r.ID, Start: m.Start, End: m.End, Value: text(m.Value), Before: text(m.Before), Calls: m.Calls}}
}

// Holds says whether what a rule looks for is so, and false for decided when what was measured is too little to tell: then the
// alert stays as it is. Of no calls only an absence tells something, and an additive metric, which is 0 then.
func Holds(spec *analyticsv1.AlertRuleSpec, m Measured) (holds, decided bool) {
	if spec.GetKind() == Absence {
		return m.Calls == 0, true
	}
	least := max(1, spec.GetMinimumCalls())
	if m.Value == nil || m.Calls < least && (m.Calls > 0 || spec.GetMinimumCalls() > 0) {
		return false, false
	}
	limit, err := money.Parse(spec.GetValue())
	if err != nil {
		return false, false
	}
	if spec.GetKind() != Change {
		return beyond(spec.GetOperator(), *m.Value, limit), true
	}
	if m.Before == nil || m.Before.Sign() <= 0 || m.BeforeCalls < least {
		return false, false
	}
	// (value - before) / before * 100 against the limit, without a division.
	return beyond(spec.GetOperator(), m.Value.Sub(*m.Before).Mul(money.Int(100)), m.Before.Mul(limit)), true
}

func beyond(operator string, value, limit money.Decimal) bool {
	if operator == Below {
		return value.Less(limit)
	}
	return limit.Less(value)
}

func text(d *money.Decimal) string {
	if d == nil {
		return ""
	}
	return d.String()
}
