package app

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// Usage returns the usage of a subscription between two instants, at a watermark: exact to the nanosecond, or an error. It is
// of kind Unavailable ("usage-pending") while an instant that metering has just heard of is being divided at, and Invalid
// ("usage-not-divided") when calls on both sides of an instant are in one bucket, which is the case only for one that is neither
// an hour nor a boundary of the subscription.
func (m *Metering) Usage(ctx context.Context, req *meteringv1.UsageRequest) (*meteringv1.UsageReply, error) {
	scope := store.Scope{Subscription: req.GetSubscription(), Start: req.GetStart(), End: req.GetEnd()}
	var fields problem.Fields
	if req.GetTenant() == "" || req.GetTenant() == principal.AllTenants {
		fields.Add("tenant", "%q is not the id of a tenant", req.GetTenant())
	}
	if req.GetSubscription() == "" {
		fields.Add("subscription", "is empty; give the id of a subscription")
	}
	checkScope(scope, &fields)
	if err := fields.Err("usage-invalid", "The request for usage is not valid."); err != nil {
		return nil, err
	}
	reply := &meteringv1.UsageReply{}
	var partitions []store.Partition
	err := m.db.Snapshot(ctx, req.GetTenant(), func(tx pgx.Tx) error {
		totals, at, err := exactTotals(ctx, tx, scope)
		if err != nil {
			return err
		}
		s, err := readSealing(ctx, tx)
		if err != nil {
			return err
		}
		gaps, err := store.CountConcerning(ctx, tx, scope.Start, scope.End)
		partitions = at
		reply.Meters, reply.Counts, reply.Watermark = meters(totals), counts(totals), watermark(at)
		reply.Unsealed, reply.OpenGaps = s.unsealed(scope.End), uint64(gaps)
		return err
	})
	if err != nil {
		return nil, unavailable(err)
	}
	if len(reply.GetUnsealed()) == 0 {
		if reply.Behind, err = m.behind(ctx, partitions, scope.End); err != nil {
			return nil, err
		}
	}
	reply.Sealed = len(reply.GetUnsealed())+len(reply.GetBehind()) == 0
	return reply, nil
}

// behind returns the partitions of which messages that came before an instant are not applied, as of a snapshot before: they may tell
// of a gateway, or of a boot, that is not known yet.
func (m *Metering) behind(ctx context.Context, partitions []store.Partition, end int64) ([]uint32, error) {
	var behind []uint32
	for _, p := range partitions {
		if p.StreamCreated == nil {
			continue // nobody has looked at the stream yet
		}
		next, found, err := callstream.Next(ctx, m.bus, p.Partition, uint64(p.Sequence), *p.StreamCreated)
		if err != nil {
			return nil, problem.NewUnavailable("usage-pending", "The stream of calls cannot be looked at. Try again in a moment.").Wrap(err)
		}
		if found && next.UnixNano() < end {
			behind = append(behind, uint32(p.Partition))
		}
	}
	return behind, nil
}

// maxCount is the longest time that calls are counted of: anybody who may read can have it counted.
const maxCount = 400 * 24 * time.Hour

// Count returns how many calls completed between two instants, of a tenant or of all, of a subscription or of all calls.
func (m *Metering) Count(ctx context.Context, req *meteringv1.CountRequest) (*meteringv1.CountReply, error) {
	scope := store.Scope{Subscription: req.GetSubscription(), Start: req.GetStart(), End: req.GetEnd()}
	var fields problem.Fields
	if req.GetTenant() == "" {
		fields.Add("tenant", `is empty; give the id of a tenant, or "*" for all`)
	}
	checkScope(scope, &fields)
	if scope.End-scope.Start > int64(maxCount) {
		fields.Add("end", "is more than %d days after the start; ask for less", maxCount/(24*time.Hour))
	}
	if err := fields.Err("count-invalid", "The request for a count is not valid."); err != nil {
		return nil, err
	}
	reply := &meteringv1.CountReply{}
	err := m.db.Snapshot(ctx, req.GetTenant(), func(tx pgx.Tx) error {
		totals, at, err := exactTotals(ctx, tx, scope)
		reply.Meters, reply.Counts, reply.Watermark = meters(totals), counts(totals), watermark(at)
		return err
	})
	return reply, unavailable(err)
}

func checkScope(s store.Scope, fields *problem.Fields) {
	if s.Start < 0 {
		fields.Add("start", "%d is before 1970; want nanoseconds since the Unix epoch", s.Start)
	}
	if s.End <= s.Start {
		fields.Add("end", "%d is not after the start %d", s.End, s.Start)
	}
}

// exactTotals reads the totals of a scope, and up to which messages they reach, in a snapshot: metering goes on meanwhile.
func exactTotals(ctx context.Context, tx pgx.Tx, s store.Scope) ([]store.Total, []store.Partition, error) {
	partitions, err := store.Partitions(ctx, tx)
	if err != nil {
		return nil, nil, err
	}
	if err := checkDivided(ctx, tx, s); err != nil {
		return nil, nil, err
	}
	totals, err := store.Totals(ctx, tx, s)
	return totals, partitions, err
}

