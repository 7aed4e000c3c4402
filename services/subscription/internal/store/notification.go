package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
)

// Webhook is an endpoint that is told what happens to subscriptions.
type Webhook struct {
	ID   string `db:"id" json:"id"`
	Name string `db:"name" json:"name"`
	URL  string `db:"url" json:"url"`
	// Events that it is told of; none for all.
	Events   []string `db:"events" json:"events"`
	Disabled bool     `db:"disabled" json:"disabled"`
}

// Spec is the webhook as a document says it.
func (w Webhook) Spec() *subscriptionv1.WebhookSpec {
	return &subscriptionv1.WebhookSpec{Url: w.URL, Events: w.Events, Disabled: w.Disabled}
}

// MailRecipient is somebody who gets mail about subscriptions.
type MailRecipient struct {
	ID   string `db:"id" json:"id"`
	Name string `db:"name" json:"name"`
	// Address is personal data.
	Address string `db:"address" json:"address"`
	// Account whose subscriptions it is told of, with its id; empty for those of all accounts.
	AccountID string   `db:"account_id" json:"accountId,omitempty"`
	Account   string   `db:"account" json:"account,omitempty"`
	Events    []string `db:"events" json:"events"`
	Disabled  bool     `db:"disabled" json:"disabled"`
}

// Spec is the recipient as a document says it.
func (r MailRecipient) Spec() *subscriptionv1.MailRecipientSpec {
	return &subscriptionv1.MailRecipientSpec{Address: r.Address, Account: r.Account, Events: r.Events, Disabled: r.Disabled}
}

const (
	webhookQuery   = `SELECT w.id, w.name, w.url, w.events, w.disabled FROM webhooks w `
	recipientQuery = `SELECT r.id, r.name, m.address, r.account_id, coalesce(a.name, '') AS account, r.events, r.disabled
		FROM mail_recipients r JOIN mail_addresses m ON m.recipient_id = r.id LEFT JOIN accounts a ON a.id = r.account_id `
)

// FindWebhook returns a webhook by its name or id.
func FindWebhook(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (Webhook, error) {
	return first[Webhook](ctx, tx, "find webhook", webhookQuery+`WHERE w.tenant_id = $1 AND (w.name = $2 OR w.id = $2)`, tenant, nameOrID)
}

// Webhooks returns webhooks in the order of their names, after one.
func Webhooks(ctx context.Context, tx pgx.Tx, tenant, after string, limit int) ([]Webhook, error) {
	return collect[Webhook](ctx, tx, "list webhooks", webhookQuery+`WHERE w.tenant_id = $1 AND w.name > $2 ORDER BY w.name LIMIT $3`, tenant, after, limit)
}

// FindMailRecipient returns a recipient by its name or id.
func FindMailRecipient(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (MailRecipient, error) {
	return first[MailRecipient](ctx, tx, "find mail recipient", recipientQuery+`WHERE r.tenant_id = $1 AND (r.name = $2 OR r.id = $2)`, tenant, nameOrID)
}

// MailRecipients returns recipients in the order of their names, after one.
func MailRecipients(ctx context.Context, tx pgx.Tx, tenant, after string, limit int) ([]MailRecipient, error) {
	return collect[MailRecipient](ctx, tx, "list mail recipients", recipientQuery+`WHERE r.tenant_id = $1 AND r.name > $2 ORDER BY r.name LIMIT $3`, tenant, after, limit)
}

// FindAccount returns the id of an account by its name or id.
func FindAccount(ctx context.Context, tx pgx.Tx, tenant, nameOrID string) (id string, err error) {
	err = tx.QueryRow(ctx, `SELECT id FROM accounts WHERE tenant_id = $1 AND (name = $2 OR id = $2) ORDER BY closed, id DESC LIMIT 1`, tenant, nameOrID).Scan(&id)
	return id, wrap("find account", err)
}

// SetWebhookSecret keeps the sealed secret of a webhook.
func SetWebhookSecret(ctx context.Context, tx pgx.Tx, tenant, webhook string, sealed []byte) error {
	_, err := tx.Exec(ctx, `INSERT INTO webhook_secrets (webhook_id, tenant_id, secret) VALUES ($1, $2, $3)
		ON CONFLICT (webhook_id) DO UPDATE SET secret = excluded.secret`, webhook, tenant, sealed)
	return wrap("keep webhook secret", err)
}

// SetMailAddress keeps the address of a recipient.
func SetMailAddress(ctx context.Context, tx pgx.Tx, tenant, recipient, address string) error {
	_, err := tx.Exec(ctx, `INSERT INTO mail_addresses (recipient_id, tenant_id, address) VALUES ($1, $2, $3)
		ON CONFLICT (recipient_id) DO UPDATE SET address = excluded.address`, recipient, tenant, address)
	return wrap("keep mail address", err)
}

// DeleteWebhookSecret erases the secret of a webhook.
func DeleteWebhookSecret(ctx context.Context, tx pgx.Tx, webhook string) error {
	_, err := tx.Exec(ctx, `DELETE FROM webhook_secrets WHERE webhook_id = $1`, webhook)
	return wrap("erase webhook secret", err)
}

// DeleteMailAddress erases the address of a recipient.
func DeleteMailAddress(ctx context.Context, tx pgx.Tx, recipient string) error {
	_, err := tx.Exec(ctx, `DELETE FROM mail_addresses WHERE recipient_id = $1`, recipient)
	return wrap("erase mail address", err)
}

// Target is a webhook that is to be told of an event.
type Target struct {
	ID     string `db:"id"`
	URL    string `db:"url"`
	Secret []byte `db:"secret"`
}

// Targets returns the webhooks of a tenant that are told of an event type.
func Targets(ctx context.Context, tx pgx.Tx, tenant, event string) ([]Target, error) {
	return collect[Target](ctx, tx, "find webhooks", `SELECT w.id, w.url, s.secret FROM webhooks w JOIN webhook_secrets s ON s.webhook_id = w.id
		WHERE w.tenant_id = $1 AND NOT w.disabled AND (cardinality(w.events) = 0 OR $2 = ANY (w.events)) ORDER BY w.id`, tenant, event)
}

// Address is a recipient that is to be told of an event.
type Address struct {
	ID      string `db:"id"`
	Address string `db:"address"`
}

// Addresses returns the recipients of a tenant that are told of an event type of an account's subscription.
func Addresses(ctx context.Context, tx pgx.Tx, tenant, account, event string) ([]Address, error) {
	return collect[Address](ctx, tx, "find mail recipients", `SELECT r.id, m.address FROM mail_recipients r JOIN mail_addresses m ON m.recipient_id = r.id
		WHERE r.tenant_id = $1 AND r.account_id IN ('', $2) AND NOT r.disabled AND (cardinality(r.events) = 0 OR $3 = ANY (r.events)) ORDER BY r.id`,
		tenant, account, event)
}

// AnyWebhookSecret returns the sealed secret of a webhook, with the webhook's id.
func AnyWebhookSecret(ctx context.Context, tx pgx.Tx) (webhook string, sealed []byte, err error) {
	err = tx.QueryRow(ctx, `SELECT webhook_id, secret FROM webhook_secrets LIMIT 1`).Scan(&webhook, &sealed)
	return webhook, sealed, wrap("find webhook secret", err)
}

// CountTold returns how many webhooks and recipients of mail there are.
func CountTold(ctx context.Context, tx pgx.Tx) (webhooks, recipients int, err error) {
	err = tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM webhooks), (SELECT count(*) FROM mail_recipients)`).Scan(&webhooks, &recipients)
	return webhooks, recipients, wrap("count webhooks", err)
}
