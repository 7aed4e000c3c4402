package follow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	billingv1 "github.com/tollgate/tollgate/proto/billing/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Logs learns from logs what it notes in ClickHouse, where it replaces itself when an event is handled again.
type Logs struct{ Table *clickhouse.Table }

// Invoices notes the lines of final invoices and what billing runs did, from the log of billing, for dashboards.
func (l Logs) Invoices(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	fact := clickhouse.BillingEvent{At: e.RecordedAt, Event: e.ID}
	switch p := e.Payload.(type) {
	case *billingv1.InvoiceDrafted:
		draft, err := proto.Marshal(p)
		if err != nil {
			return fmt.Errorf("keep draft: %w", err)
		}
		return store.PutDraft(ctx, tx, e.Tenant, p.GetInvoice(), draft)
	case *billingv1.InvoiceFinalized:
		return l.finalized(ctx, tx, e.Tenant, p)
	case *billingv1.BillingRunStarted:
		fact.Kind, fact.Run, fact.Period = "started", p.GetRun(), p.GetPeriod()
	case *billingv1.BillingRunFinished:
		fact.Kind, fact.Run, fact.Finalized, fact.Held = "finished", p.GetRun(), p.GetFinalized(), p.GetHeld()
	case *billingv1.InvoiceHeld:
		fact.Kind, fact.Invoice, fact.Cause = "held", p.GetInvoice(), p.GetCause()
	default:
		return nil
	}
	return l.Table.PutBillingEvent(ctx, e.Tenant, fact)
}

func (l Logs) finalized(ctx context.Context, tx pgx.Tx, tenant string, f *billingv1.InvoiceFinalized) error {
	raw, err := store.TakeDraft(ctx, tx, tenant, f.GetInvoice())
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // its draft had been noted before
	}
	if err != nil {
		return err
	}
	var draft billingv1.InvoiceDrafted
	if err := proto.Unmarshal(raw, &draft); err != nil {
		return fmt.Errorf("read draft of invoice %s: %w", f.GetInvoice(), err)
	}
	lines := make([]clickhouse.InvoiceLine, len(draft.GetLines()))
	for i, line := range draft.GetLines() {
		lines[i] = clickhouse.InvoiceLine{
			FinalizedAt: time.Unix(0, f.GetFinalizedAt()).UTC(), PeriodStart: line.GetPeriodStart(), PeriodEnd: line.GetPeriodEnd(), Account: draft.GetAccount(),
			Subscription: draft.GetSubscription(), Plan: line.GetPlan(), PlanVersion: line.GetPlanVersion(), Price: line.GetPrice(), Meter: line.GetMeter(),
			Quantity: line.GetQuantity(), Amount: line.GetAmount(), Currency: draft.GetCurrency(), Calls: line.GetCalls(),
		}
	}
	return l.Table.PutInvoice(ctx, tenant, f.GetInvoice(), lines)
}
