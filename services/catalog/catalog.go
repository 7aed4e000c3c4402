// Package catalog is the service that knows what is offered: APIs with their immutable versions, how those are served, and
// the products and plans they are sold in. It tells the gateways what to route.
//
// Only deploy/tollgate, integration and this module's own command import it.
package catalog

import (
	"context"
	"fmt"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/catalog/internal/api"
	"github.com/tollgate/tollgate/services/catalog/internal/app"
	"github.com/tollgate/tollgate/services/catalog/internal/follow"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// Config of catalog.
type Config struct {
	Service service.Config `embed:""`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error { return c.Service.Validate() }

// Catalog is the service, built.
type Catalog struct {
	base *service.Base
	api  *operation.API
}

// New opens the database, migrates it and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Catalog, error) {
	base, err := service.Open(ctx, "catalog", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(base)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return s, nil
}

func build(base *service.Base) (*Catalog, error) {
	if err := base.Follow("catalog", follow.Documents); err != nil {
		return nil, err
	}
	base.Publish(bus.APIsBucket)
	table, err := base.API("Catalog")
	if err != nil {
		return nil, err
	}
	api.Register(table, app.New(base.Events, base.DB))
	return &Catalog{base: base, api: table}, nil
}

// Ready is closed once the service answers.
func (s *Catalog) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Catalog) Run(ctx context.Context) error { return s.base.Run(ctx, s.api) }

// API returns the table of operations, for calls in process and for tests.
func (s *Catalog) API() *operation.API { return s.api }
