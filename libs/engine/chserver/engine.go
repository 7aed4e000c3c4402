package chserver

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// engine is the library with a data directory open. It is safe for concurrent use.
type engine struct {
	library   *library
	arguments []string
	keeper    *connection // never used for a statement: it keeps the engine up while no session is open
	sessions  atomic.Uint64
}

// markSetting carries a session's mark into system.processes, where a query's settings are listed. The engine gives queries ids of its
// own choice, so something else has to tell them apart; this setting has no other effect, as replace_running_query is never set.
const markSetting = "replace_running_query_max_wait_ms"

// firstMark is above every value a client may want to give the setting for its own sake.
const firstMark = 1 << 40

// openEngine writes the engine's configuration and opens its data directory.
func openEngine(c Config) (*engine, error) {
	configuration, err := writeConfiguration(c)
	if err != nil {
		return nil, err
	}
	l, err := loadLibrary(c.Library)
	if err != nil {
		return nil, err
	}
	e := &engine{library: l, arguments: []string{
		"clickhouse",
		"--path=" + filepath.Join(c.Data, "data"),
		"--config-file=" + configuration,
		fmt.Sprintf("--max_server_memory_usage=%d", c.MemoryLimit),
	}}
	e.sessions.Store(firstMark)
	if e.keeper = l.open(e.arguments...); e.keeper == nil {
		return nil, fmt.Errorf("open the ClickHouse data in %s: the engine refused; its reason is in the output above", c.Data)
	}
	return e, nil
}

func (e *engine) close() { e.library.closeConnection(e.keeper) }

// open starts a session. It takes less than a millisecond.
func (e *engine) open() (*session, error) {
	opened := e.library.open(e.arguments...)
	if opened == nil {
		return nil, errors.New("the ClickHouse engine refused a connection")
	}
	return &session{engine: e, connection: opened, mark: e.sessions.Add(1)}, nil
}

// kill ends the queries of a session, which run on another thread. A session without a query is no error.
func (e *engine) kill(mark uint64) {
	killer, err := e.open()
	if err != nil {
		return // tried again by the caller
	}
	defer killer.close()
	r := call(e.library.query, *killer.connection, "KILL QUERY WHERE "+markCondition(mark)+" ASYNC", "Null", nil)
	e.library.destroyResult(r)
}

func markCondition(mark uint64) string {
	return fmt.Sprintf("Settings['%s'] = '%d'", markSetting, mark)
}

// version asks the engine for its version.
func (e *engine) version(ctx context.Context) (string, error) {
	s, err := e.open()
	if err != nil {
		return "", err
	}
	defer s.close()
	var version string
	_, err = s.run(ctx, "SELECT version()", "TabSeparatedRaw", nil, func(content []byte) error {
		version = strings.TrimSpace(string(content))
		return nil
	})
	return version, err
}

// outwardEngines are the table engines that read or write outside the engine's own data.
var outwardEngines = []string{
	"ArrowFlight", "AzureBlobStorage", "AzureQueue", "DeltaLake", "Executable", "ExecutablePool", "ExternalDistributed", "File", "FileLog",
	"HDFS", "Hive", "Hudi", "Iceberg", "IcebergAzure", "IcebergHDFS", "IcebergLocal", "IcebergS3", "JDBC", "Kafka", "MaterializedPostgreSQL",
	"MongoDB", "MySQL", "NATS", "ODBC", "PostgreSQL", "RabbitMQ", "Redis", "S3", "S3Queue", "SQLite", "URL", "YTsaurus",
}

// writeConfiguration writes the engine's configuration files. They are made anew at every start: nothing in them is the user's.
func writeConfiguration(c Config) (path string, err error) {
	users := filepath.Join(c.Data, "users.xml")
	var grants strings.Builder
	for _, statement := range []string{
		"GRANT ALL ON *.*",
		// Sources are the table functions that reach files, addresses and programs.
		"REVOKE SOURCES ON *.*",
		"REVOKE SYSTEM SHUTDOWN ON *.*",
	} {
		grants.WriteString("<query>" + statement + "</query>")
	}
	for _, outward := range outwardEngines {
		grants.WriteString("<query>REVOKE TABLE ENGINE ON " + outward + "</query>")
	}
	var profile strings.Builder
	for name, value := range map[string]int64{
		"max_memory_usage": c.MemoryLimit / 2,
		// With the default limit of 4 GiB these are ClickHouse's own 256 MiB: what is inserted as one part.
		"min_insert_block_size_bytes": c.MemoryLimit / 16,
		"max_insert_block_size_bytes": c.MemoryLimit / 16,
		// The profilers signal threads of the Go runtime.
		"query_profiler_real_time_period_ns": 0,
		"query_profiler_cpu_time_period_ns":  0,
	} {
		fmt.Fprintf(&profile, "<%s>%d</%s>", name, value, name)
	}
	for file, content := range map[string]string{
		filepath.Join(c.Data, "config.xml"): "<users_config>" + escapeXML(users) + "</users_config>" +
			// Where BACKUP … TO File('NAME') writes and RESTORE reads: nowhere else.
			"<backups><allowed_path>" + escapeXML(filepath.Join(c.Data, "backups")) + "</allowed_path></backups>",
		users: "<profiles><default>" + profile.String() + "</default></profiles><quotas><default></default></quotas>" +
			"<users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>" +
			"<grants>" + grants.String() + "</grants></default></users>",
	} {
		if err := os.WriteFile(file, []byte("<clickhouse>"+content+"</clickhouse>\n"), 0o600); err != nil {
			return "", fmt.Errorf("write the ClickHouse engine's configuration: %w", err)
		}
	}
	return filepath.Join(c.Data, "config.xml"), nil
}

func escapeXML(s string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(s)) // a Builder takes everything
	return escaped.String()
}
