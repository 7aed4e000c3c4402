package suite

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/engine"
)

// stopTimeout bounds the stop of one engine.
const stopTimeout = 20 * time.Second

// engines are what the services keep their data in: embedded ones, or real servers that were named.
type engines struct {
	config     Config
	log        *slog.Logger
	nats       *server.Server
	natsURL    string
	postgres   *engine.Postgres
	clickhouse *engine.ClickHouse
}

// startEngines starts those that no server was named for, side by side. What was started is stopped when one fails.
func startEngines(ctx context.Context, c Config, log *slog.Logger) (*engines, error) {
	e := &engines{config: c, log: log, natsURL: c.NATSURL}
	dir, err := engine.Find()
	if err != nil && (c.PostgresURL == "" || c.ClickHouseURL == "") {
		return nil, err
	}
	var wg sync.WaitGroup
	var natsErr, postgresErr, clickhouseErr error
	if c.NATSURL == "" {
		wg.Go(func() { natsErr = e.startNATS() })
	}
	if c.PostgresURL == "" {
		wg.Go(func() { postgresErr = e.startPostgres(ctx, dir) })
	}
	if c.ClickHouseURL == "" {
		wg.Go(func() { clickhouseErr = e.startClickHouse(ctx, dir) })
	}
	wg.Wait()
	if err := errors.Join(natsErr, postgresErr, clickhouseErr); err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

func (e *engines) startPostgres(ctx context.Context, dir engine.Dir) error {
	port, err := keptPort(e.config.path("postgres-port"))
	if err != nil {
		return err
	}
	e.postgres, err = engine.StartPostgres(ctx, engine.PostgresConfig{
		Engines: dir, Data: e.config.path("postgres"), Port: port, Log: e.log.With("engine", "postgres"),
	})
	return err
}

func (e *engines) startClickHouse(ctx context.Context, dir engine.Dir) error {
	port, err := keptPort(e.config.path("clickhouse-port"))
	if err != nil {
		return err
	}
	e.clickhouse, err = engine.StartClickHouse(ctx, engine.ClickHouseConfig{
		Engines: dir, Data: e.config.path("clickhouse"), Port: port, Log: e.log.With("engine", "clickhouse"), Command: e.config.ClickHouseChild,
	})
	return err
}

func (e *engines) startNATS() error {
	password, err := keptSecret(e.config.path("nats-password"), func() string { return randomHex(24) })
	if err != nil {
		return err
	}
	port, err := keptPort(e.config.path("nats-port"))
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "tollgate", Host: "127.0.0.1", Port: port, Username: "tollgate", Password: password,
		JetStream: true, StoreDir: e.config.path("nats"), SyncAlways: true, MaxPayload: bus.MaxPayload,
		NoSigs: true, NoLog: true,
	})
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	e.nats = s
	s.Start()
	if !s.ReadyForConnections(15 * time.Second) {
		return errors.New("start NATS: it is not ready after 15 seconds")
	}
	address, err := url.Parse(s.ClientURL())
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	address.User = url.UserPassword("tollgate", password)
	e.natsURL = address.String()
	return nil
}

// database makes a service's database when it is not there and returns its URL.
func (e *engines) database(ctx context.Context, service string) (string, error) {
	if e.postgres != nil {
		return e.postgres.CreateDatabase(ctx, service)
	}
	password, err := keptSecret(e.config.path("passwords", service), func() string { return randomHex(24) })
	if err != nil {
		return "", err
	}
	if err := engine.CreateDatabase(ctx, e.config.PostgresURL, service, password); err != nil {
		return "", fmt.Errorf("make the database of %s: %w", service, err)
	}
	address, err := url.Parse(e.config.PostgresURL)
	if err != nil {
		return "", fmt.Errorf("TOLLGATE_POSTGRES_URL is not a URL: %w", err)
	}
	address.User = url.UserPassword(service, password)
	address.Path = "/" + service
	return address.String(), nil
}

// connect returns a connection to NATS once it is there.
func (e *engines) connect(ctx context.Context) (*bus.Bus, error) {
	b, err := bus.Connect(bus.Config{URL: e.natsURL, Name: "tollgate", Replicas: 1})
	if err != nil {
		return nil, err
	}
	if err := b.Await(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (e *engines) postgresURL() string {
	if e.postgres != nil {
		return e.postgres.URL("postgres")
	}
	return e.config.PostgresURL
}

func (e *engines) clickhouseURL() string {
	if e.clickhouse != nil {
		return e.clickhouse.URL("")
	}
	return e.config.ClickHouseURL
}

func (e *engines) children() map[string]int {
	pids := map[string]int{}
	if e.postgres != nil {
		pids["postgres"] = e.postgres.Pid()
	}
	if e.clickhouse != nil {
		pids["clickhouse"] = e.clickhouse.Pid()
	}
	return pids
}

// failed is closed, with the reason in err, when an engine cannot be kept running.
func (e *engines) watch(ctx context.Context) error {
	var postgresDone, clickhouseDone <-chan struct{}
	if e.postgres != nil {
		postgresDone = e.postgres.Done()
	}
	if e.clickhouse != nil {
		clickhouseDone = e.clickhouse.Done()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-postgresDone:
		return fmt.Errorf("PostgreSQL cannot be kept running: %w", e.postgres.Err())
	case <-clickhouseDone:
		return fmt.Errorf("the ClickHouse engine cannot be kept running: %w", e.clickhouse.Err())
	}
}

// stop stops the engines in reverse order of their importance to the others.
func (e *engines) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	if e.nats != nil {
		e.nats.Shutdown()
		e.nats.WaitForShutdown()
	}
	if e.clickhouse != nil {
		errs = append(errs, e.clickhouse.Stop(ctx))
	}
	if e.postgres != nil {
		errs = append(errs, e.postgres.Stop(ctx))
	}
	return errors.Join(errs...)
}

// keptPort returns the loopback port of the last time, so that services which run apart find the engine again after a restart, or
// another free one when that is taken.
func keptPort(path string) (int, error) {
	l, err := listenAgain(path)
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: see crypto/rand
	return hex.EncodeToString(b)
}

func randomBase64(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: see crypto/rand
	return base64.StdEncoding.EncodeToString(b)
}

// keptSecret returns the secret of a file that only this user can read, and makes it the first time.
func keptSecret(path string, generate func() string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := generate()
	return secret, writePrivate(path, []byte(secret+"\n"))
}

// writePrivate writes a file that only this user can read, at once or not at all.
func writePrivate(path string, data []byte) error {
	if err := os.MkdirAll(dirOf(path), 0o711); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
