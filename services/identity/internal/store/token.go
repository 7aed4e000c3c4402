package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Token is a row of tokens.
type Token struct {
	ID        string     `db:"id" json:"id"`
	Member    string     `db:"member_id" json:"member"`
	Title     string     `db:"title" json:"title"`
	Scopes    []string   `db:"scopes" json:"scopes,omitempty"`
	Unlimited bool       `db:"unlimited" json:"unlimited,omitempty" description:"Whether it may do all that the member may; scopes is empty then."`
	Operator  bool       `db:"operator" json:"operator,omitempty" description:"Whether it may act on the installation."`
	ExpiresAt *time.Time `db:"expires_at" json:"expiresAt,omitempty"`
	Revoked   bool       `db:"revoked" json:"revoked"`
	CreatedAt time.Time  `db:"created_at" json:"createdAt"`
}

// InsertToken adds a personal access token by its hash.
func InsertToken(ctx context.Context, tx pgx.Tx, tenant string, t Token, sha256 []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO tokens (id, tenant_id, member_id, title, token_sha256, scopes, unlimited, operator, expires_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		t.ID, tenant, t.Member, t.Title, sha256, list(t.Scopes), t.Unlimited, t.Operator, t.ExpiresAt, t.CreatedAt)
	return wrap("insert token", err)
}

// RevokeToken marks a token as void.
func RevokeToken(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE tokens SET revoked = true WHERE id = $1`, id)
	return wrap("revoke token", err)
}

// Tokens returns the tokens of a member (of all members for "") in order of their id, after an id.
func Tokens(ctx context.Context, tx pgx.Tx, member, after string, limit int) ([]Token, error) {
	return collect[Token](ctx, tx, "list tokens", `SELECT id, member_id, title, scopes, unlimited, operator, expires_at, revoked, created_at FROM tokens
		WHERE ($1 = '' OR member_id = $1) AND id > $2 ORDER BY id LIMIT $3`, member, after, limit)
}

// TokenHolder is who a personal access token stands for.
type TokenHolder struct {
	Tenant    string     `db:"tenant_id"`
	Member    string     `db:"member_id"`
	Scopes    []string   `db:"scopes"`
	Unlimited bool       `db:"unlimited"`
	Operator  bool       `db:"operator"`
	Roles     []string   `db:"roles"`
	Account   string     `db:"account_id"`
	ExpiresAt *time.Time `db:"expires_at"`
	Void      bool       `db:"void"`
}

// FindTokenHolder returns who the token with this hash stands for. The transaction sees all tenants.
func FindTokenHolder(ctx context.Context, tx pgx.Tx, sha256 []byte) (TokenHolder, error) {
	return one[TokenHolder](ctx, tx, "find token", `SELECT t.tenant_id, t.member_id, t.scopes, t.unlimited, t.operator, m.roles, m.account_id,
			t.expires_at, t.revoked OR m.removed AS void
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
