package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Kinds of names.
const (
	Account      = "account"
	Application  = "application"
	API          = "api"
	APIVersion   = "api-version"
	Subscription = "subscription"
	Product      = "product"
	Plan         = "plan"
)

// PutName notes the name of a thing, to be brought to ClickHouse: again, when the event is handled again, as after its tables were
// made anew.
func PutName(ctx context.Context, tx pgx.Tx, tenant, kind, id, name string) error {
	return exec(ctx, tx, "note name", `INSERT INTO names (tenant_id, kind, id, name) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, kind, id) DO UPDATE SET name = excluded.name, noted = false`, tenant, kind, id, name)
}

// Name is a name of a thing.
type Name struct {
	Tenant string `db:"tenant_id"`
	Kind   string `db:"kind"`
	ID     string `db:"id"`
	Name   string `db:"name"`
}

// TakeUnnoted returns names that are not in ClickHouse yet, and none while another transaction has some.
func TakeUnnoted(ctx context.Context, tx pgx.Tx, limit int) ([]Name, error) {
	var first bool
	if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtext('analytics names'))`).Scan(&first); err != nil || !first {
		return nil, wrap("take names", err)
	}
	return collect[Name](ctx, tx, "take names", `SELECT tenant_id, kind, id, name FROM names WHERE NOT noted LIMIT $1`, limit)
}

// SetNoted notes that names are in ClickHouse, except for those that were changed since.
func SetNoted(ctx context.Context, tx pgx.Tx, names []Name) error {
	tenants, kinds, ids, texts := make([]string, len(names)), make([]string, len(names)), make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		tenants[i], kinds[i], ids[i], texts[i] = n.Tenant, n.Kind, n.ID, n.Name
	}
	return exec(ctx, tx, "note names", `UPDATE names SET noted = true FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS r(tenant_id, kind, id, name)
		WHERE names.tenant_id = r.tenant_id AND names.kind = r.kind AND names.id = r.id AND names.name = r.name`, tenants, kinds, ids, texts)
}

// FindID returns the id of the thing with that name or id, and pgx.ErrNoRows when it is not known. A name may have been given
// again after its thing ended: then it is that of the newest (ids begin with their time).
func FindID(ctx context.Context, tx pgx.Tx, kind, nameOrID string) (id string, err error) {
	err = tx.QueryRow(ctx, `SELECT id FROM names WHERE kind = $1 AND (id = $2 OR name = $2) ORDER BY id = $2 DESC, id DESC LIMIT 1`, kind, nameOrID).Scan(&id)
	return id, wrap("find name", err)
}

// FindIDs returns the ids of all things of a tenant with that name or id, at most 1000: the version v1 of several APIs, for example.
func FindIDs(ctx context.Context, tx pgx.Tx, tenant, kind, nameOrID string) ([]string, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM names WHERE tenant_id = $1 AND kind = $2 AND (id = $3 OR name = $3) ORDER BY id LIMIT 1000`, tenant, kind, nameOrID)
	if err != nil {
		return nil, wrap("find names", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return ids, wrap("find names", err)
}

// Names returns the names of things by kind and id.
func Names(ctx context.Context, tx pgx.Tx, ids []string) (map[string]map[string]string, error) {
	type row struct {
		Kind string `db:"kind"`
		ID   string `db:"id"`
		Name string `db:"name"`
	}
	rows, err := collect[row](ctx, tx, "read names", `SELECT kind, id, name FROM names WHERE id = ANY ($1)`, ids)
	names := map[string]map[string]string{}
	for _, r := range rows {
		if names[r.Kind] == nil {
			names[r.Kind] = map[string]string{}
		}
		names[r.Kind][r.ID] = r.Name
	}
	return names, err
}

// PutWaiver notes until when a gateway is waived.
func PutWaiver(ctx context.Context, tx pgx.Tx, gateway string, until int64) error {
	return exec(ctx, tx, "note waiver", `INSERT INTO waivers (gateway, until) VALUES ($1, $2)
		ON CONFLICT (gateway) DO UPDATE SET until = greatest(waivers.until, excluded.until)`, gateway, until)
}
