package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/domain"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// The most rules and reports of a tenant, and the bounds of a rule's window.
const (
	maxRules  = 200
	minWindow = time.Minute
	maxWindow = 7 * 24 * time.Hour
)

// AlertRule is a rule as it is shown.
type AlertRule struct {
	ID   string                                                               `json:"id"`
	Name string                                                               `json:"name"`
	Spec resource.Spec[analyticsv1.AlertRuleSpec, *analyticsv1.AlertRuleSpec] `json:"spec"`
	// State is ok, firing or paused.
	State string     `json:"state" enum:"ok,firing,paused"`
	Since *time.Time `json:"since,omitempty" description:"When it fired or was resolved last."`
	Value string     `json:"value,omitempty" description:"What was measured last."`
	// EvaluatedAt is when it was measured last.
	EvaluatedAt *time.Time `json:"evaluatedAt,omitempty"`
	Cause       string     `json:"cause,omitempty" description:"Why it cannot be evaluated at the moment."`
}

func shownRule(r store.AlertRule) (AlertRule, error) {
	spec := &analyticsv1.AlertRuleSpec{}
	if err := decodeStored(r.Spec, spec); err != nil {
		return AlertRule{}, fmt.Errorf("alert rule %s: %w", r.ID, err)
	}
	state := "ok"
	switch {
	case spec.GetPaused():
		state = "paused"
	case r.Firing:
		state = "firing"
	}
	return AlertRule{
		ID: r.ID, Name: r.Name, Spec: resource.Of(spec), State: state, Since: r.Since, Value: r.Value, EvaluatedAt: r.EvaluatedAt, Cause: r.Cause,
	}, nil
}

func decodeStored(raw json.RawMessage, into proto.Message) error {
	var fields problem.Fields
	resource.DecodeSpec(raw, into, "spec", &fields)
	return fields.Err("stored-spec-invalid", "The stored specification is not valid.")
}

func checkAlertRule(spec *analyticsv1.AlertRuleSpec) error {
	var fields problem.Fields
	if w, err := time.ParseDuration(spec.GetWindow()); err != nil || w < minWindow || w > maxWindow || w%time.Second != 0 {
		fields.Add("spec.window", `%q is not a duration from 1m to 168h, as in "5m"`, spec.GetWindow())
	}
	switch spec.GetKind() {
	case "", domain.Threshold, domain.Change:
		checkMetrics("spec.metric", metricsOf(spec), spec.GetMeter(), &fields)
		if o := spec.GetOperator(); o != domain.Above && o != domain.Below {
			fields.Add("spec.operator", "%q is not above or below", o)
		}
		if _, err := money.Parse(spec.GetValue()); err != nil {
			fields.Add("spec.value", `%q is not a decimal as in "0.05" or "-30"`, spec.GetValue())
		}
	case domain.Absence:
		if spec.GetMetric() != "" || spec.GetOperator() != "" || spec.GetValue() != "" || spec.GetMinimumCalls() != 0 {
			fields.Add("spec.kind", "absence counts calls: leave out metric, operator, value and minimumCalls")
		}
	default:
		fields.Add("spec.kind", "%q is not threshold, absence or change", spec.GetKind())
	}
	checkFilter("spec.filter.", spec.GetFilter(), &fields)
	checkMail(spec.GetMail(), &fields)
	if spec.GetWebhook() != "" {
		if notify.CheckURL("spec.webhook", spec.GetWebhook()) != nil {
			fields.Add("spec.webhook", `is not a URL as in "https://example.com/hooks" (http or https, without user and fragment)`)
		}
	}
	if len(spec.GetMail()) == 0 && spec.GetWebhook() == "" {
		fields.Add("spec.mail", "is empty, and there is no webhook: nobody would be told")
	}
	return fields.Err("alert-rule-invalid", "The alert rule is not valid.")
}

// metricsOf is what a rule measures.
func metricsOf(spec *analyticsv1.AlertRuleSpec) []string {
	if spec.GetMetric() == "" {
		return []string{"calls"}
	}
	return []string{spec.GetMetric()}
}

// PutAlertRule makes the rule of that name as the spec says.
func (a *Analytics) PutAlertRule(ctx context.Context, name string, spec *analyticsv1.AlertRuleSpec) (AlertRule, error) {
	return service.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (AlertRule, error) {
		row, _, err := a.putAlertRule(ctx, tx, name, spec, nil)
		if err != nil {
			return AlertRule{}, err
		}
		return shownRule(row)
	})
}

