package app

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/problem"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Query says which calls are meant. Things are named by name or id.
type Query struct {
	// From and To are half-open, of completion times.
	From, To time.Time
	Filter   *analyticsv1.CallFilter
	// Meter that the calls carry.
	Meter string
	// LatencyFrom and LatencyTo bound the whole latency, half-open; 0 for none.
	LatencyFrom, LatencyTo time.Duration
	// Call begins the printed identity of the calls.
	Call string
	// Search has words that must be in the path or in the error's reason.
	Search string
	Cursor string
	Limit  int
}

// The bounds of a search.
const (
	maxSearch = 200
	maxWords  = 8
)

// filter turns a query into what ClickHouse is asked, names into ids.
func (a *Analytics) filter(ctx context.Context, tenant string, q Query) (clickhouse.Filter, error) {
	f := clickhouse.Filter{
		Span: clickhouse.Span{Start: q.From.UnixNano(), End: q.To.UnixNano()}, Meter: q.Meter, CallPrefix: q.Call, Words: clickhouse.Words(q.Search), Limit: q.Limit,
		MinMicros: uint64(max(0, q.LatencyFrom.Microseconds())), MaxMicros: uint64(max(0, q.LatencyTo.Microseconds())),
	}
	var fields problem.Fields
	checkFilter("", q.Filter, &fields)
	if len(q.Search) > maxSearch || len(f.Words) > maxWords {
		fields.Add("search", "is too long; give up to %d words, %d bytes in all", maxWords, maxSearch)
	}
	if q.Search != "" && len(f.Words) == 0 {
		fields.Add("search", "has no letter or digit to look for")
	}
	if q.LatencyFrom < 0 || q.LatencyTo < 0 || q.LatencyTo != 0 && q.LatencyTo <= q.LatencyFrom {
		fields.Add("latencyTo", "is not above latencyFrom")
	}
	f.After = parseCursor(q.Cursor, &fields)
	if err := fields.Err("request-invalid", "The request is not valid."); err != nil {
		return f, err
	}
	of := filterOf(q.Filter, nil)
	f.Status, f.StatusClass, f.Billable = of.Status, of.StatusClass, of.Billable
	err := a.in(ctx, tenant, func(tx pgx.Tx) (err error) {
		f.Equal, err = equalIn(ctx, tx, tenant, q.Filter, nil)
		return err
	})
	return f, err
}

// filterOf is a filter that was checked, of all times.
func filterOf(c *analyticsv1.CallFilter, equal []clickhouse.Equal) clickhouse.Filter {
	f := clickhouse.Filter{Equal: equal}
	f.Status, f.StatusClass, _ = parseStatus(c.GetStatus())
	if text := c.GetBillable(); text != "" {
		billable := text == "true"
		f.Billable = &billable
	}
	return f
}

// checkFilter checks what of a filter has a form.
func checkFilter(prefix string, f *analyticsv1.CallFilter, fields *problem.Fields) {
	if _, _, ok := parseStatus(f.GetStatus()); !ok {
		fields.Add(prefix+"status", `%q is not a status; want a code such as 404 or a class such as 4xx`, f.GetStatus())
	}
	if b := f.GetBillable(); b != "" && b != "true" && b != "false" {
		fields.Add(prefix+"billable", "%q is not true or false", b)
	}
	switch f.GetResponder() {
	case "", "upstream", "gateway", "cache":
	default:
		fields.Add(prefix+"responder", "%q is not upstream, gateway or cache", f.GetResponder())
	}
}

// equalIn returns what dimensions must be, with names turned into ids, in a transaction of the tenant or of all for the service. An
// unknown thing is an error, as its calls would be none, unless it is assumed to come.
func equalIn(ctx context.Context, tx pgx.Tx, tenant string, c *analyticsv1.CallFilter, assume []string) ([]clickhouse.Equal, error) {
	given := []struct{ name, value string }{
		{"api", c.GetApi()}, {"version", c.GetVersion()}, {"operation", c.GetOperation()}, {"account", c.GetAccount()}, {"application", c.GetApplication()},
		{"subscription", c.GetSubscription()}, {"product", c.GetProduct()}, {"plan", c.GetPlan()}, {"gateway", c.GetGateway()}, {"method", c.GetMethod()},
		{"responder", c.GetResponder()}, {"reason", c.GetReason()}, {"error", c.GetError()},
	}
	var all []clickhouse.Equal
	for _, g := range given {
		if g.value == "" {
			continue
		}
		d, _ := clickhouse.FindDimension(g.name)
		values := []string{g.value}
		if d.Kind != "" {
			ids, err := store.FindIDs(ctx, tx, tenant, d.Kind, g.value)
			if err != nil {
				return nil, err
			}
			if len(ids) == 0 && !assumed(assume, d.Kind, g.value) {
				return nil, problem.NewNotFound(d.Kind+"-not-found", "There is no %s %s.", d.Kind, g.value)
			}
			values = append(ids, values...) // a call may have been recorded under the name
		}
		all = append(all, clickhouse.Equal{Dimension: d, Values: values})
	}
	return all, nil
}

// parseStatus reads a status code such as 404 or a class such as 4xx; empty is neither.
func parseStatus(text string) (status, class int, ok bool) {
	if text == "" {
		return 0, 0, true
	}
	if digit, isClass := strings.CutSuffix(text, "xx"); isClass && len(digit) == 1 && digit >= "1" && digit <= "5" {
		return 0, int(digit[0] - '0'), true
	}
	status, err := strconv.Atoi(text)
	return status, 0, err == nil && len(text) == 3 && status >= 100 && status <= 599
}
