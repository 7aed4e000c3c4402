package clickhouse

import (
	"context"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tollgate/tollgate/libs/callset"
)

// Find returns a call of a tenant by its identity, and false when there is none.
func (t *Table) Find(ctx context.Context, tenant string, id callset.ID) (Row, bool, error) {
	var rows []Row
	err := t.read(ctx, &rows, tenant, rowColumns, []condition{identity(id)}, "LIMIT 1")
	if err != nil || len(rows) == 0 {
		return Row{}, false, err
	}
	return rows[0], true, nil
}

func identity(id callset.ID) condition {
	return where("digest = {digest:UInt64} AND gateway = {gateway:String} AND boot = {boot:UInt64} AND seq = {seq:UInt64}",
		driver.Named("digest", callset.Digest(id.Gateway, id.Boot, id.Seq)), driver.Named("gateway", id.Gateway),
		driver.Named("boot", id.Boot), driver.Named("seq", id.Seq))
}

// StartedAt returns when a call of any tenant began, in nanoseconds, and false when there is no such call.
func (t *Table) StartedAt(ctx context.Context, id callset.ID) (int64, bool, error) {
	var rows []struct {
		At int64 `ch:"at"`
	}
	err := t.read(ctx, &rows, "*", "toUnixTimestamp64Nano(started_at) AS at", []condition{identity(id)}, "LIMIT 1")
	if err != nil || len(rows) == 0 {
		return 0, false, err
	}
	return rows[0].At, true, nil
}

// Present returns which of the numbers from first to last of a boot are there, of calls that completed within a span.
func (t *Table) Present(ctx context.Context, gateway string, boot, first, last uint64, span Span) (map[uint64]bool, error) {
	var rows []struct {
		Seq uint64 `ch:"seq"`
	}
	err := t.read(ctx, &rows, "*", "DISTINCT seq", []condition{span.condition(), where(
		"gateway = {gateway:String} AND boot = {boot:UInt64} AND seq >= {first:UInt64} AND seq <= {last:UInt64}",
		driver.Named("gateway", gateway), driver.Named("boot", boot), driver.Named("first", first), driver.Named("last", last))}, "")
	present := make(map[uint64]bool, len(rows))
	for _, r := range rows {
		present[r.Seq] = true
	}
	return present, err
}

// Count is the calls with one reason, "" for billable ones.
type Count struct {
	Reason string `ch:"reason"`
	// Rows in the table, and distinct calls among them: they differ when a call is there twice.
	Rows     uint64 `ch:"n"`
	Distinct uint64 `ch:"distinct_calls"`
	// Digest over the rows.
	Digest uint64 `ch:"digest_sum"`
	// Units is the sum on the meter "calls".
	Units string `ch:"unit_sum"`
}

// Counts counts the calls of a tenant (or of all), and of a subscription unless it is empty, by reason.
func (t *Table) Counts(ctx context.Context, tenant, subscription string, span Span) ([]Count, error) {
	var counts []Count
	err := t.read(ctx, &counts, tenant, `reason, count() AS n, uniqExact(gateway, boot, seq) AS distinct_calls, sum(digest) AS digest_sum, toString(sum(call_units)) AS unit_sum`,
		scope(subscription, span), "GROUP BY reason ORDER BY reason")
	return counts, err
}

// MeterTotal is the sum of a reported meter over billable calls.
type MeterTotal struct {
	Meter    string `ch:"meter"`
	Quantity string `ch:"quantity"`
	Calls    uint64 `ch:"n"`
	Digest   uint64 `ch:"digest_sum"`
}

// MeterTotals sums the reported meters of the billable calls that Counts counts.
func (t *Table) MeterTotals(ctx context.Context, tenant, subscription string, span Span) ([]MeterTotal, error) {
	var totals []MeterTotal
	err := t.read(ctx, &totals, tenant, `(arrayJoin(arrayZip(meters, quantities)) AS pair).1 AS meter, toString(sum(pair.2)) AS quantity, count() AS n, sum(digest) AS digest_sum`,
		append(scope(subscription, span), where("billable")), "GROUP BY meter ORDER BY meter")
	return totals, err
}

func scope(subscription string, span Span) []condition {
	all := []condition{span.condition()}
	if subscription != "" {
		all = append(all, where("subscription = {subscription:String}", driver.Named("subscription", subscription)))
	}
	return all
}
