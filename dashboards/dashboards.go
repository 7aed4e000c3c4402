// Package dashboards generates Grafana's dashboards for Tollgate from code: traffic and latency, errors, quotas, usage and revenue,
// pipeline health, gateways and billing.
//
// Numbers about calls, names and invoices come from analytics' tables in ClickHouse, those about processes from Prometheus.
// Every statement is for the plugin grafana-clickhouse-datasource. What Build returns is also kept as JSON in the folder generated.
package dashboards

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Scope says whose dashboards are built, over which data sources.
type Scope struct {
	// Tenant is the id of the tenant whose dashboards they are; empty for those of the installation, where tenants can be chosen.
	Tenant string
	// Suffix of the dashboards' uids, which Grafana wants to be unique; empty for the installation.
	Suffix string
	// ClickHouse and Prometheus are uids of data sources.
	ClickHouse, Prometheus string
}

// Installation is the scope of the operators.
func Installation() Scope {
	return Scope{ClickHouse: "tollgate-clickhouse", Prometheus: "tollgate-prometheus"}
}

// Dashboard is a dashboard with its name, which is that of its file.
type Dashboard struct {
	Name string
	model
}

// UID of the dashboard in Grafana.
func (d Dashboard) UID() string { return *d.Uid }

// JSON is the dashboard as Grafana imports it.
func (d Dashboard) JSON() ([]byte, error) {
	raw, err := json.MarshalIndent(d.model, "", "  ")
	return append(raw, '\n'), err
}

// model is the classic form of a dashboard: POST /api/dashboards/db and the import of files take it in Grafana 12 and 13 alike, which the
// form that the SDK prefers is not yet.
type model = dashboard.Dashboard //nolint:staticcheck // see above

func newModel(title string) *dashboard.DashboardBuilder { //nolint:staticcheck // see model
	return dashboard.NewDashboardBuilder(title) //nolint:staticcheck // see model
}

// content is a dashboard before it is built.
type content struct {
	name, title, description string
	// calls says that it filters calls by variables, installation that tenants have none.
	calls, installation bool
	panels              []panel
}

// Build returns every dashboard of a scope.
func Build(s Scope) ([]Dashboard, error) {
	var all []Dashboard
	for _, c := range []content{traffic(s), problems(s), quotas(s), usage(s), pipeline(s), gateways(s), billing(s)} {
		if c.installation && s.Tenant != "" {
			continue
		}
		built, err := s.build(c)
		if err != nil {
			return nil, fmt.Errorf("build dashboard %s: %w", c.name, err)
		}
		all = append(all, Dashboard{c.name, built})
	}
	return all, nil
}

func (s Scope) build(c content) (model, error) {
	b := newModel("Tollgate: "+c.title).Uid("tollgate-"+c.name+s.Suffix).Description(c.description).
		Tags([]string{"tollgate"}).Time("now-24h", "now").Refresh("1m").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair)
	if !c.installation {
		b = b.WithVariable(s.tenantVariable())
	}
	if c.calls {
		b = b.WithVariable(s.variable("api", "API", "api")).WithVariable(s.variable("account", "Account", "account"))
	}
	for i, p := range c.panels {
		b = b.WithPanel(numbered{p, uint32(i + 1)})
	}
	return b.Build()
}

// numbered gives a panel its id.
type numbered struct {
	panel
	id uint32
}

// Build builds the panel.
func (n numbered) Build() (dashboard.Panel, error) {
	p, err := n.panel.Build()
	p.Id = &n.id
	return p, err
}

func text(t string) dashboard.StringOrMap { return dashboard.StringOrMap{String: &t} }

func (s Scope) tenantVariable() cog.Builder[dashboard.VariableModel] {
	if s.Tenant != "" {
		return dashboard.NewConstantVariableBuilder("tenant").Label("Tenant").Value(text(s.Tenant))
	}
	return s.chosen("tenant", "Tenant", "SELECT DISTINCT tenant FROM calls WHERE $__timeFilter(completed_at) AND tenant != '' ORDER BY tenant LIMIT 1000")
}

// variable chooses among the ids of a kind of thing, shown by their names.
func (s Scope) variable(name, label, kind string) cog.Builder[dashboard.VariableModel] {
	return s.chosen(name, label, "SELECT id, name FROM names FINAL WHERE tenant IN (${tenant:sqlstring}) AND kind = '"+kind+"' ORDER BY name LIMIT 5000")
}

func (s Scope) chosen(name, label, sql string) cog.Builder[dashboard.VariableModel] {
	all := []string{"$__all"}
	yes := true
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(common.DataSourceRef{Type: ref(ClickHouseType, s.ClickHouse).Type, Uid: &s.ClickHouse}).
		Query(text(sql)).Definition(sql).Multi(true).IncludeAll(true).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Current(dashboard.VariableOption{Selected: &yes, Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}, Value: dashboard.StringOrArrayOfString{ArrayOfString: all}})
}

func sorted(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
