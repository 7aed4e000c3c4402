package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/domain"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

const (
	maxReports = 50
	// reportDelay is how long after the end of its period a report is made.
	reportDelay = 15 * time.Minute
	defaultRows = 20
)

// Report is a stored report as it is shown.
type Report struct {
	ID        string                                                         `json:"id"`
	Name      string                                                         `json:"name"`
	Spec      resource.Spec[analyticsv1.ReportSpec, *analyticsv1.ReportSpec] `json:"spec"`
	SentUntil *time.Time                                                     `json:"sentUntil,omitempty" description:"End of the last period that it was sent of."`
	NextAt    *time.Time                                                     `json:"nextAt,omitempty" description:"When it is made next; absent while it is paused."`
	Cause     string                                                         `json:"cause,omitempty" description:"Why it cannot be made at the moment."`
}

func shownReport(r store.Report) (Report, error) {
	spec := &analyticsv1.ReportSpec{}
	if err := decodeStored(r.Spec, spec); err != nil {
		return Report{}, fmt.Errorf("report %s: %w", r.ID, err)
	}
	return Report{ID: r.ID, Name: r.Name, Spec: resource.Of(spec), SentUntil: r.SentUntil, NextAt: r.NextAt, Cause: r.Cause}, nil
}

func checkReport(spec *analyticsv1.ReportSpec) error {
	var fields problem.Fields
	switch spec.GetSchedule() {
	case domain.Daily, domain.Weekly, domain.Monthly:
	default:
		fields.Add("spec.schedule", "%q is not daily, weekly or monthly", spec.GetSchedule())
	}
	if zone := spec.GetTimeZone(); zone != "" {
		if _, err := time.LoadLocation(zone); err != nil || zone == "Local" {
			fields.Add("spec.timeZone", `%q is not a time zone; want an IANA name such as "Europe/Berlin"`, zone)
		}
	}
	checkMetrics("spec.metrics", reportMetrics(spec), spec.GetMeter(), &fields)
	if by := spec.GetBy(); by != "" {
		if _, known := clickhouse.FindDimension(by); !known {
			fields.Add("spec.by", "%q is not a dimension; want one of %s", by, clickhouse.DimensionNames())
		}
	}
	if spec.GetLimit() > MaxGroups {
		fields.Add("spec.limit", "%d is too many; the most is %d", spec.GetLimit(), MaxGroups)
	}
	checkFilter("spec.filter.", spec.GetFilter(), &fields)
	checkMail(spec.GetMail(), &fields)
	if len(spec.GetMail()) == 0 {
		fields.Add("spec.mail", "is empty: the report would be sent to nobody")
	}
	return fields.Err("report-invalid", "The report is not valid.")
}

func reportMetrics(spec *analyticsv1.ReportSpec) []string {
	if len(spec.GetMetrics()) == 0 {
		return []string{"calls"}
	}
	return spec.GetMetrics()
}

func zoneOf(spec *analyticsv1.ReportSpec) *time.Location {
	zone, err := time.LoadLocation(spec.GetTimeZone())
	if err != nil {
		return time.UTC
	}
	return zone
}

// nextReport is when the report of the period that a time lies in is made.
func nextReport(spec *analyticsv1.ReportSpec, t time.Time) (time.Time, error) {
	_, end, err := domain.PeriodOf(spec.GetSchedule(), t.In(zoneOf(spec)))
	return end.Add(reportDelay).UTC(), err
}

// sameSchedule says whether two specs are of reports that are made at the same times.
func sameSchedule(a, b *analyticsv1.ReportSpec) bool {
	return a.GetSchedule() == b.GetSchedule() && zoneOf(a).String() == zoneOf(b).String() && a.GetPaused() == b.GetPaused()
}

// PutReport makes the report of that name as the spec says.
func (a *Analytics) PutReport(ctx context.Context, name string, spec *analyticsv1.ReportSpec) (Report, error) {
	return service.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (Report, error) {
		row, _, err := a.putReport(ctx, tx, name, spec, nil)
		if err != nil {
			return Report{}, err
		}
		return shownReport(row)
	})
}