// putAlertRule returns the rule as it is now and its spec before, nil for none. assume names things that may be unknown yet.
func (a *Analytics) putAlertRule(ctx context.Context, tx *eventlog.Tx, name string, spec *analyticsv1.AlertRuleSpec, assume []string) (store.AlertRule, *analyticsv1.AlertRuleSpec, error) {
	var none store.AlertRule
	who, err := actor(ctx)
	if err != nil {
		return none, nil, err
	}
	if err := a.checkPut(ctx, tx, who.Tenant, name, spec.GetFilter(), spec.GetWebhook(), checkAlertRule(spec), assume); err != nil {
		return none, nil, err
	}
	row, err := store.LockAlertRule(ctx, tx, who.Tenant, name)
	var before *analyticsv1.AlertRuleSpec
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		others, err := store.AlertRules(ctx, tx, who.Tenant, "", maxRules)
		if err != nil {
			return none, nil, err
		}
		if len(others) == maxRules {
			return none, nil, problem.NewConflict("too-many-alert-rules", "There are %d alert rules already, which is the most a tenant may have.", maxRules)
		}
		row = store.AlertRule{ID: newToken(), Tenant: who.Tenant, Name: name, CreatedAt: tx.Now()}
	case err != nil:
		return none, nil, err
	default:
		before = &analyticsv1.AlertRuleSpec{}
		if err := decodeStored(row.Spec, before); err != nil {
			return none, nil, err
		}
	}
	rule, version, err := loadRule(ctx, tx, who.Tenant, row.ID)
	if err != nil {
		return none, nil, err
	}
	events := rule.PutRule(row.ID, name, spec)
	tx.Append("alert-rule", row.ID, version, events...)
	for _, e := range events {
		rule = rule.Evolve(e)
	}
	if row.Spec, err = resource.EncodeSpec(spec); err != nil {
		return none, nil, err
	}
	next := tx.Now()
	row.Firing, row.NextAt, row.Cause = rule.Firing, &next, ""
	if spec.GetPaused() {
		row.NextAt = nil
	}
	return row, before, store.UpsertAlertRule(ctx, tx, row)
}

// checkPut checks what rules and reports have alike, besides what is wrong with their spec.
func (a *Analytics) checkPut(ctx context.Context, tx *eventlog.Tx, tenant, name string, filter *analyticsv1.CallFilter, webhook string, wrong error, assume []string) error {
	if err := resource.CheckName(name); err != nil {
		return problem.NewInvalid("request-invalid", notValid).With(problem.Field{Path: "metadata.name", Message: err.Error()})
	}
	if wrong != nil {
		return wrong
	}
	if err := a.mayNotify(); err != nil {
		return err
	}
	if webhook != "" {
		s, err := store.SettingsOf(ctx, tx, tenant)
		if err != nil {
			return err
		}
		if len(s.WebhookSecret) == 0 {
			return problem.NewConflict("webhook-secret-missing", "There is no secret to sign webhooks with. Make one with POST /analytics/v1/webhook-secret and give it to the endpoint.")
		}
	}
	_, err := equalIn(ctx, tx, tenant, filter, assume)
	return err
}

func loadRule(ctx context.Context, tx *eventlog.Tx, tenant, id string) (domain.Rule, uint64, error) {
	history, err := tx.LoadFor(ctx, tenant, "alert-rule", id)
	return eventlog.Fold(history, domain.Rule{}, domain.Rule.Evolve), uint64(len(history)), err
}

// DeleteAlertRule forgets a rule of the acting tenant.
func (a *Analytics) DeleteAlertRule(ctx context.Context, nameOrID string) error {
	_, err := service.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		who, err := actor(ctx)
		if err != nil {
			return struct{}{}, err
		}
		row, err := store.LockAlertRule(ctx, tx, who.Tenant, nameOrID)
		if err != nil {
			return struct{}{}, notFound(err, "alert-rule-not-found", "There is no alert rule %s.", nameOrID)
		}
		rule, version, err := loadRule(ctx, tx, who.Tenant, row.ID)
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("alert-rule", row.ID, version, rule.Delete()...)
		return struct{}{}, store.DeleteAlertRule(ctx, tx, row.ID)
	})
	return err
}

func notFound(err error, code, format string, args ...any) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound(code, format, args...)
	}
	return err
}

