// Package identity is the service that knows who acts: tenants, their members with roles and tokens, and the consumers'
// accounts, applications and credentials. It signs the short-lived tokens by which every service authorizes.
//
// Only deploy/tollgate, integration and this module's own command import it.
package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/identity/internal/api"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/follow"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// Config of identity.
type Config struct {
	Service service.Config `embed:""`
	// SealKey encrypts private keys at rest: 32 bytes in base64.
	SealKey string `help:"Key that private keys are sealed with: 32 bytes in base64." env:"TOLLGATE_SEAL_KEY" secret:"true"`
	// FirstTokenFile receives the first administrator's personal access token when there is no tenant yet.
	FirstTokenFile string `help:"File that receives the first administrator's token on an empty database; empty: no first tenant is made." env:"TOLLGATE_FIRST_TOKEN_FILE" placeholder:"FILE"`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	_, sealErr := seal.New(c.SealKey)
	return errors.Join(c.Service.Validate(), sealErr)
}

// Identity is the service, built.
type Identity struct {
	base *service.Base
	api  *operation.API
}

// New opens the database, migrates it, makes the first signing key and tenant where there are none, and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Identity, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	base, err := service.Open(ctx, "identity", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(ctx, c, base)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("identity: %w", err)
	}
	return s, nil
}

func build(ctx context.Context, c Config, base *service.Base) (*Identity, error) {
	sealer, err := seal.New(c.SealKey)
	if err != nil {
		return nil, err
	}
	useCases := app.New(base.Events, base.DB, base.Clock, sealer)
	if err := useCases.EnsureSigningKey(ctx); err != nil {
		return nil, err
	}
	if c.FirstTokenFile != "" {
		if err := useCases.Bootstrap(ctx, c.FirstTokenFile); err != nil {
			return nil, err
		}
	}
	if err := base.Follow("identity", follow.Documents); err != nil {
		return nil, err
	}
	base.Publish(bus.CredentialsBucket)
	base.Publish(bus.KeysBucket)
	table, err := base.API("Identity")
	if err != nil {
		return nil, err
	}
	api.Register(table, useCases)
	return &Identity{base: base, api: table}, nil
}

// Ready is closed once the service answers.
func (s *Identity) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Identity) Run(ctx context.Context) error { return s.base.Run(ctx, s.api) }

// API returns the table of operations, for calls in process and for tests.
func (s *Identity) API() *operation.API { return s.api }
