package app

import (
	"context"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Apply makes alert rules and reports as documents say, all of them or none.
func (a *Analytics) Apply(ctx context.Context, request resource.ApplyRequest) (resource.ApplyResponse, error) {
	var assume []string // only where nothing comes of it
	if principal.CommandFrom(ctx).DryRun {
		assume = request.Assume
	}
	return service.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (resource.ApplyResponse, error) {
		return resource.ApplyAll(request, "analytics", func(r resource.Resource, spec proto.Message) (proto.Message, error) {
			switch s := spec.(type) {
			case *analyticsv1.AlertRuleSpec:
				_, before, err := a.putAlertRule(ctx, tx, r.Metadata.Name, s, assume)
				return orNil(before), err
			case *analyticsv1.ReportSpec:
				_, before, err := a.putReport(ctx, tx, r.Metadata.Name, s, assume)
				return orNil(before), err
			}
			return nil, nil
		})
	})
}

// orNil turns a nil pointer into a nil message.
func orNil[T any, M interface {
	*T
	proto.Message
}](m M) proto.Message {
	if m == nil {
		return nil
	}
	return m
}

// ExportResources returns every alert rule and report of the acting tenant as documents.
func (a *Analytics) ExportResources(ctx context.Context) (resource.Export, error) {
	out := resource.Export{Resources: []resource.Resource{}}
	err := a.inActing(ctx, func(tx pgx.Tx, tenant string) error {
		out.Resources = out.Resources[:0]
		rules, err := store.AlertRules(ctx, tx, tenant, "", maxRules)
		if err != nil {
			return err
		}
		for _, r := range rules {
			out.Resources = append(out.Resources, resource.Resource{APIVersion: resource.APIVersion, Kind: "AlertRule", Metadata: resource.Metadata{Name: r.Name}, Spec: r.Spec})
		}
		reports, err := store.Reports(ctx, tx, tenant, "", maxReports)
		if err != nil {
			return err
		}
		for _, r := range reports {
			out.Resources = append(out.Resources, resource.Resource{APIVersion: resource.APIVersion, Kind: "Report", Metadata: resource.Metadata{Name: r.Name}, Spec: r.Spec})
		}
		return nil
	})
	return out, err
}
