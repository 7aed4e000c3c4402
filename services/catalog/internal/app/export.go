package app

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/services/catalog/internal/document"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

const (
	// exportPlain is the size up to which a document is exported as it is; a larger one is compressed.
	exportPlain = 64 << 10
	// exportBytes and exportResources are how much makes a page: it ends with the resource that reaches one of them.
	exportBytes     = 2 << 20
	exportResources = 1000
	// rowsAtOnce is how many rows are read at once.
	rowsAtOnce = 200
)

// exportKinds are the kinds that catalog owns, in the order in which they are applied.
var exportKinds = []string{"Ruleset", "API", "APIVersion", "Product", "Plan"}

// errPageFull ends the reading of an export.
var errPageFull = errors.New("the page is full")

// Export returns resources as documents that Apply takes, of one kind or of all for "": a page of them, after the cursor that the page
// before gave ("" for the first). Retired plans are left out: nothing makes them again.
func (c *Catalog) Export(ctx context.Context, kind, cursor string) (resource.Export, error) {
	kinds, from, err := exportFrom(kind, cursor)
	if err != nil {
		return resource.Export{}, err
	}
	return read(ctx, c, func(tx pgx.Tx, tenant string) (resource.Export, error) {
		e := exporter{out: resource.Export{Resources: []resource.Resource{}}}
		for _, k := range kinds {
			err := e.export(ctx, tx, tenant, k, from)
			if errors.Is(err, errPageFull) {
				break
			}
			if err != nil {
				return e.out, err
			}
			from = resource.Metadata{}
		}
		return e.out, nil
	})
}

// exportFrom returns the kinds that are left to export, and after which resource of the first of them.
func exportFrom(kind, cursor string) (kinds []string, after resource.Metadata, err error) {
	if kinds = exportKinds; kind != "" {
		kinds = []string{kind}
	}
	if kind != "" && !slices.Contains(exportKinds, kind) {
		return nil, after, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: "kind", Message: "is not a kind of catalog's; want Ruleset, API, APIVersion, Product or Plan"})
	}
	if cursor == "" {
		return kinds, after, nil
	}
	parts := strings.Split(cursor, "/")
	i := slices.Index(kinds, parts[0])
	if i < 0 || len(parts) != 3 {
		return nil, after, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: "cursor", Message: "is not the next of a page before, of the same kind"})
	}
	return kinds[i:], resource.Metadata{Product: parts[1], Name: parts[2]}, nil
}

type exporter struct {
	out  resource.Export
	size int
}

// add adds a resource. The error is errPageFull when it is the last one of the page.
func (e *exporter) add(kind string, m resource.Metadata, spec proto.Message) error {
	r, err := resource.NewResource(kind, m, spec)
	if err != nil {
		return err
	}
	e.out.Resources = append(e.out.Resources, r)
	if e.size += len(r.Spec); e.size < exportBytes && len(e.out.Resources) < exportResources {
		return nil
	}
	e.out.Next = strings.Join([]string{kind, m.Product, m.Name}, "/")
	return errPageFull
}

// export adds the resources of a kind after one of them.
func (e *exporter) export(ctx context.Context, tx pgx.Tx, tenant, kind string, from resource.Metadata) error {
	switch kind {
	case "Ruleset":
		row, err := store.FindRuleset(ctx, tx, tenant)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Name <= from.Name {
			return nil
		}
		if err != nil {
			return err
		}
		return e.add(kind, resource.Metadata{Name: row.Name}, row.Spec.Message)
	case "API":
		return pages(from.Name, func(after string) ([]store.API, error) { return store.APIs(ctx, tx, tenant, "", after, rowsAtOnce) },
			func(a store.API) string { return a.Name },
			func(a store.API) error { return e.add(kind, resource.Metadata{Name: a.Name}, a.Spec.Message) })
	case "APIVersion":
		return pages(from.Name, func(after string) ([]store.APIVersion, error) {
			return store.APIVersions(ctx, tx, tenant, "", "", after, rowsAtOnce)
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
		return pages(from.Name, func(after string) ([]store.Product, error) {
			return store.Products(ctx, tx, tenant, "", "", after, rowsAtOnce)
		},
			func(p store.Product) string { return p.Name },
			func(p store.Product) error { return e.add(kind, resource.Metadata{Name: p.Name}, p.Spec.Message) })
	default:
		return e.plans(ctx, tx, tenant, from)
	}
}

func (e *exporter) plans(ctx context.Context, tx pgx.Tx, tenant string, from resource.Metadata) error {
	return plansOf(ctx, tx, tenant, "", from, func(p store.Plan) error {
		if p.Retired {
			return nil
		}
		return e.add("Plan", resource.Metadata{Name: p.Name, Product: p.Product}, p.Spec.Message)
	})
}

// pages reads page by page, after a cursor, and calls do for each row.
func pages[T any](after string, next func(after string) ([]T, error), cursor func(T) string, do func(T) error) error {
	for {
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
		if len(rows) < rowsAtOnce {
			return nil
		}
	}
}

// plansOf calls do for each plan of a product, or of all for "", after one of them.
func plansOf(ctx context.Context, tx pgx.Tx, tenant, product string, from resource.Metadata, do func(store.Plan) error) error {
	last := store.Plan{Product: from.Product, Name: from.Name}
	return pages("", func(string) ([]store.Plan, error) {
		return store.Plans(ctx, tx, tenant, product, "", "", last.Product, last.Name, rowsAtOnce)
	}, func(p store.Plan) string { last = p; return p.Name }, do)
}
