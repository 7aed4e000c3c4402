package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

// RulesetSpec is the specification, as it is stored and shown.
type RulesetSpec = resource.Spec[catalogv1.RulesetSpec, *catalogv1.RulesetSpec]

// Ruleset is a ruleset that was not deleted.
type Ruleset struct {
	ID        string      `db:"id" json:"id"`
	Name      string      `db:"name" json:"name"`
	Spec      RulesetSpec `db:"spec" json:"spec"`
	ChangedAt time.Time   `db:"changed_at" json:"changedAt"`
}

// FindRuleset returns the tenant's ruleset.
func FindRuleset(ctx context.Context, tx pgx.Tx, tenant string) (Ruleset, error) {
	return one[Ruleset](ctx, tx, "find ruleset", `SELECT id, name, spec, changed_at FROM rulesets WHERE tenant_id = $1 AND NOT deleted`, tenant)
}

// LintSummary has the numbers of results by severity.
type LintSummary struct {
	Errors   uint32 `json:"errors"`
	Warnings uint32 `json:"warnings"`
	Infos    uint32 `json:"infos"`
	Hints    uint32 `json:"hints"`
}

func lintOf(s *catalogv1.LintSummary) *LintSummary {
	if s == nil {
		return nil
	}
	return &LintSummary{Errors: s.GetErrors(), Warnings: s.GetWarnings(), Infos: s.GetInfos(), Hints: s.GetHints()}
}

// StageChange is one entry of an API's changelog.
type StageChange struct {
	APIVersionID    string    `db:"api_version_id" json:"apiVersionId"`
	APIVersion      string    `db:"api_version" json:"apiVersion"`
	DocumentVersion string    `db:"document_version" json:"documentVersion"`
	Number          int       `db:"number" json:"-"`
	From            string    `db:"from_stage" json:"from,omitempty" description:"Left out when the version was registered."`
	To              string    `db:"to_stage" json:"to"`
	At              time.Time `db:"at" json:"at"`
	Actor           string    `db:"actor" json:"actor"`
	Reason          string    `db:"reason" json:"reason,omitempty"`
	// PreviousID and Previous are the version that was published before this one was, where it was published for the first time.
	PreviousID string `db:"previous_id" json:"-"`
	Previous   string `db:"previous" json:"previous,omitempty" description:"The version published before, when this one was published for the first time."`
}

// Changelog returns the entries of an API, the newest first, before one (a zero time for all).
func Changelog(ctx context.Context, tx pgx.Tx, tenant, api string, before StageChange, limit int) ([]StageChange, error) {
	return collect[StageChange](ctx, tx, "read changelog", `
		SELECT c.api_version_id, v.name AS api_version, v.document_version, c.number, c.from_stage, c.to_stage, c.at, c.actor, c.reason,
			coalesce(p.id, '') AS previous_id, coalesce(p.name, '') AS previous
		FROM changelog c JOIN api_versions v ON v.id = c.api_version_id
		LEFT JOIN LATERAL (
			SELECT b.api_version_id AS id, w.name FROM changelog b JOIN api_versions w ON w.id = b.api_version_id
			WHERE c.to_stage = $8 AND b.tenant_id = $1 AND b.api_id = $2 AND b.to_stage = $8 AND b.api_version_id <> c.api_version_id
				AND (b.at, b.api_version_id) < (c.at, c.api_version_id)
				AND NOT EXISTS (SELECT FROM changelog e WHERE e.api_version_id = c.api_version_id AND e.to_stage = $8 AND e.number < c.number)
			ORDER BY b.at DESC, b.api_version_id DESC LIMIT 1
		) p ON true
		WHERE c.tenant_id = $1 AND c.api_id = $2 AND ($3 OR (c.at, c.api_version_id, c.number) < ($4, $5, $6))
		ORDER BY c.at DESC, c.api_version_id DESC, c.number DESC LIMIT $7`,
		tenant, api, before.At.IsZero(), before.At, before.APIVersionID, before.Number, limit, domain.Published)
}

// Comparison returns what was kept of comparing two versions, as JSON.
func Comparison(ctx context.Context, tx pgx.Tx, base, revision, madeBy string) (result []byte, err error) {
	err = tx.QueryRow(ctx, `SELECT result FROM comparisons WHERE base_id = $1 AND revision_id = $2 AND made_by = $3
		AND (retry_at IS NULL OR retry_at > now())`, base, revision, madeBy).Scan(&result)
	return result, wrap("read comparison", err)
}

// KeepComparison keeps the result of comparing two versions, as JSON: for good, or for a time unless that is 0.
func KeepComparison(ctx context.Context, tx pgx.Tx, tenant, base, revision, madeBy string, result []byte, keep time.Duration) error {
	_, err := tx.Exec(ctx, `INSERT INTO comparisons (base_id, revision_id, tenant_id, made_by, result, retry_at)
		VALUES ($1, $2, $3, $4, $5, CASE WHEN $6::float8 > 0 THEN now() + make_interval(secs => $6) END)
		ON CONFLICT (base_id, revision_id) DO UPDATE SET made_by = excluded.made_by, result = excluded.result, retry_at = excluded.retry_at`,
		base, revision, tenant, madeBy, result, keep.Seconds())
	return wrap("keep comparison", err)
}
