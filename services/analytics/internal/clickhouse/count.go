package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tollgate/tollgate/libs/callset"
	"github.com/tollgate/tollgate/libs/money"
)

// Find returns a call of a tenant by its identity, and false when there is none.
func (t *Table) Find(ctx context.Context, tenant string, id callset.ID) (Row, bool, error) {
	var rows []Row
	err := t.read(ctx, &rows, tenant, rowColumns, []condition{where(
		"digest = {digest:UInt64} AND gateway = {gateway:String} AND boot = {boot:UInt64} AND seq = {seq:UInt64}",
		driver.Named("digest", callset.Digest(id.Gateway, id.Boot, id.Seq)), driver.Named("gateway", id.Gateway),
		driver.Named("boot", id.Boot), driver.Named("seq", id.Seq))}, "LIMIT 1")
	if err != nil || len(rows) == 0 {
		return Row{}, false, err
	}
	return rows[0], true, nil
}

// Present returns which of the numbers from first to last of a boot are there, of calls that completed within a span.
func (t *Table) Present(ctx context.Context, gateway string, boot, first, last uint64, span Span) (map[uint64]bool, error) {
	var rows []struct {
		Seq uint64 `ch:"seq"`
	}
	if err := t.await(ctx); err != nil {
		return nil, err
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

// maxCounted is the most calls that one statement counts exactly: it keeps the identity of each in memory.
const maxCounted = 8_000_000

// Counts counts the calls of a tenant (or of all), and of a subscription unless it is empty, by reason. It counts a long span in
// parts: a call that is there twice has completed at one time, and so is in one of them.
func (t *Table) Counts(ctx context.Context, tenant, subscription string, span Span) ([]Count, error) {
	if err := t.await(ctx); err != nil {
		return nil, err
	}
	var hours []hourly
	err := t.read(ctx, &hours, tenant, "intDiv(toUnixTimestamp64Nano(completed_at), 3600000000000) AS hour, count() AS n", scope(subscription, span), "GROUP BY hour ORDER BY hour")
	if err != nil {
		return nil, err
	}
	byReason := map[string]Count{}
	for _, part := range parts(hours, span, t.countAtOnce) {
		var counts []Count
		err := t.read(ctx, &counts, tenant, `reason, count() AS n, uniqExact(gateway, boot, seq) AS distinct_calls, sum(digest) AS digest_sum, toString(sum(call_units)) AS unit_sum`,
			scope(subscription, part), "GROUP BY reason")
		if err != nil {
			return nil, err
		}
		for _, c := range counts {
			if byReason[c.Reason], err = byReason[c.Reason].add(c); err != nil {
				return nil, fmt.Errorf("count calls: %w", err)
			}
		}
	}
	return slices.SortedFunc(maps.Values(byReason), func(a, b Count) int { return cmp.Compare(a.Reason, b.Reason) }), nil
}

// add returns the sum with that of another part.
func (c Count) add(o Count) (Count, error) {
	if c.Units == "" {
		return o, nil
	}
	units, err := money.Parse(c.Units)
	if err != nil {
		return c, err
	}
	more, err := money.Parse(o.Units)
	if err != nil {
		return c, err
	}
	return Count{o.Reason, c.Rows + o.Rows, c.Distinct + o.Distinct, c.Digest + o.Digest, units.Add(more).String()}, nil
}

// hourly is how many calls completed in an hour, which is one since the Unix epoch.
type hourly struct {
	Hour  int64  `ch:"hour"`
	Calls uint64 `ch:"n"`
}

// parts divides a span into parts with at most so many calls. An hour with more is divided as if they came evenly.
func parts(hours []hourly, span Span, most uint64) []Span {
	const length = int64(time.Hour)
	var all []Span
	var calls uint64
	add := func(start, end int64) { all = append(all, Span{max(start, span.Start), min(end, span.End)}) }
	for _, h := range hours {
		start := h.Hour * length
		if pieces := int64((h.Calls + most - 1) / most); pieces > 1 {
			for i := range pieces {
				add(start+length*i/pieces, start+length*(i+1)/pieces)
			}
			calls = most
			continue
		}
		if len(all) == 0 || calls+h.Calls > most {
			add(start, start)
			calls = 0
		}
		all[len(all)-1].End = min(start+length, span.End)
		calls += h.Calls
	}
	return all
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
	if err := t.await(ctx); err != nil {
		return nil, err
	}
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
