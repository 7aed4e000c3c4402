// Package analytics is the service that lands every call in ClickHouse, once, and answers questions about calls: the request log,
// counts, and whether what gateways answered, the stream, ClickHouse and metering agree.
//
// Only deploy/tollgate, integration and this module's own command import it.
package analytics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
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
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	return errors.Join(c.Service.Validate(), clickhouse.CheckURL(c.ClickHouseURL))
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
	table, err := clickhouse.Open(ctx, c.ClickHouseURL)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("analytics: %w", err)
	}
	s, err := build(ctx, base, table)
	if err != nil {
		base.DB.Close()
		return nil, errors.Join(fmt.Errorf("analytics: %w", err), table.Close())
	}
	return s, nil
}

func build(ctx context.Context, base *service.Base, table *clickhouse.Table) (*Analytics, error) {
	s := &Analytics{base: base, table: table, useCases: app.New(app.Deps{
		Log: base.Events, DB: base.DB, Bus: base.Bus, Table: table, Clock: base.Clock, Logger: base.Log,
	})}
	if err := s.useCases.EnsurePartitions(ctx); err != nil {
		return nil, err
	}
	for _, log := range []string{"identity", "catalog", "subscription"} {
		if err := base.Follow(log, follow.Names); err != nil {
			return nil, err
		}
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
	base.Add("pruner", s.useCases.Prune)
	if s.api, err = base.API("Analytics"); err != nil {
		return nil, err
	}
	api.Register(s.api, s.useCases, base.Clock)
	return s, nil
}

// Ready is closed once the service answers.
func (s *Analytics) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Analytics) Run(ctx context.Context) error {
	err := s.base.Run(ctx, s.api)
	return errors.Join(err, s.table.Close())
}

// API returns the table of operations, for calls in process and for tests.
func (s *Analytics) API() *operation.API { return s.api }

// WaitFor waits until the calls of a partition are landed up to a message of the stream CALLS, by whichever process.
func (s *Analytics) WaitFor(ctx context.Context, partition int, sequence uint64) error {
	return s.useCases.AwaitLanded(ctx, map[uint32]uint64{uint32(partition): sequence}, time.Hour)
}
