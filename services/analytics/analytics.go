// Package analytics is the service that lands every call in ClickHouse, once, and answers questions about calls: the request log,
// counts, and whether what gateways answered, the stream, ClickHouse and metering agree.
//
// Only deploy/tollgate, integration and this module's own command import it.
package analytics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/analytics/internal/api"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
	"github.com/tollgate/tollgate/services/analytics/internal/clickhouse"
	"github.com/tollgate/tollgate/services/analytics/internal/follow"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Config of analytics.
type Config struct {
	Service service.Config `embed:""`
	// ClickHouseURL names a database, over the native protocol (clickhouse://) or HTTP (http://).
	ClickHouseURL string `name:"clickhouse-url" help:"The ClickHouse database that calls are landed in." env:"TOLLGATE_CLICKHOUSE_URL" secret:"true" placeholder:"URL"`
	// ClickHouseCluster makes the tables with Replicated engines, ON CLUSTER. It has one shard.
	ClickHouseCluster string `name:"clickhouse-cluster" help:"Name of the ClickHouse cluster that the tables are made in, replicated; empty for a single server." env:"TOLLGATE_CLICKHOUSE_CLUSTER"`
	// KeepMessages is 40 days when zero.
	KeepMessages time.Duration `help:"How long messages of calls stay in the stream CALLS after analytics and metering have taken them." env:"TOLLGATE_KEEP_MESSAGES" default:"960h"`
	// SealKey protects secrets and messages in the database: 32 bytes in base64. Without one nobody can be told of alerts and reports.
	SealKey string        `help:"Key that webhook secrets and messages are sealed with: 32 bytes in base64; empty: alert rules and reports are refused." env:"TOLLGATE_SEAL_KEY" secret:"true"`
	Notify  notify.Config `embed:""`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	errs := []error{c.Service.Validate(), clickhouse.CheckURL(c.ClickHouseURL), clickhouse.CheckCluster(c.ClickHouseCluster)}
	if c.KeepMessages < 0 {
		errs = append(errs, fmt.Errorf("keep-messages: %v is below 0", c.KeepMessages))
	}
	if c.SealKey != "" {
		_, err := seal.New(c.SealKey)
		errs = append(errs, err, c.Notify.Validate())
	}
	return errors.Join(errs...)
}

// Analytics is the service, built.
type Analytics struct {
	base     *service.Base
	api      *operation.API
	table    *clickhouse.Table
	useCases *app.Analytics
}

// New opens the databases, migrates them and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Analytics, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("analytics: %w", err)
	}
	base, err := service.Open(ctx, "analytics", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	table, err := clickhouse.Open(ctx, c.ClickHouseURL, c.ClickHouseCluster)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("analytics: %w", err)
	}
	s, err := build(ctx, c, base, table)
	if err != nil {
		base.DB.Close()
		return nil, errors.Join(fmt.Errorf("analytics: %w", err), table.Close())
	}
	return s, nil
}

// MigrateClickHouse makes analytics' tables in a ClickHouse database, or brings them up to date: in every server of a cluster, unless
// its name is empty. New does so too; this is for who reads the tables and runs no service.
func MigrateClickHouse(ctx context.Context, url, cluster string) error {
	table, err := clickhouse.Open(ctx, url, cluster)
	if err != nil {
		return fmt.Errorf("analytics: %w", err)
	}
	return table.Close()
}

func build(ctx context.Context, c Config, base *service.Base, table *clickhouse.Table) (*Analytics, error) {
	notifier, err := newNotifier(ctx, c, base)
	if err != nil {
		return nil, err
	}
	s := &Analytics{base: base, table: table, useCases: app.New(app.Deps{
		Log: base.Events, DB: base.DB, Bus: base.Bus, Table: table, Clock: base.Clock, Logger: base.Log, Notifier: notifier,
	})}
	if err := s.useCases.EnsurePartitions(ctx); err != nil {
		return nil, err
	}
	base.Project(store.Projection())
	logs := follow.Logs{Table: table}
	for _, log := range []string{"identity", "catalog", "subscription"} {
		if err := base.Follow(log, follow.Names); err != nil {
			return nil, err
		}
	}
	if err := base.Follow("billing", logs.Invoices); err != nil {
		return nil, err
	}
	if err := base.Follow("metering", follow.Waivers); err != nil {
		return nil, err
	}
	metrics, err := follow.NewMetrics(base.Registry)
	if err != nil {
		return nil, err
	}
	for partition := range bus.Partitions {
		calls := follow.NewCalls(s.useCases, base.DB, base.Bus, partition, metrics, base.Log)
		base.Add("calls", calls.Run)
		base.Check(calls.Err)
	}
	watch := clickhouse.NewWatch(table)
	base.Add("clickhouse", watch.Run)
	base.Check(watch.Err)
	base.Add("pruner", s.useCases.Prune)
	base.Add("stream", func(ctx context.Context) error {
		return s.useCases.PruneStream(ctx, cmp.Or(c.KeepMessages, app.DefaultKeepMessages))
	})
	base.Add("retention", s.useCases.Retain)
	base.Add("names", s.useCases.NoteNames)
	base.Add("schedule", s.useCases.Schedule)
	if s.api, err = base.API("Analytics"); err != nil {
		return nil, err
	}
	api.Register(s.api, s.useCases, base.Clock)
	if err := base.Audit(s.api, "Analytics", "analytics.read", app.AuditStates()); err != nil {
		return nil, err
	}
	if notifier != nil {
		base.Add("notify", notifier.Outbox.Run)
		notify.Register(s.api, notifier.Outbox, "Analytics", "analytics.read", "analytics.write")
	}
	return s, nil
}

// newNotifier returns nil without a seal key.
func newNotifier(ctx context.Context, c Config, base *service.Base) (*app.Notifier, error) {
	if c.SealKey == "" {
		return nil, nil
	}
	sealer, err := seal.New(c.SealKey)
	if err != nil {
		return nil, err
	}
	if err := notify.Migrate(ctx, base.DB); err != nil {
		return nil, err
	}
	outbox, err := notify.New(notify.Deps{DB: base.DB, Log: base.Log, Seal: sealer, Registry: base.Registry, Clock: base.Clock}, c.Notify)
	return &app.Notifier{Outbox: outbox, Seal: sealer}, err
}

// Ready is closed once the service answers.
func (s *Analytics) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Analytics) Run(ctx context.Context) error {
	err := s.base.Run(ctx, s.api)
	return errors.Join(err, s.table.Close())
}

// Maintain does a maintenance task in place of Run: see service.Base.
func (s *Analytics) Maintain(ctx context.Context, task string, out io.Writer) error {
	return errors.Join(s.base.Maintain(ctx, task, out), s.table.Close())
}

// API returns the table of operations, for calls in process and for tests.
func (s *Analytics) API() *operation.API { return s.api }

// WaitFor waits until the calls of a partition are landed up to a message of the stream CALLS, by whichever process.
func (s *Analytics) WaitFor(ctx context.Context, partition int, sequence uint64) error {
	return s.useCases.AwaitLanded(ctx, map[uint32]uint64{uint32(partition): sequence}, time.Hour)
}
