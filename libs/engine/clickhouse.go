package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/libs/engine/chserver/order"
)

const (
	defaultMemoryLimit = 4 << 30
	defaultQueries     = 4
	pingTimeout        = time.Second
)

// ClickHouseConfig says which ClickHouse engine to run.
type ClickHouseConfig struct {
	Engines     Dir          // where the engines are installed, see Find
	Data        string       // the data directory, made on first use; one process at a time
	Log         *slog.Logger // the engine's own messages and its restarts
	Port        int          // on 127.0.0.1; 0 picks a free one
	Command     []string     // the program that calls chserver.RunChild, with its arguments
	MemoryLimit int64        // bytes the engine may use, half of it for one query; 0 means 4 GiB
	Queries     int          // statements run side by side, more wait; 0 means 4
}

// Validate reports every field that cannot work.
func (c ClickHouseConfig) Validate() error {
	err := validate(c.Engines, c.Data, c.Log, c.Port)
	if len(c.Command) == 0 {
		err = errors.Join(err, errors.New("Command: missing, name the program to run and its arguments"))
	}
	if c.MemoryLimit < 0 {
		err = errors.Join(err, fmt.Errorf("MemoryLimit: %d is negative, use a number of bytes or 0 for the default", c.MemoryLimit))
	}
	if c.Queries < 0 {
		err = errors.Join(err, fmt.Errorf("Queries: %d is negative, use a number or 0 for the default", c.Queries))
	}
	return err
}

// ClickHouse is a running ClickHouse engine. It is safe for concurrent use.
type ClickHouse struct {
	*process
	listener *net.TCPListener
	socket   *os.File
	password secret
	lock     *os.File
}

// StartClickHouse starts the engine in a child process and returns when it answers. It speaks ClickHouse's HTTP interface on
// loopback and lets in the user default with a generated password. Run as root, the process runs as nobody and owns its part of
// the data directory.
//
//	DATA/lock       held while the engine runs
//	DATA/password   of the user default, 0600
//	DATA/store/     the engine's own files
//
// The engine is kept running until Stop; watch Done and Err for the case that it cannot be.
func StartClickHouse(ctx context.Context, c ClickHouseConfig) (_ *ClickHouse, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start ClickHouse: %w", err)
		}
	}()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	store, as, err := prepareStore(&c)
	if err != nil {
		return nil, err
	}
	ch := &ClickHouse{}
	defer func() {
		if err != nil {
			_ = ch.release()
		}
	}()
	if ch.lock, err = lock(ctx, c.Data); err != nil {
		return nil, err
	}
	if ch.password, err = keptSecret(filepath.Join(c.Data, "password")); err != nil {
		return nil, err
	}
	// The parent holds the socket: the port stays the same over restarts, and connections made meanwhile wait.
	if ch.listener, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: c.Port}); err != nil {
		return nil, err
	}
	if ch.socket, err = ch.listener.File(); err != nil {
		return nil, fmt.Errorf("share the socket: %w", err)
	}
	given, err := json.Marshal(order.Order{
		Library: c.Engines.ClickHouseLibrary(), Data: store, Password: string(ch.password),
		MemoryLimit: orDefault(c.MemoryLimit, defaultMemoryLimit), Queries: orDefault(c.Queries, defaultQueries),
	})
	if err != nil {
		return nil, fmt.Errorf("write the order: %w", err)
	}
	ch.process, err = start(ctx, ch.spec(c, as, append(given, '\n')))
	return ch, err
}

// prepareStore makes the engine's own folder and checks that its user can work there.
func prepareStore(c *ClickHouseConfig) (store string, as *account, err error) {
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return "", nil, fmt.Errorf("resolve the data directory: %w", err)
	}
	if as, err = unprivileged(); err != nil {
		return "", nil, err
	}
	if err := prepareFolder(c.Data); err != nil {
		return "", nil, err
	}
	store = filepath.Join(c.Data, "store")
	if err := os.Mkdir(store, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", nil, fmt.Errorf("make the engine's folder: %w", err)
	}
	program, err := exec.LookPath(c.Command[0])
	if err != nil {
		return "", nil, fmt.Errorf("find the program to run: %w", err)
	}
	if program, err = filepath.Abs(program); err != nil {
		return "", nil, fmt.Errorf("find the program to run: %w", err)
	}
	for _, path := range []string{store, c.Engines.ClickHouseLibrary(), program} {
		if err := as.reaches(path); err != nil {
			return "", nil, err
		}
	}
	return store, as, as.own(store)
}

