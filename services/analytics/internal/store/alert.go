package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// AlertRule is a row of alert_rules.
type AlertRule struct {
	ID          string          `db:"id"`
	Tenant      string          `db:"tenant_id"`
	Name        string          `db:"name"`
	Spec        json.RawMessage `db:"spec"`
	Firing      bool            `db:"firing"`
	Since       *time.Time      `db:"since"`
	Value       string          `db:"value"`
	EvaluatedAt *time.Time      `db:"evaluated_at"`
	Cause       string          `db:"cause"`
	NextAt      *time.Time      `db:"next_at"`
	CreatedAt   time.Time       `db:"created_at"`
}

const alertRuleColumns = `id, tenant_id, name, spec, firing, since, value, evaluated_at, cause, next_at, created_at`

// UpsertAlertRule writes a rule as it is.
func UpsertAlertRule(ctx context.Context, tx pgx.Tx, r AlertRule) error {
	return exec(ctx, tx, "write alert rule", `INSERT INTO alert_rules (`+alertRuleColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, firing = excluded.firing, since = excluded.since, value = excluded.value,
			evaluated_at = excluded.evaluated_at, cause = excluded.cause, next_at = excluded.next_at`,
		r.ID, r.Tenant, r.Name, r.Spec, r.Firing, r.Since, r.Value, r.EvaluatedAt, r.Cause, r.NextAt, r.CreatedAt)
}

// FindAlertRule returns a rule of a tenant by its name or id; pgx.ErrNoRows when there is none.
func FindAlertRule(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (AlertRule, error) {
	return one[AlertRule](ctx, tx, "find alert rule", `SELECT `+alertRuleColumns+` FROM alert_rules WHERE tenant_id = $1 AND (name = $2 OR id = $2)`, tenant, nameOrID)
}

// LockAlertRule is FindAlertRule for a change of it.
func LockAlertRule(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (AlertRule, error) {
	return one[AlertRule](ctx, tx, "lock alert rule", `SELECT `+alertRuleColumns+` FROM alert_rules WHERE tenant_id = $1 AND (name = $2 OR id = $2) FOR UPDATE`, tenant, nameOrID)
}

// AlertRules returns rules of a tenant in order of their name, after a name.
func AlertRules(ctx context.Context, tx pgx.Tx, tenant, after string, limit int) ([]AlertRule, error) {
	return collect[AlertRule](ctx, tx, "list alert rules", `SELECT `+alertRuleColumns+` FROM alert_rules WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3`, tenant, after, limit)
}

// DeleteAlertRule forgets a rule.
func DeleteAlertRule(ctx context.Context, tx pgx.Tx, id string) error {
	return exec(ctx, tx, "delete alert rule", `DELETE FROM alert_rules WHERE id = $1`, id)
}

// TakeAlertRule returns a rule of any tenant whose time has come, and moves that to another time, before which nobody else gets it;
// pgx.ErrNoRows when there is none.
func TakeAlertRule(ctx context.Context, tx pgx.Tx, now, until time.Time) (AlertRule, error) {
	return one[AlertRule](ctx, tx, "take alert rule", `UPDATE alert_rules SET next_at = $2
		WHERE id = (SELECT id FROM alert_rules WHERE next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING `+alertRuleColumns, now, until)
}

// PostponeAlertRule notes why a rule that was taken cannot be evaluated and when it is tried again, unless its time was changed.
func PostponeAlertRule(ctx context.Context, tx pgx.Tx, r AlertRule, cause string, next time.Time) error {
	return exec(ctx, tx, "postpone alert rule", `UPDATE alert_rules SET cause = $3, next_at = $4 WHERE id = $1 AND next_at = $2`, r.ID, r.NextAt, cause, next)
}

// Report is a row of reports.
type Report struct {
	ID        string          `db:"id"`
	Tenant    string          `db:"tenant_id"`
	Name      string          `db:"name"`
	Spec      json.RawMessage `db:"spec"`
	SentUntil *time.Time      `db:"sent_until"`
	Cause     string          `db:"cause"`
	NextAt    *time.Time      `db:"next_at"`
	CreatedAt time.Time       `db:"created_at"`
}

const reportColumns = `id, tenant_id, name, spec, sent_until, cause, next_at, created_at`

// UpsertReport writes a report as it is.
func UpsertReport(ctx context.Context, tx pgx.Tx, r Report) error {
	return exec(ctx, tx, "write report", `INSERT INTO reports (`+reportColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, sent_until = excluded.sent_until, cause = excluded.cause, next_at = excluded.next_at`,
		r.ID, r.Tenant, r.Name, r.Spec, r.SentUntil, r.Cause, r.NextAt, r.CreatedAt)
}

// FindReport returns a report of a tenant by its name or id; pgx.ErrNoRows when there is none.
func FindReport(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Report, error) {
	return one[Report](ctx, tx, "find report", `SELECT `+reportColumns+` FROM reports WHERE tenant_id = $1 AND (name = $2 OR id = $2)`, tenant, nameOrID)
}

// LockReport is FindReport for a change of it.
func LockReport(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Report, error) {
	return one[Report](ctx, tx, "lock report", `SELECT `+reportColumns+` FROM reports WHERE tenant_id = $1 AND (name = $2 OR id = $2) FOR UPDATE`, tenant, nameOrID)
}

// Reports returns reports of a tenant in order of their name, after a name.
func Reports(ctx context.Context, tx pgx.Tx, tenant, after string, limit int) ([]Report, error) {
	return collect[Report](ctx, tx, "list reports", `SELECT `+reportColumns+` FROM reports WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3`, tenant, after, limit)
}

// DeleteReport forgets a report.
func DeleteReport(ctx context.Context, tx pgx.Tx, id string) error {
	return exec(ctx, tx, "delete report", `DELETE FROM reports WHERE id = $1`, id)
}

// TakeReport is TakeAlertRule for reports.
func TakeReport(ctx context.Context, tx pgx.Tx, now, until time.Time) (Report, error) {
	return one[Report](ctx, tx, "take report", `UPDATE reports SET next_at = $2
		WHERE id = (SELECT id FROM reports WHERE next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING `+reportColumns, now, until)
}

// PostponeReport is PostponeAlertRule for reports.
func PostponeReport(ctx context.Context, tx pgx.Tx, r Report, cause string, next time.Time) error {
	return exec(ctx, tx, "postpone report", `UPDATE reports SET cause = $3, next_at = $4 WHERE id = $1 AND next_at = $2`, r.ID, r.NextAt, cause, next)
}

// AnyDue says whether the time of a rule or report of any tenant has come.
func AnyDue(ctx context.Context, tx pgx.Tx, now time.Time) (due bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM alert_rules WHERE next_at <= $1) OR EXISTS (SELECT FROM reports WHERE next_at <= $1)`, now).Scan(&due)
	return due, wrap("look for what is due", err)
}
