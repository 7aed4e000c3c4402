package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/lifecycle"
	"github.com/tollgate/tollgate/libs/telemetry"
)

func dirOf(path string) string { return filepath.Dir(path) }

// Run runs the suite until ctx ends; then it stops the services in reverse order, and the engines last.
func Run(ctx context.Context, c Config) (err error) {
	if err := c.Validate(); err != nil {
		return err
	}
	release, err := lockData(&c)
	if err != nil {
		return err
	}
	defer release()
	if c.runs("gateway") {
		if err := errors.Join(claim("--listen", &c.Listen), claim("--admin", &c.Admin)); err != nil {
			return err
		}
	}
	log, closeLog, err := openLog(c)
	if err != nil {
		return err
	}
	defer closeLog()
	started := time.Now()
	fmt.Fprintln(c.Out, "Starting the engines …")
	e, err := startEngines(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.stop()) }()
	defer os.Remove(c.path("ready.json"))
	return runServices(ctx, c, e, log, started)
}

// runServices runs what was asked for on the engines. With no services it tells where the engines are and waits.
func runServices(ctx context.Context, c Config, e *engines, log *slog.Logger, started time.Time) error {
	group := lifecycle.New(log)
	group.Grace = 30 * time.Second
	group.AddSimple("engines", e.watch)
	b, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	if len(c.Services) > 0 {
		fmt.Fprintf(c.Out, "Starting %s …\n", strings.Join(c.Services, ", "))
		if _, err := b.EnsureCalls(ctx); err != nil {
			return err
		}
		s, err := newServices(c, e, log, b)
		if err != nil {
			return err
		}
		for _, name := range ServiceNames {
			if c.runs(name) {
				group.Add(name, s.part(ctx, name))
			}
		}
	}
	group.Add("ready", func(ctx context.Context, ready func()) error {
		return tellReady(ctx, c, e, b, log, started, ready)
	})
	return group.Run(ctx)
}

// tellReady loads the sample where asked for, writes ready.json and prints the summary.
func tellReady(ctx context.Context, c Config, e *engines, b *bus.Bus, log *slog.Logger, started time.Time, ready func()) error {
	r := Ready{
		ClickHouse: e.clickhouseURL(), NATS: e.natsURL, Postgres: e.postgresURL(), PID: os.Getpid(), Children: e.children(),
	}
	if c.runs("gateway") {
		r.Gateway, r.Admin = "http://"+c.Listen, "http://"+c.Admin
	}
	if c.runs("identity") {
		r.AdminTokenFile = c.path("admin-token")
	}
	stopSample := func() {}
	if c.Sample {
		fmt.Fprintln(c.Out, "Loading the weather sample …")
		var err error
		if stopSample, err = loadSample(ctx, c, &r, b, log); err != nil {
			return fmt.Errorf("load the sample: %w", err)
		}
	}
	defer stopSample()
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	// It names passwords of engines on loopback, so it is for this user only.
	if err := writePrivate(c.path("ready.json"), append(encoded, '\n')); err != nil {
		return err
	}
	summarize(c, r, time.Since(started))
	ready()
	<-ctx.Done()
	fmt.Fprintln(c.Out, "\nStopping …")
	return nil
}

// lockData makes the data directory and refuses one that another process uses.
func lockData(c *Config) (release func(), err error) {
	absolute, err := filepath.Abs(c.Data)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	c.Data = absolute
	// Engines run under another uid below it, so it can be passed through; what is secret is 0600.
	if err := os.MkdirAll(c.Data, 0o711); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	f, err := os.OpenFile(c.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("--data: %s is in use by another `tollgate up`; stop that one, or choose another directory", c.Data)
	}
	return func() { _ = f.Close() }, nil
}

func openLog(c Config) (*slog.Logger, func(), error) {
	f, err := os.OpenFile(c.path("tollgate.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	log := telemetry.Logger(telemetry.Config{LogLevel: "info", LogFormat: "json"}, f, "tollgate")
	return log, func() { _ = f.Close() }, nil
}
