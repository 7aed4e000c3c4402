package clickhouse

import (
	"context"
	"fmt"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// factTimeout bounds one writing of facts.
const factTimeout = 10 * time.Second

// Name is a name of a thing.
type Name struct{ Tenant, Kind, ID, Name string }

// PutNames notes names. What is noted again replaces itself.
func (t *Table) PutNames(ctx context.Context, names []Name) error {
	rows := make([][]any, len(names))
	for i, n := range names {
		rows[i] = []any{n.Tenant, n.Kind, n.ID, n.Name}
	}
	return t.put(ctx, "names", "tenant, kind, id, name", rows)
}

// InvoiceLine is a line of an invoice that is final. Times are nanoseconds since the Unix epoch, quantity and amount decimals.
type InvoiceLine struct {
	FinalizedAt            time.Time
	PeriodStart, PeriodEnd int64
	Account, Subscription  string
	Plan                   string
	PlanVersion            uint32
	Price, Meter           string
	Quantity, Amount       string
	Currency               string
	Calls                  uint64
}

// PutInvoice notes the lines of an invoice.
func (t *Table) PutInvoice(ctx context.Context, tenant, invoice string, lines []InvoiceLine) error {
	rows := make([][]any, len(lines))
	for i, l := range lines {
		quantity := l.Quantity
		if quantity == "" {
			quantity = "0"
		}
		rows[i] = []any{
			tenant, invoice, uint32(i + 1), l.FinalizedAt, at(l.PeriodStart), at(l.PeriodEnd), l.Account, l.Subscription, l.Plan, l.PlanVersion,
			l.Price, l.Meter, quantity, l.Amount, l.Currency, l.Calls,
		}
	}
	return t.put(ctx, "invoice_lines", `tenant, invoice, line, finalized_at, period_start, period_end, account, subscription, plan, plan_version,
		price, meter, quantity, amount, currency, calls`, rows)
}

// BillingEvent is something that a billing run did.
type BillingEvent struct {
	At              time.Time
	Event, Kind     string
	Run, Period     string
	Finalized, Held uint32
	Invoice, Cause  string
}

// PutBillingEvent notes something that a billing run did.
func (t *Table) PutBillingEvent(ctx context.Context, tenant string, e BillingEvent) error {
	return t.put(ctx, "billing_events", "tenant, at, event, kind, run, period, finalized, held, invoice, cause",
		[][]any{{tenant, e.At, e.Event, e.Kind, e.Run, e.Period, e.Finalized, e.Held, e.Invoice, e.Cause}})
}

func (t *Table) put(ctx context.Context, table, columns string, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, factTimeout)
	defer cancel()
	ctx = driver.Context(ctx, driver.WithSettings(driver.Settings{"async_insert": 0}))
	batch, err := t.conn.PrepareBatch(ctx, "INSERT INTO "+table+" ("+columns+")")
	if err != nil {
		return fmt.Errorf("write %s: %w", table, err)
	}
	defer func() { _ = batch.Close() }()
	for _, row := range rows {
		if err := batch.Append(row...); err != nil {
			return fmt.Errorf("write %s: %w", table, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("write %s: %w", table, err)
	}
	return nil
}
