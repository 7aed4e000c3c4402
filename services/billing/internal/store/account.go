package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Account is a row of accounts.
type Account struct {
	ID       string `db:"id"`
	Name     string `db:"name"`
	Title    string `db:"title"`
	Currency string `db:"currency"`
	Closed   bool   `db:"closed"`
}

// InsertAccount adds an account.
func InsertAccount(ctx context.Context, tx pgx.Tx, tenant string, a Account) error {
	return exec(ctx, tx, "write account", `INSERT INTO accounts (id, tenant_id, name, title, currency) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO NOTHING`, a.ID, tenant, a.Name, a.Title, a.Currency)
}

// ChangeAccount sets an account's title and currency.
func ChangeAccount(ctx context.Context, tx pgx.Tx, id, title, currency string) error {
	return exec(ctx, tx, "change account", `UPDATE accounts SET title = $2, currency = $3 WHERE id = $1`, id, title, currency)
}

// CloseAccount marks an account as closed.
func CloseAccount(ctx context.Context, tx pgx.Tx, id string) error {
	return exec(ctx, tx, "close account", `UPDATE accounts SET closed = true WHERE id = $1`, id)
}

// AccountKnown says whether there is an account with this id.
func AccountKnown(ctx context.Context, tx pgx.Tx, id string) (known bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM accounts WHERE id = $1)`, id).Scan(&known)
	return known, wrap("find account", err)
}
