package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Period is a billing period of a subscription, and what became of it.
type Period struct {
	Subscription   string    `json:"subscription"`
	SubscriptionID string    `json:"subscriptionId"`
	Number         int32     `json:"number"`
	Start          time.Time `json:"start"`
	End            time.Time `json:"end"`
	// open: not billed yet; held: it has ended and cannot be billed, for the cause; skipped: it comes to nothing; invoiced.
	State string `json:"state" enum:"open,held,skipped,invoiced"`
	// Cause and detail say why it is held or was skipped.
	Cause  string `json:"cause,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Periods returns a page of periods, those that end last first.
func (b *Billing) Periods(ctx context.Context, f store.PeriodFilter) ([]Period, error) {
	return read(ctx, b, func(tx pgx.Tx, tenant string) ([]Period, error) {
		rows, err := store.Periods(ctx, tx, tenant, f)
		periods := make([]Period, len(rows))
		for i, r := range rows {
			periods[i] = Period{
				Subscription: r.Name, SubscriptionID: r.Subscription, Number: r.Number, Start: store.Instant(r.StartsAt), End: store.Instant(r.EndsAt),
				State: r.State, Cause: r.Cause, Detail: r.Detail,
			}
		}
		return periods, err
	})
}
