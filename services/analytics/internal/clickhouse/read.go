package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// condition is a part of a WHERE with the parameters that it names.
type condition struct {
	sql    string
	values []any
}

func where(sql string, values ...any) condition { return condition{sql, values} }

// queryTimeout bounds one query. The engine is told to give up a little later: the driver makes its max_execution_time of the
// context's deadline and 5 s.
const queryTimeout = 20 * time.Second

// read is the one place where calls are selected. It reads the calls of a tenant, or of all for principal.AllTenants, that fulfil
// every condition, into dest, a pointer to a slice of structs. Values travel as parameters, never in the statement.
func (t *Table) read(ctx context.Context, dest any, tenant, columns string, conditions []condition, rest string) error {
	if tenant == "" {
		return fmt.Errorf("read calls: no tenant is given")
	}
	if tenant != principal.AllTenants {
		conditions = append([]condition{where("tenant = {tenant:String}", driver.Named("tenant", tenant))}, conditions...)
	}
	parts, values := make([]string, 0, len(conditions)+1), []any(nil)
	for _, c := range conditions {
		parts, values = append(parts, "("+c.sql+")"), append(values, c.values...)
	}
	if len(parts) == 0 {
		parts = []string{"1"}
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ctx = driver.Context(ctx, driver.WithSettings(driver.Settings{
		"max_memory_usage": 2_000_000_000, "max_bytes_before_external_group_by": 1_000_000_000,
	}))
	query := "SELECT " + columns + " FROM calls WHERE " + strings.Join(parts, " AND ") + " " + rest
	if err := t.conn.Select(ctx, dest, query, values...); err != nil {
		if ctx.Err() != nil {
			return problem.NewTimeout("query-timeout", "The query took longer than %s. Ask for a shorter time.", queryTimeout).Wrap(err)
		}
		if exception := (*driver.Exception)(nil); !errors.As(err, &exception) { // it has not answered
			return problem.NewUnavailable("clickhouse-unavailable", "ClickHouse does not answer. Try again later.").Wrap(err)
		}
		return fmt.Errorf("read calls: %w", err)
	}
	return nil
}

// Span is a half-open span of completion times, in nanoseconds since the Unix epoch.
type Span struct{ Start, End int64 }

func (s Span) condition() condition {
	return where("completed_at >= fromUnixTimestamp64Nano({start:Int64}, 'UTC') AND completed_at < fromUnixTimestamp64Nano({end:Int64}, 'UTC')",
		driver.Named("start", s.Start), driver.Named("end", s.End))
}

// Row is a call as it is read.
type Row struct {
	Gateway        string    `ch:"gateway"`
	Boot           uint64    `ch:"boot"`
	Seq            uint64    `ch:"seq"`
	StartedAt      time.Time `ch:"started_at"`
	CompletedAt    time.Time `ch:"completed_at"`
	API            string    `ch:"api"`
	APIVersion     string    `ch:"api_version"`
	Operation      string    `ch:"operation"`
	Account        string    `ch:"account"`
	Application    string    `ch:"application"`
	Credential     string    `ch:"credential"`
	Subscription   string    `ch:"subscription"`
	Product        string    `ch:"product"`
	Plan           string    `ch:"plan"`
	PlanVersion    uint32    `ch:"plan_version"`
	APIRevision    uint64    `ch:"api_revision"`
	Entitlement    uint64    `ch:"entitlement_revision"`
	Method         string    `ch:"method"`
	Host           string    `ch:"host"`
	PathTemplate   string    `ch:"path_template"`
	Path           string    `ch:"path"`
	Status         uint16    `ch:"status"`
	Responder      string    `ch:"responder"`
	ErrorReason    string    `ch:"error_reason"`
	TotalMicros    uint64    `ch:"total_micros"`
	UpstreamMicros uint64    `ch:"upstream_micros"`
	GatewayMicros  uint64    `ch:"gateway_micros"`
	BytesIn        uint64    `ch:"bytes_in"`
	BytesOut       uint64    `ch:"bytes_out"`
	CacheStatus    string    `ch:"cache_status"`
	Attempts       uint32    `ch:"attempts"`
	Target         string    `ch:"target"`
	ClientAddress  string    `ch:"client_address"`
	UserAgent      string    `ch:"user_agent"`
	TraceID        string    `ch:"trace_id"`
	Meters         []string  `ch:"meters"`
	Quantities     []string  `ch:"amounts"`
	UsageSource    string    `ch:"usage_source"`
	EndReason      string    `ch:"end_reason"`
	Billable       bool      `ch:"billable"`
	Reason         string    `ch:"reason"`
	CallUnits      string    `ch:"units"`
}

const rowColumns = `gateway, boot, seq, started_at, completed_at, api, api_version, operation, account, application, credential, subscription,
	product, plan, plan_version, api_revision, entitlement_revision, method, host, path_template, path, status, responder, error_reason,
	total_micros, upstream_micros, gateway_micros, bytes_in, bytes_out, cache_status, attempts, target, client_address, user_agent, trace_id,
	meters, arrayMap(q -> toString(q), quantities) AS amounts, usage_source, end_reason, billable, reason, toString(call_units) AS units`

// Calls returns calls of a tenant, the newest first, or the oldest first when the filter says so.
func (t *Table) Calls(ctx context.Context, tenant string, f Filter) ([]Row, error) {
	order := "ORDER BY completed_at DESC, gateway DESC, boot DESC, seq DESC"
	if f.Ascending {
		order = "ORDER BY completed_at, gateway, boot, seq"
	}
	var rows []Row
	err := t.read(ctx, &rows, tenant, rowColumns, f.conditions(), fmt.Sprintf("%s LIMIT %d", order, f.Limit))
	return rows, err
}

// CountCalls returns how many calls of a tenant there are.
func (t *Table) CountCalls(ctx context.Context, tenant string, f Filter) (uint64, error) {
	var rows []struct {
		Calls uint64 `ch:"n"`
	}
	err := t.read(ctx, &rows, tenant, "count() AS n", f.conditions(), "")
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	return rows[0].Calls, nil
}
