// Package subscription is the service that knows who may use what: applications' subscriptions to products under plan
// versions, from request to cancellation. It tells the gateways what each application is entitled to.
//
// Only deploy/tollgate, integration and this module's own command import it.
package subscription

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/subscription/internal/api"
	"github.com/tollgate/tollgate/services/subscription/internal/app"
	"github.com/tollgate/tollgate/services/subscription/internal/follow"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Config of subscription.
type Config struct {
	Service service.Config `embed:""`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error { return c.Service.Validate() }

// Subscription is the service, built.
type Subscription struct {
	base *service.Base
	api  *operation.API
}

// New opens the database, migrates it and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Subscription, error) {
	base, err := service.Open(ctx, "subscription", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(base)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("subscription: %w", err)
	}
	return s, nil
}

func build(base *service.Base) (*Subscription, error) {
	useCases := app.New(base.Events, base.DB)
	err := errors.Join(
		base.Follow("identity", follow.Identity(useCases)),
		base.Follow("catalog", follow.Catalog),
		base.Follow("subscription", follow.Documents),
	)
	if err != nil {
		return nil, err
	}
	base.Publish(bus.EntitlementsBucket)
	table, err := base.API("Subscription")
	if err != nil {
		return nil, err
	}
	api.Register(table, useCases)
	return &Subscription{base: base, api: table}, nil
}

// Ready is closed once the service answers.
func (s *Subscription) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Subscription) Run(ctx context.Context) error { return s.base.Run(ctx, s.api) }

// API returns the table of operations, for calls in process and for tests.
func (s *Subscription) API() *operation.API { return s.api }
