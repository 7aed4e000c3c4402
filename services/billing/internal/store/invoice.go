package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
)

// Invoice is a row of invoices, with the names of its account and subscription.
type Invoice struct {
	ID             string          `db:"id"`
	AccountID      string          `db:"account_id"`
	Account        string          `db:"account"`
	SubscriptionID string          `db:"subscription_id"`
	Subscription   string          `db:"subscription"`
	StartsAt       int64           `db:"starts_at"`
	EndsAt         int64           `db:"ends_at"`
	Currency       string          `db:"currency"`
	Total          string          `db:"total"`
	State          string          `db:"state"`
	Cause          string          `db:"cause"`
	Detail         string          `db:"detail"`
	Series         *string         `db:"series"`
	Number         *int64          `db:"number"`
	FinalizedAt    *int64          `db:"finalized_at"`
	Evidence       json.RawMessage `db:"evidence"`
	Parties        *Parties        `db:"parties"`
}

const invoiceQuery = `SELECT i.id, i.account_id, coalesce(a.name, '') AS account, i.subscription_id, coalesce(s.name, '') AS subscription,
	i.starts_at, i.ends_at, i.currency, i.total::text AS total, i.state, i.cause, i.detail, i.series, i.number, i.finalized_at, i.evidence, i.parties
	FROM invoices i LEFT JOIN accounts a ON a.id = i.account_id LEFT JOIN subscriptions s ON s.id = i.subscription_id `

// FindInvoice returns an invoice by its id.
func FindInvoice(ctx context.Context, tx pgx.Tx, id string) (Invoice, error) {
	return one[Invoice](ctx, tx, "find invoice", invoiceQuery+`WHERE i.id = $1`, id)
}

// FindInvoiceNumber returns an invoice by its number.
func FindInvoiceNumber(ctx context.Context, tx pgx.Tx, tenant, series string, number int64) (Invoice, error) {
	return one[Invoice](ctx, tx, "find invoice", invoiceQuery+`WHERE i.tenant_id = $1 AND i.series = $2 AND i.number = $3`, tenant, series, number)
}

// InvoiceFilter selects invoices; what is empty does not.
type InvoiceFilter struct {
	// Names or ids.
	Account, Subscription string
	State                 string
	// Bounds of the end of the period, half-open; 0 for none.
	EndsFrom, EndsTo int64
	// BeforeEnd and BeforeID are of the last invoice of the page before; 0 for the first page.
	BeforeEnd int64
	BeforeID  string
	Limit     int
}

// Invoices returns invoices, those of the latest periods first.
func Invoices(ctx context.Context, tx pgx.Tx, tenant string, f InvoiceFilter) ([]Invoice, error) {
	return collect[Invoice](ctx, tx, "list invoices", invoiceQuery+`WHERE i.tenant_id = $1
		AND ($2 = '' OR i.account_id = $2 OR a.name = $2) AND ($3 = '' OR i.subscription_id = $3 OR s.name = $3) AND ($4 = '' OR i.state = $4)
		AND ($5::bigint = 0 OR i.ends_at >= $5) AND ($6::bigint = 0 OR i.ends_at < $6) AND ($7::bigint = 0 OR (i.ends_at, i.id) < ($7, $8::text))
		ORDER BY i.ends_at DESC, i.id DESC LIMIT $9`,
		tenant, f.Account, f.Subscription, f.State, f.EndsFrom, f.EndsTo, f.BeforeEnd, f.BeforeID, f.Limit)
}

// Line is a row of invoice_lines.
type Line struct {
	Number      int32           `db:"number"`
	Identity    string          `db:"identity"`
	Price       string          `db:"price"`
	Meter       string          `db:"meter"`
	Quantity    string          `db:"quantity"`
	Amount      string          `db:"amount"`
	Detail      json.RawMessage `db:"detail"`
	StartsAt    int64           `db:"starts_at"`
	EndsAt      int64           `db:"ends_at"`
	Plan        string          `db:"plan"`
	PlanVersion int32           `db:"plan_version"`
	Calls       int64           `db:"calls"`
	Digest      string          `db:"digest"`
}

const lineQuery = `SELECT number, identity, price, meter, quantity::text AS quantity, amount::text AS amount, detail, starts_at, ends_at,
	plan, plan_version, calls, digest FROM invoice_lines `

// Lines returns the lines of an invoice in their order.
func Lines(ctx context.Context, tx pgx.Tx, invoice string) ([]Line, error) {
	return collect[Line](ctx, tx, "list lines", lineQuery+`WHERE invoice_id = $1 ORDER BY number LIMIT 10000`, invoice)
}

// FindLine returns one line of an invoice.
func FindLine(ctx context.Context, tx pgx.Tx, invoice string, number int32) (Line, error) {
	return one[Line](ctx, tx, "find line", lineQuery+`WHERE invoice_id = $1 AND number = $2`, invoice, number)
}

