package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
)

// Product is a product with its newest content.
type Product struct {
	ID        string      `db:"id" json:"id"`
	Name      string      `db:"name" json:"name"`
	Spec      ProductSpec `db:"spec" json:"spec"`
	CreatedAt time.Time   `db:"created_at" json:"createdAt"`
}

const productQuery = `SELECT id, name, spec, created_at FROM products WHERE tenant_id = $1 `

// FindProduct returns a product by its name or id.
func FindProduct(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Product, error) {
	return one[Product](ctx, tx, "find product", productQuery+`AND (name = $2 OR id = $2)`, tenant, nameOrID)
}

// Products returns the products with a text in their name or title (all for "") in order of their name, after a name: those that an
// account sees, or all for "".
func Products(ctx context.Context, tx pgx.Tx, tenant, account, search, after string, limit int) ([]Product, error) {
	return collect[Product](ctx, tx, "list products", productQuery+`AND ($2 = '' OR `+visible("spec", "$2")+`) AND name > $3
		AND `+postgres.HasText("$5", "name", "spec->>'title'")+` ORDER BY name LIMIT $4`, tenant, account, after, limit, search)
}

// visible is the condition under which an account, by its name, sees the product with the specification.
func visible(spec, account string) string {
	return `(` + spec + `->>'visibility' IS DISTINCT FROM 'private' OR coalesce(` + spec + `->'accounts' ? ` + account + `, false))`
}

// Included is an API version that a product includes.
type Included struct {
	APIVersion string `db:"name"`
	API        string `db:"api"`
	Stage      string `db:"stage"`
	Operations int    `db:"operations"`
}

// Includes returns the API versions that a product includes, in order of their name.
func Includes(ctx context.Context, tx pgx.Tx, product string) ([]Included, error) {
	return collect[Included](ctx, tx, "list API versions of product", `SELECT v.name, a.name AS api, v.stage,
			(SELECT count(*) FROM operations o WHERE o.api_version_id = v.id) AS operations
		FROM product_versions p JOIN api_versions v ON v.id = p.api_version_id JOIN apis a ON a.id = v.api_id
		WHERE p.product_id = $1 AND p.included ORDER BY v.name`, product)
}

// ProductsOf returns the ids of the products that include a version.
func ProductsOf(ctx context.Context, tx pgx.Tx, version string) ([]string, error) {
	return column[string](ctx, tx, "find products of API version",
		`SELECT product_id FROM product_versions WHERE api_version_id = $1 AND included ORDER BY product_id`, version)
}

// Meters returns the meters that the API versions of a product declare, each once. It keeps those versions from changing
// until the end of the transaction, so that no meter goes away while a plan that uses it comes.
func Meters(ctx context.Context, tx pgx.Tx, product string) ([]string, error) {
	_, err := tx.Exec(ctx, `SELECT FROM api_versions v JOIN product_versions p ON p.api_version_id = v.id
		WHERE p.product_id = $1 AND p.included ORDER BY v.id FOR UPDATE OF v`, product)
	if err != nil {
		return nil, wrap("lock API versions of product", err)
	}
	return column[string](ctx, tx, "list meters of product", `
		SELECT DISTINCT m.name FROM product_versions p JOIN api_versions v ON v.id = p.api_version_id,
			jsonb_object_keys(coalesce(v.spec->'meters', '{}')) AS m(name)
		WHERE p.product_id = $1 AND p.included ORDER BY m.name`, product)
}

// LockProduct keeps a product from changing until the end of the transaction.
func LockProduct(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `SELECT FROM products WHERE id = $1 FOR UPDATE`, id)
	return wrap("lock product", err)
}

// Plan is a plan in one of its versions.
type Plan struct {
	ID          string    `db:"id" json:"id"`
	Name        string    `db:"name" json:"name"`
	ProductID   string    `db:"product_id" json:"productId"`
	Product     string    `db:"product" json:"product"`
	Version     uint32    `db:"version" json:"version"`
	Latest      uint32    `db:"latest" json:"latestVersion"`
	Spec        PlanSpec  `db:"spec" json:"spec"`
	Retired     bool      `db:"retired" json:"retired"`
	PublishedAt time.Time `db:"published_at" json:"publishedAt"`
}

const planQuery = `SELECT l.id, l.name, l.product_id, p.name AS product, v.version, l.version AS latest, v.spec, l.retired, v.published_at
	FROM plans l JOIN products p ON p.id = l.product_id JOIN plan_versions v ON v.plan_id = l.id WHERE l.tenant_id = $1 `

// FindPlan returns a plan of a product, each by its name or id, in a version; 0 for the newest.
func FindPlan(ctx context.Context, tx pgx.Tx, tenant, product, plan string, version uint32) (Plan, error) {
	return one[Plan](ctx, tx, "find plan", planQuery+`AND (p.name = $2 OR p.id = $2) AND (l.name = $3 OR l.id = $3)
		AND v.version = CASE WHEN $4 = 0 THEN l.version ELSE $4 END`, tenant, product, plan, int32(min(version, 1<<31-1)))
}

// Plans returns the plans of a product (of all for "") with a text in their name or title, in their newest versions, in order of product
// and plan, after one of each: those of products that an account sees, or all for "".
func Plans(ctx context.Context, tx pgx.Tx, tenant, product, account, search, afterProduct, afterPlan string, limit int) ([]Plan, error) {
	return collect[Plan](ctx, tx, "list plans", planQuery+`AND v.version = l.version AND ($2 = '' OR p.name = $2 OR p.id = $2)
		AND (p.name, l.name) > ($3, $4) AND ($6 = '' OR `+visible("p.spec", "$6")+`)
		AND `+postgres.HasText("$7", "l.name", "v.spec->>'title'")+` ORDER BY p.name, l.name LIMIT $5`,
		tenant, product, afterProduct, afterPlan, limit, account, search)
}

// PlanVersions returns the versions of a plan, the newest first, before a version (0 for all).
func PlanVersions(ctx context.Context, tx pgx.Tx, tenant, plan string, before uint32, limit int) ([]Plan, error) {
	return collect[Plan](ctx, tx, "list plan versions", planQuery+`AND l.id = $2 AND ($3 = 0 OR v.version < $3)
		ORDER BY v.version DESC LIMIT $4`, tenant, plan, int32(min(before, 1<<31-1)), limit)
}
