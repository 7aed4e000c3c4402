package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
)

type putAlertRule struct {
	Rule string                                                               `path:"rule"`
	Spec resource.Spec[analyticsv1.AlertRuleSpec, *analyticsv1.AlertRuleSpec] `json:"spec" required:"true"`
}

type rulePath struct {
	Rule string `path:"rule" description:"Name or id."`
}

type putReport struct {
	Report string                                                         `path:"report"`
	Spec   resource.Spec[analyticsv1.ReportSpec, *analyticsv1.ReportSpec] `json:"spec" required:"true"`
}

type reportPath struct {
	Report string `path:"report" description:"Name or id."`
}

type page struct{ operation.Page }

func registerAlerts(a *operation.API, s *app.Analytics) {
	operation.Register(a, operation.Op[putAlertRule, app.AlertRule]{
		Name: "PutAlertRule", Method: http.MethodPut, Path: "/alert-rules/{rule}", Scope: write, Summary: "Make the alert rule of this name as the specification says.",
		Handle: func(ctx context.Context, r *putAlertRule) (app.AlertRule, error) {
			return s.PutAlertRule(ctx, r.Rule, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[page, operation.List[app.AlertRule]]{
		Name: "ListAlertRules", Method: http.MethodGet, Path: "/alert-rules", Scope: read, Summary: "Alert rules and their state.",
		Handle: func(ctx context.Context, r *page) (operation.List[app.AlertRule], error) {
			rows, err := s.AlertRules(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(x app.AlertRule) string { return x.Name }), err
		},
	})
	operation.Register(a, operation.Op[rulePath, app.AlertRule]{
		Name: "GetAlertRule", Method: http.MethodGet, Path: "/alert-rules/{rule}", Scope: read, Summary: "One alert rule.",
		Handle: func(ctx context.Context, r *rulePath) (app.AlertRule, error) { return s.AlertRule(ctx, r.Rule) },
	})
	operation.Register(a, operation.Op[rulePath, operation.Empty]{
		Name: "DeleteAlertRule", Method: http.MethodDelete, Path: "/alert-rules/{rule}", Scope: write, Summary: "Delete an alert rule.",
		Handle: func(ctx context.Context, r *rulePath) (operation.Empty, error) {
			return operation.Empty{}, s.DeleteAlertRule(ctx, r.Rule)
		},
	})
	operation.Register(a, operation.Op[struct{}, app.WebhookSecret]{
		Name: "RotateWebhookSecret", Method: http.MethodPost, Path: "/webhook-secret", Scope: write, Status: http.StatusCreated,
		Summary: "Make a secret that webhooks are signed with, in place of the one before; it is shown once.",
		Handle:  func(ctx context.Context, _ *struct{}) (app.WebhookSecret, error) { return s.RotateWebhookSecret(ctx) },
	})
}

func registerReports(a *operation.API, s *app.Analytics) {
	operation.Register(a, operation.Op[putReport, app.Report]{
		Name: "PutReport", Method: http.MethodPut, Path: "/reports/{report}", Scope: write, Summary: "Make the report of this name as the specification says.",
		Handle: func(ctx context.Context, r *putReport) (app.Report, error) {
			return s.PutReport(ctx, r.Report, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[page, operation.List[app.Report]]{
		Name: "ListReports", Method: http.MethodGet, Path: "/reports", Scope: read, Summary: "Stored reports.",
		Handle: func(ctx context.Context, r *page) (operation.List[app.Report], error) {
			rows, err := s.Reports(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(x app.Report) string { return x.Name }), err
		},
	})
	operation.Register(a, operation.Op[reportPath, app.Report]{
		Name: "GetReport", Method: http.MethodGet, Path: "/reports/{report}", Scope: read, Summary: "One stored report.",
		Handle: func(ctx context.Context, r *reportPath) (app.Report, error) { return s.Report(ctx, r.Report) },
	})
	operation.Register(a, operation.Op[reportPath, app.ReportTable]{
		Name: "GetReportTable", Method: http.MethodGet, Path: "/reports/{report}/table", Scope: read, Summary: "What a report says of the last period that is over.",
		Handle: func(ctx context.Context, r *reportPath) (app.ReportTable, error) { return s.ReportTable(ctx, r.Report) },
	})
	operation.Register(a, operation.Op[reportPath, operation.Empty]{
		Name: "DeleteReport", Method: http.MethodDelete, Path: "/reports/{report}", Scope: write, Summary: "Delete a stored report.",
		Handle: func(ctx context.Context, r *reportPath) (operation.Empty, error) {
			return operation.Empty{}, s.DeleteReport(ctx, r.Report)
		},
	})
}

func registerResources(a *operation.API, s *app.Analytics) {
	operation.Register(a, operation.Op[resource.ApplyRequest, resource.ApplyResponse]{
		Name: "ApplyAnalyticsResources", Method: http.MethodPost, Path: "/apply", Scope: write, Summary: "Make alert rules and reports as documents say, all or none.",
		Handle: func(ctx context.Context, r *resource.ApplyRequest) (resource.ApplyResponse, error) {
			return s.Apply(ctx, *r)
		},
	})
	operation.Register(a, operation.Op[struct{}, resource.Export]{
		Name: "ExportAnalyticsResources", Method: http.MethodGet, Path: "/export", Scope: read, Summary: "Every alert rule and report as documents.",
		Handle: func(ctx context.Context, _ *struct{}) (resource.Export, error) { return s.ExportResources(ctx) },
	})
}
