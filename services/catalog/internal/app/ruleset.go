package app

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/ruleset"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// PutRuleset makes the tenant's ruleset as the spec says.
func (c *Catalog) PutRuleset(ctx context.Context, name string, spec *catalogv1.RulesetSpec) (store.Ruleset, error) {
	return execute(ctx, c, nil, func(ctx context.Context, ch *change) (store.Ruleset, error) {
		if _, err := ch.putRuleset(ctx, name, spec); err != nil {
			return store.Ruleset{}, err
		}
		return store.FindRuleset(ctx, ch, ch.tenant)
	})
}

// putRuleset returns the spec that the ruleset had before, nil for none.
func (ch *change) putRuleset(ctx context.Context, name string, spec *catalogv1.RulesetSpec) (*catalogv1.RulesetSpec, error) {
	var r domain.Ruleset
	id, version := newID(), uint64(0)
	row, err := store.FindRuleset(ctx, ch, ch.tenant)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return nil, err
	default:
		id = row.ID
		if r, version, err = load(ctx, ch, "ruleset", id, domain.Ruleset{}, domain.Ruleset.Evolve); err != nil {
			return nil, err
		}
	}
	events, err := r.Put(id, name, spec)
	if err != nil {
		return nil, err
	}
	return r.Spec, ch.record(ctx, "ruleset", id, version, events)
}

// DeleteRuleset takes the tenant's ruleset away: documents are not checked any more when they are registered.
func (c *Catalog) DeleteRuleset(ctx context.Context, name string) error {
	_, err := execute(ctx, c, nil, func(ctx context.Context, ch *change) (struct{}, error) {
		row, err := ch.findRuleset(ctx, name)
		if err != nil {
			return struct{}{}, err
		}
		r, version, err := load(ctx, ch, "ruleset", row.ID, domain.Ruleset{}, domain.Ruleset.Evolve)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.record(ctx, "ruleset", row.ID, version, r.Delete())
	})
	return err
}

func (ch *change) findRuleset(ctx context.Context, name string) (store.Ruleset, error) {
	return findRuleset(ctx, ch, ch.tenant, name)
}

func findRuleset(ctx context.Context, tx pgx.Tx, tenant, name string) (store.Ruleset, error) {
	row, err := store.FindRuleset(ctx, tx, tenant)
	if err == nil && name != row.Name && name != row.ID {
		err = pgx.ErrNoRows
	}
	return row, notFound(err, "ruleset-not-found", "There is no ruleset %q.", name)
}

// Ruleset returns the tenant's ruleset.
func (c *Catalog) Ruleset(ctx context.Context, name string) (store.Ruleset, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (store.Ruleset, error) { return findRuleset(ctx, tx, tenant, name) })
}

// rules returns the tenant's ruleset, nil when there is none.
func (c *Catalog) rules(ctx context.Context) (*catalogv1.RulesetSpec, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (*catalogv1.RulesetSpec, error) {
		row, err := store.FindRuleset(ctx, tx, tenant)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, nil
		}
		return row.Spec.Message, err
	})
}

// lintNew checks a document that is being registered. It is refused where the ruleset says so; a ruleset that only reports keeps
// no document out, even if checking takes too much.
func (c *Catalog) lintNew(ctx context.Context, rules *catalogv1.RulesetSpec, text string) (*catalogv1.LintSummary, error) {
	if rules == nil {
		return nil, nil
	}
	report, err := c.lintIn(ctx, rules.GetRules(), text)
	switch {
	case err != nil && !domain.Enforces(rules) && ctx.Err() == nil:
		c.logger.Warn("a document was not checked against the ruleset", "error", err)
		return nil, nil
	case err != nil:
		return nil, err
	case report.Errors > 0 && domain.Enforces(rules):
		return nil, refused(report)
	}
	return &catalogv1.LintSummary{Errors: uint32(report.Errors), Warnings: uint32(report.Warnings), Infos: uint32(report.Infos), Hints: uint32(report.Hints)}, nil
}

// maxRefusals is how many results are told when a document is refused.
const maxRefusals = 20

func refused(report *ruleset.Report) error {
	var fields problem.Fields
	for i, r := range report.Results {
		if r.Severity != ruleset.Error || i == maxRefusals {
			break
		}
		fields.Add(document.Path, "line %d: %s (rule %s)", r.Line, r.Message, r.Rule)
	}
	if more := report.Errors - len(fields); more > 0 {
		fields.Add(document.Path, "%d more errors are left out", more)
	}
	return fields.Err("ruleset-violated", "The OpenAPI document does not comply with the ruleset.")
}

// LintVersion checks the document of a version against the tenant's ruleset, or the one that comes with Tollgate.
func (c *Catalog) LintVersion(ctx context.Context, nameOrID string) (*ruleset.Report, error) {
	text, err := c.Document(ctx, nameOrID, false)
	if err != nil {
		return nil, err
	}
	return c.lint(ctx, text, "")
}

// LintDocument checks a document that need not be registered. rules are a ruleset to try; "" for the tenant's, or the one that comes
// with Tollgate.
func (c *Catalog) LintDocument(ctx context.Context, given, rules string) (*ruleset.Report, error) {
	text, err := document.Unpack(given)
	if err != nil {
		return nil, err
	}
	d, err := c.readDocument(ctx, text, document.Options{})
	if err != nil {
		return nil, err
	}
	return c.lint(ctx, d.Text, rules)
}

// lintIn checks a document in the turn of the acting tenant.
func (c *Catalog) lintIn(ctx context.Context, rules, text string) (*ruleset.Report, error) {
	p, _ := principal.From(ctx)
	return c.inspect.Lint(ctx, p.Tenant, rules, text)
}

func (c *Catalog) lint(ctx context.Context, text, rules string) (*ruleset.Report, error) {
	if rules != "" {
		if err := ruleset.Check(rules, "rules"); err != nil {
			return nil, err
		}
		return c.lintIn(ctx, rules, text)
	}
	own, err := c.rules(ctx)
	if err != nil {
		return nil, err
	}
	if rules = ruleset.Default; own != nil {
		rules = own.GetRules()
	}
	return c.lintIn(ctx, rules, text)
}
