package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
)

// Projection describes what the log says of the alert rules and reports, to compare them with it: the addresses that are told are
// in no event, and what was measured last is no event.
func Projection() eventlog.Projection {
	return eventlog.Projection{
		Name: "analytics", Tables: []string{"alert_rules", "reports"},
		Beside: map[string][]string{
			"alert_rules": {"spec", "firing", "since", "value", "evaluated_at", "cause", "next_at", "created_at"},
			"reports":     {"spec", "sent_until", "cause", "next_at", "created_at"},
		},
		Apply: apply,
	}
}

func apply(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	switch p := e.Payload.(type) {
	case *analyticsv1.AlertRulePut:
		return UpsertAlertRule(ctx, tx, AlertRule{ID: p.GetRule(), Tenant: e.Tenant, Name: p.GetName(), Spec: []byte("{}"), CreatedAt: e.RecordedAt})
	case *analyticsv1.AlertRuleDeleted:
		return DeleteAlertRule(ctx, tx, p.GetRule())
	case *analyticsv1.ReportPut:
		return UpsertReport(ctx, tx, Report{ID: p.GetReport(), Tenant: e.Tenant, Name: p.GetName(), Spec: []byte("{}"), CreatedAt: e.RecordedAt})
	case *analyticsv1.ReportDeleted:
		return DeleteReport(ctx, tx, p.GetReport())
	}
	return nil
}