// watermark returns up to which message each partition is applied.
func watermark(partitions []store.Partition) map[uint32]uint64 {
	at := make(map[uint32]uint64, len(partitions))
	for _, p := range partitions {
		at[uint32(p.Partition)] = uint64(p.Sequence)
	}
	return at
}

// checkDivided makes sure that no bucket has calls on both sides of an end of the scope.
func checkDivided(ctx context.Context, tx pgx.Tx, s store.Scope) error {
	for _, end := range []struct {
		name string
		at   int64
	}{{"start", s.Start}, {"end", s.End}} {
		straddles, err := store.Straddles(ctx, tx, s.Subscription, end.at)
		if err != nil {
			return err
		}
		if !straddles {
			continue
		}
		pending, err := store.SplitPending(ctx, tx, s.Subscription)
		if err != nil {
			return err
		}
		if pending {
			return problem.NewUnavailable("usage-pending", "Usage is being divided at an instant that has just become known. Try again in a moment.")
		}
		return problem.NewInvalid("usage-not-divided", "The usage up to the %s is not known.", end.name).With(problem.Field{
			Path: end.name, Message: time.Unix(0, end.at).UTC().Format(time.RFC3339Nano) + " divides a bucket of usage; give a full hour, or an instant at which a billing period, a plan or the subscription begins or ends",
		})
	}
	return nil
}

// meters returns the billable totals.
func meters(totals []store.Total) []*meteringv1.MeterUsage {
	var all []*meteringv1.MeterUsage
	for _, t := range totals {
		if t.Reason == "" {
			all = append(all, &meteringv1.MeterUsage{Meter: t.Meter, Quantity: t.Quantity.String(), Calls: t.Calls, Digest: t.Hex()})
		}
	}
	return all
}

// counts counts calls: each is counted once on the meter "calls".
func counts(totals []store.Total) *meteringv1.CallCounts {
	c := &meteringv1.CallCounts{NotBillable: map[string]uint64{}}
	digest := uint64(0)
	for _, t := range totals {
		if t.Meter != callstream.MeterCalls {
			continue
		}
		digest += t.Digest
		if t.Reason == "" {
			c.Billable = t.Calls
		} else {
			c.NotBillable[t.Reason] = t.Calls
		}
	}
	c.Digest = callset.Hex(digest)
	return c
}

// UsageTotal is a meter's total, of billable calls or of those with a reason.
type UsageTotal struct {
	Meter    string `json:"meter"`
	Billable bool   `json:"billable"`
	// Reason why the calls are not billable.
	Reason   string `json:"reason,omitempty"`
	Quantity string `json:"quantity"`
	Calls    uint64 `json:"calls"`
}

// UsageSlice is a total of one hour, day or month.
type UsageSlice struct {
	Start time.Time `json:"start"`
	UsageTotal
}

// UsageReport is usage as it is shown.
type UsageReport struct {
	Subscription string    `json:"subscription"`
	Name         string    `json:"name"`
	From         time.Time `json:"from"`
	To           time.Time `json:"to"`
	// TimeZone of the subscription, in which days and months are counted.
	TimeZone string       `json:"timeZone"`
	Totals   []UsageTotal `json:"totals"`
	Slices   []UsageSlice `json:"slices"`
}

// Report returns the usage of a subscription, by its name or id, in slices of an hour, a day or a month.
func (m *Metering) Report(ctx context.Context, subscription string, from, to time.Time, by string) (UsageReport, error) {
	return acting(ctx, m, func(tx pgx.Tx) (UsageReport, error) {
		s, err := store.FindSubscription(ctx, tx, subscription)
		if err != nil {
			return UsageReport{}, subscriptionNotFound(err, subscription)
		}
		scope := store.Scope{Subscription: s.ID, Start: from.UnixNano(), End: to.UnixNano()}
		report := UsageReport{
			Subscription: s.ID, Name: s.Name, From: from.UTC(), To: to.UTC(), TimeZone: s.TimeZone, Totals: []UsageTotal{}, Slices: []UsageSlice{},
		}
		if err := checkDivided(ctx, tx, scope); err != nil {
			return report, err
		}
		totals, err := store.Totals(ctx, tx, scope)
		if err != nil {
			return report, err
		}
		for _, t := range totals {
			report.Totals = append(report.Totals, UsageTotal{t.Meter, t.Reason == "", t.Reason, t.Quantity.String(), t.Calls})
		}
		slices, err := store.Slices(ctx, tx, scope, by, s.TimeZone)
		if len(slices) > store.MaxSlices {
			return report, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{
				Path: "by", Message: fmt.Sprintf("there are more than %d slices of meters and reasons; ask for longer slices, or for less time", store.MaxSlices),
			})
		}
		for _, v := range slices {
			report.Slices = append(report.Slices, UsageSlice{v.Start.UTC(), UsageTotal{v.Meter, v.Reason == "", v.Reason, v.Quantity, uint64(v.Calls)}})
		}
		return report, err
	})
}

func subscriptionNotFound(err error, nameOrID string) error {
	return notFound(err, "subscription-not-found", "There is no subscription %s.", nameOrID)
}
