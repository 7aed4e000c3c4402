package testkit

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/tollgate/tollgate/libs/engine"
)

// ClickHouse makes a fresh ClickHouse database and returns its URL, http://user:password@host:port/database, for clickhouse.ParseDSN. It is
// dropped at the test's end.
func ClickHouse(tb testing.TB) string {
	tb.Helper()
	serverURL := os.Getenv("TOLLGATE_TEST_CLICKHOUSE_URL")
	if serverURL == "" {
		running, err := shared.clickHouse.get(func(ctx context.Context, folder string) (*engine.ClickHouse, error) {
			return startClickHouse(ctx, folder, slog.New(slog.DiscardHandler), clickHouseOptions{})
		})
		if err != nil {
			tb.Fatalf("testkit: a test needs ClickHouse: %v", err)
		}
		serverURL = running.URL("default")
	}
	created, err := freshClickHouseDatabase(tb, serverURL)
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	return created
}

func freshClickHouseDatabase(tb testing.TB, serverURL string) (string, error) {
	address, err := url.Parse(serverURL)
	if err != nil {
		return "", errors.New("read TOLLGATE_TEST_CLICKHOUSE_URL: not a URL such as http://user:password@host:8123")
	}
	name := unique("test")
	ctx := tb.Context()
	if err := engine.CreateClickHouseDatabase(ctx, serverURL, name); err != nil {
		return "", err
	}
	tb.Cleanup(func() {
		// The test's context ends before its cleanups.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
		defer cancel()
		if err := engine.DropClickHouseDatabase(ctx, serverURL, name); err != nil {
			tb.Errorf("testkit: %v", err)
		}
	})
	address.Path = "/" + name
	return address.String(), nil
}

// ClickHouseOption changes a server of ClickHouseServer.
type ClickHouseOption func(*clickHouseOptions)

type clickHouseOptions struct {
	memoryLimit int64
	queries     int
}

// MemoryLimit bounds the memory of the engine, in bytes.
func MemoryLimit(bytes int64) ClickHouseOption {
	return func(o *clickHouseOptions) { o.memoryLimit = bytes }
}

// Queries is how many statements run side by side.
func Queries(count int) ClickHouseOption {
	return func(o *clickHouseOptions) { o.queries = count }
}

// ClickHouseServer starts a ClickHouse engine for this test alone, which may kill and stop it, and removes it at the test's end.
func ClickHouseServer(tb testing.TB, options ...ClickHouseOption) *engine.ClickHouse {
	tb.Helper()
	var chosen clickHouseOptions
	for _, option := range options {
		option(&chosen)
	}
	folder, remove, err := temporaryFolder()
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	tb.Cleanup(func() {
		if err := remove(); err != nil {
			tb.Errorf("testkit: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	running, err := startClickHouse(ctx, folder, Logger(tb), chosen)
	if err != nil {
		tb.Fatalf("testkit: a test needs ClickHouse: %v", err)
	}
	tb.Cleanup(func() {
		if err := running.Stop(context.WithoutCancel(ctx)); err != nil {
			tb.Errorf("testkit: %v", err)
		}
	})
	return running
}

func startClickHouse(ctx context.Context, folder string, log *slog.Logger, options clickHouseOptions) (*engine.ClickHouse, error) {
	engines, err := engine.Find()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(folder, "clickhouse-engine")
	if err := buildProgram(ctx, "github.com/tollgate/tollgate/libs/engine/cmd/clickhouse-engine", program); err != nil {
		return nil, err
	}
	return engine.StartClickHouse(ctx, engine.ClickHouseConfig{
		Engines: engines, Data: filepath.Join(folder, "clickhouse"), Log: log, Command: []string{program},
		MemoryLimit: options.memoryLimit, Queries: options.queries,
	})
}
