package app

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/received"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

func newScope(tenant, subscription string, start, end int64) (scope, error) {
	var fields problem.Fields
	if tenant == "" {
		fields.Add("tenant", `is empty; give the id of a tenant, or "*" for all`)
	}
	if start < 0 {
		fields.Add("start", "%d is before 1970; want nanoseconds since the Unix epoch", start)
	}
	if end <= start {
		fields.Add("end", "%d is not after the start %d", end, start)
	}
	return scope{tenant: tenant, subscription: subscription, Span: clickhouse.Span{Start: start, End: end}}, fields.Err("request-invalid", "The request is not valid.")
}

// landed is what ClickHouse has of a scope.
type landed struct {
	tally
	rows   uint64
	counts []clickhouse.Count
}

func (a *Analytics) landed(ctx context.Context, s scope) (landed, error) {
	var l landed
	var err error
	if l.counts, err = a.Table.Counts(ctx, s.tenant, s.subscription, s.Span); err != nil {
		return l, err
	}
	for _, c := range l.counts {
		l.calls, l.rows, l.digest = l.calls+c.Distinct, l.rows+c.Rows, l.digest+c.Digest
	}
	return l, nil
}

// Count returns what is in ClickHouse of the calls that completed between two instants: distinct calls, and meters of billable ones.
func (a *Analytics) Count(ctx context.Context, req *meteringv1.CountRequest) (*meteringv1.CountReply, error) {
	s, err := newScope(req.GetTenant(), req.GetSubscription(), req.GetStart(), req.GetEnd())
	if err != nil {
		return nil, err
	}
	reply := &meteringv1.CountReply{Counts: &meteringv1.CallCounts{NotBillable: map[string]uint64{}}}
	if reply.Watermark, err = a.watermark(ctx); err != nil {
		return nil, err
	}
	l, err := a.landed(ctx, s)
	if err != nil {
		return nil, err
	}
	reply.Counts.Digest = callset.Hex(l.digest)
	for _, c := range l.counts {
		if c.Reason != "" {
			reply.Counts.NotBillable[c.Reason] = c.Distinct
			continue
		}
		reply.Counts.Billable = c.Distinct
		quantity, err := trim(c.Units)
		if err != nil {
			return nil, err
		}
		reply.Meters = append(reply.Meters, &meteringv1.MeterUsage{Meter: callstream.MeterCalls, Quantity: quantity, Calls: c.Distinct, Digest: callset.Hex(c.Digest)})
	}
	totals, err := a.Table.MeterTotals(ctx, s.tenant, s.subscription, s.Span)
	if err != nil {
		return nil, err
	}
	for _, t := range totals {
		quantity, err := trim(t.Quantity)
		if err != nil {
			return nil, err
		}
		reply.Meters = append(reply.Meters, &meteringv1.MeterUsage{Meter: t.Meter, Quantity: quantity, Calls: t.Calls, Digest: callset.Hex(t.Digest)})
	}
	return reply, nil
}

func trim(quantity string) (string, error) {
	d, err := money.Parse(quantity)
	return d.Trim().String(), err
}

// watermark returns up to which message each partition is landed.
func (a *Analytics) watermark(ctx context.Context) (map[uint32]uint64, error) {
	watermark := map[uint32]uint64{}
	err := a.all(ctx, func(tx pgx.Tx) error {
		rows, err := store.Partitions(ctx, tx)
		for _, p := range rows {
			watermark[uint32(p.Partition)] = uint64(p.Landed)
		}
		return err
	})
	return watermark, err
}

// landedPoll is the time between two looks at how far the landing is.
const landedPoll = 25 * time.Millisecond

// AwaitLanded waits until everything up to a watermark is landed, by whichever process.
func (a *Analytics) AwaitLanded(ctx context.Context, wanted map[uint32]uint64, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		at, err := a.watermark(ctx)
		behind := ""
		for partition, sequence := range wanted {
			if at[partition] < sequence {
				behind = fmt.Sprintf("partition %d is landed up to message %d, not yet %d", partition, at[partition], sequence)
			}
		}
		if err == nil && behind == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return problem.NewUnavailable("behind", "ClickHouse does not have every call yet that metering has: %s. Try again in a moment.", behind).Wrap(err)
		case <-time.After(landedPoll):
		}
	}
}

// proofPatience is how long a proof waits for the landing.
const proofPatience = 8 * time.Second

