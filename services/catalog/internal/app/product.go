package app

import (
	"context"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/catalog/internal/domain"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// PutProduct makes the product of that name as the spec says.
func (c *Catalog) PutProduct(ctx context.Context, name string, spec *catalogv1.ProductSpec) (store.Product, error) {
	return execute(ctx, c, nil, func(ctx context.Context, ch *change) (store.Product, error) {
		if _, err := ch.putProduct(ctx, name, spec); err != nil {
			return store.Product{}, err
		}
		return store.FindProduct(ctx, ch, ch.tenant, name)
	})
}

// putProduct returns the spec that the product had before, nil for none.
func (ch *change) putProduct(ctx context.Context, name string, spec *catalogv1.ProductSpec) (*catalogv1.ProductSpec, error) {
	if err := checkName(name, "product-invalid", "The product is not valid."); err != nil {
		return nil, err
	}
	versions, err := ch.references(ctx, spec)
	if err != nil {
		return nil, err
	}
	row, err := store.FindProduct(ctx, ch, ch.tenant, name)
	if errors.Is(err, pgx.ErrNoRows) {
		id := newID()
		events, err := domain.CreateProduct(id, name, spec, versions)
		if err != nil {
			return nil, err
		}
		return nil, ch.record(ctx, "product", id, 0, events)
	}
	if err != nil {
		return nil, err
	}
	if err := store.LockProduct(ctx, ch, row.ID); err != nil { // against a plan that is being published
		return nil, err
	}
	p, version, err := load(ctx, ch, "product", row.ID, domain.Product{}, domain.Product.Evolve)
	if err != nil {
		return nil, err
	}
	events, err := p.Change(spec, versions)
	if err != nil {
		return nil, err
	}
	if len(events) > 0 {
		ch.products[row.ID] = true
	}
	return p.Spec, ch.record(ctx, "product", row.ID, version, events)
}

// references finds the API versions that a product includes.
func (ch *change) references(ctx context.Context, spec *catalogv1.ProductSpec) (map[string]domain.Reference, error) {
	names := make([]string, len(spec.GetIncludes()))
	for i, item := range spec.GetIncludes() {
		names[i] = item.GetApiVersion()
	}
	return store.References(ctx, ch, ch.tenant, names)
}

// Product returns a product by its name or id.
func (c *Catalog) Product(ctx context.Context, nameOrID string) (store.Product, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (store.Product, error) {
		row, err := store.FindProduct(ctx, tx, tenant, nameOrID)
		return row, productNotFound(err, nameOrID)
	})
}

// Products returns products in order of their name: those that an account sees, by its name, or all for "".
func (c *Catalog) Products(ctx context.Context, account, search, after string, limit int) ([]store.Product, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.Product, error) {
		return store.Products(ctx, tx, tenant, account, search, after, limit)
	})
}

func productNotFound(err error, nameOrID string) error {
	return notFound(err, "product-not-found", "There is no product %q.", nameOrID)
}

// PublishPlan makes the newest version of the plan of that name as the spec says.
func (c *Catalog) PublishPlan(ctx context.Context, product, name string, spec *catalogv1.PlanSpec) (store.Plan, error) {
	return execute(ctx, c, nil, func(ctx context.Context, ch *change) (store.Plan, error) {
		if _, err := ch.publishPlan(ctx, product, name, spec); err != nil {
			return store.Plan{}, err
		}
		return store.FindPlan(ctx, ch, ch.tenant, product, name, 0)
	})
}

// publishPlan returns the spec of the newest version before, nil for none.
func (ch *change) publishPlan(ctx context.Context, product, name string, spec *catalogv1.PlanSpec) (*catalogv1.PlanSpec, error) {
	const code, title = "plan-invalid", "The plan is not valid."
	if err := checkName(name, code, title); err != nil {
		return nil, err
	}
	of, err := store.FindProduct(ctx, ch, ch.tenant, product)
	if err != nil {
		return nil, missing(err, code, title, "metadata.product", "there is no product "+strconv.Quote(product)+"; name one that exists")
	}
	if err := store.LockProduct(ctx, ch, of.ID); err != nil {
		return nil, err
	}
	meters, err := store.Meters(ctx, ch, of.ID)
	if err != nil {
		return nil, err
	}
	p, version := domain.NewPlan(newID(), of.ID, name), uint64(0)
	row, err := store.FindPlan(ctx, ch, ch.tenant, of.ID, name, 0)
	if err == nil {
		p, version, err = loadPlan(ctx, ch, row.ID)
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	events, err := p.Publish(spec, meters)
	if err != nil {
		return nil, err
	}
	return p.Spec, ch.record(ctx, "plan", p.ID, version, events)
}

// RetirePlan ends a plan for new subscriptions.
func (c *Catalog) RetirePlan(ctx context.Context, product, plan string) (store.Plan, error) {
	return execute(ctx, c, nil, func(ctx context.Context, ch *change) (store.Plan, error) {
		row, err := store.FindPlan(ctx, ch, ch.tenant, product, plan, 0)
		if err != nil {
			return row, planNotFound(err, product, plan, 0)
		}
		p, version, err := loadPlan(ctx, ch, row.ID)
		if err != nil {
			return row, err
		}
		var events []proto.Message
		if events, err = p.Retire(); err != nil {
			return row, err
		}
		row.Retired = true
		return row, ch.record(ctx, "plan", row.ID, version, events)
	})
}

// Plan returns a plan in a version, or in the newest for 0.
func (c *Catalog) Plan(ctx context.Context, product, plan string, version uint32) (store.Plan, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) (store.Plan, error) {
		row, err := store.FindPlan(ctx, tx, tenant, product, plan, version)
		return row, planNotFound(err, product, plan, version)
	})
}

// Plans returns the plans of a product, or of all, in order of product and plan: those of products that an account sees, by its
// name, or all for "".
func (c *Catalog) Plans(ctx context.Context, product, account, search, afterProduct, afterPlan string, limit int) ([]store.Plan, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.Plan, error) {
		return store.Plans(ctx, tx, tenant, product, account, search, afterProduct, afterPlan, limit)
	})
}

// PlanVersions returns the versions of a plan, the newest first.
func (c *Catalog) PlanVersions(ctx context.Context, product, plan string, before uint32, limit int) ([]store.Plan, error) {
	return read(ctx, c, func(tx pgx.Tx, tenant string) ([]store.Plan, error) {
		row, err := store.FindPlan(ctx, tx, tenant, product, plan, 0)
		if err != nil {
			return nil, planNotFound(err, product, plan, 0)
		}
		return store.PlanVersions(ctx, tx, tenant, row.ID, before, limit)
	})
}

func loadPlan(ctx context.Context, ch *change, id string) (domain.Plan, uint64, error) {
	return load(ctx, ch, "plan", id, domain.Plan{}, domain.Plan.Evolve)
}

func planNotFound(err error, product, plan string, version uint32) error {
	if version > 0 {
		return notFound(err, "plan-not-found", "There is no version %d of a plan %q of the product %q.", version, plan, product)
	}
	return notFound(err, "plan-not-found", "The product %q has no plan %q.", product, plan)
}
