package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
)

// Tenant is a row of tenants.
type Tenant struct {
	ID        string    `db:"tenant_id" json:"id"`
	Name      string    `db:"name" json:"name"`
	Title     string    `db:"title" json:"title"`
	CreatedAt time.Time `db:"created_at" json:"createdAt"`
}

// InsertTenant adds a tenant; a name that is taken violates tenants_name_key.
func InsertTenant(ctx context.Context, tx pgx.Tx, t Tenant) error {
	_, err := tx.Exec(ctx, `INSERT INTO tenants (tenant_id, name, title, created_at) VALUES ($1, $2, $3, $4)`, t.ID, t.Name, t.Title, t.CreatedAt)
	return wrap("insert tenant", err)
}

// TenantByID returns a tenant.
func TenantByID(ctx context.Context, tx pgx.Tx, id string) (Tenant, error) {
	return one[Tenant](ctx, tx, "find tenant", `SELECT tenant_id, name, title, created_at FROM tenants WHERE tenant_id = $1`, id)
}

// CountTenants returns the number of tenants that the transaction sees.
func CountTenants(ctx context.Context, tx pgx.Tx) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM tenants`).Scan(&n)
	return n, wrap("count tenants", err)
}

// Tenants returns the tenants with a text in their name or title (all for "") in order of their name, after a name.
func Tenants(ctx context.Context, tx pgx.Tx, search, after string, limit int) ([]Tenant, error) {
	return collect[Tenant](ctx, tx, "list tenants",
		`SELECT tenant_id, name, title, created_at FROM tenants WHERE name > $1 AND `+postgres.HasText("$3", "name", "title")+` ORDER BY name LIMIT $2`, after, limit, search)
}

// Member is a row of members.
type Member struct {
	ID          string    `db:"id" json:"id"`
	DisplayName string    `db:"display_name" json:"displayName"`
	Email       string    `db:"email" json:"email,omitempty"`
	Roles       []string  `db:"roles" json:"roles"`
	Account     string    `db:"account_id" json:"accountId,omitempty" description:"Set for a member of an account."`
	CreatedAt   time.Time `db:"created_at" json:"createdAt"`
}

const memberColumns = `id, display_name, email, roles, account_id, created_at`

// InsertMember adds a member; an address that is taken violates members_email.
func InsertMember(ctx context.Context, tx pgx.Tx, tenant string, m Member) error {
	_, err := tx.Exec(ctx, `INSERT INTO members (id, tenant_id, display_name, email, roles, account_id, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, m.ID, tenant, m.DisplayName, m.Email, m.Roles, m.Account, m.CreatedAt)
	return wrap("insert member", err)
}

// UpdateMember sets a member's roles (nil leaves them) and whether the member was removed; then the personal data is erased too.
func UpdateMember(ctx context.Context, tx pgx.Tx, id string, roles []string, removed bool) error {
	_, err := tx.Exec(ctx, `UPDATE members SET roles = coalesce($2, roles), removed = $3,
		display_name = CASE WHEN $3 THEN '' ELSE display_name END, email = CASE WHEN $3 THEN '' ELSE email END
		WHERE id = $1`, id, roles, removed)
	return wrap("update member", err)
}

// Members returns the members of an account, those of the tenant for "", in order of their id, after an id.
func Members(ctx context.Context, tx pgx.Tx, account, after string, limit int) ([]Member, error) {
	return collect[Member](ctx, tx, "list members", `SELECT `+memberColumns+` FROM members
		WHERE NOT removed AND account_id = $1 AND id > $2 ORDER BY id LIMIT $3`, account, after, limit)
}

// FindMember returns a member who was not removed, by id.
func FindMember(ctx context.Context, tx pgx.Tx, id string) (Member, error) {
	return one[Member](ctx, tx, "find member", `SELECT `+memberColumns+` FROM members WHERE NOT removed AND id = $1`, id)
}

// SetMemberPerson sets the personal data of a member.
func SetMemberPerson(ctx context.Context, tx pgx.Tx, id, displayName, email string) error {
	_, err := tx.Exec(ctx, `UPDATE members SET display_name = $2, email = $3 WHERE id = $1`, id, displayName, email)
	return wrap("set personal data of member", err)
}

// Role is a row of roles.
type Role struct {
	Name    string   `db:"name" json:"name"`
	Title   string   `db:"title" json:"title"`
	Scopes  []string `db:"scopes" json:"scopes"`
	BuiltIn bool     `db:"built_in" json:"builtIn"`
}

// UpsertRole writes a role as it is.
func UpsertRole(ctx context.Context, tx pgx.Tx, tenant string, r Role) error {
	_, err := tx.Exec(ctx, `INSERT INTO roles (tenant_id, name, title, scopes) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, name) DO UPDATE SET title = excluded.title, scopes = excluded.scopes`, tenant, r.Name, r.Title, list(r.Scopes))
	return wrap("write role", err)
}

// DeleteRole deletes a role.
func DeleteRole(ctx context.Context, tx pgx.Tx, tenant, name string) error {
	_, err := tx.Exec(ctx, `DELETE FROM roles WHERE tenant_id = $1 AND name = $2`, tenant, name)
	return wrap("delete role", err)
}

// Roles returns every role of a tenant's own making in order of their name.
func Roles(ctx context.Context, tx pgx.Tx, tenant string) ([]Role, error) {
	return collect[Role](ctx, tx, "list roles", `SELECT name, title, scopes, false AS built_in FROM roles WHERE tenant_id = $1 ORDER BY name LIMIT 1000`, tenant)
}

// LockRoles keeps the roles of a tenant as they are until the end of the transaction: none is given while it is deleted.
func LockRoles(ctx context.Context, tx pgx.Tx, tenant string) error {
	_, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('roles of ' || $1, 0))`, tenant)
	return wrap("lock roles", err)
}

// CountRole returns how many members and invitations have a role.
func CountRole(ctx context.Context, tx pgx.Tx, tenant, role string) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM members WHERE tenant_id = $1 AND account_id = '' AND NOT removed AND $2 = ANY (roles))
		+ (SELECT count(*) FROM invitations WHERE tenant_id = $1 AND account_id = '' AND $2 = ANY (roles))`, tenant, role).Scan(&n)
	return n, wrap("count members with role", err)
}

// LockOwnersOf is LockOwners for a transaction that sees all tenants.
func LockOwnersOf(ctx context.Context, tx pgx.Tx, tenant, except string) (int, error) {
	return lockOwners(ctx, tx, tenant, except)
}

// LockOwners returns the number of owners other than the member, and keeps the owners from changing until the end of
// the transaction, so that two owners cannot both take leave.
func LockOwners(ctx context.Context, tx pgx.Tx, except string) (int, error) {
	return lockOwners(ctx, tx, "*", except)
}

func lockOwners(ctx context.Context, tx pgx.Tx, tenant, except string) (int, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM members WHERE (tenant_id = $1 OR $1 = '*') AND 'owner' = ANY (roles) AND NOT removed
		ORDER BY id FOR UPDATE`, tenant)
	if err != nil {
		return 0, wrap("lock owners", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	others := 0
	for _, id := range ids {
		if id != except {
			others++
		}
	}
	return others, wrap("lock owners", err)
}
