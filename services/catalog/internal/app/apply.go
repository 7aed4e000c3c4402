package app

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// Apply makes APIs, their versions, products and plans as the resources say, all of them or none. In the changes that it
// returns, OpenAPI documents are replaced by their digests.
func (c *Catalog) Apply(ctx context.Context, request resource.ApplyRequest) (resource.ApplyResponse, error) {
	specs := map[string]*catalogv1.APIVersionSpec{}
	for _, r := range request.Resources {
		if r.Kind != "APIVersion" {
			continue
		}
		if spec, err := r.Decode(); err == nil { // what is wrong with it is reported below, with the rest
			specs[r.Metadata.Name], _ = spec.(*catalogv1.APIVersionSpec)
		}
	}
	rules, err := c.rulesAfter(ctx, request)
	if err != nil {
		return resource.ApplyResponse{}, err
	}
	documents, err := c.read(ctx, specs, rules)
	if err != nil {
		return resource.ApplyResponse{}, err
	}
	return execute(ctx, c, documents, func(ctx context.Context, ch *change) (resource.ApplyResponse, error) {
		return resource.ApplyAll(request, "catalog", func(r resource.Resource, spec proto.Message) (proto.Message, error) {
			return ch.put(ctx, r, spec)
		})
	})
}

// rulesAfter returns the ruleset that there will be once the request is applied: documents in it go by that.
func (c *Catalog) rulesAfter(ctx context.Context, request resource.ApplyRequest) (*catalogv1.RulesetSpec, error) {
	for _, r := range request.Resources {
		if r.Kind != "Ruleset" {
			continue
		}
		spec, err := r.Decode()
		if err != nil {
			return nil, nil //nolint:nilerr // the resource is refused, with the others, when it is applied
		}
		if rules, ok := spec.(*catalogv1.RulesetSpec); ok && domain.CheckRuleset(r.Metadata.Name, rules) == nil {
			return rules, nil
		}
		return nil, nil
	}
	return c.rules(ctx)
}

func (ch *change) put(ctx context.Context, r resource.Resource, spec proto.Message) (proto.Message, error) {
	switch s := spec.(type) {
	case *catalogv1.RulesetSpec:
		before, err := ch.putRuleset(ctx, r.Metadata.Name, s)
		return orNil(before), err
	case *catalogv1.APISpec:
		before, err := ch.putAPI(ctx, r.Metadata.Name, s)
		return orNil(before), err
	case *catalogv1.APIVersionSpec:
		before, err := ch.putAPIVersion(ctx, r.Metadata.API, r.Metadata.Name, s)
		if err != nil {
			return nil, err
		}
		summary, err := summarize(before, s)
		return orNil(summary), err
	case *catalogv1.ProductSpec:
		before, err := ch.putProduct(ctx, r.Metadata.Name, s)
		return orNil(before), err
	case *catalogv1.PlanSpec:
		before, err := ch.publishPlan(ctx, r.Metadata.Product, r.Metadata.Name, s)
		return orNil(before), err
	}
	return nil, nil
}

// summarize returns the specification that a version had before and completes the new one with what it leaves as it was.
// Both have the digest in place of the document.
func summarize(row *store.APIVersion, after *catalogv1.APIVersionSpec) (*catalogv1.APIVersionSpec, error) {
	text, err := document.Unpack(after.GetOpenapi())
	if err != nil {
		return nil, err
	}
	digest := document.Digest(text)
	stage := domain.Draft
	if row != nil {
		stage = row.Stage
	}
	if after.GetStage() == "" {
		after.Stage = stage
	}
	if row == nil {
		after.Openapi = digestPrefix + digest
		return nil, nil
	}
	if text == "" {
		digest = row.DocumentSHA256
	}
	before, _ := proto.Clone(row.Spec.Message).(*catalogv1.APIVersionSpec)
	before.Openapi, after.Openapi = digestPrefix+row.DocumentSHA256, digestPrefix+digest
	return before, nil
}

const digestPrefix = "sha256:"

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

