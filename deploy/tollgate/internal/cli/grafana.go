package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"

	"gopkg.in/yaml.v3"

	"github.com/tollgate/tollgate/dashboards/provision"
)

type grafanaCommand struct {
	Provision grafanaProvisionCommand `cmd:"" help:"Give a Grafana its data sources, folders, dashboards, alert rules, and a viewer team for each tenant. It may be run again at any time."`
	Users     grafanaUsersCommand     `cmd:"" help:"Print the SQL that makes the ClickHouse users of the tenants: each sees its own calls alone."`
}

type grafanaProvisionCommand struct {
	URL        string `required:"" help:"Address of Grafana, as in https://grafana.example.com." placeholder:"URL"`
	Token      string `required:"" help:"Token of a service account with the role Admin." env:"TOLLGATE_GRAFANA_TOKEN" placeholder:"TOKEN"`
	ClickHouse string `required:"" name:"clickhouse" help:"How Grafana reaches ClickHouse: clickhouse://USER:PASSWORD@HOST:9000/DATABASE (clickhouses:// over TLS), or http:// and https://. The user reads all calls and changes nothing." env:"TOLLGATE_GRAFANA_CLICKHOUSE" placeholder:"URL"`
	Prometheus string `help:"Address of Prometheus; without it there is neither data of the installation's health nor alert rules on it." placeholder:"URL"`
	Tenants    string `help:"YAML file with a list of tenants: id, name, title, user and password of ClickHouse." placeholder:"FILE"`
}

// Run provisions a Grafana.
func (g *grafanaProvisionCommand) Run(ctx context.Context, env *environment) error {
	database, err := grafanaDatabase(g.ClickHouse)
	if err != nil {
		return err
	}
	tenants, err := readTenants(g.Tenants)
	if err != nil {
		return err
	}
	done, err := provision.Provision(ctx, provision.Config{
		URL: g.URL, Token: g.Token, ClickHouse: database, PrometheusURL: g.Prometheus, Tenants: tenants,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(env.stdout, "%d folders, %d data sources, %d dashboards, %d alert rules and %d teams are there.\n",
		done.Folders, done.DataSources, done.Dashboards, done.AlertRules, done.Teams)
	return nil
}

// grafanaDatabase reads the address of a ClickHouse server.
func grafanaDatabase(text string) (provision.ClickHouse, error) {
	kinds := map[string]struct {
		protocol, port string
		secure         bool
	}{
		"clickhouse": {"native", "9000", false}, "clickhouses": {"native", "9440", true},
		"http": {"http", "8123", false}, "https": {"http", "8443", true},
	}
	u, err := url.Parse(text)
	if err != nil {
		return provision.ClickHouse{}, errors.New("--clickhouse: is not a URL") // which may hold a password
	}
	kind, ok := kinds[u.Scheme]
	if !ok || u.Hostname() == "" || len(u.Path) < 2 {
		return provision.ClickHouse{}, errors.New("--clickhouse: want clickhouse://USER:PASSWORD@HOST:9000/DATABASE, or clickhouses, http or https in place of clickhouse")
	}
	if u.Port() != "" {
		kind.port = u.Port()
	}
	port, err := strconv.Atoi(kind.port)
	if err != nil {
		return provision.ClickHouse{}, fmt.Errorf("--clickhouse: the port %q is not a number", kind.port)
	}
	password, _ := u.User.Password()
	return provision.ClickHouse{
		Host: u.Hostname(), Port: port, Protocol: kind.protocol, Secure: kind.secure, Database: u.Path[1:], User: u.User.Username(), Password: password,
	}, nil
}

// readTenants reads a file of tenants; none without one.
func readTenants(path string) ([]provision.Tenant, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--tenants: %w", err)
	}
	var listed []struct{ ID, Name, Title, User, Password string }
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&listed); err != nil {
		return nil, fmt.Errorf("--tenants: %s is not a list of tenants (id, name, title, user, password): %w", path, err)
	}
	tenants := make([]provision.Tenant, len(listed))
	for i, t := range listed {
		tenants[i] = provision.Tenant(t)
	}
	return tenants, nil
}

type grafanaUsersCommand struct {
	Tenants  string `required:"" help:"YAML file with a list of tenants: id, name, title, user and password of ClickHouse." placeholder:"FILE"`
	Database string `help:"Database of analytics." default:"analytics"`
}

// Run prints SQL. Passwords are in it as their SHA-256 only.
func (g *grafanaUsersCommand) Run(_ context.Context, env *environment) error {
	tenants, err := readTenants(g.Tenants)
	if err != nil {
		return err
	}
	for _, t := range tenants {
		sum := sha256.Sum256([]byte(t.Password))
		for _, statement := range provision.AccessStatements(g.Database, t, hex.EncodeToString(sum[:])) {
			fmt.Fprintf(env.stdout, "%s;\n", statement)
		}
	}
	return nil
}
