package store

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// Limit is a rate limit or a quota, as in a plan.
type Limit struct {
	Rate    uint64 `json:"rate,omitempty" description:"Calls in the window."`
	Per     string `json:"per,omitempty" description:"Window of the rate: second, minute or hour; of the quota: hour, day, week, month or year."`
	Burst   uint64 `json:"burst,omitempty" description:"Most calls at once; the rate when absent."`
	Quota   uint64 `json:"quota,omitempty" description:"Units in the window."`
	Meter   string `json:"meter,omitempty" description:"What the quota counts: calls, or a meter that the plan goes by."`
	Mode    string `json:"mode,omitempty" enum:"hard,soft" description:"hard when absent."`
	Reserve uint64 `json:"reserve,omitempty" description:"For a hard quota on a reported meter: the most that one call may report."`
}

// Limits are the limits of a subscription's own; none for those of its plan.
type Limits []Limit

// LimitsOf returns the limits of a message.
func LimitsOf(messages []*catalogv1.Limit) Limits {
	var limits Limits
	for _, l := range messages {
		limits = append(limits, Limit{l.GetRate(), l.GetPer(), l.GetBurst(), l.GetQuota(), l.GetMeter(), l.GetMode(), l.GetReserve()})
	}
	return limits
}

// Messages is the reverse of LimitsOf.
func (l Limits) Messages() []*catalogv1.Limit {
	var messages []*catalogv1.Limit
	for _, one := range l {
		messages = append(messages, &catalogv1.Limit{
			Rate: one.Rate, Per: one.Per, Burst: one.Burst, Quota: one.Quota, Meter: one.Meter, Mode: one.Mode, Reserve: one.Reserve,
		})
	}
	return messages
}

// ScanBytes reads the column subscriptions.limits.
func (l *Limits) ScanBytes(encoded []byte) error {
	*l = nil
	if encoded == nil {
		return nil
	}
	var m subscriptionv1.SubscriptionLimitsSet
	if err := proto.Unmarshal(encoded, &m); err != nil {
		return fmt.Errorf("decode limits: %w", err)
	}
	*l = LimitsOf(m.GetLimits())
	return nil
}
