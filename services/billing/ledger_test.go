package billing_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
)

// call is one call as metering and analytics would have it.
type call struct {
	subscription string
	seq          uint64
	at           time.Time
	meters       map[string]string
	// reason is empty for a billable call.
	reason string
}

// ledger answers for metering and analytics with what it is told: their RPCs, over NATS, from a set of calls each.
type ledger struct {
	mu              sync.Mutex
	metered, landed []call
	unsealed        map[string]int64
	gaps            uint64
	// before, when set, runs before an answer, with the name of the RPC; its error is the answer.
	before func(name string) error
	asked  map[string]int
	// refuse, when set, is asked before usage is told: its error is the answer.
	refuse func(subscription string) error
}

func (l *ledger) set(change func(l *ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *ledger) add(calls ...call) {
	l.set(func(l *ledger) { l.metered, l.landed = append(l.metered, calls...), append(l.landed, calls...) })
}

// times is how often an RPC was asked for.
func (l *ledger) times(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[name]
}

// enter counts the question and lets a test interfere.
func (l *ledger) enter(name string) error {
	l.mu.Lock()
	l.asked[name]++
	before := l.before
	l.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(name)
}

type totals struct {
	counts *meteringv1.CallCounts
	meters []*meteringv1.MeterUsage
	n      uint64
}

// sum adds up the calls of a subscription between two instants.
func sum(calls []call, subscription string, start, end int64) totals {
	t := totals{counts: &meteringv1.CallCounts{NotBillable: map[string]uint64{}}}
	type running struct {
		quantity money.Decimal
		calls    uint64
		digest   uint64
	}
	byMeter := map[string]*running{}
	var digest uint64
	for _, c := range calls {
		if at := c.at.UnixNano(); c.subscription != subscription || at < start || at >= end {
			continue
		}
		t.n++
		one := callset.Digest("gw1", 1, c.seq)
		digest += one
		if c.reason != "" {
			t.counts.NotBillable[c.reason]++
			continue
		}
		t.counts.Billable++
		for name, quantity := range c.meters {
			if byMeter[name] == nil {
				byMeter[name] = &running{}
			}
			parsed, err := money.Parse(quantity)
			if err != nil {
				panic(err)
			}
			r := byMeter[name]
			r.quantity, r.calls, r.digest = r.quantity.Add(parsed), r.calls+1, r.digest+one
		}
	}
	t.counts.Digest = callset.Hex(digest)
	for name, r := range byMeter {
		t.meters = append(t.meters, &meteringv1.MeterUsage{Meter: name, Quantity: r.quantity.String(), Calls: r.calls, Digest: callset.Hex(r.digest)})
	}
	slices.SortFunc(t.meters, func(a, b *meteringv1.MeterUsage) int { return cmp.Compare(a.GetMeter(), b.GetMeter()) })
	return t
}

func (l *ledger) usage(_ context.Context, r *meteringv1.UsageRequest) (*meteringv1.UsageReply, error) {
	if err := l.enter("metering.Usage"); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		if err := l.refuse(r.GetSubscription()); err != nil {
			return nil, err
		}
	}
	t := sum(l.metered, r.GetSubscription(), r.GetStart(), r.GetEnd())
	reply := &meteringv1.UsageReply{
		Meters: t.meters, Counts: t.counts, OpenGaps: l.gaps, Sealed: true, Unsealed: map[string]int64{}, Watermark: map[uint32]uint64{0: 17},
	}
	for gateway, until := range l.unsealed {
		if until < r.GetEnd() {
			reply.Sealed, reply.Unsealed[gateway] = false, until
		}
	}
	return reply, nil
}

func (l *ledger) count(_ context.Context, r *meteringv1.CountRequest) (*meteringv1.CountReply, error) {
	if err := l.enter("analytics.Count"); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t := sum(l.landed, r.GetSubscription(), r.GetStart(), r.GetEnd())
	return &meteringv1.CountReply{Counts: t.counts, Meters: t.meters}, nil
}

func (l *ledger) proof(_ context.Context, r *analyticsv1.ProofRequest) (*analyticsv1.ProofReply, error) {
	if err := l.enter("analytics.Proof"); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	metered, landed := sum(l.metered, r.GetSubscription(), r.GetStart(), r.GetEnd()), sum(l.landed, r.GetSubscription(), r.GetStart(), r.GetEnd())
	return &analyticsv1.ProofReply{
		Answered: metered.n, Stored: metered.n, Landed: landed.n, Metered: metered.n, Agree: metered.n == landed.n,
		LandedDigest: landed.counts.GetDigest(), MeteredDigest: metered.counts.GetDigest(),
	}, nil
}

// serve answers until the test ends.
func (l *ledger) serve(tb testing.TB, env *servicetest.Env) {
	tb.Helper()
	for _, name := range []string{"metering", "analytics"} {
		api, err := operation.New(operation.Config{
			Service: name, Title: name, Log: testkit.Logger(tb),
			Verify: func(string) (principal.Principal, error) { return principal.Principal{}, errors.New("no tokens here") },
		})
		require.NoError(tb, err)
		if name == "metering" {
			operation.RPC(api, "metering.Usage", l.usage)
		} else {
			operation.RPC(api, "analytics.Count", l.count)
			operation.RPC(api, "analytics.Proof", l.proof)
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
		ready, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- api.ServeNATS(ctx, env.Bus, func() { close(ready) }) }()
		<-ready
		tb.Cleanup(func() {
			cancel()
			require.NoError(tb, <-done)
		})
	}
}
