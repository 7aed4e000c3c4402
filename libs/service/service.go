// Package service builds what every control-plane service has alike, once: its database with migrations, its event log
// and the relay of it, the followers, the documents for gateways, the verification of tokens, and its operations over HTTP
// and NATS. A service adds its own domain.
//
// The same value runs alone (cmd/<service>), with the others in one process (deploy/tollgate) and in tests.
package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/config"
	"github.com/tollgate/tollgate/libs/documents"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/lifecycle"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/telemetry"
	"github.com/tollgate/tollgate/libs/token"
)

// Config is what every service is told. It is embedded in each service's own Config.
type Config struct {
	Listen          string `help:"Address of the service's own HTTP listener (API, health, metrics), as in 127.0.0.1:8090; empty for none: the API is then served over NATS alone." env:"TOLLGATE_LISTEN"`
	PostgresURL     string `help:"The service's own database." env:"TOLLGATE_POSTGRES_URL" secret:"true" placeholder:"URL"`
	NATSURL         string `name:"nats-url" help:"NATS servers, separated by commas." env:"TOLLGATE_NATS_URL" default:"nats://127.0.0.1:4222"`
	NATSCredentials string `name:"nats-credentials" help:"Credentials file for NATS." env:"TOLLGATE_NATS_CREDENTIALS" placeholder:"FILE"`
	NATSReplicas    int    `name:"nats-replicas" help:"Replicas of streams and buckets: 1, or 3 in a cluster." env:"TOLLGATE_NATS_REPLICAS" default:"1"`
	// AuditOrigins is 90 days when zero.
	AuditOrigins time.Duration    `help:"How long it is kept from which address a change was made, for the audit." env:"TOLLGATE_AUDIT_ORIGINS" default:"2160h"`
	Telemetry    telemetry.Config `embed:""`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.PostgresURL == "" {
		errs = append(errs, errors.New("postgres-url: is empty; give one as in postgres://catalog:SECRET@127.0.0.1:5432/catalog"))
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			errs = append(errs, fmt.Errorf("listen: %q is not host:port: %w", c.Listen, err))
		}
	}
	if c.AuditOrigins != 0 && c.AuditOrigins < time.Hour {
		errs = append(errs, fmt.Errorf("audit-origins: %s is less than 1h", c.AuditOrigins))
	}
	errs = append(errs, c.bus("").Validate())
	return errors.Join(errs...)
}

func (c Config) bus(name string) bus.Config {
	return bus.Config{URL: c.NATSURL, Name: name, Credentials: c.NATSCredentials, Replicas: max(1, c.NATSReplicas)}
}

// Deps is what a service is given.
type Deps struct {
	Bus      *bus.Bus
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Clock gives the time; time.Now when nil.
	Clock func() time.Time
}

// Base is a service before its own parts are added. It is built by one goroutine, then run once.
type Base struct {
	Name   string
	Config Config
	Deps
	DB     *postgres.DB
	Events *eventlog.Log

	verifier    *token.Verifier
	relay       *eventlog.Relay
	projections []eventlog.Projection
	followers   []*eventlog.Follower
	buckets     []*documents.Publisher
	parts       []part
	waiters     map[string]func(context.Context, uint64) error
	checks      []func() error
	ready       chan struct{}
}

type part struct {
	name string
	run  func(ctx context.Context) error
}

