package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
)

// Projection describes the tables, all of which Project alone writes, for making them again from the log (see libs/eventlog).
func Projection() eventlog.Projection {
	return eventlog.Projection{
		Name:   "catalog",
		Tables: []string{"apis", "api_versions", "operations", "routes", "route_bindings", "products", "product_versions", "plans", "plan_versions", "rulesets", "changelog"},
		Apply: func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			return Project(ctx, tx, Fact{Tenant: e.Tenant, At: e.RecordedAt, Actor: e.Actor, Reason: e.Reason, Payload: e.Payload})
		},
	}
}

// Fact is an event with what belongs to it.
type Fact struct {
	Tenant  string
	At      time.Time
	Actor   string
	Reason  string
	Payload proto.Message
}

// Project writes to the tables what an event says. A route that is taken is a *RouteTaken.
func Project(ctx context.Context, tx pgx.Tx, f Fact) error {
	p := projector{ctx: ctx, tx: tx, tenant: f.Tenant, at: f.At, actor: f.Actor, reason: f.Reason}
	if err := p.apply(f.Payload); err != nil {
		return fmt.Errorf("project %s: %w", f.Payload.ProtoReflect().Descriptor().FullName(), err)
	}
	return nil
}

type projector struct {
	ctx    context.Context //nolint:containedctx // lives for one call
	tx     pgx.Tx
	tenant string
	at     time.Time
	actor  string
	reason string
}

func (p projector) exec(query string, args ...any) error {
	_, err := p.tx.Exec(p.ctx, query, args...)
	return err
}

func (p projector) apply(payload proto.Message) error {
	switch e := payload.(type) {
	case *catalogv1.APICreated:
		return p.exec(`INSERT INTO apis (id, tenant_id, name, spec, created_at) VALUES ($1, $2, $3, $4, $5)`,
			e.GetApi(), p.tenant, e.GetName(), resource.Of(e.GetSpec()), p.at)
	case *catalogv1.APIChanged:
		return p.exec(`UPDATE apis SET spec = $2 WHERE id = $1`, e.GetApi(), resource.Of(e.GetSpec()))
	case *catalogv1.APIDeleted:
		return p.exec(`UPDATE apis SET deleted = true WHERE id = $1`, e.GetApi())
	case *catalogv1.APIVersionRegistered:
		return p.registered(e)
	case *catalogv1.APIVersionConfigured:
		return p.configured(e)
	case *catalogv1.APIVersionStageChanged:
		return p.stageChanged(e)
	case *catalogv1.RoutesBound:
		return p.exec(`INSERT INTO route_bindings (host, segment, tenant_id, bound_at) SELECT h.host, $2, $3, $4 FROM unnest($1::text[]) AS h(host)`,
			e.GetHosts(), e.GetSegment(), p.tenant, p.at)
	case *catalogv1.ProductCreated:
		err := p.exec(`INSERT INTO products (id, tenant_id, name, spec, created_at) VALUES ($1, $2, $3, $4, $5)`,
			e.GetProduct(), p.tenant, e.GetName(), resource.Of(e.GetSpec()), p.at)
		return errors.Join(err, p.include(e.GetProduct(), e.GetApiVersions()))
	case *catalogv1.ProductChanged:
		err := p.exec(`UPDATE products SET spec = $2 WHERE id = $1`, e.GetProduct(), resource.Of(e.GetSpec()))
		return errors.Join(err, p.include(e.GetProduct(), e.GetApiVersions()))
	case *catalogv1.PlanPublished:
		return p.published(e)
	case *catalogv1.RulesetChanged:
		return p.exec(`INSERT INTO rulesets (id, tenant_id, name, spec, changed_at) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE SET spec = excluded.spec, changed_at = excluded.changed_at`,
			e.GetRuleset(), p.tenant, e.GetName(), resource.Of(e.GetSpec()), p.at)
	case *catalogv1.RulesetDeleted:
		return p.exec(`UPDATE rulesets SET deleted = true, changed_at = $2 WHERE id = $1`, e.GetRuleset(), p.at)
	case *catalogv1.PlanRetired:
		return p.exec(`UPDATE plans SET retired = true WHERE id = $1`, e.GetPlan())
	}
	return nil
}

