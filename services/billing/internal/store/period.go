package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/rating/period"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
)

// States of a period.
const (
	Open     = "open"
	Held     = "held"
	Skipped  = "skipped"
	Invoiced = "invoiced"
)

// Period is a row of periods.
type Period struct {
	Subscription string `db:"subscription_id"`
	Number       int32  `db:"number"`
	Tenant       string `db:"tenant_id"`
	StartsAt     int64  `db:"starts_at"`
	EndsAt       int64  `db:"ends_at"`
	WholeStart   int64  `db:"whole_start"`
	WholeEnd     int64  `db:"whole_end"`
	State        string `db:"state"`
	Cause        string `db:"cause"`
	Detail       string `db:"detail"`
}

// Domain returns the period without its state.
func (p Period) Domain() domain.Period {
	return domain.Period{
		Number:   int(p.Number),
		Interval: period.Interval{Start: Instant(p.StartsAt), End: Instant(p.EndsAt)},
		Whole:    period.Interval{Start: Instant(p.WholeStart), End: Instant(p.WholeEnd)},
	}
}

// Place is where something is in the order of the ends of periods. The zero value is before all.
type Place struct {
	EndsAt       int64
	Subscription string
}

// Place returns where the period is among others.
func (p Period) Place() Place { return Place{p.EndsAt, p.Subscription} }

// Billed says whether nothing more comes of the period.
func (p Period) Billed() bool { return p.State == Invoiced || p.State == Skipped }

const periodColumns = `subscription_id, number, tenant_id, starts_at, ends_at, whole_start, whole_end, state, cause, detail`

// LastPeriod returns the last stored period of a subscription.
func LastPeriod(ctx context.Context, tx pgx.Tx, subscription string) (Period, error) {
	return one[Period](ctx, tx, "read last period", `SELECT `+periodColumns+` FROM periods WHERE subscription_id = $1 ORDER BY number DESC LIMIT 1`, subscription)
}

// FindPeriod returns a period by its number.
func FindPeriod(ctx context.Context, tx pgx.Tx, subscription string, number int32) (Period, error) {
	return one[Period](ctx, tx, "find period", `SELECT `+periodColumns+` FROM periods WHERE subscription_id = $1 AND number = $2`, subscription, number)
}

// PeriodAt returns the period that an instant lies in.
func PeriodAt(ctx context.Context, tx pgx.Tx, subscription string, at int64) (Period, error) {
	return one[Period](ctx, tx, "find period", `SELECT `+periodColumns+` FROM periods
		WHERE subscription_id = $1 AND starts_at <= $2 AND ends_at > $2`, subscription, at)
}

// LockPeriod returns a period and keeps others from billing it until the end of the transaction.
func LockPeriod(ctx context.Context, tx pgx.Tx, subscription string, number int32) (Period, error) {
	return one[Period](ctx, tx, "lock period", `SELECT `+periodColumns+` FROM periods WHERE subscription_id = $1 AND number = $2 FOR UPDATE`, subscription, number)
}

// Settle stores periods of a subscription: cut has other bounds than it had, more are new. until is the end of the last one.
func Settle(ctx context.Context, tx pgx.Tx, tenant, subscription string, cut *domain.Period, more []domain.Period, until int64) error {
	if cut != nil {
		if err := exec(ctx, tx, "cut period", `UPDATE periods SET ends_at = $3, whole_start = $4, whole_end = $5
			WHERE subscription_id = $1 AND number = $2 AND state IN ('open', 'held')`,
			subscription, int32(cut.Number), Nanos(cut.End), Nanos(cut.Whole.Start), Nanos(cut.Whole.End)); err != nil {
			return err
		}
	}
	for _, p := range more {
		if err := exec(ctx, tx, "write period", `INSERT INTO periods (subscription_id, number, tenant_id, starts_at, ends_at, whole_start, whole_end)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, subscription, int32(p.Number), tenant, Nanos(p.Start), Nanos(p.End), Nanos(p.Whole.Start), Nanos(p.Whole.End)); err != nil {
			return err
		}
	}
	return exec(ctx, tx, "settle periods", `UPDATE subscriptions SET periods_until = $2 WHERE id = $1`, subscription, until)
}

// SetPeriodState says what became of a period.
func SetPeriodState(ctx context.Context, tx pgx.Tx, p Period) error {
	return exec(ctx, tx, "write period", `UPDATE periods SET state = $3, cause = $4, detail = $5 WHERE subscription_id = $1 AND number = $2`,
		p.Subscription, p.Number, p.State, p.Cause, p.Detail)
}

// DuePeriods returns periods that have ended and are not billed, in order of their end, after a place.
func DuePeriods(ctx context.Context, tx pgx.Tx, now int64, after Place, limit int) ([]Period, error) {
	return collect[Period](ctx, tx, "list due periods", `SELECT `+periodColumns+` FROM periods
		WHERE state IN ('open', 'held') AND ends_at <= $1 AND (ends_at, subscription_id) > ($2, $3)
		ORDER BY ends_at, subscription_id LIMIT $4`, now, after.EndsAt, after.Subscription, limit)
}

// NamedPeriod is a period with the name of its subscription.
type NamedPeriod struct {
	Period
	Name string `db:"name"`
}

// PeriodFilter selects periods; what is empty does not.
type PeriodFilter struct {
	// Subscription is a name or id.
	Subscription, State string
	// Before is the last period of the page before; the zero value for the first page.
	Before Place
	Limit  int
}

// Periods returns periods of a tenant, those that end last first.
func Periods(ctx context.Context, tx pgx.Tx, tenant string, f PeriodFilter) ([]NamedPeriod, error) {
	return collect[NamedPeriod](ctx, tx, "list periods", `SELECT p.subscription_id, p.number, p.tenant_id, p.starts_at, p.ends_at,
			p.whole_start, p.whole_end, p.state, p.cause, p.detail, s.name
		FROM periods p JOIN subscriptions s ON s.id = p.subscription_id
		WHERE p.tenant_id = $1 AND ($2 = '' OR p.subscription_id = $2 OR s.name = $2) AND ($3 = '' OR p.state = $3)
			AND ($4::bigint = 0 OR (p.ends_at, p.subscription_id) < ($4, $5::text))
		ORDER BY p.ends_at DESC, p.subscription_id DESC LIMIT $6`,
		tenant, f.Subscription, f.State, f.Before.EndsAt, f.Before.Subscription, f.Limit)
}
