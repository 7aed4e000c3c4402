package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/postgres"
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

// LockAccount is FindAccount for changing it: until the end of the transaction nobody else changes it, or gives its applications
// credentials.
func LockAccount(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Account, error) {
	return one[Account](ctx, tx, "lock account", `SELECT `+accountColumns+` FROM accounts WHERE tenant_id = $1 AND (name = $2 OR id = $2)
		FOR NO KEY UPDATE`, tenant, nameOrID)
}

// Accounts returns the accounts with a text in their name or title (all for "") in order of their name, after a name.
func Accounts(ctx context.Context, tx pgx.Tx, tenant, search, after string, limit int) ([]Account, error) {
	return collect[Account](ctx, tx, "list accounts",
		`SELECT `+accountColumns+` FROM accounts WHERE tenant_id = $1 AND name > $2 AND `+postgres.HasText("$4", "name", "title")+` ORDER BY name LIMIT $3`,
		tenant, after, limit, search)
}

// Application is a row of applications, with its account's name.
type Application struct {
	ID          string    `db:"id" json:"id"`
	Name        string    `db:"name" json:"name"`
	AccountID   string    `db:"account_id" json:"accountId"`
	Account     string    `db:"account" json:"account"`
	Title       string    `db:"title" json:"title"`
	Description string    `db:"description" json:"description,omitempty"`
	Roles       []string  `db:"roles" json:"roles,omitempty"`
	Deleted     bool      `db:"deleted" json:"deleted"`
	CreatedAt   time.Time `db:"created_at" json:"createdAt"`
	// AccountClosed says that the account is closed.
	AccountClosed bool `db:"account_closed" json:"-"`
}

const applicationQuery = `SELECT p.id, p.name, p.account_id, a.name AS account, p.title, p.description, p.roles, p.deleted, p.created_at,
	a.closed AS account_closed FROM applications p JOIN accounts a ON a.id = p.account_id WHERE p.tenant_id = $1 `

// UpsertApplication writes an application as it is.
func UpsertApplication(ctx context.Context, tx pgx.Tx, tenant string, a Application) error {
	_, err := tx.Exec(ctx, `INSERT INTO applications (id, tenant_id, account_id, name, title, description, roles, deleted, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET title = excluded.title, description = excluded.description, roles = excluded.roles,
			deleted = excluded.deleted`,
		a.ID, tenant, a.AccountID, a.Name, a.Title, a.Description, list(a.Roles), a.Deleted, a.CreatedAt)
	return wrap("write application", err)
}

// FindApplication returns an application by its name or id.
func FindApplication(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Application, error) {
	return one[Application](ctx, tx, "find application", applicationQuery+`AND (p.name = $2 OR p.id = $2)`, tenant, nameOrID)
}

// LockApplication is FindApplication for changing it: until the end of the transaction nobody else changes it, or closes its
// account.
func LockApplication(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Application, error) {
	return one[Application](ctx, tx, "lock application", applicationQuery+`AND (p.name = $2 OR p.id = $2)
		FOR NO KEY UPDATE OF p FOR SHARE OF a`, tenant, nameOrID)
}

// Applications returns the applications of an account (of all for "") with a text in their name or title, in order of their name,
// after a name.
func Applications(ctx context.Context, tx pgx.Tx, tenant, account, search, after string, limit int) ([]Application, error) {
	return collect[Application](ctx, tx, "list applications",
		applicationQuery+`AND ($2 = '' OR a.name = $2 OR a.id = $2) AND p.name > $3 AND `+postgres.HasText("$5", "p.name", "p.title")+` ORDER BY p.name LIMIT $4`,
		tenant, account, after, limit, search)
}
