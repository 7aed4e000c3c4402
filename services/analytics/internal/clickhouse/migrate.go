package clickhouse

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// The migrations: files in order, each with statements that may be run again, for a migration that was cut short is. They are the
// same for an embedded engine, a server and a cluster; the engine and ON CLUSTER are filled in.
//
//go:embed migrations/*.sql
var migrations embed.FS

// dialect is what differs between a server and a cluster.
type dialect struct {
	// OnCluster follows the name of a table in DDL.
	OnCluster string
	// MergeTree and ReplacingMergeTree are engines of tables.
	MergeTree, ReplacingMergeTree string
	// Deduplication is the setting that says how many blocks a table remembers the tokens of.
	Deduplication string
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

// CheckCluster says what is wrong with the name of a cluster; empty is none.
func CheckCluster(name string) error {
	if name != "" && !clusterName.MatchString(name) {
		return fmt.Errorf("clickhouse-cluster: %q is not the name of a cluster; want letters, digits, dots, hyphens and underscores, as in system.clusters", name)
	}
	return nil
}

func dialectOf(cluster string) dialect {
	if cluster == "" {
		return dialect{MergeTree: "MergeTree", ReplacingMergeTree: "ReplacingMergeTree", Deduplication: "non_replicated_deduplication_window"}
	}
	// Without arguments the path in Keeper and the replica's name are those that the servers are configured with.
	return dialect{
		OnCluster: " ON CLUSTER '" + cluster + "'", MergeTree: "ReplicatedMergeTree", ReplacingMergeTree: "ReplicatedReplacingMergeTree",
		Deduplication: "replicated_deduplication_window",
	}
}

// Migration is a file of migrations with its statements.
type Migration struct {
	Name       string
	Statements []string
}

// Migrations returns the migrations for a cluster, or for a server when its name is empty.
func Migrations(cluster string) ([]Migration, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	all := make([]Migration, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		statements, err := render(string(text), dialectOf(cluster))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, Migration{strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql"), statements})
	}
	return all, nil
}

// render fills in and divides at the semicolons that end lines.
func render(text string, d dialect) ([]string, error) {
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var filled strings.Builder
	if err := t.Execute(&filled, d); err != nil {
		return nil, err
	}
	var all []string
	for part := range strings.SplitSeq(filled.String()+"\n", ";\n") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all, nil
}

const versionsTable = `CREATE TABLE IF NOT EXISTS calls_migrations{{.OnCluster}} (name String, done_at DateTime64(6, 'UTC')) ENGINE = {{.MergeTree}} ORDER BY name`

type migrated struct {
	Name string `ch:"name"`
}

// migrationTimeout bounds one statement of a migration, as ClickHouse builds an index in the background.
const migrationTimeout = 2 * time.Minute

// migrate runs the migrations that were not run yet. Several processes may at once.
func (t *Table) migrate(ctx context.Context, cluster string) error {
	all, err := Migrations(cluster)
	if err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	versions, err := render(versionsTable, dialectOf(cluster))
	if err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	if err := t.exec(ctx, versions[0]); err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	var done []migrated
	if err := t.conn.Select(ctx, &done, "SELECT DISTINCT name FROM calls_migrations"); err != nil {
		return fmt.Errorf("migrate ClickHouse: %w", err)
	}
	for _, m := range all {
		if slices.Contains(done, migrated{m.Name}) {
			continue
		}
		for _, statement := range m.Statements {
			if err := t.exec(ctx, statement); err != nil {
				return fmt.Errorf("migrate ClickHouse: %s: %w", m.Name, err)
			}
		}
		if err := t.exec(ctx, "INSERT INTO calls_migrations VALUES ({name:String}, now64(6))", driver.Named("name", m.Name)); err != nil {
			return fmt.Errorf("migrate ClickHouse: %s: %w", m.Name, err)
		}
	}
	return nil
}

func (t *Table) exec(ctx context.Context, statement string, values ...any) error {
	ctx, cancel := context.WithTimeout(ctx, migrationTimeout)
	defer cancel()
	return t.conn.Exec(ctx, statement, values...)
}
