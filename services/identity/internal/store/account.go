package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Account is a row of accounts.
type Account struct {
	ID           string    `db:"id" json:"id"`
	Name         string    `db:"name" json:"name"`
	Title        string    `db:"title" json:"title"`
	BillingEmail string    `db:"billing_email" json:"billingEmail,omitempty"`
	Country      string    `db:"country" json:"country,omitempty"`
	Currency     string    `db:"currency" json:"currency"`
	Closed       bool      `db:"closed" json:"closed"`
	CreatedAt    time.Time `db:"created_at" json:"createdAt"`
}

const accountColumns = `id, name, title, billing_email, country, currency, closed, created_at`

// UpsertAccount writes an account as it is.
func UpsertAccount(ctx context.Context, tx pgx.Tx, tenant string, a Account) error {
	_, err := tx.Exec(ctx, `INSERT INTO accounts (id, tenant_id, name, title, billing_email, country, currency, closed, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET title = excluded.title, billing_email = excluded.billing_email, country = excluded.country,
			currency = excluded.currency, closed = excluded.closed`,
		a.ID, tenant, a.Name, a.Title, a.BillingEmail, a.Country, a.Currency, a.Closed, a.CreatedAt)
	return wrap("write account", err)
}

// FindAccount returns an account by its name or id.
func FindAccount(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Account, error) {
	return one[Account](ctx, tx, "find account", `SELECT `+accountColumns+` FROM accounts WHERE tenant_id = $1 AND (name = $2 OR id = $2)`, tenant, nameOrID)
}

// Accounts returns accounts in order of their name, after a name.
func Accounts(ctx context.Context, tx pgx.Tx, tenant, after string, limit int) ([]Account, error) {
	return collect[Account](ctx, tx, "list accounts",
		`SELECT `+accountColumns+` FROM accounts WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3`, tenant, after, limit)
}

// Application is a row of applications, with its account's name.
type Application struct {
	ID          string    `db:"id" json:"id"`
	Name        string    `db:"name" json:"name"`
	AccountID   string    `db:"account_id" json:"accountId"`
	Account     string    `db:"account" json:"account"`
	Title       string    `db:"title" json:"title"`
	Description string    `db:"description" json:"description,omitempty"`
	Deleted     bool      `db:"deleted" json:"deleted"`
	CreatedAt   time.Time `db:"created_at" json:"createdAt"`
}

const applicationQuery = `SELECT p.id, p.name, p.account_id, a.name AS account, p.title, p.description, p.deleted, p.created_at
	FROM applications p JOIN accounts a ON a.id = p.account_id WHERE p.tenant_id = $1 `

// UpsertApplication writes an application as it is.
func UpsertApplication(ctx context.Context, tx pgx.Tx, tenant string, a Application) error {
	_, err := tx.Exec(ctx, `INSERT INTO applications (id, tenant_id, account_id, name, title, description, deleted, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE SET title = excluded.title, description = excluded.description, deleted = excluded.deleted`,
		a.ID, tenant, a.AccountID, a.Name, a.Title, a.Description, a.Deleted, a.CreatedAt)
	return wrap("write application", err)
}

// FindApplication returns an application by its name or id.
func FindApplication(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Application, error) {
	return one[Application](ctx, tx, "find application", applicationQuery+`AND (p.name = $2 OR p.id = $2)`, tenant, nameOrID)
}

// Applications returns the applications of an account (of all for "") in order of their name, after a name.
func Applications(ctx context.Context, tx pgx.Tx, tenant, account, after string, limit int) ([]Application, error) {
	return collect[Application](ctx, tx, "list applications",
		applicationQuery+`AND ($2 = '' OR a.name = $2 OR a.id = $2) AND p.name > $3 ORDER BY p.name LIMIT $4`, tenant, account, after, limit)
}

// Credential is a row of credentials, without the hash.
type Credential struct {
	ID        string     `db:"id" json:"id"`
	Kind      string     `db:"kind" json:"kind"`
	Title     string     `db:"title" json:"title"`
	Prefix    string     `db:"prefix" json:"prefix"`
	ExpiresAt *time.Time `db:"expires_at" json:"expiresAt,omitempty"`
	Revoked   bool       `db:"revoked" json:"revoked"`
	CreatedAt time.Time  `db:"created_at" json:"createdAt"`
}

// InsertCredential adds a credential by the hash of its key.
func InsertCredential(ctx context.Context, tx pgx.Tx, tenant string, a Application, c Credential, sha256 []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO credentials (id, tenant_id, account_id, application_id, kind, title, prefix, key_sha256, expires_at, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		c.ID, tenant, a.AccountID, a.ID, c.Kind, c.Title, c.Prefix, sha256, c.ExpiresAt, c.CreatedAt)
	return wrap("insert credential", err)
}

// SetCredentialExpiry sets when a credential ends.
func SetCredentialExpiry(ctx context.Context, tx pgx.Tx, id string, expires time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE credentials SET expires_at = $2 WHERE id = $1`, id, expires)
	return wrap("set expiry of credential", err)
}

// RevokeCredential marks a credential as void.
func RevokeCredential(ctx context.Context, tx pgx.Tx, id string) error {
	_, err := tx.Exec(ctx, `UPDATE credentials SET revoked = true WHERE id = $1`, id)
	return wrap("revoke credential", err)
}

// Credentials returns every credential of an application, the oldest first.
func Credentials(ctx context.Context, tx pgx.Tx, tenant, application string) ([]Credential, error) {
	return collect[Credential](ctx, tx, "list credentials", `SELECT id, kind, title, prefix, expires_at, revoked, created_at FROM credentials
		WHERE tenant_id = $1 AND application_id = $2 ORDER BY id LIMIT 1000`, tenant, application)
}

// GatewayCredential is what a gateway's document is made of.
type GatewayCredential struct {
	ID          string     `db:"id"`
	Tenant      string     `db:"tenant_id"`
	Account     string     `db:"account_id"`
	Application string     `db:"application_id"`
	Kind        string     `db:"kind"`
	SHA256      []byte     `db:"key_sha256"`
	ExpiresAt   *time.Time `db:"expires_at"`
	Void        bool       `db:"void"`
}

const gatewayCredentialQuery = `SELECT c.id, c.tenant_id, c.account_id, c.application_id, c.kind, c.key_sha256, c.expires_at,
	c.revoked OR p.deleted OR a.closed AS void
	FROM credentials c JOIN applications p ON p.id = c.application_id JOIN accounts a ON a.id = c.account_id `

// GatewayCredentials returns the credentials with this id, or of this application or account.
func GatewayCredentials(ctx context.Context, tx pgx.Tx, id string) ([]GatewayCredential, error) {
	return collect[GatewayCredential](ctx, tx, "read credentials for gateways",
		gatewayCredentialQuery+`WHERE c.id = $1 OR c.application_id = $1 OR c.account_id = $1`, id)
}
