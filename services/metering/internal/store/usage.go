package store

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/money"
	"github.com/tollgate/tollgate/services/metering/internal/domain"
)

const addUsageSQL = `
INSERT INTO usage (tenant_id, subscription, bucket, partition, meter, reason, plan, plan_version, api, api_version,
	operation, application, account, quantity, calls, digest, first_completed, last_completed, generation, sequence, units)
SELECT r.tenant_id, r.subscription, r.bucket, $1, r.meter, r.reason, r.plan, r.plan_version, r.api, r.api_version,
	r.operation, r.application, r.account, r.quantity, r.calls, r.digest, r.first_completed, r.last_completed, $2, r.sequence, r.units
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::int[], $10::text[], $11::text[],
	$12::text[], $13::text[], $14::text[], $15::numeric[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::numeric[])
	AS r(tenant_id, subscription, bucket, meter, reason, plan, plan_version, api, api_version, operation, application, account,
		quantity, calls, digest, first_completed, last_completed, sequence, units)
ON CONFLICT (tenant_id, subscription, bucket, partition, meter, reason, plan, plan_version, api, api_version, operation, application, account) DO UPDATE SET
	quantity = usage.quantity + excluded.quantity, units = coalesce(usage.units, ceil(usage.quantity)) + excluded.units, calls = usage.calls + excluded.calls,
	digest = digest_sum(usage.digest, excluded.digest),
	first_completed = least(usage.first_completed, excluded.first_completed),
	last_completed = greatest(usage.last_completed, excluded.last_completed),
	sequence = CASE WHEN usage.generation = excluded.generation THEN least(usage.sequence, excluded.sequence) ELSE usage.sequence END`

// AddUsage adds rows to the ledger of a partition.
func AddUsage(ctx context.Context, tx pgx.Tx, partition int, generation int32, rows []domain.Row) error {
	n := len(rows)
	tenants, subscriptions, buckets := make([]string, n), make([]string, n), make([]int64, n)
	meters, reasons, plans, versions := make([]string, n), make([]string, n), make([]string, n), make([]int32, n)
	apis, apiVersions, quantities := make([]string, n), make([]string, n), make([]string, n)
	operations, applications, accounts := make([]string, n), make([]string, n), make([]string, n)
	calls, digests, firsts, lasts, sequences := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	units := make([]string, n)
	for i, r := range rows {
		tenants[i], subscriptions[i], buckets[i] = r.Tenant, r.Subscription, r.Bucket
		meters[i], reasons[i], plans[i], versions[i] = r.Meter, r.Reason, r.Plan, int32(r.PlanVersion)
		apis[i], apiVersions[i], quantities[i] = r.API, r.APIVersion, r.Quantity.String()
		operations[i], applications[i], accounts[i] = r.Operation, r.Application, r.Account
		units[i] = r.Units.String()
		calls[i], digests[i], firsts[i], lasts[i], sequences[i] = int64(r.Calls), int64(r.Digest), r.First, r.Last, int64(r.Sequence)
	}
	return exec(ctx, tx, "add usage", addUsageSQL, partition, generation, tenants, subscriptions, buckets, meters, reasons, plans, versions,
		apis, apiVersions, operations, applications, accounts, quantities, calls, digests, firsts, lasts, sequences, units)
}

// LedgerRow is a row of usage as it is split.
type LedgerRow struct {
	domain.Row
	Generation int32
}

