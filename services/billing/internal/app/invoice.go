package app

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Invoice is an invoice as it is shown. What is shown of a final one stays the same, byte by byte.
type Invoice struct {
	ID string `json:"id"`
	// Number as in INV-000001; absent while the invoice is not final.
	Number string `json:"number,omitempty"`
	// draft: rated; held: rated, but not proven; final: it has a number and does not change any more.
	State string `json:"state" enum:"draft,held,final"`
	// Cause and detail say why it is held.
	Cause  string `json:"cause,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Names, and ids.
	Account        string     `json:"account"`
	AccountID      string     `json:"accountId"`
	Subscription   string     `json:"subscription"`
	SubscriptionID string     `json:"subscriptionId"`
	PeriodStart    time.Time  `json:"periodStart"`
	PeriodEnd      time.Time  `json:"periodEnd"`
	Currency       string     `json:"currency"`
	Total          string     `json:"total"`
	FinalizedAt    *time.Time `json:"finalizedAt,omitempty"`
	Lines          []Line     `json:"lines,omitempty"`
	// Evidence is the four-counter proof.
	Evidence json.RawMessage `json:"evidence,omitempty"`

	parties *store.Parties
}

// Line is a charge in the shape that "tollgate rate" prints, with where it comes from.
type Line struct {
	// Line counts from 1 within the invoice.
	Line     int    `json:"line"`
	Identity string `json:"identity"`
	Price    string `json:"price"`
	Meter    string `json:"meter,omitempty"`
	Quantity string `json:"quantity"`
	Amount   string `json:"amount"`
	// What the amount is made of.
	Detail      json.RawMessage `json:"detail"`
	Plan        string          `json:"plan"`
	PlanVersion int32           `json:"planVersion"`
	PeriodStart time.Time       `json:"periodStart"`
	PeriodEnd   time.Time       `json:"periodEnd"`
	// Calls behind the quantity and the digest over their identities.
	Calls  uint64 `json:"calls"`
	Digest string `json:"digest,omitempty"`
}

func newInvoice(r store.Invoice) Invoice {
	i := Invoice{
		ID: r.ID, State: r.State, Cause: r.Cause, Detail: r.Detail, Account: r.Account, AccountID: r.AccountID,
		Subscription: r.Subscription, SubscriptionID: r.SubscriptionID, PeriodStart: store.Instant(r.StartsAt), PeriodEnd: store.Instant(r.EndsAt),
		Currency: r.Currency, Total: r.Total, Evidence: r.Evidence, parties: r.Parties,
	}
	if r.Number != nil && r.Series != nil {
		i.Number = domain.FormatNumber(*r.Series, uint64(*r.Number))
	}
	if r.FinalizedAt != nil {
		at := store.Instant(*r.FinalizedAt)
		i.FinalizedAt = &at
	}
	return i
}

func newLine(r store.Line) Line {
	return Line{
		Line: int(r.Number), Identity: r.Identity, Price: r.Price, Meter: r.Meter, Quantity: r.Quantity, Amount: r.Amount, Detail: r.Detail,
		Plan: r.Plan, PlanVersion: r.PlanVersion, PeriodStart: store.Instant(r.StartsAt), PeriodEnd: store.Instant(r.EndsAt),
		Calls: uint64(r.Calls), Digest: r.Digest,
	}
}

// lineOf is newLine for a line that is not stored.
func lineOf(number int, l *billingv1.InvoiceLine) Line {
	return Line{
		Line: number, Identity: l.GetIdentity(), Price: l.GetPrice(), Meter: l.GetMeter(), Quantity: l.GetQuantity(), Amount: l.GetAmount(),
		Detail: json.RawMessage(l.GetDetail()), Plan: l.GetPlan(), PlanVersion: int32(l.GetPlanVersion()),
		PeriodStart: store.Instant(l.GetPeriodStart()), PeriodEnd: store.Instant(l.GetPeriodEnd()), Calls: l.GetCalls(), Digest: l.GetDigest(),
	}
}

// Invoices returns a page of invoices without their lines.
func (b *Billing) Invoices(ctx context.Context, f store.InvoiceFilter) ([]Invoice, error) {
	return read(ctx, b, func(tx pgx.Tx, tenant string) ([]Invoice, error) {
		rows, err := store.Invoices(ctx, tx, tenant, f)
		invoices := make([]Invoice, len(rows))
		for i, r := range rows {
			invoices[i] = newInvoice(r)
			invoices[i].Evidence = nil
		}
		return invoices, err
	})
}

// Invoice returns an invoice with its lines, by its number or id.
func (b *Billing) Invoice(ctx context.Context, numberOrID string) (Invoice, error) {
	return read(ctx, b, func(tx pgx.Tx, tenant string) (Invoice, error) {
		row, err := findInvoice(ctx, tx, tenant, numberOrID)
		if err != nil {
			return Invoice{}, err
		}
		invoice := newInvoice(row)
		lines, err := store.Lines(ctx, tx, row.ID)
		for _, l := range lines {
			invoice.Lines = append(invoice.Lines, newLine(l))
		}
		return invoice, err
	})
}

// Statement is an invoice with its parties, for people.
type Statement struct {
	Invoice
	store.Parties
}

// Statement returns a final invoice for printing, by its number or id: with its parties as they were when it became final.
func (b *Billing) Statement(ctx context.Context, numberOrID string) (Statement, error) {
	invoice, err := b.Invoice(ctx, numberOrID)
	if err != nil {
		return Statement{}, err
	}
	if invoice.State != "final" {
		return Statement{}, problem.NewConflict("invoice-not-final", "The invoice is %s; only a final one, which has a number, is printed.", invoice.State)
	}
	if invoice.parties != nil {
		return Statement{invoice, *invoice.parties}, nil
	}
	return read(ctx, b, func(tx pgx.Tx, tenant string) (Statement, error) {
		p, err := store.FindParties(ctx, tx, tenant, invoice.AccountID)
		return Statement{invoice, p}, notFound(err, "parties-unknown", "The names of the invoice's parties have not arrived yet. Try again in a moment.")
	})
}

var numberForm = regexp.MustCompile(`^([A-Z]+)-([0-9]{1,18})$`)

func findInvoice(ctx context.Context, tx pgx.Tx, tenant, numberOrID string) (row store.Invoice, err error) {
	if m := numberForm.FindStringSubmatch(strings.ToUpper(numberOrID)); m != nil {
		number, parseErr := strconv.ParseInt(m[2], 10, 64)
		if parseErr != nil {
			return row, parseErr
		}
		row, err = store.FindInvoiceNumber(ctx, tx, tenant, m[1], number)
	} else {
		row, err = store.FindInvoice(ctx, tx, numberOrID)
	}
	return row, notFound(err, "invoice-not-found", "There is no invoice %q.", numberOrID)
}

// LineCalls says which calls are behind a line.
type LineCalls struct {
	// Count is exactly the number of calls that CallsPath lists; Digest is over their identities.
	Count  uint64 `json:"count"`
	Digest string `json:"digest,omitempty"`
	// CallsPath is the query of analytics that lists them; absent for an amount per period, which has none.
	CallsPath string `json:"callsPath,omitempty"`
}

// LineCalls returns the calls of a line of an invoice.
func (b *Billing) LineCalls(ctx context.Context, numberOrID string, line int32) (LineCalls, error) {
	return read(ctx, b, func(tx pgx.Tx, tenant string) (LineCalls, error) {
		row, err := findInvoice(ctx, tx, tenant, numberOrID)
		if err != nil {
			return LineCalls{}, err
		}
		l, err := store.FindLine(ctx, tx, row.ID, line)
		if err != nil {
			return LineCalls{}, notFound(err, "line-not-found", "The invoice %s has no line %d.", numberOrID, line)
		}
		calls := LineCalls{Count: uint64(l.Calls), Digest: l.Digest}
		if l.Meter != "" {
			calls.CallsPath = "/analytics/v1/calls?" + url.Values{
				"subscription": {row.SubscriptionID}, "meter": {l.Meter}, "billable": {"true"},
				"from": {store.Instant(l.StartsAt).Format(time.RFC3339Nano)}, "to": {store.Instant(l.EndsAt).Format(time.RFC3339Nano)},
			}.Encode()
		}
		return calls, nil
	})
}
