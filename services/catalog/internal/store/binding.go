package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Unbound returns those of a version's hosts which, with the first segment of its prefix, are neither bound to the tenant nor in the
// routes that the version has already ("" for a version leaves that aside).
func Unbound(ctx context.Context, tx pgx.Tx, tenant, version string, hosts []string, segment string) ([]string, error) {
	return column[string](ctx, tx, "find hosts that are not bound", `SELECT h.host FROM unnest($1::text[]) AS h(host)
		WHERE NOT EXISTS (SELECT FROM route_bindings b WHERE b.host = h.host AND b.segment = $2 AND b.tenant_id = $3)
			AND NOT EXISTS (SELECT FROM routes r WHERE r.api_version_id = $4 AND r.host = h.host AND split_part(r.prefix, '/', 2) = $2)
		ORDER BY h.host`, hosts, segment, tenant, version)
}

// LockBindings keeps others from binding until the end of the transaction.
func LockBindings(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `LOCK TABLE route_bindings IN SHARE ROW EXCLUSIVE MODE`)
	return wrap("lock route bindings", err)
}

// BoundToOthers returns the hosts on which other tenants have paths of the first segment, or the whole host; for "" those on which they
// have any.
func BoundToOthers(ctx context.Context, tx pgx.Tx, tenant, segment string) ([]string, error) {
	return column[string](ctx, tx, "list route bindings of other tenants",
		`SELECT DISTINCT host FROM route_bindings WHERE tenant_id <> $1 AND ($2 = '' OR segment IN ('', $2))`, tenant, segment)
}

// UnboundVersion is a live version with routes that are not bound to its tenant.
type UnboundVersion struct {
	ID     string `db:"id"`
	Tenant string `db:"tenant_id"`
}

// UnboundVersions returns them, of any tenant, the oldest first. The transaction must see all tenants.
func UnboundVersions(ctx context.Context, tx pgx.Tx) ([]UnboundVersion, error) {
	return collect[UnboundVersion](ctx, tx, "find routes that are not bound", `SELECT v.id, v.tenant_id FROM api_versions v
		WHERE EXISTS (SELECT FROM routes r WHERE r.api_version_id = v.id AND NOT EXISTS (SELECT FROM route_bindings b
			WHERE b.host = r.host AND b.segment = split_part(r.prefix, '/', 2) AND b.tenant_id = v.tenant_id))
		ORDER BY v.created_at, v.id`)
}
