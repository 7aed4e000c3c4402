package dashboards

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// The types of data sources.
const (
	ClickHouseType = "grafana-clickhouse-datasource"
	PrometheusType = "prometheus"
)

// ClickHouseQuery is a query as the ClickHouse plugin (version 4) keeps it: an SQL statement with its macros.
type ClickHouseQuery struct {
	RefID      string                `json:"refId"`
	Datasource *common.DataSourceRef `json:"datasource,omitempty"`
	// EditorType is always "sql".
	EditorType string `json:"editorType"`
	// QueryType is "timeseries" or "table"; Format says the same as a number, 0 or 1.
	QueryType string `json:"queryType"`
	Format    int    `json:"format"`
	RawSQL    string `json:"rawSql"`
}

// ImplementsDataqueryVariant makes it a query of the foundation SDK.
func (ClickHouseQuery) ImplementsDataqueryVariant() {}

// DataqueryType is the type of its data source.
func (ClickHouseQuery) DataqueryType() string { return ClickHouseType }

// Equals says whether another query is the same.
func (q ClickHouseQuery) Equals(other variants.Dataquery) bool {
	o, ok := other.(ClickHouseQuery)
	return ok && o.RefID == q.RefID && o.RawSQL == q.RawSQL && o.Format == q.Format
}

// Validate says what is wrong with the query.
func (q ClickHouseQuery) Validate() error {
	formats := map[string]int{"timeseries": 0, "table": 1}
	format, known := formats[q.QueryType]
	switch {
	case q.RefID == "" || q.RawSQL == "" || q.EditorType != "sql":
		return errors.New("a ClickHouse query needs refId, rawSql and the editorType sql")
	case !known || format != q.Format:
		return fmt.Errorf("queryType %q does not go with format %d", q.QueryType, q.Format)
	}
	return nil
}

// ClickHouseVariant teaches the foundation SDK to read queries of the ClickHouse plugin, strictly.
func ClickHouseVariant() variants.DataqueryConfig {
	read := func(raw []byte) (variants.Dataquery, error) {
		var q ClickHouseQuery
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&q); err != nil {
			return nil, err
		}
		return q, q.Validate()
	}
	return variants.DataqueryConfig{Identifier: ClickHouseType, DataqueryUnmarshaler: read, StrictDataqueryUnmarshaler: read}
}

// target builds a query.
type target struct{ query variants.Dataquery }

// Build returns the query.
func (t target) Build() (variants.Dataquery, error) { return t.query, t.query.Validate() }

func ref(kind, uid string) *common.DataSourceRef {
	return &common.DataSourceRef{Type: &kind, Uid: &uid}
}

// series is a query of ClickHouse over time, table one of rows. {conditions} stands for the filter of the variables, {name:kind:column} for
// the name of what a column refers to.
func (s Scope) series(sql string) cog.Builder[variants.Dataquery] {
	return target{ClickHouseQuery{RefID: "A", Datasource: ref(ClickHouseType, s.ClickHouse), EditorType: "sql", QueryType: "timeseries", RawSQL: s.sql(sql)}}
}

func (s Scope) table(sql string) cog.Builder[variants.Dataquery] {
	return target{ClickHouseQuery{RefID: "A", Datasource: ref(ClickHouseType, s.ClickHouse), EditorType: "sql", QueryType: "table", Format: 1, RawSQL: s.sql(sql)}}
}

// conditions filter calls by the time and the variables.
const conditions = `$__timeFilter(completed_at) AND tenant IN (${tenant:sqlstring}) AND $__conditionalAll(api IN (${api:sqlstring}), $api) AND $__conditionalAll(account IN (${account:sqlstring}), $account)`

func (s Scope) sql(text string) string {
	text = strings.ReplaceAll(text, "{conditions}", conditions)
	for {
		before, rest, found := strings.Cut(text, "{name:")
		if !found {
			return strings.TrimSpace(text)
		}
		inside, after, _ := strings.Cut(rest, "}")
		kind, column, _ := strings.Cut(inside, ":")
		text = before + nameOf(kind, column) + after
	}
}

// nameOf is the name of what a column refers to, or its id where no name is known.
func nameOf(kind, column string) string {
	names := "(SELECT CAST((groupArray(id), groupArray(name)), 'Map(String, String)') FROM names FINAL WHERE kind = '" + kind + "' AND tenant IN (${tenant:sqlstring}))"
	return "if(mapContains(" + names + ", toString(" + column + ")), " + names + "[toString(" + column + ")], if(toString(" + column + ") = '', '(none)', toString(" + column + ")))"
}

// metrics is a query of Prometheus.
func (s Scope) metrics(expression, legend string) cog.Builder[variants.Dataquery] {
	return prometheus.NewDataqueryBuilder().Expr(expression).LegendFormat(legend).RefId("A").Datasource(*ref(PrometheusType, s.Prometheus))
}