// Prove compares the four counters of a scope:
//
//   - answered: the calls that gateways have numbered: those in the stream, and the numbers missing between them that may belong to
//     the span. What is missing is of no known tenant or subscription: it counts for every one.
//   - stored: distinct calls in the stream, see Analytics.stored.
//   - landed: distinct calls in ClickHouse, counted there.
//   - metered: calls in metering's ledger, billable or not.
//
// The digests over the identities of what is stored, landed and metered are compared too. A span that is not over may show calls that
// one side has and the other is about to have; one that every gateway has sealed does not. Its cost is one aggregation in
// ClickHouse over the span and, where an end divides an hour, one reading of the messages of that hour.
func (a *Analytics) Prove(ctx context.Context, tenant, subscription string, start, end int64) (*analyticsv1.ProofReply, error) {
	s, err := newScope(tenant, subscription, start, end)
	if err != nil {
		return nil, err
	}
	metered := &meteringv1.CountReply{}
	err = operation.Call(ctx, a.Bus, "metering.Count", &meteringv1.CountRequest{Tenant: tenant, Subscription: subscription, Start: start, End: end}, metered)
	if err != nil {
		return nil, err
	}
	if err := a.AwaitLanded(ctx, metered.GetWatermark(), proofPatience); err != nil {
		return nil, err
	}
	stored, err := a.stored(ctx, s)
	if err != nil {
		return nil, err
	}
	l, err := a.landed(ctx, s)
	if err != nil {
		return nil, err
	}
	missing, gaps, err := a.missing(ctx, s.Span)
	if err != nil {
		return nil, err
	}
	reply := &analyticsv1.ProofReply{
		Answered: stored.calls + missing, Stored: stored.calls, Landed: l.calls, Metered: meteredCalls(metered),
		LandedDigest: callset.Hex(l.digest), MeteredDigest: metered.GetCounts().GetDigest(),
	}
	reply.Differences = differences(reply, callset.Hex(stored.digest), l.rows, gaps)
	reply.Agree = len(reply.GetDifferences()) == 0
	return reply, nil
}

func meteredCalls(c *meteringv1.CountReply) uint64 {
	n := c.GetCounts().GetBillable()
	for _, free := range c.GetCounts().GetNotBillable() {
		n += free
	}
	return n
}

// differences says what does not agree, in words.
func differences(p *analyticsv1.ProofReply, storedDigest string, rows uint64, gaps []string) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if p.GetAnswered() != p.GetStored() {
		add("%d calls that gateways have numbered are in no message: %s", p.GetAnswered()-p.GetStored(), joined(gaps))
	}
	if p.GetLanded() != p.GetStored() {
		add("the stream has %d calls, ClickHouse %d", p.GetStored(), p.GetLanded())
	}
	if rows != p.GetLanded() {
		add("%d calls are in ClickHouse more than once", rows-p.GetLanded())
	}
	if p.GetMetered() != p.GetStored() {
		add("the stream has %d calls, metering %d", p.GetStored(), p.GetMetered())
	}
	if len(all) == 0 && (p.GetLandedDigest() != storedDigest || p.GetMeteredDigest() != storedDigest) {
		add("the numbers agree, the calls do not: digest of the stream %s, of ClickHouse %s, of metering %s", storedDigest, p.GetLandedDigest(), p.GetMeteredDigest())
	}
	return all
}

// maxNamed bounds the gaps that are named.
const maxNamed = 5

func joined(gaps []string) string {
	text := ""
	for i, g := range gaps {
		if i == maxNamed {
			return text + " and others"
		}
		if i > 0 {
			text += ", "
		}
		text += g
	}
	return text
}

// missing counts the numbers that are missing of gateways and may belong to a span, and names them.
func (a *Analytics) missing(ctx context.Context, span clickhouse.Span) (n uint64, names []string, err error) {
	var boots []store.IncompleteBoot
	err = a.all(ctx, func(tx pgx.Tx) error {
		boots, err = store.Incomplete(ctx, tx)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	for _, row := range boots {
		b, err := loadBoot(row.Boot)
		if err != nil {
			return 0, nil, err
		}
		for _, hole := range b.set.Holes() {
			gap := received.Gap{After: b.started[hole.First-1], BootClosedAt: b.ClosedAt, WaivedUntil: row.WaivedUntil}
			if gap.Concerns(span.Start, span.End) {
				n += hole.Count()
				names = append(names, callset.ID{Gateway: b.Gateway, Boot: uint64(b.Boot.Boot), Seq: hole.First}.String()+" to "+strconv.FormatUint(hole.Last, 10))
			}
		}
	}
	return n, names, nil
}
