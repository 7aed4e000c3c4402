package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// superuser is the name of the role that owns the cluster.
const superuser = "postgres"

// portAttempts bounds how often a free port may be taken by someone else before PostgreSQL binds it.
const portAttempts = 5

// PostgresConfig says which PostgreSQL server to run.
type PostgresConfig struct {
	Engines Dir          // where the engines are installed, see Find
	Data    string       // the data directory, made on first use; one server at a time
	Log     *slog.Logger // the server's own messages and its restarts
	Port    int          // on 127.0.0.1; 0 picks a free one
	NoSync  bool         // turns fsync off: data survives a killed server, not a lost machine; for tests only
}

// Validate reports every field that cannot work.
func (c PostgresConfig) Validate() error {
	return validate(c.Engines, c.Data, c.Log, c.Port)
}

func validate(engines Dir, data string, log *slog.Logger, port int) error {
	var problems []error
	if engines == "" {
		problems = append(problems, errors.New("Engines: missing, use what Find returns"))
	}
	if data == "" {
		problems = append(problems, errors.New("Data: missing, name a directory"))
	}
	if log == nil {
		problems = append(problems, errors.New("Log: missing"))
	}
	if port < 0 || port > 65535 {
		problems = append(problems, fmt.Errorf("Port: %d is not a port, use 1 to 65535, or 0 for a free one", port))
	}
	return errors.Join(problems...)
}

// Postgres is a running PostgreSQL server. It is safe for concurrent use.
type Postgres struct {
	*process
	port     int
	password secret
	lock     *os.File
}

// StartPostgres makes the cluster on first use, starts the server and returns when it accepts connections. Roles sign in
// with SCRAM-SHA-256 (RFC 7677) and a generated password, on loopback only. Run as root, the server runs as nobody and
// owns its part of the data directory.
//
// The server is kept running until Stop; watch Done and Err for the case that it cannot be.
func StartPostgres(ctx context.Context, c PostgresConfig) (_ *Postgres, err error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	cluster, err := openCluster(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	defer func() {
		if err != nil {
			_ = cluster.lock.Close()
		}
	}()
	for attempt := 1; ; attempt++ {
		port, err := portOrFree(c.Port)
		if err != nil {
			return nil, fmt.Errorf("start PostgreSQL: %w", err)
		}
		running, err := start(ctx, cluster.spec(port))
		if err == nil {
			return &Postgres{process: running, port: port, password: cluster.password, lock: cluster.lock}, nil
		}
		if c.Port != 0 || !errors.Is(err, errPortTaken) || attempt == portAttempts {
			return nil, err
		}
	}
}

// Stop ends the server: a fast shutdown while ctx allows it (30 s without a deadline), then an immediate one, from which
// the next start recovers. It returns when no process of the server runs any more.
func (p *Postgres) Stop(ctx context.Context) error {
	return errors.Join(p.process.Stop(ctx), closeOnce(p.lock))
}

func closeOnce(file *os.File) error {
	if err := file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("release the data directory: %w", err)
	}
	return nil
}

// Port is the server's port on 127.0.0.1. It stays the same when the server is restarted.
func (p *Postgres) Port() int { return p.port }

// URL is the address of a database for the superuser. It holds the password: never log it. The superuser bypasses row-level
// security; services get the URL of CreateDatabase.
func (p *Postgres) URL(database string) string {
	return postgresURL(p.port, superuser, string(p.password), database)
}

// CreateDatabase makes a database and a role of the same name that owns it, unless they are there already, and returns
// the URL for that role. The role is no superuser; as the owner of its tables it is bound by row-level security where a table
// says FORCE ROW LEVEL SECURITY. Its password is the same after a restart.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) (string, error) {
	password := p.password.derive(name)
	if err := CreateDatabase(ctx, p.URL("postgres"), name, password); err != nil {
		return "", err
	}
	return postgresURL(p.port, name, password, name), nil
}

func postgresURL(port int, role, password, database string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable", // loopback
	}
	return address.String()
}

func portOrFree(port int) (int, error) {
	if port != 0 {
		return port, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

var errPortTaken = errors.New("the port is taken by another process: choose another one, or 0 for a free one")

// spec says how to run the server of the cluster on a port.
func (c *cluster) spec(port int) spec {
	return spec{
		name:    "PostgreSQL",
		log:     c.config.Log,
		prepare: c.removeStaleLock,
		command: func(out *output) (*exec.Cmd, error) { return c.server(port, out), nil },
		handle:  func(line string) { logPostgres(c.config.Log, line) },
		ready:   func(ctx context.Context, pid int) bool { return c.ready(ctx, pid, port) },
		// Fast, then immediate shutdown.
		stop: []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT},
		fatal: func(lastLines string) (error, bool) {
			if strings.Contains(lastLines, "Address already in use") {
				return fmt.Errorf("127.0.0.1:%d: %w", port, errPortTaken), true
			}
			return nil, false
		},
	}
}

func (c *cluster) server(port int, out *output) *exec.Cmd {
	settings := []string{
		"port=" + strconv.Itoa(port),
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=", // none: the password is the only way in
		"password_encryption=scram-sha-256",
		"max_connections=200",
		"shared_buffers=128MB",
		"timezone=UTC",
		"log_timezone=UTC",
		"log_line_prefix=",
		// Details quote the values of rows.
		"log_error_verbosity=terse",
		"log_min_error_statement=panic",
		"logging_collector=off",
	}
	if c.config.NoSync {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	arguments := []string{"-D", c.path}
	for _, setting := range settings {
		arguments = append(arguments, "-c", setting)
	}
	command := c.command("postgres", arguments...)
	// An immediate shutdown: nothing acknowledged is lost, and nothing is left running.
	command.SysProcAttr = processAttributes(c.account, syscall.SIGQUIT)
	command.Stdout, command.Stderr = out, out
	return command
}

// ready reports whether the server accepts connections: it says so in its lock file, and a connection proves it.
func (c *cluster) ready(ctx context.Context, pid, port int) bool {
	lines, err := c.lockFile()
	if err != nil || len(lines) < 8 || lines[0] != strconv.Itoa(pid) || strings.TrimSpace(lines[7]) != "ready" {
		return false
	}
	connection, err := pgx.Connect(ctx, postgresURL(port, superuser, string(c.password), "postgres"))
	if err != nil {
		return false
	}
	_ = connection.Close(ctx)
	return true
}

// lockFile reads the lines of postmaster.pid.
func (c *cluster) lockFile() ([]string, error) {
	content, err := os.ReadFile(filepath.Join(c.path, "postmaster.pid"))
	if err != nil {
		return nil, err
	}
	return strings.Split(string(content), "\n"), nil
}

// logPostgres passes a line of the server's on. A client's error is the client's to report, so it is a detail here.
func logPostgres(log *slog.Logger, line string) {
	severity, _, _ := strings.Cut(line, ":")
	switch severity {
	case "PANIC":
		log.Error(line, "engine", "PostgreSQL")
	case "WARNING", "FATAL":
		log.Warn(line, "engine", "PostgreSQL")
	default:
		log.Debug(line, "engine", "PostgreSQL")
	}
}
