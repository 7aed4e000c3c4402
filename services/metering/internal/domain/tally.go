package domain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/callstream"
	"github.com/tollgate/tollgate/libs/money"
	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// Key names a row of the ledger.
type Key struct {
	Tenant, Subscription string
	Bucket               int64
	API, APIVersion      string
	Plan                 string
	PlanVersion          uint32
	Meter                string
	// Reason is the code of why the calls are not billable; empty for billable calls.
	Reason string
	// Operation is an operationId, cut to 200 bytes; empty when no operation matched.
	Operation            string
	Application, Account string
}

// maxOperation bounds what is kept of an operationId, in bytes: the key of a row must fit into an index.
const maxOperation = 200

func operationOf(c *callsv1.CallRecord) string {
	id := strings.ReplaceAll(c.GetOperation(), "\x00", "")
	if len(id) > maxOperation {
		id = strings.ToValidUTF8(id[:maxOperation], "")
	}
	return id
}

// Sum is what the calls of a row amount to.
type Sum struct {
	Quantity money.Decimal
	// Units on a quota: the sum of what each call counts for, see Units.
	Units money.Decimal
	Calls uint64
	// Digest over the identities of the calls, see libs/callset.
	Digest uint64
	// First and Last are the earliest and the latest completion among the calls.
	First, Last int64
	// Sequence of the first message that has one of the calls, by which they can be found again.
	Sequence uint64
}

// Row is a row of the ledger.
type Row struct {
	Key
	Sum
}

// Tally adds up calls. It belongs to one goroutine.
type Tally struct {
	calendars func(subscription string) *Calendar
	sums      map[Key]*Sum
}

// NewTally returns an empty tally. calendars returns the calendar of a subscription that is known, else nil.
func NewTally(calendars func(subscription string) *Calendar) *Tally {
	return &Tally{calendars: calendars, sums: map[Key]*Sum{}}
}

// Add adds a call that came with a message. A call counts once on the meter "calls", and on each meter that the
// upstream reported.
func (t *Tally) Add(gateway string, boot uint64, c *callsv1.CallRecord, sequence uint64) error {
	calendar := t.calendars(c.GetSubscription())
	if calendar == nil {
		calendar = &Calendar{}
	}
	units, err := callstream.Units(c)
	if err != nil {
		return fmt.Errorf("call %d: %w", c.GetSeq(), err)
	}
	key := Key{
		Tenant: c.GetTenant(), Subscription: c.GetSubscription(), Bucket: calendar.Bucket(c.GetCompletedAt()),
		API: c.GetApi(), APIVersion: c.GetApiVersion(), Plan: c.GetPlan(), PlanVersion: c.GetPlanVersion(),
		Meter: callstream.MeterCalls, Reason: callstream.ReasonCode(c.GetReason()),
		Operation: operationOf(c), Application: c.GetApplication(), Account: c.GetAccount(),
	}
	digest := callset.Digest(gateway, boot, c.GetSeq())
	t.add(key, units, digest, c.GetCompletedAt(), sequence)
	for _, q := range c.GetQuantities() {
		value, err := money.ParseScale(q.GetValue(), callstream.QuantityDecimals)
		if err != nil {
			return fmt.Errorf("call %d: %w", c.GetSeq(), err)
		}
		key.Meter = q.GetMeter()
		t.add(key, value, digest, c.GetCompletedAt(), sequence)
	}
	return nil
}

func (t *Tally) add(key Key, quantity money.Decimal, digest uint64, completed int64, sequence uint64) {
	sum := t.sums[key]
	if sum == nil {
		sum = &Sum{First: completed, Last: completed, Sequence: sequence}
		t.sums[key] = sum
	}
	sum.Quantity, sum.Units = sum.Quantity.Add(quantity), sum.Units.Add(Units(quantity))
	sum.Calls++
	sum.Digest += digest
	sum.First, sum.Last, sum.Sequence = min(sum.First, completed), max(sum.Last, completed), min(sum.Sequence, sequence)
}

// Rows returns the rows in the order of their keys.
func (t *Tally) Rows() []Row {
	rows := make([]Row, 0, len(t.sums))
	for key, sum := range t.sums {
		rows = append(rows, Row{key, *sum})
	}
	slices.SortFunc(rows, func(a, b Row) int { return a.compare(b.Key) })
	return rows
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Tenant, o.Tenant), cmp.Compare(k.Subscription, o.Subscription), cmp.Compare(k.Bucket, o.Bucket),
		cmp.Compare(k.API, o.API), cmp.Compare(k.APIVersion, o.APIVersion), cmp.Compare(k.Plan, o.Plan),
		cmp.Compare(k.PlanVersion, o.PlanVersion), cmp.Compare(k.Meter, o.Meter), cmp.Compare(k.Reason, o.Reason),
		cmp.Compare(k.Operation, o.Operation), cmp.Compare(k.Application, o.Application), cmp.Compare(k.Account, o.Account))
}
