package domain

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/rating/period"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
)

// Schedules of reports.
const (
	Daily   = "daily"
	Weekly  = "weekly"
	Monthly = "monthly"
)

// Report is a stored report.
type Report struct {
	ID, Name string
	// Spec is without addresses.
	Spec    *analyticsv1.ReportSpec
	Deleted bool
}

// Evolve applies an event.
func (r Report) Evolve(event proto.Message) Report {
	switch e := event.(type) {
	case *analyticsv1.ReportPut:
		r.ID, r.Name, r.Spec = e.GetReport(), e.GetName(), e.GetSpec()
	case *analyticsv1.ReportDeleted:
		r.Deleted = true
	}
	return r
}

// PutReport makes the report as the spec says. No event comes of a change of addresses alone.
func (r Report) PutReport(id, name string, spec *analyticsv1.ReportSpec) []proto.Message {
	bare := proto.CloneOf(spec)
	bare.Mail = nil
	if r.Spec != nil && proto.Equal(r.Spec, bare) {
		return nil
	}
	return []proto.Message{&analyticsv1.ReportPut{Report: id, Name: name, Spec: bare}}
}

// Delete ends the report.
func (r Report) Delete() []proto.Message {
	return []proto.Message{&analyticsv1.ReportDeleted{Report: r.ID}}
}

// PeriodOf returns the day, the week from Monday or the month that a time lies in, half-open, in the time's zone, whose name must be
// that of an IANA zone.
func PeriodOf(schedule string, t time.Time) (start, end time.Time, err error) {
	every := period.Day
	switch schedule {
	case Monthly:
		every = period.Month
	case Weekly:
		every = period.Week
	}
	rule, err := period.New(period.Config{Every: every, Anchor: period.Calendar, TimeZone: t.Location().String()}, time.Time{})
	if err != nil {
		return start, end, err
	}
	p := rule.At(t)
	return p.Start.In(t.Location()), p.End.In(t.Location()), nil
}
