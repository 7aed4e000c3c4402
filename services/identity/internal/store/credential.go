package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Credential is a row of credentials, without the hash.
type Credential struct {
	ID        string     `db:"id" json:"id"`
	Kind      string     `db:"kind" json:"kind" description:"apiKey, oauth2 or jwt."`
	Title     string     `db:"title" json:"title"`
	Prefix    string     `db:"prefix" json:"prefix,omitempty" description:"First characters of the key or client secret."`
	Scopes    []string   `db:"scopes" json:"scopes,omitempty"`
	ClientID  string     `db:"client_id" json:"clientId,omitempty"`
	Issuer    string     `db:"issuer" json:"issuer,omitempty"`
	ExpiresAt *time.Time `db:"expires_at" json:"expiresAt,omitempty"`
	Revoked   bool       `db:"revoked" json:"revoked"`
	CreatedAt time.Time  `db:"created_at" json:"createdAt"`
}

const credentialColumns = `id, kind, title, prefix, scopes, client_id, issuer, expires_at, revoked, created_at`

// InsertCredential adds a credential by the hash of its secret, nil for none. A client of another issuer that has a
// credential already violates credentials_client.
func InsertCredential(ctx context.Context, tx pgx.Tx, tenant string, a Application, c Credential, sha256 []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO credentials (id, tenant_id, account_id, application_id, kind, title, prefix, key_sha256,
			scopes, client_id, issuer, expires_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		c.ID, tenant, a.AccountID, a.ID, c.Kind, c.Title, c.Prefix, orNull(sha256), list(c.Scopes), c.ClientID, c.Issuer, c.ExpiresAt, c.CreatedAt)
	return wrap("insert credential", err)
}

func orNull(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// SetCredentialExpiry sets when a credential ends.
func SetCredentialExpiry(ctx context.Context, tx pgx.Tx, id string, expires time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE credentials SET expires_at = $2 WHERE id = $1`, id, expires)
	return wrap("set expiry of credential", err)
}

// RevokeCredentials marks the credential of this id as void, or every one of this application or account.
func RevokeCredentials(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE credentials SET revoked = true WHERE id = $1 OR application_id = $1 OR account_id = $1`, id)
	return wrap("revoke credentials", err)
}

// Credentials returns every credential of an application, the oldest first.
func Credentials(ctx context.Context, tx pgx.Tx, tenant, application string) ([]Credential, error) {
	return collect[Credential](ctx, tx, "list credentials", `SELECT `+credentialColumns+` FROM credentials
		WHERE tenant_id = $1 AND application_id = $2 ORDER BY id LIMIT 1000`, tenant, application)
}

// GatewayCredential is what a gateway's document is made of, and what a client is authenticated with.
type GatewayCredential struct {
	ID          string     `db:"id"`
	Tenant      string     `db:"tenant_id"`
	Account     string     `db:"account_id"`
	Application string     `db:"application_id"`
	Kind        string     `db:"kind"`
	SHA256      []byte     `db:"key_sha256"`
	Scopes      []string   `db:"scopes"`
	Roles       []string   `db:"roles"`
	ClientID    string     `db:"client_id"`
	Issuer      string     `db:"issuer"`
	ExpiresAt   *time.Time `db:"expires_at"`
	Void        bool       `db:"void"`
}

const gatewayCredentialQuery = `SELECT c.id, c.tenant_id, c.account_id, c.application_id, c.kind, c.key_sha256, c.scopes, p.roles,
	c.client_id, c.issuer, c.expires_at, c.revoked OR p.deleted OR a.closed AS void
	FROM credentials c JOIN applications p ON p.id = c.application_id JOIN accounts a ON a.id = c.account_id `

// GatewayCredentials returns the credentials with this id, or of this application or account; with a client's, those that
// have the same client id because one was rotated into the other.
func GatewayCredentials(ctx context.Context, tx pgx.Tx, id string) ([]GatewayCredential, error) {
	return collect[GatewayCredential](ctx, tx, "read credentials for gateways",
		gatewayCredentialQuery+`WHERE c.id = $1 OR c.application_id = $1 OR c.account_id = $1 OR c.kind <> 'apiKey' AND EXISTS (
			SELECT FROM credentials s WHERE s.id = $1 AND s.kind = c.kind AND s.client_id = c.client_id AND s.issuer = c.issuer)
		ORDER BY c.id`, id)
}

// Clients returns the credentials of an OAuth client, several where one was rotated. The transaction sees all tenants.
func Clients(ctx context.Context, tx pgx.Tx, clientID string) ([]GatewayCredential, error) {
	return collect[GatewayCredential](ctx, tx, "find client", gatewayCredentialQuery+`WHERE c.kind = 'oauth2' AND c.client_id = $1 ORDER BY c.id DESC`, clientID)
}

// InsertRevokedToken marks an access token as void until its end; false when it was already.
func InsertRevokedToken(ctx context.Context, tx pgx.Tx, tenant, id string, expires time.Time) (bool, error) {
	tag, err := tx.Exec(ctx, `INSERT INTO revoked_tokens (id, tenant_id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, id, tenant, expires)
	return tag.RowsAffected() > 0, wrap("revoke access token", err)
}

// TokenRevoked says whether an access token was revoked.
func TokenRevoked(ctx context.Context, tx pgx.Tx, id string) (revoked bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM revoked_tokens WHERE id = $1)`, id).Scan(&revoked)
	return revoked, wrap("look for revoked access token", err)
}
