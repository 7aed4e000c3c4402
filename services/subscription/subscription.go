// Package subscription is the service that knows who may use what: applications' subscriptions to products under plan
// versions, from request to cancellation. It tells the gateways what each application is entitled to.
//
// Only deploy/tollgate, integration and this module's own command import it.
package subscription

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/subscription/internal/api"
	"github.com/tollgate/tollgate/services/subscription/internal/app"
	"github.com/tollgate/tollgate/services/subscription/internal/follow"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Config of subscription.
type Config struct {
	Service service.Config `embed:""`
	// SealKey encrypts the secrets of webhooks, and messages that wait, at rest: 32 bytes in base64. Without it there are neither
	// webhooks nor mail, nor their operations.
	SealKey string        `help:"Key that secrets are sealed with: 32 bytes in base64; empty: no webhooks and no mail." env:"TOLLGATE_SEAL_KEY" secret:"true"`
	Notify  notify.Config `embed:""`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	errs := []error{c.Service.Validate(), c.Notify.Validate()}
	if c.SealKey != "" {
		_, err := seal.New(c.SealKey)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Subscription is the service, built.
type Subscription struct {
	base *service.Base
	api  *operation.API
}

// New opens the database, migrates it and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Subscription, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("subscription: %w", err)
	}
	base, err := service.Open(ctx, "subscription", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(ctx, c, base)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("subscription: %w", err)
	}
	return s, nil
}

func build(ctx context.Context, c Config, base *service.Base) (*Subscription, error) {
	useCases := app.New(base.Events, base.DB)
	outbox, err := tell(ctx, c, base, useCases)
	if err != nil {
		return nil, err
	}
	sweeper := app.NewSweeper(useCases, base.Clock, base.Log)
	err = errors.Join(
		base.Follow("identity", follow.Identity(useCases)),
		base.Follow("catalog", follow.Catalog),
		base.Follow("subscription", follow.Own),
		// Those who are told wait for themselves alone. Without an outbox it passes over what nobody is told of.
		base.FollowBeside("notify", "subscription", useCases.Notify),
	)
	if err != nil {
		return nil, err
	}
	base.Project(store.Projection())
	base.Publish(bus.EntitlementsBucket)
	base.Add("sweeper", sweeper.Run)
	base.Check(sweeper.Err)
	table, err := base.API("Subscription")
	if err != nil {
		return nil, err
	}
	api.Register(table, useCases)
	if err := base.Audit(table, "Subscription", api.Read, app.AuditStates()); err != nil {
		return nil, err
	}
	if outbox != nil {
		base.Add("notify", outbox.Run)
		api.RegisterNotifications(table, useCases)
		notify.Register(table, outbox, "Subscription", api.Read, api.Write)
	}
	return &Subscription{base: base, api: table}, nil
}

// tell gives the use cases an outbox to tell others with; nil without a seal key, which is an error once somebody is to be told.
func tell(ctx context.Context, c Config, base *service.Base, useCases *app.Subscriptions) (*notify.Outbox, error) {
	if c.SealKey == "" {
		return nil, useCases.CheckNobodyIsTold(ctx)
	}
	sealer, err := seal.New(c.SealKey)
	if err != nil {
		return nil, err
	}
	if err := notify.Migrate(ctx, base.DB); err != nil {
		return nil, err
	}
	outbox, err := notify.New(notify.Deps{DB: base.DB, Log: base.Log, Seal: sealer, Registry: base.Registry, Clock: base.Clock}, c.Notify)
	if err != nil {
		return nil, err
	}
	useCases.Tell(sealer, outbox)
	return outbox, useCases.CheckSealKey(ctx)
}

// Ready is closed once the service answers.
func (s *Subscription) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Subscription) Run(ctx context.Context) error { return s.base.Run(ctx, s.api) }

// Maintain does a maintenance task in place of Run: see service.Base.
func (s *Subscription) Maintain(ctx context.Context, task string, out io.Writer) error {
	return s.base.Maintain(ctx, task, out)
}

// API returns the table of operations, for calls in process and for tests.
func (s *Subscription) API() *operation.API { return s.api }