// Open connects to the database and migrates it: the event log's tables, the documents', the followers', the audit's and the
// service's own.
func Open(ctx context.Context, name string, c Config, d Deps, migrations fs.FS) (*Base, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if d.Bus == nil || d.Log == nil {
		return nil, fmt.Errorf("%s: Bus and Log must be given", name)
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	if d.Registry == nil {
		d.Registry = prometheus.NewRegistry()
	}
	db, err := postgres.Open(ctx, postgres.Config{URL: c.PostgresURL})
	if err != nil {
		return nil, fmt.Errorf("%s: open database: %w", name, err)
	}
	b := &Base{
		Name: name, Config: c, Deps: d, DB: db, verifier: token.NewVerifier(d.Clock),
		waiters: map[string]func(context.Context, uint64) error{}, ready: make(chan struct{}),
	}
	if err := b.prepare(ctx, migrations); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b, nil
}

func (b *Base) prepare(ctx context.Context, migrations fs.FS) (err error) {
	if b.Events, err = eventlog.New(b.DB, eventlog.Config{Name: b.Name, Clock: b.Clock}); err != nil {
		return err
	}
	if b.relay, err = eventlog.NewRelay(b.Events, b.Bus.JS, eventlog.RelayConfig{Replicas: b.Bus.Replicas, Logger: b.Log}); err != nil {
		return err
	}
	if err := b.Registry.Register(b.relay); err != nil {
		return fmt.Errorf("register metrics of the relay: %w", err)
	}
	if err := b.Events.Migrate(ctx); err != nil {
		return err
	}
	if err := errors.Join(documents.Migrate(ctx, b.DB), audit.Migrate(ctx, b.DB)); err != nil {
		return err
	}
	return b.DB.Migrate(ctx, migrations, "tollgate_"+b.Name+"_versions")
}

// Follow adds a follower of a log, which halts at an event that it cannot apply. It may be the service's own log. That of
// identity's also forgets from where members acted who are erased.
func (b *Base) Follow(log string, handle eventlog.Handle) error {
	if log == audit.IdentityLog {
		handle = audit.Forgetting(handle)
	}
	f, err := b.follow(log, log, handle)
	if err == nil {
		b.waiters[log] = f.WaitFor
	}
	return err
}

// FollowBeside adds another follower of a log, for a purpose that must neither hold up what Follow does, nor be held up by it.
func (b *Base) FollowBeside(purpose, log string, handle eventlog.Handle) error {
	_, err := b.follow(purpose, log, handle)
	return err
}

func (b *Base) follow(name, log string, handle eventlog.Handle) (*eventlog.Follower, error) {
	f, err := eventlog.NewFollower(eventlog.FollowerConfig{
		Name: b.Name + "-" + name, Follow: log, DB: b.DB, JS: b.Bus.JS, Logger: b.Log, OnFailure: eventlog.Halt, Handle: handle,
	})
	if err != nil {
		return nil, err
	}
	if err := b.Registry.Register(f); err != nil {
		return nil, fmt.Errorf("register metrics of follower %s of log %s: %w", name, log, err)
	}
	b.followers = append(b.followers, f)
	return f, nil
}

// Publish adds the publication of a bucket's documents.
func (b *Base) Publish(bucket string) {
	b.buckets = append(b.buckets, documents.NewPublisher(b.DB, b.Bus, bucket, b.Log))
}

// Add adds a part of the service's own that runs until its context ends.
func (b *Base) Add(name string, run func(ctx context.Context) error) {
	b.parts = append(b.parts, part{name, run})
}

// Check adds something that may keep the service from getting on: a function that says why, or nil. It is part of Healthy.
func (b *Base) Check(err func() error) { b.checks = append(b.checks, err) }

// API returns an empty table of operations, to be filled and given to Run.
func (b *Base) API(title string) (*operation.API, error) {
	return operation.New(operation.Config{
		Service: b.Name, Title: title, Version: config.Version, Verify: b.verifier.Verify, Waiters: b.waiters,
		Log: b.Log, Registry: b.Registry,
	})
}

// Ready is closed once the service answers.
func (b *Base) Ready() <-chan struct{} { return b.ready }

// Run runs the service until ctx ends; then it stops in reverse order and closes the database.
func (b *Base) Run(ctx context.Context, api *operation.API) error {
	defer b.DB.Close()
	group := lifecycle.New(b.Log)
	group.AddSimple("relay", b.relay.Run)
	for _, p := range b.buckets {
		group.AddSimple("documents", p.Run)
	}
	for _, f := range b.followers {
		group.AddSimple("follower", f.Run)
	}
	for _, p := range b.parts {
		group.AddSimple(p.name, p.run)
	}
	group.AddSimple("commands", b.forget)
	group.AddSimple("verifier", func(ctx context.Context) error { return b.verifier.Follow(ctx, b.Bus) })
	group.Add("api", func(ctx context.Context, ready func()) error { return api.ServeNATS(ctx, b.Bus, ready) })
	if b.Config.Listen != "" {
		group.Add("listener", func(ctx context.Context, ready func()) error { return b.serveHTTP(ctx, api, ready) })
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-group.Ready():
			close(b.ready)
		case <-ended:
		}
	}()
	return group.Run(ctx)
}

func (b *Base) serveHTTP(ctx context.Context, api *operation.API, ready func()) error {
	handler, err := api.Handler()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	health := telemetry.Handler(b.Registry, b.Healthy)
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		mux.Handle(path, health)
	}
	mux.Handle("/", handler)
	listener, err := net.Listen("tcp", b.Config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	ready()
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- server.Shutdown(grace)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// Healthy says why the service does not get on, or nil.
func (b *Base) Healthy() error {
	select {
	case <-b.ready:
	default:
		return errors.New("the service is starting")
	}
	errs := []error{b.relay.Err()}
	for _, f := range b.followers {
		// A service that another one has not told anything is as good as it can be.
		if err := f.Err(); !errors.Is(err, eventlog.ErrNoLog) {
			errs = append(errs, err)
		}
	}
	for _, p := range b.buckets {
		errs = append(errs, p.Err())
	}
	for _, check := range b.checks {
		errs = append(errs, check())
	}
	return errors.Join(errs...)
}