func (a *Analytics) putReport(ctx context.Context, tx *eventlog.Tx, name string, spec *analyticsv1.ReportSpec, assume []string) (store.Report, *analyticsv1.ReportSpec, error) {
	var none store.Report
	who, err := actor(ctx)
	if err != nil {
		return none, nil, err
	}
	if err := a.checkPut(ctx, tx, who.Tenant, name, spec.GetFilter(), "", checkReport(spec), assume); err != nil {
		return none, nil, err
	}
	row, err := store.LockReport(ctx, tx, who.Tenant, name)
	var before *analyticsv1.ReportSpec
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		others, err := store.Reports(ctx, tx, who.Tenant, "", maxReports)
		if err != nil {
			return none, nil, err
		}
		if len(others) == maxReports {
			return none, nil, problem.NewConflict("too-many-reports", "There are %d reports already, which is the most a tenant may have.", maxReports)
		}
		row = store.Report{ID: newToken(), Tenant: who.Tenant, Name: name, CreatedAt: tx.Now()}
	case err != nil:
		return none, nil, err
	default:
		before = &analyticsv1.ReportSpec{}
		if err := decodeStored(row.Spec, before); err != nil {
			return none, nil, err
		}
	}
	report, version, err := loadReport(ctx, tx, who.Tenant, row.ID)
	if err != nil {
		return none, nil, err
	}
	tx.Append("report", row.ID, version, report.PutReport(row.ID, name, spec)...)
	if row.Spec, err = resource.EncodeSpec(spec); err != nil {
		return none, nil, err
	}
	row.Cause = ""
	if before == nil || !sameSchedule(before, spec) { // else one that is due stays so
		next, err := nextReport(spec, tx.Now())
		if err != nil {
			return none, nil, err
		}
		row.NextAt = &next
		if spec.GetPaused() {
			row.NextAt = nil
		}
	}
	return row, before, store.UpsertReport(ctx, tx, row)
}

func loadReport(ctx context.Context, tx *eventlog.Tx, tenant, id string) (domain.Report, uint64, error) {
	history, err := tx.LoadFor(ctx, tenant, "report", id)
	return eventlog.Fold(history, domain.Report{}, domain.Report.Evolve), uint64(len(history)), err
}

const (
	noReport     = "There is no report %s."
	noReportCode = "report-not-found"
)

// DeleteReport forgets a report of the acting tenant.
func (a *Analytics) DeleteReport(ctx context.Context, nameOrID string) error {
	_, err := service.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		who, err := actor(ctx)
		if err != nil {
			return struct{}{}, err
		}
		row, err := store.LockReport(ctx, tx, who.Tenant, nameOrID)
		if err != nil {
			return struct{}{}, notFound(err, noReportCode, noReport, nameOrID)
		}
		report, version, err := loadReport(ctx, tx, who.Tenant, row.ID)
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("report", row.ID, version, report.Delete()...)
		return struct{}{}, store.DeleteReport(ctx, tx, row.ID)
	})
	return err
}

// Report returns a report of the acting tenant.
func (a *Analytics) Report(ctx context.Context, nameOrID string) (Report, error) {
	row, err := a.findReport(ctx, nameOrID)
	if err != nil {
		return Report{}, err
	}
	return shownReport(row)
}

func (a *Analytics) findReport(ctx context.Context, nameOrID string) (row store.Report, err error) {
	err = a.inActing(ctx, func(tx pgx.Tx, tenant string) (err error) {
		row, err = store.FindReport(ctx, tx, tenant, nameOrID)
		return notFound(err, noReportCode, noReport, nameOrID)
	})
	return row, err
}

// Reports returns reports of the acting tenant in order of their name.
func (a *Analytics) Reports(ctx context.Context, after string, limit int) ([]Report, error) {
	var rows []store.Report
	err := a.inActing(ctx, func(tx pgx.Tx, tenant string) (err error) {
		rows, err = store.Reports(ctx, tx, tenant, after, limit)
		return err
	})
	all := make([]Report, len(rows))
	for i := range rows {
		if all[i], err = shownReport(rows[i]); err != nil {
			return nil, err
		}
	}
	return all, err
}

// ReportTable is what a report says of a period.
type ReportTable struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Ranking
}

