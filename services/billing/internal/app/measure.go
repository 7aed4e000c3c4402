package app

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating/period"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
)

// measurement is what a period amounts to, and whether it is proven.
type measurement struct {
	// draft is nil when the usage cannot be rated; hold says why.
	draft    *billingv1.InvoiceDrafted
	hold     domain.Hold
	evidence *billingv1.Evidence
}

// measure reads the usage of a period, rates it and asks for the proof. It has no effect. The error is of kind
// problem.Unavailable when a service does not answer: then nothing is known.
func (b *Billing) measure(ctx context.Context, tenant string, s domain.Subscription, p domain.Period) (measurement, error) {
	var m measurement
	whole, measured, err := b.usage(ctx, tenant, s.ID, p, s.Segments(p))
	if err != nil {
		m.hold, err = rateHold(err)
		return m, err
	}
	if m.draft, err = domain.Rate(s, p, measured); err != nil {
		m.draft = nil
		m.hold, err = rateHold(err)
		return m, err
	}
	if m.hold = domain.Closed(p, whole); !m.hold.None() || len(m.draft.GetLines()) == 0 {
		return m, nil
	}
	if m.hold = domain.Negative(m.draft); !m.hold.None() {
		return m, nil
	}
	var proof analyticsv1.ProofReply
	err = b.call(ctx, "analytics.Proof", &analyticsv1.ProofRequest{
		Tenant: tenant, Subscription: s.ID, Start: p.Start.UnixNano(), End: p.End.UnixNano(),
	}, &proof)
	if err != nil {
		return m, wrap("ask for the proof", err)
	}
	for i := range measured {
		measured[i].Landed = &meteringv1.CountReply{}
		err := b.call(ctx, "analytics.Count", &meteringv1.CountRequest{
			Tenant: tenant, Subscription: s.ID, Start: measured[i].Usage.Start.UnixNano(), End: measured[i].Usage.End.UnixNano(),
		}, measured[i].Landed)
		if err != nil {
			return m, wrap("count what landed", err)
		}
	}
	m.evidence, m.hold = domain.Prove(whole, &proof, measured)
	return m, nil
}

// rateHold tells what cannot be rated from a failure.
func rateHold(err error) (domain.Hold, error) {
	switch {
	case errors.Is(err, domain.ErrPlanUnknown):
		return domain.Hold{Cause: domain.PlanUnknown, Detail: err.Error()}, nil
	case errors.Is(err, domain.ErrCurrencies):
		return domain.Hold{Cause: domain.CurrencyDiffers, Detail: err.Error()}, nil
	case problem.KindOf(err) == problem.Invalid:
		return domain.Hold{Cause: domain.NotRateable, Detail: err.Error()}, nil
	}
	return domain.Hold{}, err
}

// usage asks metering for the usage of a period and of each of its segments.
func (b *Billing) usage(ctx context.Context, tenant, subscription string, p domain.Period, segments []domain.Segment) (*meteringv1.UsageReply, []domain.Measured, error) {
	ask := func(i period.Interval) (*meteringv1.UsageReply, error) {
		var reply meteringv1.UsageReply
		err := b.call(ctx, "metering.Usage", &meteringv1.UsageRequest{
			Tenant: tenant, Subscription: subscription, Start: i.Start.UnixNano(), End: i.End.UnixNano(),
		}, &reply)
		return &reply, wrap("ask for usage", err)
	}
	whole, err := ask(p.Interval)
	if err != nil {
		return nil, nil, err
	}
	measured := make([]domain.Measured, len(segments))
	for i, segment := range segments {
		measured[i].Segment = segment
		if len(segments) == 1 {
			measured[i].Metered = proto.CloneOf(whole)
			continue
		}
		if measured[i].Metered, err = ask(segment.Usage); err != nil {
			return nil, nil, err
		}
	}
	return whole, measured, nil
}
