package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
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

// CountTenants returns the number of tenants that the transaction sees.
func CountTenants(ctx context.Context, tx pgx.Tx) (n int, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM tenants`).Scan(&n)
	return n, wrap("count tenants", err)
}

// Tenants returns tenants in order of their name, after a name.
func Tenants(ctx context.Context, tx pgx.Tx, after string, limit int) ([]Tenant, error) {
	return collect[Tenant](ctx, tx, "list tenants",
		`SELECT tenant_id, name, title, created_at FROM tenants WHERE name > $1 ORDER BY name LIMIT $2`, after, limit)
}

// Member is a row of members.
type Member struct {
	ID          string    `db:"id" json:"id"`
	DisplayName string    `db:"display_name" json:"displayName"`
	Email       string    `db:"email" json:"email,omitempty"`
	Roles       []string  `db:"roles" json:"roles"`
	CreatedAt   time.Time `db:"created_at" json:"createdAt"`
}

// InsertMember adds a member; an address that is taken violates members_email.
func InsertMember(ctx context.Context, tx pgx.Tx, tenant string, m Member) error {
	_, err := tx.Exec(ctx, `INSERT INTO members (id, tenant_id, display_name, email, roles, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		m.ID, tenant, m.DisplayName, m.Email, m.Roles, m.CreatedAt)
	return wrap("insert member", err)
}

// UpdateMember sets a member's roles and whether the member was removed; then the personal data is erased too.
func UpdateMember(ctx context.Context, tx pgx.Tx, id string, roles []string, removed bool) error {
	_, err := tx.Exec(ctx, `UPDATE members SET roles = $2, removed = $3,
		display_name = CASE WHEN $3 THEN '' ELSE display_name END, email = CASE WHEN $3 THEN '' ELSE email END
		WHERE id = $1`, id, roles, removed)
	return wrap("update member", err)
}

// Members returns the members in order of their id, after an id.
func Members(ctx context.Context, tx pgx.Tx, after string, limit int) ([]Member, error) {
	return collect[Member](ctx, tx, "list members",
		`SELECT id, display_name, email, roles, created_at FROM members WHERE NOT removed AND id > $1 ORDER BY id LIMIT $2`, after, limit)
}

// LockOwners returns the number of owners other than the member, and keeps the owners from changing until the end of
// the transaction, so that two owners cannot both take leave.
func LockOwners(ctx context.Context, tx pgx.Tx, except string) (int, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM members WHERE 'owner' = ANY (roles) AND NOT removed ORDER BY id FOR UPDATE`)
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

// Token is a row of tokens.
type Token struct {
	ID        string     `db:"id" json:"id"`
	Member    string     `db:"member_id" json:"member"`
	Title     string     `db:"title" json:"title"`
	Scopes    []string   `db:"scopes" json:"scopes,omitempty"`
	ExpiresAt *time.Time `db:"expires_at" json:"expiresAt,omitempty"`
	Revoked   bool       `db:"revoked" json:"revoked"`
	CreatedAt time.Time  `db:"created_at" json:"createdAt"`
}

// InsertToken adds a personal access token by its hash.
func InsertToken(ctx context.Context, tx pgx.Tx, tenant string, t Token, sha256 []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO tokens (id, tenant_id, member_id, title, token_sha256, scopes, expires_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, t.ID, tenant, t.Member, t.Title, sha256, t.Scopes, t.ExpiresAt, t.CreatedAt)
	return wrap("insert token", err)
}

// RevokeToken marks a token as void.
func RevokeToken(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE tokens SET revoked = true WHERE id = $1`, id)
	return wrap("revoke token", err)
}

// Tokens returns the tokens of a member (of all members for "") in order of their id, after an id.
func Tokens(ctx context.Context, tx pgx.Tx, member, after string, limit int) ([]Token, error) {
	return collect[Token](ctx, tx, "list tokens", `SELECT id, member_id, title, scopes, expires_at, revoked, created_at FROM tokens
		WHERE ($1 = '' OR member_id = $1) AND id > $2 ORDER BY id LIMIT $3`, member, after, limit)
}

// TokenHolder is who a personal access token stands for.
type TokenHolder struct {
	Tenant    string     `db:"tenant_id"`
	Member    string     `db:"member_id"`
	Scopes    []string   `db:"scopes"`
	Roles     []string   `db:"roles"`
	ExpiresAt *time.Time `db:"expires_at"`
	Void      bool       `db:"void"`
}

// FindTokenHolder returns who the token with this hash stands for. The transaction sees all tenants.
func FindTokenHolder(ctx context.Context, tx pgx.Tx, sha256 []byte) (TokenHolder, error) {
	return one[TokenHolder](ctx, tx, "find token", `SELECT t.tenant_id, t.member_id, t.scopes, m.roles, t.expires_at, t.revoked OR m.removed AS void
		FROM tokens t JOIN members m ON m.id = t.member_id WHERE t.token_sha256 = $1`, sha256)
}

// SigningKey is a row of signing_keys.
type SigningKey struct {
	KID       string `db:"kid"`
	Sealed    []byte `db:"sealed"`
	PublicJWK string `db:"public_jwk"`
}

// InsertSigningKey adds a key.
func InsertSigningKey(ctx context.Context, tx pgx.Tx, k SigningKey, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO signing_keys (kid, sealed, public_jwk, created_at) VALUES ($1, $2, $3, $4)`, k.KID, k.Sealed, k.PublicJWK, now)
	return wrap("insert signing key", err)
}

// SigningKeys returns every key, the newest first.
func SigningKeys(ctx context.Context, tx pgx.Tx) ([]SigningKey, error) {
	return collect[SigningKey](ctx, tx, "list signing keys", `SELECT kid, sealed, public_jwk FROM signing_keys ORDER BY created_at DESC, kid DESC`)
}

func collect[T any](ctx context.Context, tx pgx.Tx, what, query string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, wrap(what, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
	return all, wrap(what, err)
}

func one[T any](ctx context.Context, tx pgx.Tx, what, query string, args ...any) (T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		var none T
		return none, wrap(what, err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[T])
	return row, wrap(what, err)
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