// ReportTable returns what a report of the acting tenant says of the last period that is over.
func (a *Analytics) ReportTable(ctx context.Context, nameOrID string) (ReportTable, error) {
	row, err := a.findReport(ctx, nameOrID)
	if err != nil {
		return ReportTable{}, err
	}
	spec := &analyticsv1.ReportSpec{}
	if err := decodeStored(row.Spec, spec); err != nil {
		return ReportTable{}, fmt.Errorf("report %s: %w", row.ID, err)
	}
	end, _, err := domain.PeriodOf(spec.GetSchedule(), a.now().In(zoneOf(spec)))
	if err != nil {
		return ReportTable{}, err
	}
	return a.reportTable(ctx, row.Tenant, spec, end)
}

// reportTable measures the period of a report that ends at a time.
func (a *Analytics) reportTable(ctx context.Context, tenant string, spec *analyticsv1.ReportSpec, end time.Time) (ReportTable, error) {
	start, _, err := domain.PeriodOf(spec.GetSchedule(), end.Add(-time.Minute))
	if err != nil {
		return ReportTable{}, err
	}
	groups := int(spec.GetLimit())
	if groups == 0 {
		groups = defaultRows
	}
	ranking, err := a.ranking(ctx, tenant, Measurement{
		Query: Query{From: start, To: end, Filter: spec.GetFilter()}, Metrics: reportMetrics(spec), UnitsOf: spec.GetMeter(), By: spec.GetBy(), Groups: groups,
	})
	return ReportTable{From: start, To: end, Ranking: ranking}, err
}

// sendNext makes one report, and returns false when none is due.
func (a *Analytics) sendNext(ctx context.Context, c *completeness) (bool, error) {
	now := a.now()
	complete, err := c.until(ctx, now)
	if err != nil {
		return false, err
	}
	var row store.Report
	err = a.all(ctx, func(tx pgx.Tx) (err error) {
		row, err = store.TakeReport(ctx, tx, now, now.Add(takenFor))
		return err
	})
	if err != nil {
		return false, none(err)
	}
	cause, err := a.send(ctx, row, now, complete)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		cause = a.causeOf(err, row.Cause, "report", row.ID)
	}
	if cause == "" {
		return true, nil
	}
	return true, a.all(ctx, func(tx pgx.Tx) error { return store.PostponeReport(ctx, tx, row, cause, a.now().Add(againSoon)) })
}

// send makes a report that was taken; cause says why it cannot be made yet. Of several periods that are over, as after a pause of the
// service, the last one is sent.
func (a *Analytics) send(ctx context.Context, taken store.Report, now, complete time.Time) (cause string, err error) {
	spec := &analyticsv1.ReportSpec{}
	if err := decodeStored(taken.Spec, spec); err != nil {
		return "", err
	}
	end, _, err := domain.PeriodOf(spec.GetSchedule(), now.Add(-reportDelay).In(zoneOf(spec)))
	if err != nil {
		return "", err
	}
	next, err := nextReport(spec, now.Add(-reportDelay))
	if err != nil {
		return "", err
	}
	if complete.Before(end) {
		return notLanded(complete), nil
	}
	table, err := a.reportTable(ctx, taken.Tenant, spec, end)
	if err != nil {
		return "", err
	}
	mail, err := reportMail(taken.Name, spec, table)
	if err != nil {
		return "", err
	}
	key := fmt.Sprintf("report/%s/%d", taken.ID, table.From.Unix())
	_, err = eventlog.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		row, err := store.LockReport(ctx, tx, taken.Tenant, taken.ID)
		if err != nil || !untouched(row.NextAt, taken.NextAt, row.Spec, taken.Spec) {
			return struct{}{}, none(err)
		}
		_, version, err := loadReport(ctx, tx, row.Tenant, row.ID)
		if err != nil {
			return struct{}{}, err
		}
		tx.AppendFor(row.Tenant, "report", row.ID, version, &analyticsv1.ReportSent{Report: row.ID, Start: table.From.UnixNano(), End: table.To.UnixNano(), Rows: uint32(len(table.Rows))})
		if err := a.tell(ctx, tx, message{tenant: row.Tenant, key: key, mail: mail}); err != nil {
			return struct{}{}, err
		}
		row.NextAt, row.SentUntil, row.Cause = &next, &end, ""
		return struct{}{}, store.UpsertReport(ctx, tx, row)
	})
	return "", err
}
