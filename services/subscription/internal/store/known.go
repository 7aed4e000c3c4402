package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
)

// FindApplication returns an application by its name or id. It and its account are kept from being deleted or closed until
// the end of the transaction: the follower that cancels their subscriptions then sees what this one adds.
func FindApplication(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (domain.Application, error) {
	var a domain.Application
	err := tx.QueryRow(ctx, `SELECT p.id, p.name, p.account_id, p.deleted, a.closed
		FROM applications p JOIN accounts a ON a.id = p.account_id
		WHERE p.tenant_id = $1 AND (p.name = $2 OR p.id = $2) ORDER BY p.deleted, p.id DESC LIMIT 1 FOR SHARE OF p, a`, tenant, nameOrID).
		Scan(&a.ID, &a.Name, &a.Account, &a.Deleted, &a.AccountClosed)
	return a, wrap("find application", err)
}

// ProductPlan is a plan with the name of its product.
type ProductPlan struct {
	domain.Plan
	ProductName string
}

const planQuery = `SELECT l.id, l.name, l.product_id, o.name, v.version, v.spec, l.retired
	FROM plans l JOIN products o ON o.id = l.product_id JOIN plan_versions v ON v.plan_id = l.id `

func scanPlan(row pgx.CollectableRow) (ProductPlan, error) {
	p := ProductPlan{Plan: domain.Plan{Spec: &catalogv1.PlanSpec{}}}
	var spec []byte
	if err := row.Scan(&p.ID, &p.Name, &p.Product, &p.ProductName, &p.Version, &spec, &p.Retired); err != nil {
		return p, err
	}
	return p, proto.Unmarshal(spec, p.Spec)
}

// FindPlans returns the plans of a name or id, of one product (by name or id) or of any for "", in their newest versions. Those
// of private products are there for the accounts that see them, and for applications that are subscribed to them already.
func FindPlans(ctx context.Context, tx pgx.Tx, tenant, plan, product string, asking domain.Application) ([]ProductPlan, error) {
	rows, err := tx.Query(ctx, planQuery+`WHERE l.tenant_id = $1 AND v.version = l.version AND (l.name = $2 OR l.id = $2)
		AND ($3 = '' OR o.name = $3 OR o.id = $3)
		AND (NOT o.private OR EXISTS (SELECT FROM accounts a WHERE a.id = $4 AND a.name = ANY (o.accounts))
			OR EXISTS (SELECT FROM subscriptions s WHERE s.application_id = $5 AND s.product_id = o.id AND `+live+`))
		ORDER BY o.name, l.id LIMIT 20`, tenant, plan, product, asking.Account, asking.ID)
	if err != nil {
		return nil, wrap("find plans", err)
	}
	plans, err := pgx.CollectRows(rows, scanPlan)
	return plans, wrap("find plans", err)
}

// FindPlanVersion returns a version of a plan by its id.
func FindPlanVersion(ctx context.Context, tx pgx.Tx, plan string, version uint32) (ProductPlan, error) {
	rows, err := tx.Query(ctx, planQuery+`WHERE l.id = $1 AND v.version = $2`, plan, int32(version))
	if err != nil {
		return ProductPlan{}, wrap("find plan version", err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scanPlan)
	return p, wrap("find plan version", err)
}

// InsertAccount adds an account that identity has created.
func InsertAccount(ctx context.Context, tx pgx.Tx, tenant, id, name string) error {
	_, err := tx.Exec(ctx, `INSERT INTO accounts (id, tenant_id, name) VALUES ($1, $2, $3)`, id, tenant, name)
	return wrap("insert account", err)
}

// CloseAccount marks an account as closed.
func CloseAccount(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE accounts SET closed = true WHERE id = $1`, id)
	return wrap("close account", err)
}

// InsertApplication adds an application that identity has created.
func InsertApplication(ctx context.Context, tx pgx.Tx, tenant, id, account, name string) error {
	_, err := tx.Exec(ctx, `INSERT INTO applications (id, tenant_id, account_id, name) VALUES ($1, $2, $3, $4)`, id, tenant, account, name)
	return wrap("insert application", err)
}

// DeleteApplication marks an application as deleted.
func DeleteApplication(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE applications SET deleted = true WHERE id = $1`, id)
	return wrap("delete application", err)
}

// InsertProduct adds a product that catalog has created.
func InsertProduct(ctx context.Context, tx pgx.Tx, tenant, id, name string, spec *catalogv1.ProductSpec) error {
	_, err := tx.Exec(ctx, `INSERT INTO products (id, tenant_id, name, private, accounts) VALUES ($1, $2, $3, $4, coalesce($5::text[], '{}'))`,
		id, tenant, name, isPrivate(spec), spec.GetAccounts())
	return wrap("insert product", err)
}

// ShowProduct changes who sees a product.
func ShowProduct(ctx context.Context, tx pgx.Tx, id string, spec *catalogv1.ProductSpec) error {
	_, err := tx.Exec(ctx, `UPDATE products SET private = $2, accounts = coalesce($3::text[], '{}') WHERE id = $1`, id, isPrivate(spec), spec.GetAccounts())
	return wrap("change product", err)
}

func isPrivate(spec *catalogv1.ProductSpec) bool { return spec.GetVisibility() == "private" }

// InsertPlanVersion adds a version that catalog has published.
func InsertPlanVersion(ctx context.Context, tx pgx.Tx, tenant string, e *catalogv1.PlanPublished) error {
	_, err := tx.Exec(ctx, `INSERT INTO plans (id, tenant_id, product_id, name, version, capacity) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version, capacity = excluded.capacity`,
		e.GetPlan(), tenant, e.GetProduct(), e.GetName(), e.GetVersion(), int64(e.GetSpec().GetCapacity()))
	if err != nil {
		return wrap("write plan", err)
	}
	spec, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.GetSpec())
	if err != nil {
		return wrap("encode plan version", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO plan_versions (plan_id, version, tenant_id, spec) VALUES ($1, $2, $3, $4)`,
		e.GetPlan(), e.GetVersion(), tenant, spec)
	return wrap("insert plan version", err)
}

// RetirePlan marks a plan as retired.
func RetirePlan(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE plans SET retired = true WHERE id = $1`, id)
	return wrap("retire plan", err)
}
