// Package billing is the service that turns usage into invoices: it keeps the billing periods of subscriptions, rates their
// usage, proves it call by call, and finalizes invoices with gapless numbers, by command and on schedule.
//
// A subscription has one invoice per billing period, made after the period's end: amounts due in advance and in arrears
// alike stand on it. A period whose calls are not complete, or whose counters do not agree, is held with its cause and tried
// again.
//
// Only deploy/tollgate, integration and this module's own command import it.
package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/billing/internal/api"
	"github.com/tollgate/tollgate/services/billing/internal/app"
	"github.com/tollgate/tollgate/services/billing/internal/follow"
	"github.com/tollgate/tollgate/services/billing/internal/store"
)

// Config of billing.
type Config struct {
	Service service.Config `embed:""`
	// Schedule is how often periods that have ended are looked for; a minute when zero.
	Schedule time.Duration `help:"How often billing periods that have ended are looked for and billed." env:"TOLLGATE_BILLING_SCHEDULE" default:"1m"`
	// Manual leaves the schedule out: periods are billed by billing runs alone.
	Manual bool `help:"Bill by command only, not on schedule." env:"TOLLGATE_BILLING_MANUAL"`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	errs := []error{c.Service.Validate()}
	if c.Schedule < 0 {
		errs = append(errs, fmt.Errorf("schedule: %s is negative; give a duration as in 1m", c.Schedule))
	}
	return errors.Join(errs...)
}

// Billing is the service, built.
type Billing struct {
	base *service.Base
	api  *operation.API
}

// New opens the database, migrates it and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Billing, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("billing: %w", err)
	}
	base, err := service.Open(ctx, "billing", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(c, base)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("billing: %w", err)
	}
	return s, nil
}

func build(c Config, base *service.Base) (*Billing, error) {
	for log, handle := range map[string]eventlog.Handle{
		"identity": follow.Identity, "catalog": follow.Catalog, "subscription": follow.Subscription,
	} {
		if err := base.Follow(log, handle); err != nil {
			return nil, err
		}
	}
	base.Project(store.Projection())
	useCases := app.New(base.Events, base.DB, base.Bus, base.Clock, base.Log)
	base.Add("runs", useCases.WorkRuns)
	if !c.Manual {
		interval := cmp.Or(c.Schedule, time.Minute)
		base.Add("schedule", func(ctx context.Context) error { return useCases.Schedule(ctx, interval) })
	}
	table, err := base.API("Billing")
	if err != nil {
		return nil, err
	}
	api.Register(table, useCases)
	if err := base.Audit(table, "Billing", "billing.read", app.AuditStates()); err != nil {
		return nil, err
	}
	return &Billing{base: base, api: table}, nil
}

// Ready is closed once the service answers.
func (s *Billing) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Billing) Run(ctx context.Context) error { return s.base.Run(ctx, s.api) }

// Maintain does a maintenance task in place of Run: see service.Base.
func (s *Billing) Maintain(ctx context.Context, task string, out io.Writer) error {
	return s.base.Maintain(ctx, task, out)
}

// API returns the table of operations, for calls in process and for tests.
func (s *Billing) API() *operation.API { return s.api }