// AlertRule returns a rule of the acting tenant.
func (a *Analytics) AlertRule(ctx context.Context, nameOrID string) (AlertRule, error) {
	var row store.AlertRule
	err := a.inActing(ctx, func(tx pgx.Tx, tenant string) (err error) {
		row, err = store.FindAlertRule(ctx, tx, tenant, nameOrID)
		return notFound(err, "alert-rule-not-found", "There is no alert rule %s.", nameOrID)
	})
	if err != nil {
		return AlertRule{}, err
	}
	return shownRule(row)
}

// AlertRules returns rules of the acting tenant in order of their name.
func (a *Analytics) AlertRules(ctx context.Context, after string, limit int) ([]AlertRule, error) {
	var rows []store.AlertRule
	err := a.inActing(ctx, func(tx pgx.Tx, tenant string) (err error) {
		rows, err = store.AlertRules(ctx, tx, tenant, after, limit)
		return err
	})
	all := make([]AlertRule, len(rows))
	for i := range rows {
		if all[i], err = shownRule(rows[i]); err != nil {
			return nil, err
		}
	}
	return all, err
}

// inActing runs fn in a transaction of the acting tenant.
func (a *Analytics) inActing(ctx context.Context, fn func(tx pgx.Tx, tenant string) error) error {
	who, err := actor(ctx)
	if err != nil {
		return err
	}
	return a.in(ctx, who.Tenant, func(tx pgx.Tx) error { return fn(tx, who.Tenant) })
}

const notValid = "The request is not valid."

// measureRule measures what a rule looks at, up to a time.
func (a *Analytics) measureRule(ctx context.Context, tenant string, spec *analyticsv1.AlertRuleSpec, end time.Time) (domain.Measured, error) {
	window, err := time.ParseDuration(spec.GetWindow())
	if err != nil {
		return domain.Measured{}, err
	}
	var equal []clickhouse.Equal
	err = a.in(ctx, tenant, func(tx pgx.Tx) (err error) {
		equal, err = equalIn(ctx, tx, tenant, spec.GetFilter(), nil)
		return err
	})
	if err != nil {
		return domain.Measured{}, err
	}
	f := filterOf(spec.GetFilter(), equal)
	measure := clickhouse.Measure{Meter: spec.GetMeter()}
	for _, name := range metricsOf(spec) {
		metric, _ := clickhouse.FindMetric(name)
		measure.Metrics = append(measure.Metrics, metric)
	}
	start := end.Add(-window)
	m := domain.Measured{Start: start.UnixNano(), End: end.UnixNano()}
	if m.Calls, m.Value, err = a.measureWindow(ctx, tenant, f, measure, start, end); err != nil || spec.GetKind() != domain.Change {
		return m, err
	}
	m.BeforeCalls, m.Before, err = a.measureWindow(ctx, tenant, f, measure, start.Add(-window), start)
	return m, err
}

func (a *Analytics) measureWindow(ctx context.Context, tenant string, f clickhouse.Filter, m clickhouse.Measure, start, end time.Time) (uint64, *money.Decimal, error) {
	f.Span = clickhouse.Span{Start: start.UnixNano(), End: end.UnixNano()}
	groups, err := a.Table.Aggregate(ctx, tenant, f, m, 1)
	if err != nil {
		return 0, nil, err
	}
	var value []string
	calls := uint64(0)
	if len(groups) > 0 {
		value, calls = groups[0].Metrics, groups[0].Calls
	}
	text := valuesOf(value, m.Metrics)[m.Metrics[0].Name]
	if text == nil {
		return calls, nil, nil
	}
	d, err := money.Parse(*text)
	if err != nil {
		return 0, nil, fmt.Errorf("measure calls: %w", err)
	}
	d = d.Trim()
	return calls, &d, nil
}

// assumed says that a thing may be taken to exist, as it will be applied before.
func assumed(assume []string, kind, name string) bool {
	kinds := map[string]string{
		store.API: "API", store.APIVersion: "APIVersion", store.Account: "Account", store.Application: "Application", store.Subscription: "Subscription",
		store.Product: "Product", store.Plan: "Plan",
	}
	return slices.ContainsFunc(assume, func(key string) bool {
		return key == kinds[kind]+" "+name || kind == store.Plan && strings.HasPrefix(key, "Plan ") && strings.HasSuffix(key, "/"+name)
	})
}
