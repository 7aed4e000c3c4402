package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// PutDraft keeps the newest draft of an invoice.
func PutDraft(ctx context.Context, tx pgx.Tx, tenant, invoice string, draft []byte) error {
	return exec(ctx, tx, "keep draft", `INSERT INTO invoice_drafts (tenant_id, invoice, draft) VALUES ($1, $2, $3)
		ON CONFLICT (tenant_id, invoice) DO UPDATE SET draft = excluded.draft`, tenant, invoice, draft)
}

// TakeDraft returns the draft of an invoice and forgets it; pgx.ErrNoRows when there is none.
func TakeDraft(ctx context.Context, tx pgx.Tx, tenant, invoice string) (draft []byte, err error) {
	err = tx.QueryRow(ctx, `DELETE FROM invoice_drafts WHERE tenant_id = $1 AND invoice = $2 RETURNING draft`, tenant, invoice).Scan(&draft)
	return draft, wrap("take draft", err)
}
