package store

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"
)

// Stored is a row of stored.
type Stored struct {
	Tenant       string `db:"tenant_id"`
	Subscription string `db:"subscription"`
	// Hour is where the count begins: with an hour, or within one where that is divided.
	Hour           int64 `db:"hour"`
	Partition      int   `db:"partition"`
	Generation     int32 `db:"generation"`
	Calls          int64 `db:"calls"`
	Digest         int64 `db:"digest"`
	FirstCompleted int64 `db:"first_completed"`
	LastCompleted  int64 `db:"last_completed"`
	FirstSequence  int64 `db:"first_sequence"`
	LastSequence   int64 `db:"last_sequence"`
}

// AddStored adds counts of a partition.
func AddStored(ctx context.Context, tx pgx.Tx, p Partition, rows []Stored) error {
	n := len(rows)
	tenants, subscriptions, hours := make([]string, n), make([]string, n), make([]int64, n)
	calls, digests, firsts, lasts := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	from, to := make([]int64, n), make([]int64, n)
	for i, r := range rows {
		tenants[i], subscriptions[i], hours[i] = r.Tenant, r.Subscription, r.Hour
		calls[i], digests[i], firsts[i], lasts[i] = r.Calls, r.Digest, r.FirstCompleted, r.LastCompleted
		from[i], to[i] = r.FirstSequence, r.LastSequence
	}
	return exec(ctx, tx, "count stored calls", `INSERT INTO stored (tenant_id, subscription, hour, partition, generation, calls, digest, first_completed, last_completed, first_sequence, last_sequence)
		SELECT r.tenant_id, r.subscription, r.hour, $1, $2, r.calls, r.digest, r.first_completed, r.last_completed, r.first_sequence, r.last_sequence
		FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
			AS r(tenant_id, subscription, hour, calls, digest, first_completed, last_completed, first_sequence, last_sequence)
		ON CONFLICT (tenant_id, subscription, hour, partition, generation) DO UPDATE SET
			calls = stored.calls + excluded.calls, digest = digest_sum(stored.digest, excluded.digest),
			first_completed = least(stored.first_completed, excluded.first_completed), last_completed = greatest(stored.last_completed, excluded.last_completed),
			first_sequence = least(stored.first_sequence, excluded.first_sequence), last_sequence = greatest(stored.last_sequence, excluded.last_sequence)`,
		p.Partition, p.Generation, tenants, subscriptions, hours, calls, digests, firsts, lasts, from, to)
}

// hour is the length of the counts, in nanoseconds, where nothing divides them.
const hour = int64(time.Hour)

// FullHours sums the counts of the full hours within a span of completion times, of a subscription unless it is empty. The tenant is
// the transaction's.
func FullHours(ctx context.Context, tx pgx.Tx, subscription string, start, end int64) (calls, digest uint64, err error) {
	var sum string
	err = tx.QueryRow(ctx, `SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(digest), 0)::text FROM stored
		WHERE hour >= $2 AND hour < $3 AND ($1 = '' OR subscription = $1)`,
		subscription, start+(hour-start%hour)%hour, end-end%hour).Scan(&calls, &sum)
	if err != nil {
		return 0, 0, wrap("sum stored calls", err)
	}
	whole, ok := new(big.Int).SetString(sum, 10)
	if !ok {
		return 0, 0, fmt.Errorf("sum stored calls: %q is not a sum of digests", sum)
	}
	return calls, whole.Mod(whole, new(big.Int).Lsh(big.NewInt(1), 64)).Uint64(), nil
}

// EndHours returns the counts of the hours that the ends of a span divide: one, two or none.
func EndHours(ctx context.Context, tx pgx.Tx, subscription string, start, end int64) ([]Stored, error) {
	var hours []int64
	for _, instant := range []int64{start, end} {
		if instant%hour != 0 {
			hours = append(hours, instant-instant%hour)
		}
	}
	if len(hours) == 0 {
		return nil, nil
	}
	return collect[Stored](ctx, tx, "read stored calls", `SELECT tenant_id, subscription, hour, partition, generation, calls, digest, first_completed, last_completed,
			first_sequence, last_sequence FROM stored
		WHERE (hour BETWEEN $2 AND $2 + 3599999999999 OR hour BETWEEN $3 AND $3 + 3599999999999) AND ($1 = '' OR subscription = $1)`,
		subscription, hours[0], hours[len(hours)-1])
}
