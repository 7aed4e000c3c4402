package clickhouse

import "strings"

// Dimension is something that calls are filtered and grouped by. Only those of this package's list exist: what stands in a
// statement comes from it, never from a request.
type Dimension struct {
	// Name as requests give it.
	Name string
	// Kind of thing whose name is known by its id, as in the table names; empty where the value is shown as it is.
	Kind string
	sql  string
}

// Dimensions are all dimensions.
func Dimensions() []Dimension {
	return []Dimension{
		{Name: "api", Kind: "api", sql: "api"}, {Name: "version", Kind: "api-version", sql: "api_version"}, {Name: "operation", sql: "operation"},
		{Name: "account", Kind: "account", sql: "account"}, {Name: "application", Kind: "application", sql: "application"},
		{Name: "credential", sql: "credential"}, {Name: "subscription", Kind: "subscription", sql: "subscription"},
		{Name: "product", Kind: "product", sql: "product"}, {Name: "plan", Kind: "plan", sql: "plan"}, {Name: "planVersion", sql: "toString(plan_version)"},
		{Name: "gateway", sql: "gateway"}, {Name: "method", sql: "method"}, {Name: "host", sql: "host"}, {Name: "pathTemplate", sql: "path_template"},
		{Name: "path", sql: "path"}, {Name: "status", sql: "toString(status)"}, {Name: "statusClass", sql: "concat(toString(intDiv(status, 100)), 'xx')"},
		{Name: "responder", sql: "responder"}, {Name: "error", sql: "error_reason"}, {Name: "reason", sql: "reason"}, {Name: "billable", sql: "if(billable, 'true', 'false')"},
		{Name: "cacheStatus", sql: "cache_status"}, {Name: "target", sql: "target"}, {Name: "clientAddress", sql: "client_address"}, {Name: "userAgent", sql: "user_agent"},
	}
}

// FindDimension returns the dimension of that name, and false when there is none.
func FindDimension(name string) (Dimension, bool) {
	for _, d := range Dimensions() {
		if d.Name == name {
			return d, true
		}
	}
	return Dimension{}, false
}

// DimensionNames lists the names of all dimensions, for messages.
func DimensionNames() string {
	all := Dimensions()
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.Name
	}
	return strings.Join(names, ", ")
}