// exportPlain is the size up to which a document is exported as it is; a larger one is compressed.
const exportPlain = 1 << 20

// exportPage is how many rows are read at once for an export.
const exportPage = 200

// exportKinds are the kinds that catalog owns, in the order in which they are applied.
var exportKinds = []string{"Ruleset", "API", "APIVersion", "Product", "Plan"}

// Export returns every resource as documents that Apply takes, of one kind or of all for "". Retired plans are left out:
// nothing makes them again.
func (c *Catalog) Export(ctx context.Context, kind string) (resource.Export, error) {
	if kind != "" && !slices.Contains(exportKinds, kind) {
		return resource.Export{}, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: "kind", Message: "is not a kind of catalog's; want Ruleset, API, APIVersion, Product or Plan"})
	}
	return read(ctx, c, func(tx pgx.Tx, tenant string) (resource.Export, error) {
		e := exporter{out: resource.Export{Resources: []resource.Resource{}}}
		for _, k := range exportKinds {
			if kind != "" && kind != k {
				continue
			}
			if err := e.export(ctx, tx, tenant, k); err != nil {
				return e.out, err
			}
		}
		return e.out, nil
	})
}

type exporter struct{ out resource.Export }

func (e *exporter) add(kind string, m resource.Metadata, spec proto.Message) error {
	r, err := resource.NewResource(kind, m, spec)
	e.out.Resources = append(e.out.Resources, r)
	return err
}

func (e *exporter) export(ctx context.Context, tx pgx.Tx, tenant, kind string) error {
	switch kind {
	case "Ruleset":
		row, err := store.FindRuleset(ctx, tx, tenant)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		return e.add(kind, resource.Metadata{Name: row.Name}, row.Spec.Message)
	case "API":
		return pages(func(after string) ([]store.API, error) { return store.APIs(ctx, tx, tenant, after, exportPage) },
			func(a store.API) string { return a.Name },
			func(a store.API) error { return e.add(kind, resource.Metadata{Name: a.Name}, a.Spec.Message) })
	case "APIVersion":
		return pages(func(after string) ([]store.APIVersion, error) {
			return store.APIVersions(ctx, tx, tenant, "", after, exportPage)
		}, func(v store.APIVersion) string { return v.Name }, func(v store.APIVersion) error {
			text, err := store.Original(ctx, tx, v.ID)
			if err != nil {
				return err
			}
			if v.Spec.Message.Openapi, err = document.Pack(text, exportPlain); err != nil {
				return err
			}
			return e.add(kind, resource.Metadata{Name: v.Name, API: v.API}, v.Spec.Message)
		})
	case "Product":
		return pages(func(after string) ([]store.Product, error) {
			return store.Products(ctx, tx, tenant, "", after, exportPage)
		},
			func(p store.Product) string { return p.Name },
			func(p store.Product) error { return e.add(kind, resource.Metadata{Name: p.Name}, p.Spec.Message) })
	default:
		return plansOf(ctx, tx, tenant, "", func(p store.Plan) error {
			if p.Retired {
				return nil
			}
			return e.add(kind, resource.Metadata{Name: p.Name, Product: p.Product}, p.Spec.Message)
		})
	}
}

// pages reads page by page and calls do for each row.
func pages[T any](next func(after string) ([]T, error), cursor func(T) string, do func(T) error) error {
	for after := ""; ; {
		rows, err := next(after)
		if err != nil {
			return err
		}
		for _, row := range rows {
			after = cursor(row)
			if err := do(row); err != nil {
				return err
			}
		}
		if len(rows) < exportPage {
			return nil
		}
	}
}

// plansOf calls do for each plan of a product, or of all for "".
func plansOf(ctx context.Context, tx pgx.Tx, tenant, product string, do func(store.Plan) error) error {
	var last store.Plan
	return pages(func(string) ([]store.Plan, error) {
		return store.Plans(ctx, tx, tenant, product, "", last.Product, last.Name, exportPage)
	}, func(p store.Plan) string { last = p; return p.Name }, do)
}