func orDefault[N int | int64](value, otherwise N) N {
	if value == 0 {
		return otherwise
	}
	return value
}

func (ch *ClickHouse) spec(c ClickHouseConfig, as *account, given []byte) spec {
	client := &http.Client{Timeout: pingTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	return spec{
		name:    "ClickHouse",
		log:     c.Log,
		prepare: func(context.Context) error { return nil },
		command: func(out *output) (*exec.Cmd, error) {
			command := exec.Command(c.Command[0], c.Command[1:]...)
			command.Dir = "/"
			command.Env = []string{"TZ=UTC", "LC_ALL=C.UTF-8"}
			command.Stdout, command.Stderr = out, out
			command.ExtraFiles = []*os.File{ch.socket}
			command.SysProcAttr = processAttributes(as, syscall.SIGKILL)
			// Open as long as this process lives, which is how the child knows.
			stdin, err := command.StdinPipe()
			if err != nil {
				return nil, fmt.Errorf("make a pipe: %w", err)
			}
			if _, err := stdin.Write(given); err != nil {
				return nil, fmt.Errorf("give the order: %w", errors.Join(err, stdin.Close()))
			}
			return command, nil
		},
		handle: func(line string) { logClickHouse(c.Log, line) },
		ready:  func(ctx context.Context, _ int) bool { return ping(ctx, client, ch.address("/ping")) },
		stop:   []syscall.Signal{syscall.SIGTERM},
		fatal:  func(string) (error, bool) { return nil, false },
	}
}

// Stop ends the engine: in order while ctx allows it (30 s without a deadline), then with SIGKILL, from which the next start recovers. It
// returns when the process does not run any more.
func (ch *ClickHouse) Stop(ctx context.Context) error {
	return errors.Join(ch.process.Stop(ctx), ch.release())
}

func (ch *ClickHouse) release() error {
	var errs []error
	if ch.listener != nil {
		if err := ch.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, file := range []*os.File{ch.socket, ch.lock} {
		if file != nil {
			errs = append(errs, closeOnce(file))
		}
	}
	return errors.Join(errs...)
}

// Port is the engine's port on 127.0.0.1. It stays the same when the engine is restarted.
func (ch *ClickHouse) Port() int { return ch.listener.Addr().(*net.TCPAddr).Port }

// URL is the address of a database for clickhouse-go: http://default:password@127.0.0.1:port/database. It holds the password: never
// log it.
func (ch *ClickHouse) URL(database string) string {
	address := url.URL{
		Scheme: "http",
		User:   url.UserPassword(order.User, string(ch.password)),
		Host:   ch.listener.Addr().String(),
		Path:   "/" + database,
	}
	return address.String()
}

func (ch *ClickHouse) address(path string) string {
	return "http://" + ch.listener.Addr().String() + path
}

// ping reports whether the server at an address answers.
func ping(ctx context.Context, client *http.Client, address string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, response.Body)
	return errors.Join(err, response.Body.Close()) == nil && response.StatusCode == http.StatusOK
}

// logClickHouse passes a line of the child's on: the server's are JSON, the engine's plain text.
func logClickHouse(log *slog.Logger, line string) {
	var record struct {
		Level   slog.Level `json:"level"`
		Message string     `json:"msg"`
		Error   string     `json:"error"`
	}
	if err := json.Unmarshal([]byte(line), &record); err != nil {
		log.Warn(line, "engine", "ClickHouse")
		return
	}
	attributes := []any{"engine", "ClickHouse"}
	if record.Error != "" {
		attributes = append(attributes, "error", record.Error)
	}
	switch {
	case record.Level >= slog.LevelError:
		log.Error(record.Message, attributes...)
	case record.Level >= slog.LevelWarn:
		log.Warn(record.Message, attributes...)
	default:
		log.Debug(record.Message, attributes...)
	}
}
