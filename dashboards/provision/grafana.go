package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-openapi/strfmt"
	"github.com/grafana/grafana-openapi-client-go/client/dashboards"
	"github.com/grafana/grafana-openapi-client-go/client/datasources"
	"github.com/grafana/grafana-openapi-client-go/client/folders"
	"github.com/grafana/grafana-openapi-client-go/client/provisioning"
	"github.com/grafana/grafana-openapi-client-go/client/teams"
	"github.com/grafana/grafana-openapi-client-go/models"

	content "github.com/tollgate/tollgate/dashboards"
)

// nameForm leaves room for prefixes within the 40 characters of a uid.
var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$`)

func (p *provisioner) clickHouse(ctx context.Context, uid, name, user, password string) error {
	c := p.config.ClickHouse
	return p.dataSource(ctx, models.AddDataSourceCommand{
		UID: uid, Name: name, Type: content.ClickHouseType, Access: "proxy",
		JSONData:       map[string]any{"host": c.Host, "port": c.Port, "protocol": c.Protocol, "secure": c.Secure, "username": user, "defaultDatabase": c.Database},
		SecureJSONData: map[string]string{"password": password},
	})
}

func (p *provisioner) prometheus(ctx context.Context, uid string) error {
	return p.dataSource(ctx, models.AddDataSourceCommand{
		UID: uid, Name: "Tollgate Prometheus", Type: content.PrometheusType, Access: "proxy", URL: p.config.PrometheusURL, JSONData: map[string]any{"httpMethod": "POST"},
	})
}

func (p *provisioner) dataSource(ctx context.Context, d models.AddDataSourceCommand) error {
	_, err := p.api.Datasources.GetDataSourceByUIDWithParams(datasources.NewGetDataSourceByUIDParamsWithContext(ctx).WithUID(d.UID))
	var missing *datasources.GetDataSourceByUIDNotFound
	switch {
	case errors.As(err, &missing):
		_, err = p.api.Datasources.AddDataSourceWithParams(datasources.NewAddDataSourceParamsWithContext(ctx).WithBody(&d))
	case err == nil:
		_, err = p.api.Datasources.UpdateDataSourceByUIDWithParams(datasources.NewUpdateDataSourceByUIDParamsWithContext(ctx).WithUID(d.UID).WithBody(&models.UpdateDataSourceCommand{
			UID: d.UID, Name: d.Name, Type: d.Type, Access: d.Access, URL: d.URL, JSONData: d.JSONData, SecureJSONData: d.SecureJSONData,
		}))
	}
	return p.count(&p.done.DataSources, err, "data source", d.UID)
}

// count counts what was done, or says what failed.
func (p *provisioner) count(n *int, err error, what, uid string) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, uid, err)
	}
	*n++
	return nil
}

func (p *provisioner) folder(ctx context.Context, uid, title string) error {
	_, err := p.api.Folders.GetFolderByUIDWithParams(folders.NewGetFolderByUIDParamsWithContext(ctx).WithFolderUID(uid))
	var missing *folders.GetFolderByUIDNotFound
	switch {
	case errors.As(err, &missing):
		_, err = p.api.Folders.CreateFolderWithParams(folders.NewCreateFolderParamsWithContext(ctx).WithBody(&models.CreateFolderCommand{UID: uid, Title: title}))
	case err == nil:
		_, err = p.api.Folders.UpdateFolderWithParams(folders.NewUpdateFolderParamsWithContext(ctx).WithFolderUID(uid).WithBody(&models.UpdateFolderCommand{Title: title, Overwrite: true}))
	}
	return p.count(&p.done.Folders, err, "folder", uid)
}

// The levels of permissions on folders.
const (
	view models.PermissionType = 1
	edit models.PermissionType = 2
)

// permissions lets a team see a folder, unless it is 0, and editors change it. Others are taken away; administrators always may.
func (p *provisioner) permissions(ctx context.Context, uid string, team int64) error {
	items := []*models.DashboardACLUpdateItem{{Role: "Editor", Permission: edit}}
	if team != 0 {
		items = []*models.DashboardACLUpdateItem{{TeamID: team, Permission: view}}
	}
	_, err := p.api.Folders.UpdateFolderPermissionsWithParams(folders.NewUpdateFolderPermissionsParamsWithContext(ctx).WithFolderUID(uid).WithBody(&models.UpdateDashboardACLCommand{Items: items}))
	if err != nil {
		return fmt.Errorf("permissions of folder %s: %w", uid, err)
	}
	return nil
}

// team returns the id of the team of that name.
func (p *provisioner) team(ctx context.Context, name string) (int64, error) {
	found, err := p.api.Teams.SearchTeams(teams.NewSearchTeamsParamsWithContext(ctx).WithName(&name))
	if err != nil {
		return 0, fmt.Errorf("team %s: %w", name, err)
	}
	for _, t := range found.GetPayload().Teams {
		if *t.Name == name {
			return *t.ID, p.count(&p.done.Teams, nil, "team", name)
		}
	}
	created, err := p.api.Teams.CreateTeamWithParams(teams.NewCreateTeamParamsWithContext(ctx).WithBody(&models.CreateTeamCommand{Name: &name}))
	if err != nil {
		return 0, fmt.Errorf("team %s: %w", name, err)
	}
	return created.GetPayload().TeamID, p.count(&p.done.Teams, nil, "team", name)
}

func (p *provisioner) dashboards(ctx context.Context, scope content.Scope, folder string) error {
	all, err := content.Build(scope)
	if err != nil {
		return err
	}
	for _, d := range all {
		raw, err := d.JSON()
		if err != nil {
			return err
		}
		_, err = p.api.Dashboards.PostDashboardWithParams(dashboards.NewPostDashboardParamsWithContext(ctx).WithBody(&models.SaveDashboardCommand{
			Dashboard: json.RawMessage(raw), FolderUID: folder, Overwrite: true, Message: "provisioned by tollgate",
		}))
		if err := p.count(&p.done.Dashboards, err, "dashboard", d.UID()); err != nil {
			return err
		}
	}
	return nil
}

const ruleGroup = "tollgate"

func pointer[T any](v T) *T { return &v }

func (p *provisioner) alertRule(ctx context.Context, rule content.AlertRule) error {
	body, err := provisioned(rule)
	if err != nil {
		return fmt.Errorf("alert rule %s: %w", rule.UID, err)
	}
	_, err = p.api.Provisioning.GetAlertRuleWithParams(provisioning.NewGetAlertRuleParamsWithContext(ctx).WithUID(rule.UID))
	var missing *provisioning.GetAlertRuleNotFound
	// Rules stay changeable in Grafana's own pages.
	editable := pointer("true")
	switch {
	case errors.As(err, &missing):
		_, err = p.api.Provisioning.PostAlertRule(provisioning.NewPostAlertRuleParamsWithContext(ctx).WithXDisableProvenance(editable).WithBody(body))
	case err == nil:
		_, err = p.api.Provisioning.PutAlertRule(provisioning.NewPutAlertRuleParamsWithContext(ctx).WithXDisableProvenance(editable).WithUID(rule.UID).WithBody(body))
	}
	return p.count(&p.done.AlertRules, err, "alert rule", rule.UID)
}

// provisioned is a rule as the API takes it: a query A and a threshold B on it.
func provisioned(rule content.AlertRule) (*models.ProvisionedAlertRule, error) {
	hold, err := strfmt.ParseDuration(rule.For)
	if err != nil {
		return nil, err
	}
	query := map[string]any{"refId": "A", "intervalMs": 60000, "maxDataPoints": 1000}
	if rule.SQL != "" {
		query["datasource"] = map[string]any{"type": content.ClickHouseType, "uid": rule.DataSource}
		query["editorType"], query["queryType"], query["format"], query["rawSql"] = "sql", "table", 1, rule.SQL
	} else {
		query["datasource"] = map[string]any{"type": content.PrometheusType, "uid": rule.DataSource}
		query["expr"], query["instant"], query["range"] = rule.Expression, true, false
	}
	threshold := map[string]any{
		"refId": "B", "type": "threshold", "expression": "A", "datasource": map[string]any{"type": "__expr__", "uid": "__expr__"},
		"conditions": []any{map[string]any{"evaluator": map[string]any{"type": "gt", "params": []float64{rule.Above}}}},
	}
	return &models.ProvisionedAlertRule{
		UID: rule.UID, Title: &rule.Title, FolderUID: pointer(installationFolder), RuleGroup: pointer(ruleGroup), OrgID: pointer(int64(1)), Condition: pointer("B"),
		For: pointer(strfmt.Duration(hold)), NoDataState: pointer("OK"), ExecErrState: pointer("Error"),
		Annotations: map[string]string{"summary": rule.Summary}, Labels: map[string]string{"app": "tollgate"},
		Data: []*models.AlertQuery{
			{RefID: "A", DatasourceUID: rule.DataSource, Model: query, RelativeTimeRange: &models.RelativeTimeRange{From: models.Duration(rule.Seconds)}},
			{RefID: "B", DatasourceUID: "__expr__", Model: threshold, RelativeTimeRange: &models.RelativeTimeRange{From: models.Duration(rule.Seconds)}},
		},
	}, nil
}

// AccessStatements returns the statements that give ClickHouse a user for a tenant's data source, who reads the rows of that tenant
// alone, changes nothing, and is bounded in time and memory. The plugin sets the time of a query, which readonly = 2 allows. The password is given as its SHA-256 in hexadecimal. Run them as an administrator.
func AccessStatements(database string, t Tenant, passwordSHA256 string) []string {
	user, db := identifier(t.User), identifier(database)
	statements := []string{
		"CREATE USER IF NOT EXISTS " + user + " IDENTIFIED WITH sha256_hash BY " + literal(passwordSHA256) + " SETTINGS readonly = 2, max_execution_time = 30 MAX 60, max_memory_usage = 2000000000 MAX 2000000000",
	}
	for _, table := range []string{"calls", "names", "invoice_lines", "billing_events"} {
		statements = append(statements,
			"GRANT SELECT ON "+db+"."+table+" TO "+user,
			"CREATE ROW POLICY IF NOT EXISTS "+user+" ON "+db+"."+table+" USING tenant = "+literal(t.ID)+" AS RESTRICTIVE TO "+user,
			"CREATE ROW POLICY IF NOT EXISTS tollgate_all ON "+db+"."+table+" USING 1 AS PERMISSIVE TO ALL")
	}
	return statements
}

func identifier(text string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(text) + "`"
}

func literal(text string) string {
	return "'" + strings.NewReplacer("\\", "\\\\", "'", "\\'").Replace(text) + "'"
}
