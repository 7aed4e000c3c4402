package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// UpsertProduct writes a product.
func UpsertProduct(ctx context.Context, tx pgx.Tx, tenant, id, name string) error {
	return exec(ctx, tx, "write product", `INSERT INTO products (id, tenant_id, name) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`, id, tenant, name)
}

// InsertPlan writes a plan version, which is immutable.
func InsertPlan(ctx context.Context, tx pgx.Tx, tenant string, e *catalogv1.PlanPublished) error {
	spec, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.GetSpec())
	if err != nil {
		return wrap("write plan", err)
	}
	return exec(ctx, tx, "write plan", `INSERT INTO plans (id, version, tenant_id, product_id, name, spec) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id, version) DO NOTHING`, e.GetPlan(), int32(e.GetVersion()), tenant, e.GetProduct(), e.GetName(), spec)
}

// Plan is a plan version.
type Plan struct {
	ID      string `db:"id"`
	Version int32  `db:"version"`
	Name    string `db:"name"`
	Product string `db:"product"`
	Encoded []byte `db:"spec"`
}

// Spec decodes the specification.
func (p Plan) Spec() (*catalogv1.PlanSpec, error) {
	var spec catalogv1.PlanSpec
	return &spec, wrap("decode plan", proto.Unmarshal(p.Encoded, &spec))
}

// FindPlans returns the plan versions with that name or id, the newest first: of any product for "", of any version for 0.
// More than one plan can have the name, in several products.
func FindPlans(ctx context.Context, tx pgx.Tx, product, nameOrID string, version uint32) ([]Plan, error) {
	return collect[Plan](ctx, tx, "find plan", `SELECT p.id, p.version, p.name, coalesce(r.name, p.product_id) AS product, p.spec
		FROM plans p LEFT JOIN products r ON r.id = p.product_id
		WHERE (p.name = $1 OR p.id = $1) AND ($2 = '' OR r.name = $2 OR p.product_id = $2) AND ($3 = 0 OR p.version = $3)
		ORDER BY p.version DESC, p.id LIMIT 1000`, nameOrID, product, int32(version))
}
