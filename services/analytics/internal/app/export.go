package app

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/problem"
)

// The formats of exports.
const (
	FormatCSV     = "csv"
	FormatParquet = "parquet"
)

const (
	// exportCalls is the most calls of a page, exportBytes about the most bytes, before a Parquet file compresses them: a page
	// is one message of the bus.
	exportCalls = 20_000
	exportBytes = 7 << 20
)

// Exported is a page of an export: a file of its own.
type Exported struct {
	Content []byte
	Calls   int
	// Next is the cursor of the following page, empty on the last. It carries the span too.
	Next string
}

// Export returns calls of the acting tenant, the oldest first, as a file: a page of an export. A page that is not the first one of CSV
// has no header line, so that pages one after the other are one file; each page of Parquet is a file. Calls that are landed
// while an export goes on may be left out.
func (a *Analytics) Export(ctx context.Context, q Query, format string) (Exported, error) {
	who, err := actor(ctx)
	if err != nil {
		return Exported{}, err
	}
	if format != FormatCSV && format != FormatParquet {
		return Exported{}, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: "format", Message: fmt.Sprintf("%q is not csv or parquet", format)})
	}
	first := q.Cursor == ""
	if !first {
		if q, err = continued(q); err != nil {
			return Exported{}, err
		}
	}
	f, err := a.filter(ctx, who.Tenant, q)
	if err != nil {
		return Exported{}, err
	}
	f.Ascending, f.Limit = true, exportCalls+1
	rows, err := a.Table.Calls(ctx, who.Tenant, f)
	if err != nil {
		return Exported{}, err
	}
	n := 0
	for size := 0; n < len(rows) && n < exportCalls && size < exportBytes; n++ {
		size += 600 + len(rows[n].Path) + len(rows[n].UserAgent) + len(rows[n].Host) + len(rows[n].Target) + 60*len(rows[n].Meters)
	}
	calls, err := a.show(ctx, who.Tenant, rows[:n])
	if err != nil {
		return Exported{}, err
	}
	out := Exported{Calls: n}
	if n < len(rows) {
		out.Next = fmt.Sprintf("%d.%d.%s", q.From.UnixNano(), q.To.UnixNano(), calls[n-1].Cursor())
	}
	if format == FormatParquet {
		out.Content, err = parquetFile(calls)
	} else {
		out.Content, err = csvFile(calls, first)
	}
	if err != nil {
		return Exported{}, fmt.Errorf("export calls: %w", err)
	}
	return out, nil
}

// continued gives a query the span and the place of its cursor.
func continued(q Query) (Query, error) {
	parts := strings.SplitN(q.Cursor, ".", 3)
	if len(parts) == 3 {
		from, err := strconv.ParseInt(parts[0], 10, 64)
		to, err2 := strconv.ParseInt(parts[1], 10, 64)
		if err == nil && err2 == nil && from < to {
			q.From, q.To, q.Cursor = time.Unix(0, from), time.Unix(0, to), parts[2]
			return q, nil
		}
	}
	return q, problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: "cursor", Message: "is not the next of a page before"})
}

// field is a column of CSV.
type field struct {
	name  string
	value func(c *Call) string
}

func number[N uint16 | uint32 | uint64](n N) string { return strconv.FormatUint(uint64(n), 10) }

func exportFields() []field {
	fields := []field{
		{"call", func(c *Call) string { return c.Call }},
		{"completed_at", func(c *Call) string { return c.CompletedAt.Format(time.RFC3339Nano) }},
		{"started_at", func(c *Call) string { return c.StartedAt.Format(time.RFC3339Nano) }},
	}
	for _, n := range []struct {
		name string
		of   func(c *Call) Named
	}{
		{"api", func(c *Call) Named { return c.API }}, {"api_version", func(c *Call) Named { return c.APIVersion }}, {"account", func(c *Call) Named { return c.Account }},
		{"application", func(c *Call) Named { return c.Application }}, {"subscription", func(c *Call) Named { return c.Subscription }},
	} {
		fields = append(fields, field{n.name, func(c *Call) string { return n.of(c).Name }}, field{n.name + "_id", func(c *Call) string { return n.of(c).ID }})
	}
	return append(fields, []field{
		{"operation", func(c *Call) string { return c.Operation }}, {"credential", func(c *Call) string { return c.Credential }},
		{"product", func(c *Call) string { return c.Product }}, {"plan", func(c *Call) string { return c.Plan }}, {"plan_version", func(c *Call) string { return number(c.PlanVersion) }},
		{"method", func(c *Call) string { return c.Method }}, {"host", func(c *Call) string { return c.Host }},
		{"path_template", func(c *Call) string { return c.PathTemplate }}, {"path", func(c *Call) string { return c.Path }},
		{"status", func(c *Call) string { return number(c.Status) }}, {"responder", func(c *Call) string { return c.Responder }}, {"error_reason", func(c *Call) string { return c.ErrorReason }},
		{"total_micros", func(c *Call) string { return number(c.TotalMicros) }}, {"upstream_micros", func(c *Call) string { return number(c.UpstreamMicros) }},
		{"gateway_micros", func(c *Call) string { return number(c.GatewayMicros) }},
		{"bytes_in", func(c *Call) string { return number(c.BytesIn) }}, {"bytes_out", func(c *Call) string { return number(c.BytesOut) }},
		{"cache_status", func(c *Call) string { return c.CacheStatus }}, {"attempts", func(c *Call) string { return number(c.Attempts) }}, {"target", func(c *Call) string { return c.Target }},
		{"client_address", func(c *Call) string { return c.ClientAddress }}, {"user_agent", func(c *Call) string { return c.UserAgent }}, {"trace_id", func(c *Call) string { return c.TraceID }},
		{"quantities", func(c *Call) string { return quantitiesText(c.Quantities) }},
		{"billable", func(c *Call) string { return strconv.FormatBool(c.Billable) }}, {"reason", func(c *Call) string { return c.Reason }},
	}...)
}

// quantitiesText is "meter=value" of each, divided by spaces.
func quantitiesText(all []Quantity) string {
	parts := make([]string, len(all))
	for i, q := range all {
		parts[i] = q.Meter + "=" + q.Value
	}
	return strings.Join(parts, " ")
}

// csvFile writes calls as CSV (RFC 4180, with line feeds alone).
func csvFile(calls []Call, header bool) ([]byte, error) {
	fields := exportFields()
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	record := make([]string, len(fields))
	if header {
		for i, f := range fields {
			record[i] = f.name
		}
		if err := w.Write(record); err != nil {
			return nil, err
		}
	}
	for i := range calls {
		for j, f := range fields {
			record[j] = cell(f.value(&calls[i]))
		}
		if err := w.Write(record); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return out.Bytes(), w.Error()
}

// cell is a text that no spreadsheet takes for a formula: paths and user agents are whatever clients send.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
