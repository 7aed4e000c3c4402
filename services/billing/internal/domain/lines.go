package domain

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating"
	"github.com/tollgate/tollgate/libs/rating/period"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// Measured is a segment with its usage.
type Measured struct {
	Segment
	// Usage as metering has it.
	Metered *meteringv1.UsageReply
	// Landed is the same as analytics has it; nil while it was not asked for.
	Landed *meteringv1.CountReply
}

// ErrCurrencies says that the plans of one period have several currencies, which no invoice can sum.
var ErrCurrencies = errors.New("the plans of the period have different currencies")

// Rate returns the invoice of a period: each segment is rated by itself, with amounts per period for the share that was
// served. It has no lines when nothing is for sale. The error is of kind problem.Invalid when usage cannot be rated under
// the plan, or one of this package.
func Rate(s Subscription, p Period, measured []Measured) (*billingv1.InvoiceDrafted, error) {
	draft := &billingv1.InvoiceDrafted{
		Account: s.AccountID, Subscription: s.ID, PeriodStart: p.Start.UnixNano(), PeriodEnd: p.End.UnixNano(),
	}
	var total money.Decimal
	for _, m := range measured {
		if m.Served.Empty() && len(m.Metered.GetMeters()) == 0 {
			continue // the subscription had ended, and no call was under way
		}
		result, err := rateSegment(s, p, m)
		if err != nil {
			return nil, err
		}
		if draft.Currency == "" {
			draft.Currency = result.Currency.Code()
		}
		if draft.Currency != result.Currency.Code() {
			return nil, fmt.Errorf("%w: %s and %s", ErrCurrencies, draft.Currency, result.Currency)
		}
		for _, line := range result.Lines {
			encoded, err := invoiceLine(s, p, m, line)
			if err != nil {
				return nil, err
			}
			draft.Lines = append(draft.Lines, encoded)
		}
		total = total.Add(result.Total)
	}
	draft.Total = total.String()
	return draft, nil
}

func rateSegment(s Subscription, p Period, m Measured) (rating.Result, error) {
	rule, err := s.rule(m.Phase)
	if err != nil {
		return rating.Result{}, err
	}
	plan, err := rating.Compile(m.Spec)
	if err != nil {
		return rating.Result{}, fmt.Errorf("plan %s version %d: %w", m.Plan, m.Version, err)
	}
	usage := rating.Usage{Run: rating.OnlyRun, Meters: map[string]rating.MeterUsage{}}
	for _, meter := range m.Metered.GetMeters() {
		quantity, err := money.Parse(meter.GetQuantity())
		if err != nil {
			return rating.Result{}, problem.NewInvalid("usage-invalid", "The quantity of meter %s: %s.", meter.GetMeter(), err)
		}
		usage.Meters[meter.GetMeter()] = rating.MeterUsage{Quantity: quantity}
	}
	return rating.Rate(plan, usage, rating.Context{Share: s.share(rule, p, m.Segment)})
}

// share returns how many of the plan's own periods were served, nil for the one that is billed, whole. Where what is billed is in no
// period of the plan's rule, those that were served are counted: this is so for a plan with other periods that came into force
// unforeseen, and for a replay under one.
func (s Subscription) share(rule period.Rule, p Period, segment Segment) *money.Ratio {
	served := segment.Served
	var share money.Ratio
	switch {
	case !of(rule, p.Whole):
		share = rule.Share(served)
	case served == p.Whole:
		return nil
	default:
		share = rule.Fraction(served, p.Whole)
	}
	return &share
}

func invoiceLine(s Subscription, p Period, m Measured, line rating.Line) (*billingv1.InvoiceLine, error) {
	detail, err := json.Marshal(line.Detail)
	if err != nil {
		return nil, fmt.Errorf("encode the detail of price %s: %w", line.Price, err)
	}
	encoded := &billingv1.InvoiceLine{
		Identity: Identity(s.ID, m.Plan, m.Version, m.Number, line.Price, p.Start),
		Price:    line.Price, Meter: line.Meter, Quantity: line.Quantity.String(), Amount: line.Amount.String(),
		Detail:      string(detail),
		PeriodStart: m.Usage.Start.UnixNano(), PeriodEnd: m.Usage.End.UnixNano(),
		Plan: m.Plan, PlanVersion: m.Version,
	}
	if line.Meter != "" {
		encoded.Digest = callset.Hex(0)
		for _, meter := range m.Metered.GetMeters() {
			if meter.GetMeter() == line.Meter {
				encoded.Calls, encoded.Digest = meter.GetCalls(), meter.GetDigest()
			}
		}
	}
	return encoded, nil
}

// Identity returns what a line is unique by: subscription/version/phase/price/period. The version is that of a plan, as in
// pro@3; the phase counts the plan versions of the period.
func Identity(subscription, plan string, version uint32, phase int, price string, start time.Time) string {
	return fmt.Sprintf("%s/%s@%d/%d/%s/%s", subscription, plan, version, phase, price, start.UTC().Format(time.RFC3339Nano))
}