func (p projector) registered(e *catalogv1.APIVersionRegistered) error {
	spec := domain.Configuration(e.GetSpec())
	spec.Stage = e.GetSpec().GetStage()
	text, err := decompressed(e.GetDocument(), e.GetSpec().GetOpenapi())
	if err != nil {
		return err
	}
	original, err := decompressed(e.GetOriginal(), "")
	if err != nil {
		return err
	}
	err = p.exec(`INSERT INTO api_versions (id, tenant_id, api_id, name, stage, spec, document, document_sha256, document_version, created_at,
			original, deprecated_at, sunset_at, lint)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		e.GetApiVersion(), p.tenant, e.GetApi(), e.GetName(), spec.GetStage(), resource.Of(spec),
		text, e.GetDocumentSha256(), e.GetDocumentVersion(), p.at, original, p.since(spec.GetStage()), sunset(spec), lintOf(e.GetLint()))
	if err != nil {
		return err
	}
	if err := p.changed(e.GetApiVersion(), "", spec.GetStage()); err != nil {
		return err
	}
	if err := p.operations(e.GetApiVersion(), e.GetOperations()); err != nil {
		return err
	}
	return p.route(e.GetApiVersion(), spec.GetStage(), spec.GetRoute())
}

// decompressed returns a document of an event: plain is where it was before there was compression.
func decompressed(compressed []byte, plain string) (string, error) {
	if len(compressed) == 0 {
		return plain, nil
	}
	return document.Decompress(compressed)
}

// since is when a version became deprecated that gets into the stage now.
func (p projector) since(stage string) *time.Time {
	if stage != domain.Deprecated {
		return nil
	}
	return &p.at
}

func sunset(spec *catalogv1.APIVersionSpec) *time.Time {
	if at, ok := domain.Sunset(spec); ok {
		return &at
	}
	return nil
}

// operations are inserted at once; COPY does not work under row-level security.
func (p projector) operations(version string, operations []*catalogv1.Operation) error {
	n := len(operations)
	ids, methods, paths, summaries, deprecated := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]bool, n)
	security := make([]string, n)
	for i, o := range operations {
		ids[i], methods[i], paths[i], summaries[i], deprecated[i] = o.GetId(), o.GetMethod(), o.GetPath(), o.GetSummary(), o.GetDeprecated()
		raw, err := json.Marshal(securityOf(o.GetSecurity()))
		if err != nil {
			return err
		}
		security[i] = string(raw)
	}
	return p.exec(`INSERT INTO operations (api_version_id, number, tenant_id, id, method, path, summary, deprecated, security)
		SELECT $1, o.number, $2, o.id, o.method, o.path, o.summary, o.deprecated, o.security::jsonb
		FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::text[])
			WITH ORDINALITY AS o(id, method, path, summary, deprecated, security, number)`,
		version, p.tenant, ids, methods, paths, summaries, deprecated, security)
}

func (p projector) configured(e *catalogv1.APIVersionConfigured) error {
	var stage string
	err := p.tx.QueryRow(p.ctx, `UPDATE api_versions SET spec = $2::jsonb || jsonb_build_object('stage', stage), sunset_at = $3 WHERE id = $1 RETURNING stage`,
		e.GetApiVersion(), resource.Of(e.GetSpec()), sunset(e.GetSpec())).Scan(&stage)
	if err != nil {
		return err
	}
	return p.route(e.GetApiVersion(), stage, e.GetSpec().GetRoute())
}

func (p projector) stageChanged(e *catalogv1.APIVersionStageChanged) error {
	var spec APIVersionSpec
	err := p.tx.QueryRow(p.ctx, `UPDATE api_versions SET stage = $2, deprecated_at = $3, spec = spec || jsonb_build_object('stage', $2::text)
		WHERE id = $1 RETURNING spec`, e.GetApiVersion(), e.GetTo(), p.since(e.GetTo())).Scan(&spec)
	if err != nil {
		return err
	}
	if err := p.changed(e.GetApiVersion(), e.GetFrom(), e.GetTo()); err != nil {
		return err
	}
	return p.route(e.GetApiVersion(), e.GetTo(), spec.Message.GetRoute())
}

// changed adds an entry to the changelog.
func (p projector) changed(version, from, to string) error {
	return p.exec(`INSERT INTO changelog (api_version_id, number, tenant_id, api_id, from_stage, to_stage, at, actor, reason)
		SELECT v.id, 1 + (SELECT count(*) FROM changelog c WHERE c.api_version_id = v.id), v.tenant_id, v.api_id, $2, $3, $4, $5, $6
		FROM api_versions v WHERE v.id = $1`, version, from, to, p.at, p.actor, p.reason)
}

// RouteTaken says that another version answers to the same host and prefix.
type RouteTaken struct {
	Host, Prefix string
	// Version is the name of the other version; empty when it is another tenant's.
	Version string
}

func (r *RouteTaken) Error() string {
	return fmt.Sprintf("the route %s%s is taken", r.Host, r.Prefix)
}

// route makes the routes of a version those of its configuration, or none when it is not live.
func (p projector) route(version, stage string, r *catalogv1.Route) error {
	if err := p.exec(`DELETE FROM routes WHERE api_version_id = $1`, version); err != nil {
		return err
	}
	if !domain.Live(stage) {
		return nil
	}
	for _, host := range slices.Sorted(slices.Values(r.GetHosts())) {
		// Waits for a transaction that takes the same route, whichever tenant's it is.
		tag, err := p.tx.Exec(p.ctx, `INSERT INTO routes (host, prefix, tenant_id, api_version_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			host, r.GetPrefix(), p.tenant, version)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return p.routeTaken(host, r.GetPrefix())
		}
	}
	return nil
}

func (p projector) routeTaken(host, prefix string) error {
	taken := &RouteTaken{Host: host, Prefix: prefix}
	err := p.tx.QueryRow(p.ctx, `SELECT v.name FROM routes r JOIN api_versions v ON v.id = r.api_version_id
		WHERE r.host = $1 AND r.prefix = $2 AND r.tenant_id = $3`, host, prefix, p.tenant).Scan(&taken.Version)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return taken
}

func (p projector) include(product string, versions []string) error {
	return errors.Join(
		p.exec(`UPDATE product_versions SET included = false WHERE product_id = $1 AND included AND api_version_id <> ALL ($2)`, product, versions),
		p.exec(`INSERT INTO product_versions (product_id, api_version_id, tenant_id, included)
			SELECT $1, v.id, $3, true FROM unnest($2::text[]) AS v(id)
			ON CONFLICT (product_id, api_version_id) DO UPDATE SET included = true`, product, versions, p.tenant))
}

func (p projector) published(e *catalogv1.PlanPublished) error {
	err := p.exec(`INSERT INTO plans (id, tenant_id, product_id, name, version, created_at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version`,
		e.GetPlan(), p.tenant, e.GetProduct(), e.GetName(), e.GetVersion(), p.at)
	if err != nil {
		return err
	}
	return p.exec(`INSERT INTO plan_versions (plan_id, version, tenant_id, spec, published_at) VALUES ($1, $2, $3, $4, $5)`,
		e.GetPlan(), e.GetVersion(), p.tenant, resource.Of(e.GetSpec()), p.at)
}
