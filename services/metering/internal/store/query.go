package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// dimensions are what usage can be divided by, with their expressions. Time, meter and whether it is billable always divide it.
var dimensions = map[string]string{
	"subscription": "subscription", "application": "application", "account": "account", "plan": "plan", "planVersion": "plan_version::text",
	"api": "api", "apiVersion": "api_version", "operation": "operation", "reason": "reason",
}

// IsDimension says whether usage can be divided by it.
func IsDimension(name string) bool { return dimensions[name] != "" }

// Query asks for usage.
type Query struct {
	Scope
	// By is the length of slices: hour, day or month of Zone; empty for one slice.
	By, Zone string
	// Dimensions to divide by.
	Dimensions []string
	// Application, Account, API, APIVersion, Operation, Plan and Meter narrow it; empty ones do not.
	Application, Account, API, APIVersion, Operation, Plan, Meter string
	// After is the key of the last row of the page before; nil for the first page.
	After []string
	Limit int
}

// UsageRow is a row of the answer to a Query.
type UsageRow struct {
	// Key identifies the row within the answer, whose rows are in the order of their keys: start, meter, billable, dimensions.
	Key []string
	// Start in seconds since the Unix epoch.
	Start    int64
	Meter    string
	Billable bool
	// Values of the dimensions, in the order of the query.
	Values   []string
	Quantity string
	Calls    int64
}

// filter narrows to the scope and the filters.
const filter = within + `AND ($4 = '' OR application = $4) AND ($5 = '' OR account = $5) AND ($6 = '' OR api = $6)
	AND ($7 = '' OR api_version = $7) AND ($8 = '' OR operation = $8) AND ($9 = '' OR plan = $9) AND ($10 = '' OR meter = $10) `

func (q Query) args() []any {
	return []any{q.Subscription, q.Start, q.End, q.Application, q.Account, q.API, q.APIVersion, q.Operation, q.Plan, q.Meter}
}

// slice is the expression of the slice that a time (nanoseconds) lies in, in seconds. $11 and $12 are its length and zone.
func slice(nanoseconds string) string {
	return `extract(epoch FROM date_trunc($11::text, to_timestamp(` + nanoseconds + ` / 1000000000), $12::text))::bigint`
}

// FindUsage returns a page of usage. Quantities are exact sums.
func FindUsage(ctx context.Context, tx pgx.Tx, q Query) ([]UsageRow, error) {
	start, args := `$11::bigint`, append(q.args(), q.Start/int64(time.Second))
	if q.By != "" {
		start, args = slice("bucket"), append(q.args(), q.By, q.Zone)
	}
	columns, keys, types := []string{start + ` AS start`, `meter`, `reason = '' AS billable`}, []string{"start", "meter", "billable"}, []string{"bigint", "text", "boolean"}
	for i, name := range q.Dimensions {
		columns = append(columns, fmt.Sprintf("%s AS d%d", dimensions[name], i))
		keys = append(keys, fmt.Sprintf("d%d", i))
		types = append(types, "text")
	}
	groups := make([]string, len(keys))
	for i := range keys {
		groups[i] = fmt.Sprint(i + 1)
	}
	after := ""
	if q.After != nil {
		values := make([]string, len(keys))
		for i, v := range q.After {
			args = append(args, v)
			values[i] = fmt.Sprintf("$%d::text::%s", len(args), types[i])
		}
		after = ` WHERE (` + strings.Join(keys, ", ") + `) > (` + strings.Join(values, ", ") + `)`
	}
	args = append(args, q.Limit)
	rows, err := tx.Query(ctx, `SELECT `+strings.Join(keys, ", ")+`, quantity, calls FROM (
		SELECT `+strings.Join(columns, ", ")+`, trim_scale(sum(quantity))::text AS quantity, sum(calls)::bigint AS calls
		FROM usage WHERE`+filter+`GROUP BY `+strings.Join(groups, ", ")+`) AS usage`+after+
		` ORDER BY `+strings.Join(groups, ", ")+fmt.Sprintf(` LIMIT $%d`, len(args)), args...)
	if err != nil {
		return nil, wrap("query usage", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (UsageRow, error) {
		r := UsageRow{Values: make([]string, len(q.Dimensions))}
		into := []any{&r.Start, &r.Meter, &r.Billable}
		for i := range r.Values {
			into = append(into, &r.Values[i])
		}
		err := row.Scan(append(into, &r.Quantity, &r.Calls)...)
		r.Key = append([]string{fmt.Sprint(r.Start), r.Meter, fmt.Sprint(r.Billable)}, r.Values...)
		return r, err
	})
	return all, wrap("query usage", err)
}

// CrossesSlices says whether calls of one row lie in two slices, so that usage by slice is not known: in a time zone whose hours
// are not those of the subscription.
func CrossesSlices(ctx context.Context, tx pgx.Tx, q Query) (yes bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM usage WHERE`+filter+`AND `+slice("first_completed")+` <> `+slice("last_completed")+`)`,
		append(q.args(), q.By, q.Zone)...).Scan(&yes)
	return yes, wrap("query usage", err)
}