// RowsSince returns the ledger rows of a subscription in a partition whose bucket may reach over an instant, or comes after it.
func RowsSince(ctx context.Context, tx pgx.Tx, tenant, subscription string, partition int, since int64) ([]LedgerRow, error) {
	rows, err := tx.Query(ctx, `SELECT tenant_id, subscription, bucket, meter, reason, plan, plan_version, api, api_version, operation, application, account, quantity::text, calls, digest,
			first_completed, last_completed, generation, sequence, coalesce(units, ceil(quantity))::text
		FROM usage WHERE tenant_id = $1 AND subscription = $2 AND partition = $3 AND bucket > $4 AND last_completed >= $5
		ORDER BY bucket, meter, reason, plan, plan_version, api, api_version, operation, application, account`,
		tenant, subscription, partition, since-int64(time.Hour), since)
	if err != nil {
		return nil, wrap("read usage", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (LedgerRow, error) {
		var r LedgerRow
		var version int32
		var quantity, units string
		var calls, digest, sequence int64
		err := row.Scan(&r.Tenant, &r.Subscription, &r.Bucket, &r.Meter, &r.Reason, &r.Plan, &version, &r.API, &r.APIVersion, &r.Operation, &r.Application, &r.Account, &quantity, &calls, &digest,
			&r.First, &r.Last, &r.Generation, &sequence, &units)
		if err != nil {
			return r, err
		}
		if r.Units, err = parseQuantity(units); err != nil {
			return r, err
		}
		r.PlanVersion, r.Calls, r.Digest, r.Sequence = uint32(version), uint64(calls), uint64(digest), uint64(sequence)
		r.Quantity, err = parseQuantity(quantity)
		return r, err
	})
	return all, wrap("read usage", err)
}

// DeleteUsage takes a row out of the ledger of a partition.
func DeleteUsage(ctx context.Context, tx pgx.Tx, partition int, k domain.Key) error {
	return exec(ctx, tx, "delete usage", `DELETE FROM usage WHERE tenant_id = $1 AND subscription = $2 AND bucket = $3 AND partition = $4
		AND meter = $5 AND reason = $6 AND plan = $7 AND plan_version = $8 AND api = $9 AND api_version = $10
		AND operation = $11 AND application = $12 AND account = $13`,
		k.Tenant, k.Subscription, k.Bucket, partition, k.Meter, k.Reason, k.Plan, int32(k.PlanVersion), k.API, k.APIVersion,
		k.Operation, k.Application, k.Account)
}

// Scope is what usage is asked of.
type Scope struct {
	// Subscription is empty for all, and for calls without one.
	Subscription string
	// Start and End are half-open.
	Start, End int64
}

// within selects the rows of a scope whose calls all completed within it. The tenant is the transaction's.
const within = ` bucket > $2::bigint - 3600000000000 AND bucket < $3 AND first_completed >= $2 AND last_completed < $3 AND ($1 = '' OR subscription = $1) `

// Total is a meter's total, by reason.
type Total struct {
	Meter, Reason string
	Quantity      money.Decimal
	Calls         uint64
	Digest        uint64
}

// Hex prints the digest.
func (t Total) Hex() string { return callset.Hex(t.Digest) }

// Totals returns what is in the ledger of a scope.
func Totals(ctx context.Context, tx pgx.Tx, s Scope) ([]Total, error) {
	rows, err := tx.Query(ctx, `SELECT meter, reason, sum(quantity)::text, sum(calls)::bigint, sum(digest)::text FROM usage WHERE`+within+
		`GROUP BY meter, reason ORDER BY meter, reason`, s.Subscription, s.Start, s.End)
	if err != nil {
		return nil, wrap("sum usage", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Total, error) {
		var t Total
		var quantity, digest string
		var calls int64
		if err := row.Scan(&t.Meter, &t.Reason, &quantity, &calls, &digest); err != nil {
			return t, err
		}
		t.Calls = uint64(calls)
		var err error
		if t.Digest, err = wrapDigest(digest); err != nil {
			return t, err
		}
		t.Quantity, err = parseQuantity(quantity)
		return t, err
	})
	return all, wrap("sum usage", err)
}

// parseQuantity reads a numeric in its canonical form.
func parseQuantity(text string) (money.Decimal, error) {
	d, err := money.Parse(text)
	return d.Trim(), err
}

// wrapDigest reduces a sum of digests modulo 2^64.
func wrapDigest(text string) (uint64, error) {
	sum, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return 0, fmt.Errorf("%q is not a sum of digests", text)
	}
	return sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 64)).Uint64(), nil
}

// Straddles says whether a row of a scope's subscription has calls on both sides of an instant, so that usage up to it is not known.
func Straddles(ctx context.Context, tx pgx.Tx, subscription string, instant int64) (yes bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM usage WHERE bucket > $2::bigint - 3600000000000 AND bucket < $2
		AND first_completed < $2 AND last_completed >= $2 AND ($1 = '' OR subscription = $1))`, subscription, instant).Scan(&yes)
	return yes, wrap("read usage", err)
}

// Slice is a total of a part of the time asked for.
type Slice struct {
	Start    time.Time `db:"start"`
	Meter    string    `db:"meter"`
	Reason   string    `db:"reason"`
	Quantity string    `db:"quantity"`
	Calls    int64     `db:"calls"`
}

// MaxSlices is the most that Slices returns.
const MaxSlices = 20_000

// Slices returns the usage of a scope by hour, day or month of a time zone: MaxSlices and one more at most, so that more are noticed.
func Slices(ctx context.Context, tx pgx.Tx, s Scope, by, zone string) ([]Slice, error) {
	return collect[Slice](ctx, tx, "sum usage", `SELECT date_trunc($4, to_timestamp(bucket / 1000000000), $5) AS start, meter, reason,
			trim_scale(sum(quantity))::text AS quantity, sum(calls)::bigint AS calls
		FROM usage WHERE`+within+`GROUP BY 1, meter, reason ORDER BY 1, meter, reason LIMIT $6`, s.Subscription, s.Start, s.End, by, zone, MaxSlices+1)
}

// BillableUnits returns what the billable calls of a subscription count for on a quota of a meter, from an instant to another: the
// sum of each call's own quantity, rounded up to whole units.
func BillableUnits(ctx context.Context, tx pgx.Tx, tenant, subscription, meter string, start, end int64) (units int64, err error) {
	err = tx.QueryRow(ctx, `SELECT least(coalesce(sum(coalesce(units, ceil(quantity))), 0), 4611686018427387904)::bigint FROM usage
		WHERE tenant_id = $1 AND subscription = $2 AND meter = $3 AND reason = '' AND bucket >= $4 AND bucket < $5`,
		tenant, subscription, meter, start, end).Scan(&units)
	return units, wrap("sum usage", err)
}

// Samples returns the billable quantity of a meter of a subscription from an instant to another, by bucket.
func Samples(ctx context.Context, tx pgx.Tx, tenant, subscription, meter string, start, end int64) ([]domain.Sample, error) {
	rows, err := tx.Query(ctx, `SELECT bucket, sum(quantity)::text FROM usage WHERE tenant_id = $1 AND subscription = $2 AND meter = $3 AND reason = ''
		AND bucket >= $4 AND bucket < $5 GROUP BY bucket ORDER BY bucket LIMIT 20000`, tenant, subscription, meter, start, end)
	if err != nil {
		return nil, wrap("read usage", err)
	}
	samples, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (domain.Sample, error) {
		var s domain.Sample
		var quantity string
		if err := row.Scan(&s.From, &quantity); err != nil {
			return s, err
		}
		var err error
		s.Quantity, err = parseQuantity(quantity)
		return s, err
	})
	return samples, wrap("read usage", err)
}
