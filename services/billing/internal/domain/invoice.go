package domain

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/libs/problem"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
)

// Series is that of invoices. Numbers are gapless within a tenant and series.
const Series = "INV"

// invoiceNamespace makes the ids of invoices (UUIDv5, RFC 9562, section 5.5).
var invoiceNamespace = uuid.MustParse("5b0d6b0e-2f7a-5c35-9d1c-7c1d6a9f4e21")

// InvoiceID returns the id of a period's invoice. It follows from the period, so that one period has one invoice.
func InvoiceID(tenant, subscription string, start time.Time) string {
	name := fmt.Sprintf("%s/%s/%d", tenant, subscription, start.UnixNano())
	return uuid.NewSHA1(invoiceNamespace, []byte(name)).String()
}

// FormatNumber prints a number as in INV-000001.
func FormatNumber(series string, number uint64) string { return fmt.Sprintf("%s-%06d", series, number) }

// Invoice is the invoice of a period.
type Invoice struct {
	ID string
	// Draft is what was rated last; nil for none.
	Draft *billingv1.InvoiceDrafted
	Hold  Hold
	// Number is 0 until the invoice is final; then nothing of it changes any more.
	Number uint64
}

// Evolve applies an event.
func (i Invoice) Evolve(event proto.Message) Invoice {
	switch e := event.(type) {
	case *billingv1.InvoiceDrafted:
		i.ID, i.Draft, i.Hold = e.GetInvoice(), e, Hold{}
	case *billingv1.InvoiceHeld:
		i.Hold = Hold{e.GetCause(), e.GetDetail()}
	case *billingv1.InvoiceFinalized:
		i.Number, i.Hold = e.GetNumber(), Hold{}
	}
	return i
}

// Rated takes in what the period amounts to. The same draft again is no event.
func (i Invoice) Rated(id string, draft *billingv1.InvoiceDrafted) ([]proto.Message, error) {
	if i.Number > 0 {
		return nil, problem.NewConflict("invoice-final", "The invoice %s is final and does not change.", FormatNumber(Series, i.Number))
	}
	draft.Invoice = id
	if i.Draft != nil && proto.Equal(i.Draft, draft) {
		return nil, nil
	}
	return []proto.Message{draft}, nil
}

// Negative says that a draft cannot be asked for: it is owed to the account and takes a credit note.
func Negative(draft *billingv1.InvoiceDrafted) Hold {
	amount, err := money.Parse(draft.GetTotal())
	if err != nil || amount.Sign() < 0 {
		return Hold{NegativeTotal, fmt.Sprintf("The total is %s %s; what is owed to an account takes a credit note.", draft.GetTotal(), draft.GetCurrency())}
	}
	return Hold{}
}

// Keep holds the draft. The same cause and detail again is no event.
func (i Invoice) Keep(h Hold) ([]proto.Message, error) {
	if err := i.drafted(); err != nil {
		return nil, err
	}
	if i.Hold == h {
		return nil, nil
	}
	return []proto.Message{&billingv1.InvoiceHeld{Invoice: i.ID, Cause: h.Cause, Detail: h.Detail}}, nil
}

// Parties of an invoice as they are when it becomes final; nil where they are not known.
type Parties struct{ Seller, Buyer *billingv1.Party }

// Finalize gives the draft its number.
func (i Invoice) Finalize(number uint64, at time.Time, evidence *billingv1.Evidence, p Parties) ([]proto.Message, error) {
	if err := i.drafted(); err != nil {
		return nil, err
	}
	if h := Negative(i.Draft); !h.None() {
		return nil, problem.NewConflict(h.Cause, "%s", h.Detail)
	}
	if number == 0 || evidence == nil {
		return nil, problem.NewInvalid("invoice-unproven", "An invoice finalizes with a number and its evidence.")
	}
	return []proto.Message{&billingv1.InvoiceFinalized{
		Invoice: i.ID, Series: Series, Number: number, FinalizedAt: at.UnixNano(), Evidence: evidence,
		Seller: p.Seller, Buyer: p.Buyer,
	}}, nil
}

func (i Invoice) drafted() error {
	switch {
	case i.Draft == nil:
		return problem.NewConflict("invoice-missing", "There is no draft of the invoice.")
	case i.Number > 0:
		return problem.NewConflict("invoice-final", "The invoice %s is final and does not change.", FormatNumber(Series, i.Number))
	}
	return nil
}
