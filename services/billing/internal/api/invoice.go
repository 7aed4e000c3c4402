package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/billing/internal/app"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

type listInvoices struct {
	operation.Page
	Account      string `query:"account" description:"Name or id."`
	Subscription string `query:"subscription" description:"Name or id."`
	State        string `query:"state" enum:"draft,held,final"`
	Period       string `query:"period" description:"Calendar month (UTC) in which the billing period ended, as in 2026-11."`
}

type invoicePath struct {
	Invoice string `path:"invoice" description:"Number as in INV-000001, or id."`
}

type linePath struct {
	Invoice string `path:"invoice" description:"Number as in INV-000001, or id."`
	Line    string `path:"line" description:"Counted from 1."`
}

func registerInvoices(a *operation.API, b *app.Billing) {
	operation.Register(a, operation.Op[listInvoices, operation.List[app.Invoice]]{
		Name: "ListInvoices", Method: http.MethodGet, Path: "/invoices", Scope: read, Summary: "Invoices, those of the latest periods first.",
		Handle: func(ctx context.Context, r *listInvoices) (operation.List[app.Invoice], error) {
			filter, err := r.filter()
			if err != nil {
				return operation.List[app.Invoice]{}, err
			}
			rows, err := b.Invoices(ctx, filter)
			return operation.PageOf(rows, r.Page, cursor), err
		},
	})
	operation.Register(a, operation.Op[invoicePath, app.Invoice]{
		Name: "GetInvoice", Method: http.MethodGet, Path: "/invoices/{invoice}", Scope: read, Summary: "One invoice with its lines and evidence.",
		Handle: func(ctx context.Context, r *invoicePath) (app.Invoice, error) { return b.Invoice(ctx, r.Invoice) },
	})
	operation.Register(a, operation.Op[invoicePath, operation.Raw]{
		Name: "PrintInvoice", Method: http.MethodGet, Path: "/invoices/{invoice}/pdf", Scope: read, Summary: "A final invoice as PDF.",
		Handle: func(ctx context.Context, r *invoicePath) (operation.Raw, error) {
			statement, err := b.Statement(ctx, r.Invoice)
			if err != nil {
				return operation.Raw{}, err
			}
			body, err := printed(statement)
			return operation.Raw{
				ContentType: "application/pdf", Body: body,
				Header: http.Header{"Content-Disposition": {`inline; filename="` + statement.Number + `.pdf"`}},
			}, err
		},
	})
	operation.Register(a, operation.Op[linePath, app.LineCalls]{
		Name: "GetInvoiceLineCalls", Method: http.MethodGet, Path: "/invoices/{invoice}/lines/{line}/calls", Scope: read,
		Summary: "The calls behind a line: their number, their digest and the query that lists them.",
		Handle: func(ctx context.Context, r *linePath) (app.LineCalls, error) {
			line, err := strconv.ParseInt(r.Line, 10, 32)
			if err != nil || line < 1 {
				return app.LineCalls{}, invalid("line", fmt.Sprintf("%q is not the number of a line; want 1 or more", r.Line))
			}
			return b.LineCalls(ctx, r.Invoice, int32(line))
		},
	})
}

func (r listInvoices) filter() (store.InvoiceFilter, error) {
	f := store.InvoiceFilter{Account: r.Account, Subscription: r.Subscription, State: r.State, Limit: r.Size() + 1}
	if states := []string{"", "draft", "held", "final"}; !slices.Contains(states, r.State) {
		return f, invalid("state", fmt.Sprintf("%q is not a state; want draft, held or final", r.State))
	}
	if r.Period != "" {
		month, err := domain.ParseMonth(r.Period)
		if err != nil {
			return f, invalid("period", `is not a calendar month as in "2026-11"`)
		}
		f.EndsFrom, f.EndsTo = month.Start.UnixNano(), month.End.UnixNano()
	}
	if r.Cursor != "" {
		end, id, _ := strings.Cut(r.Cursor, ".")
		at, err := strconv.ParseInt(end, 10, 64)
		if err != nil || id == "" {
			return f, invalid("cursor", "is not the next of a page before")
		}
		f.BeforeEnd, f.BeforeID = at, id
	}
	return f, nil
}

func cursor(i app.Invoice) string { return strconv.FormatInt(i.PeriodEnd.UnixNano(), 10) + "." + i.ID }
