package domain

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/rating/period"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
)

// Run is a billing run: the invoices of the periods that ended in a calendar month.
type Run struct {
	ID       string
	Finished bool
}

// Evolve applies an event.
func (r Run) Evolve(event proto.Message) Run {
	switch e := event.(type) {
	case *billingv1.BillingRunStarted:
		r.ID = e.GetRun()
	case *billingv1.BillingRunFinished:
		r.Finished = true
	}
	return r
}

// Representable says whether a time has nanoseconds since the Unix epoch in 64 bits, as all instants of billing have.
func Representable(t time.Time) bool { return t.Year() >= 1970 && t.Year() < 2262 }

// ParseMonth reads a calendar month of UTC such as "2026-11".
func ParseMonth(text string) (period.Interval, error) {
	start, err := time.Parse("2006-01", text)
	if err != nil || !Representable(start) {
		return period.Interval{}, problem.NewInvalid("run-invalid", "The billing run is not valid.").With(
			problem.Field{Path: "period", Message: `is not a calendar month as in "2026-11", from 1970 to 2261`})
	}
	return period.Interval{Start: start, End: start.AddDate(0, 1, 0)}, nil
}

// StartRun begins a run. Periods end in the month or before now, whichever is less.
func StartRun(id, month string, now time.Time) ([]proto.Message, error) {
	m, err := ParseMonth(month)
	if err != nil {
		return nil, err
	}
	if now.Before(m.Start) {
		return nil, problem.NewInvalid("run-invalid", "The billing run is not valid.").With(problem.Field{
			Path: "period", Message: month + " has not begun; name a month in which billing periods have ended"})
	}
	return []proto.Message{&billingv1.BillingRunStarted{Run: id, Period: month}}, nil
}

// Finish ends the run.
func (r Run) Finish(finalized, held uint32) []proto.Message {
	if r.Finished || r.ID == "" {
		return nil
	}
	return []proto.Message{&billingv1.BillingRunFinished{Run: r.ID, Finalized: finalized, Held: held}}
}
