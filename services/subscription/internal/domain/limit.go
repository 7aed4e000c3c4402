package domain

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

const maxLimits = 20

// SetLimits gives the subscription limits of its own, from now, in place of all of its plan's. p is the plan version that
// it is under: quotas may count the meters that the plan goes by. path is that of the limits, for errors.
func (s Subscription) SetLimits(path string, limits []*catalogv1.Limit, p Plan, now time.Time) ([]proto.Message, error) {
	if err := s.live(); err != nil {
		return nil, err
	}
	if err := checkLimits(path, limits, p); err != nil {
		return nil, err
	}
	if slices.EqualFunc(s.Limits, limits, func(a, b *catalogv1.Limit) bool { return proto.Equal(a, b) }) {
		return nil, nil
	}
	return []proto.Message{&subscriptionv1.SubscriptionLimitsSet{Subscription: s.ID, Limits: limits, EffectiveAt: now.UnixNano()}}, nil
}

// ClearLimits puts the limits of the plan in force again, from now.
func (s Subscription) ClearLimits(now time.Time) ([]proto.Message, error) {
	if err := s.live(); err != nil || len(s.Limits) == 0 {
		return nil, err
	}
	return []proto.Message{&subscriptionv1.SubscriptionLimitsCleared{Subscription: s.ID, EffectiveAt: now.UnixNano()}}, nil
}

func (s Subscription) live() error {
	if s.State.Live() {
		return nil
	}
	return problem.NewConflict("subscription-ended", "The subscription %s is %s, which is final; subscribe anew.", s.Name, s.State)
}

// checkLimits leaves the form of limits to libs/rating, which checks those of plans.
func checkLimits(path string, limits []*catalogv1.Limit, p Plan) error {
	var fields problem.Fields
	if n := len(limits); n == 0 || n > maxLimits {
		fields.Add(path, "has %d limits; want 1 to %d (to go back to those of the plan, clear them)", n, maxLimits)
	}
	// Only the limits are to be checked here.
	own := &catalogv1.PlanSpec{Currency: p.Spec.GetCurrency(), Limits: limits}
	if _, err := rating.Compile(own); err != nil {
		var known *problem.Error
		if !errors.As(err, &known) {
			return err
		}
		for _, f := range known.Fields {
			fields.Add(path+strings.TrimPrefix(f.Path, "limits"), "%s", f.Message)
		}
	}
	meters := p.meters()
	for i, l := range limits {
		if m := l.GetMeter(); m != "" && !slices.Contains(meters, m) {
			fields.Add(fmt.Sprintf("%s[%d].meter", path, i), "%q is none of the meters that the plan %s goes by: %v", m, p.Name, meters)
		}
	}
	return fields.Err("limits-invalid", "The limits are not valid.")
}

// meters returns the meters that the plan's limits and prices name, and calls.
func (p Plan) meters() []string {
	all := []string{rating.MeterCalls}
	add := func(meter string) {
		if meter != "" && !slices.Contains(all, meter) {
			all = append(all, meter)
		}
	}
	for _, l := range p.Spec.GetLimits() {
		add(l.GetMeter())
	}
	for _, price := range p.Spec.GetPrices() {
		add(price.GetMeter())
	}
	return all
}
