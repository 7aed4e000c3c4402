// Package provision gives a Grafana the data sources, folders, dashboards and alert rules of Tollgate, and a viewer team for each
// tenant, through Grafana's HTTP API. What is there is changed to what it should be: it may be run again at any time.
//
// The command "tollgate grafana provision" uses it.
package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-openapi/runtime"
	httptransport "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/grafana/grafana-openapi-client-go/client"

	"github.com/tollgate/tollgate/dashboards"
)

// Config says which Grafana, and what it reads from.
type Config struct {
	// URL of Grafana, as in https://grafana.example.com, and a service account's token with the role Admin.
	URL, Token string
	// ClickHouse is the database of analytics, with a user who may read all of it and change nothing.
	ClickHouse ClickHouse
	// PrometheusURL is empty where there is none: the dashboards of the installation are then without its panels' data, and there
	// are no alert rules that ask it.
	PrometheusURL string
	Tenants       []Tenant
	// Client is http.DefaultClient's when nil.
	Client *http.Client
}

// ClickHouse is how Grafana reaches a database.
type ClickHouse struct {
	Host     string
	Port     int
	Protocol string // native or http
	Secure   bool   // over TLS
	Database string
	User     string
	Password string
}

// Tenant is one whose viewers get a team, a folder and dashboards of their own.
type Tenant struct {
	// ID is that of the calls; Name is a DNS label.
	ID, Name, Title string
	// User of ClickHouse whose row policies show the calls of this tenant alone: see AccessStatements.
	User, Password string
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		add("url: is not the URL of a Grafana, as in https://grafana.example.com")
	}
	if c.Token == "" {
		add("token: is empty; give that of a service account with the role Admin")
	}
	if c.ClickHouse.Host == "" || c.ClickHouse.Port <= 0 || c.ClickHouse.Database == "" || c.ClickHouse.User == "" {
		add("clickhouse: host, port, database and user must be given")
	}
	if c.ClickHouse.Protocol != "native" && c.ClickHouse.Protocol != "http" {
		add("clickhouse: the protocol %q is not native or http", c.ClickHouse.Protocol)
	}
	users := map[string]bool{c.ClickHouse.User: true}
	for i, t := range c.Tenants {
		if t.ID == "" || !nameForm.MatchString(t.Name) {
			add("tenants[%d]: an id, and a name of up to 20 lower-case letters, digits and hyphens must be given", i)
		}
		if t.User == "" || users[t.User] {
			add("tenants[%d]: the ClickHouse user %q is missing or used twice: each tenant needs one of its own, who sees its calls alone", i, t.User)
		}
		users[t.User] = true
	}
	return errors.Join(errs...)
}

// Result counts what is there afterwards.
type Result struct {
	Folders, DataSources, Dashboards, AlertRules, Teams int
}

// Provision makes Grafana as the configuration says. It stops at the first failure; run again, it goes on.
func Provision(ctx context.Context, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, fmt.Errorf("provision Grafana: the configuration is not valid: %w", err)
	}
	p := &provisioner{api: api(c), config: c}
	err := p.installation(ctx)
	for _, t := range c.Tenants {
		if err != nil {
			break
		}
		err = p.tenant(ctx, t)
	}
	if err != nil {
		return p.done, fmt.Errorf("provision Grafana: %w", err)
	}
	return p.done, nil
}

// api returns a client with a transport of its own.
func api(c Config) *client.GrafanaHTTPAPI {
	u, _ := url.Parse(c.URL) // was checked
	own := c.Client
	if own == nil {
		own = &http.Client{Timeout: 30 * time.Second}
	}
	config := client.DefaultTransportConfig().WithHost(u.Host).WithSchemes([]string{u.Scheme}).WithBasePath(strings.TrimSuffix(u.Path, "/") + "/api")
	transport := httptransport.NewWithClient(config.Host, config.BasePath, config.Schemes, own)
	transport.DefaultAuthentication = httptransport.BearerToken(c.Token)
	transport.Consumers[runtime.JSONMime] = runtime.ConsumerFunc(func(r io.Reader, into any) error { return json.NewDecoder(r).Decode(into) })
	return client.New(transport, config, strfmt.Default)
}

type provisioner struct {
	api    *client.GrafanaHTTPAPI
	config Config
	done   Result
}

const installationFolder = "tollgate"

func (p *provisioner) installation(ctx context.Context) error {
	scope := dashboards.Installation()
	if err := p.clickHouse(ctx, scope.ClickHouse, "Tollgate", p.config.ClickHouse.User, p.config.ClickHouse.Password); err != nil {
		return err
	}
	if p.config.PrometheusURL != "" {
		if err := p.prometheus(ctx, scope.Prometheus); err != nil {
			return err
		}
	}
	if err := p.folder(ctx, installationFolder, "Tollgate"); err != nil {
		return err
	}
	// Nobody but editors and administrators: viewers belong to tenants.
	if err := p.permissions(ctx, installationFolder, 0); err != nil {
		return err
	}
	if err := p.dashboards(ctx, scope, installationFolder); err != nil {
		return err
	}
	for _, rule := range dashboards.AlertRules(scope) {
		if rule.DataSource == scope.Prometheus && p.config.PrometheusURL == "" {
			continue
		}
		if err := p.alertRule(ctx, rule); err != nil {
			return err
		}
	}
	return nil
}

func (p *provisioner) tenant(ctx context.Context, t Tenant) error {
	uid := "tollgate-" + t.Name
	title := t.Title
	if title == "" {
		title = t.Name
	}
	if err := p.clickHouse(ctx, uid, "Tollgate "+t.Name, t.User, t.Password); err != nil {
		return err
	}
	if err := p.folder(ctx, uid, "Tollgate: "+title); err != nil {
		return err
	}
	team, err := p.team(ctx, "Tollgate "+t.Name+" viewers")
	if err != nil {
		return err
	}
	if err := p.permissions(ctx, uid, team); err != nil {
		return err
	}
	return p.dashboards(ctx, dashboards.Scope{Tenant: t.ID, Suffix: "-" + t.Name, ClickHouse: uid, Prometheus: dashboards.Installation().Prometheus}, uid)
}
