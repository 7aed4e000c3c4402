// Package metering is the service that counts: it keeps the usage ledger, the balances of quotas and the leases that gateways
// spend from, and knows up to when every gateway has told of its calls.
//
// Only deploy/tollgate, integration and this module's own command import it.
package metering

import (
	"context"
	"fmt"
	"io"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/metering/internal/api"
	"github.com/tollgate/tollgate/services/metering/internal/app"
	"github.com/tollgate/tollgate/services/metering/internal/follow"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// Config of metering.
type Config struct {
	Service service.Config `embed:""`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error { return c.Service.Validate() }

// Metering is the service, built.
type Metering struct {
	base  *service.Base
	api   *operation.API
	calls []*follow.Calls
}

// New opens the database, migrates it and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Metering, error) {
	base, err := service.Open(ctx, "metering", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(ctx, base)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("metering: %w", err)
	}
	return s, nil
}

func build(ctx context.Context, base *service.Base) (*Metering, error) {
	useCases := app.New(base.Events, base.DB, base.Bus, base.Clock, base.Log)
	if err := useCases.EnsurePartitions(ctx); err != nil {
		return nil, err
	}
	if err := base.Follow("catalog", follow.Plans); err != nil {
		return nil, err
	}
	if err := base.Follow("subscription", follow.Subscriptions); err != nil {
		return nil, err
	}
	metrics, err := follow.NewMetrics(base.Registry)
	if err != nil {
		return nil, err
	}
	s := &Metering{base: base}
	for partition := range bus.Partitions {
		calls := follow.NewCalls(useCases, base.Bus, partition, metrics, base.Log)
		s.calls = append(s.calls, calls)
		base.Add("calls", calls.Run)
		base.Check(calls.Err)
	}
	base.Add("keeper", useCases.Keeper().Run)
	base.Check(useCases.Keeper().Err)
	if s.api, err = base.API("Metering"); err != nil {
		return nil, err
	}
	api.Register(s.api, useCases)
	return s, base.Audit(s.api, "Metering", "metering.read", app.AuditStates())
}

// Ready is closed once the service answers.
func (s *Metering) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Metering) Run(ctx context.Context) error { return s.base.Run(ctx, s.api) }

// Maintain does a maintenance task in place of Run: see service.Base.
func (s *Metering) Maintain(ctx context.Context, task string, out io.Writer) error {
	return s.base.Maintain(ctx, task, out)
}

// API returns the table of operations, for calls in process and for tests.
func (s *Metering) API() *operation.API { return s.api }

// WaitFor waits until the calls of a partition are metered up to a message of the stream CALLS.
func (s *Metering) WaitFor(ctx context.Context, partition int, sequence uint64) error {
	return s.calls[partition].WaitFor(ctx, sequence)
}
