package domain

import (
	"time"

	"google.golang.org/protobuf/proto"

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

// PeriodOf returns the day, the week from Monday or the month that a time lies in, half-open, in the time's zone.
func PeriodOf(schedule string, t time.Time) (start, end time.Time) {
	year, month, day := t.Date()
	midnight := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, t.Location()) }
	switch schedule {
	case Monthly:
		return midnight(year, month, 1), midnight(year, month+1, 1)
	case Weekly:
		monday := day - (int(t.Weekday())+6)%7
		return midnight(year, month, monday), midnight(year, month, monday+7)
	default:
		return midnight(year, month, day), midnight(year, month, day+1)
	}
}
