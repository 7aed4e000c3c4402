package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
)

// Account is a row of accounts.
type Account struct {
	ID       string `db:"id"`
	Name     string `db:"name"`
	Title    string `db:"title"`
	Country  string `db:"country"`
	Currency string `db:"currency"`
	Closed   bool   `db:"closed"`
}

// InsertAccount adds an account.
func InsertAccount(ctx context.Context, tx pgx.Tx, tenant string, a Account) error {
	return exec(ctx, tx, "write account", `INSERT INTO accounts (id, tenant_id, name, title, country, currency) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET title = excluded.title, country = excluded.country, currency = excluded.currency`,
		a.ID, tenant, a.Name, a.Title, a.Country, a.Currency)
}

// ChangeAccount sets an account's title, country and currency.
func ChangeAccount(ctx context.Context, tx pgx.Tx, id, title, country, currency string) error {
	return exec(ctx, tx, "change account", `UPDATE accounts SET title = $2, country = $3, currency = $4 WHERE id = $1`, id, title, country, currency)
}

// PutTenant writes a tenant; an empty name leaves the one that is there.
func PutTenant(ctx context.Context, tx pgx.Tx, id, name, title string) error {
	return exec(ctx, tx, "write tenant", `INSERT INTO tenants (id, tenant_id, name, title) VALUES ($1, $1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET title = excluded.title`, id, name, title)
}

// Parties are who sends an invoice and who gets it.
type Parties struct {
	Seller Party `json:"seller"`
	Buyer  Party `json:"buyer"`
}

// Party is a tenant or an account on an invoice.
type Party struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Title   string `json:"title"`
	Country string `json:"country,omitempty"`
}

// Message returns the party as events have it.
func (p Party) Message() *billingv1.Party {
	return &billingv1.Party{Id: p.ID, Name: p.Name, Title: p.Title, Country: p.Country}
}

func partyOf(p *billingv1.Party) Party {
	return Party{ID: p.GetId(), Name: p.GetName(), Title: p.GetTitle(), Country: p.GetCountry()}
}

// partiesOf returns those of an event, nil where it has none.
func partiesOf(e *billingv1.InvoiceFinalized) *Parties {
	if e.GetSeller() == nil || e.GetBuyer() == nil {
		return nil
	}
	return &Parties{Seller: partyOf(e.GetSeller()), Buyer: partyOf(e.GetBuyer())}
}

// FindParties returns those of an account's invoices as they are now.
func FindParties(ctx context.Context, tx pgx.Tx, tenant, account string) (p Parties, err error) {
	err = tx.QueryRow(ctx, `SELECT t.id, t.name, t.title, a.id, a.name, a.title, a.country
		FROM accounts a JOIN tenants t ON t.id = a.tenant_id WHERE a.tenant_id = $1 AND a.id = $2`, tenant, account).
		Scan(&p.Seller.ID, &p.Seller.Name, &p.Seller.Title, &p.Buyer.ID, &p.Buyer.Name, &p.Buyer.Title, &p.Buyer.Country)
	return p, wrap("find parties", err)
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