// NextNumber gives out the next number of a series. Others that ask wait until the end of the transaction.
func NextNumber(ctx context.Context, tx pgx.Tx, tenant, series string) (number uint64, err error) {
	err = tx.QueryRow(ctx, `INSERT INTO invoice_numbers AS n (tenant_id, series, last) VALUES ($1, $2, 1)
		ON CONFLICT (tenant_id, series) DO UPDATE SET last = n.last + 1 RETURNING last`, tenant, series).Scan(&number)
	return number, wrap("number the invoice", err)
}

// Projection describes the tables of invoices, which ApplyInvoice alone writes, for making them again from the log.
func Projection() eventlog.Projection {
	return eventlog.Projection{
		Name: "invoices", Tables: []string{"invoices", "invoice_lines"},
		Apply: func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
			return ApplyInvoice(ctx, tx, e.Tenant, e.RecordedAt, e.Payload)
		},
	}
}

// ApplyInvoice writes the effect of an event of an invoice's stream; other events are left alone.
func ApplyInvoice(ctx context.Context, tx pgx.Tx, tenant string, recordedAt time.Time, event proto.Message) error {
	switch e := event.(type) {
	case *billingv1.InvoiceDrafted:
		return draft(ctx, tx, tenant, recordedAt, e)
	case *billingv1.InvoiceHeld:
		return exec(ctx, tx, "hold invoice", `UPDATE invoices SET state = 'held', cause = $2, detail = $3 WHERE id = $1`,
			e.GetInvoice(), e.GetCause(), e.GetDetail())
	case *billingv1.InvoiceFinalized:
		evidence, err := json.Marshal(newEvidence(e.GetEvidence()))
		if err != nil {
			return wrap("finalize invoice", err)
		}
		return exec(ctx, tx, "finalize invoice", `UPDATE invoices SET state = 'final', cause = '', detail = '', series = $2, number = $3,
			finalized_at = $4, evidence = $5, parties = $6 WHERE id = $1`,
			e.GetInvoice(), e.GetSeries(), int64(e.GetNumber()), e.GetFinalizedAt(), evidence, partiesOf(e))
	}
	return nil
}

func draft(ctx context.Context, tx pgx.Tx, tenant string, recordedAt time.Time, e *billingv1.InvoiceDrafted) error {
	err := exec(ctx, tx, "draft invoice", `INSERT INTO invoices (id, tenant_id, account_id, subscription_id, starts_at, ends_at, currency, total, state, drafted_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'draft', $9)
		ON CONFLICT (id) DO UPDATE SET account_id = excluded.account_id, ends_at = excluded.ends_at, currency = excluded.currency,
			total = excluded.total, state = 'draft', cause = '', detail = '', drafted_at = excluded.drafted_at`,
		e.GetInvoice(), tenant, e.GetAccount(), e.GetSubscription(), e.GetPeriodStart(), e.GetPeriodEnd(), e.GetCurrency(), e.GetTotal(), recordedAt)
	if err != nil {
		return err
	}
	if err := exec(ctx, tx, "replace lines", `DELETE FROM invoice_lines WHERE invoice_id = $1`, e.GetInvoice()); err != nil {
		return err
	}
	var batch pgx.Batch
	for i, l := range e.GetLines() {
		batch.Queue(`INSERT INTO invoice_lines (identity, tenant_id, invoice_id, number, price, meter, quantity, amount, detail, starts_at, ends_at,
			plan, plan_version, calls, digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
			l.GetIdentity(), tenant, e.GetInvoice(), int32(i+1), l.GetPrice(), l.GetMeter(), l.GetQuantity(), l.GetAmount(), l.GetDetail(),
			l.GetPeriodStart(), l.GetPeriodEnd(), l.GetPlan(), int32(l.GetPlanVersion()), int64(l.GetCalls()), l.GetDigest())
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("write lines: %w", err)
	}
	return nil
}

// Evidence is what the four-counter proof found, as it is kept and shown.
type Evidence struct {
	Answered      uint64            `json:"answered"`
	Stored        uint64            `json:"stored"`
	Landed        uint64            `json:"landed"`
	Metered       uint64            `json:"metered"`
	LandedDigest  string            `json:"landedDigest"`
	MeteredDigest string            `json:"meteredDigest"`
	Watermark     map[uint32]uint64 `json:"watermark"`
}

func newEvidence(e *billingv1.Evidence) Evidence {
	return Evidence{
		Answered: e.GetAnswered(), Stored: e.GetStored(), Landed: e.GetLanded(), Metered: e.GetMetered(),
		LandedDigest: e.GetLandedDigest(), MeteredDigest: e.GetMeteredDigest(), Watermark: e.GetWatermark(),
	}
}
