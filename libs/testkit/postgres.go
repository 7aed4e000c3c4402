package testkit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tollgate/tollgate/libs/engine"
)

// dropTimeout bounds what a test's cleanup does to a server.
const dropTimeout = 30 * time.Second

// Postgres makes a fresh PostgreSQL database and returns its URL. It is dropped at the test's end.
func Postgres(tb testing.TB) string {
	tb.Helper()
	return Database(tb, "test")
}

// Database makes a fresh PostgreSQL database whose name begins with name (lower case letters, digits, underscores) and returns
// the URL for the role that owns it. The role is no superuser: row-level security binds it where a table says FORCE ROW LEVEL
// SECURITY. Database and role are dropped at the test's end, with the connections still open.
//
// The shared server runs without fsync: data survives a killed process, not a lost machine. See PostgresServer for one that
// syncs, or that the test may kill.
func Database(tb testing.TB, name string) string {
	tb.Helper()
	superuserURL := os.Getenv("TOLLGATE_TEST_POSTGRES_URL")
	if superuserURL == "" {
		running, err := shared.postgres.get(func(ctx context.Context, folder string) (*engine.Postgres, error) {
			return startPostgres(ctx, folder, slog.New(slog.DiscardHandler), true)
		})
		if err != nil {
			tb.Fatalf("testkit: a test needs PostgreSQL: %v", err)
		}
		superuserURL = running.URL("postgres")
	}
	created, err := freshDatabase(tb, superuserURL, name)
	if err != nil {
		tb.Fatalf("testkit: %v", err)
	}
	return created
}

func freshDatabase(tb testing.TB, superuserURL, prefix string) (string, error) {
	name := unique(prefix)
	ctx := tb.Context()
	if err := engine.CreateDatabase(ctx, superuserURL, name, name); err != nil {
		return "", err
	}
	tb.Cleanup(func() {
		// The test's context ends before its cleanups.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
		defer cancel()
		if err := engine.DropDatabase(ctx, superuserURL, name); err != nil {
			tb.Errorf("testkit: %v", err)
		}
	})
	address, err := url.Parse(superuserURL)
	if err != nil {
		return "", fmt.Errorf("read TOLLGATE_TEST_POSTGRES_URL: not a URL such as postgres://user:password@host:5432/postgres")
	}
	address.User, address.Path = url.UserPassword(name, name), "/"+name
	return address.String(), nil
}

// unique makes a name that no other test uses, at most 63 bytes long.
func unique(prefix string) string {
	random := make([]byte, 6)
	_, _ = rand.Read(random) // never fails, see crypto/rand
	return fmt.Sprintf("%.40s_%s", prefix, hex.EncodeToString(random))
}

// PostgresOption changes a server of PostgresServer.
type PostgresOption func(*postgresOptions)

type postgresOptions struct{ sync bool }

// Fsync makes PostgreSQL write to the disk before it acknowledges, as it does in production: for benchmarks.
func Fsync() PostgresOption {
	return func(o *postgresOptions) { o.sync = true }
}

// PostgresServer starts a PostgreSQL server for this test alone, which may kill and stop it, and removes it at the test's end.
func PostgresServer(tb testing.TB, options ...PostgresOption) *engine.Postgres {
	tb.Helper()
	var chosen postgresOptions
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
	running, err := startPostgres(ctx, folder, Logger(tb), !chosen.sync)
	if err != nil {
		tb.Fatalf("testkit: a test needs PostgreSQL: %v", err)
	}
	tb.Cleanup(func() {
		if err := running.Stop(context.WithoutCancel(ctx)); err != nil {
			tb.Errorf("testkit: %v", err)
		}
	})
	return running
}

// startPostgres starts a server on a copy of the template, which spares each test binary the making of a cluster.
func startPostgres(ctx context.Context, folder string, log *slog.Logger, noSync bool) (*engine.Postgres, error) {
	engines, err := engine.Find()
	if err != nil {
		return nil, err
	}
	template, err := postgresTemplate(ctx, engines)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(folder, "postgres")
	if err := copyTree(ctx, template, data); err != nil {
		return nil, err
	}
	return engine.StartPostgres(ctx, engine.PostgresConfig{Engines: engines, Data: data, Log: log, NoSync: noSync})
}
