// Package catalog is the service that knows what is offered: APIs with their immutable versions, how those are served, and
// the products and plans they are sold in. It tells the gateways what to route.
//
// Only deploy/tollgate, integration and this module's own command import it.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/catalog/internal/api"
	"github.com/tollgate/tollgate/services/catalog/internal/app"
	"github.com/tollgate/tollgate/services/catalog/internal/follow"
	"github.com/tollgate/tollgate/services/catalog/internal/inspect"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

// InspectCommand is the command of a program that leads to Inspect. Programs that run catalog must have it: the service starts the
// program it is part of, with this as the only argument, to inspect documents.
const InspectCommand = "catalog-inspect"

// Inspect does the work on OpenAPI documents that may take long or much memory: a request comes from stdin, the response goes to
// stdout. The program must end when it returns, with a status other than 0 if there is an error.
func Inspect(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	return inspect.Child(ctx, stdin, stdout)
}

// Config of catalog.
type Config struct {
	Service service.Config `embed:""`
	// Documents are read by people of the tenants; without this they cannot make the service ask its own network.
	ReferencesAllowPrivate bool          `help:"Let OpenAPI documents refer to documents at loopback and private addresses." env:"TOLLGATE_REFERENCES_ALLOW_PRIVATE"`
	InspectProgram         string        `help:"Program that compares and checks OpenAPI documents, started with the argument catalog-inspect; this program when empty." env:"TOLLGATE_INSPECT_PROGRAM" placeholder:"FILE"`
	InspectTimeout         time.Duration `help:"How long comparing or checking documents may take." env:"TOLLGATE_INSPECT_TIMEOUT" default:"45s"`
	InspectMemory          int64         `help:"How much memory comparing or checking documents may take, in MiB." env:"TOLLGATE_INSPECT_MEMORY" default:"1024"`
}

// What a configuration that leaves the fields at zero has.
const (
	defaultInspectTimeout = 45 * time.Second
	defaultInspectMemory  = 1024
)

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	errs := []error{c.Service.Validate()}
	if c.InspectTimeout < 0 {
		errs = append(errs, fmt.Errorf("inspect-timeout: %v is below 0", c.InspectTimeout))
	}
	if c.InspectMemory < 0 || c.InspectMemory > 0 && c.InspectMemory < 64 {
		errs = append(errs, fmt.Errorf("inspect-memory: %d MiB is below 64", c.InspectMemory))
	}
	return errors.Join(errs...)
}

// runner returns what starts the children.
func (c Config) runner() (*inspect.Runner, error) {
	program := c.InspectProgram
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find the program that inspects documents: %w", err)
		}
	}
	timeout, memory := cmp.Or(c.InspectTimeout, defaultInspectTimeout), cmp.Or(c.InspectMemory, defaultInspectMemory)
	return inspect.NewRunner([]string{program, InspectCommand}, timeout, memory<<20), nil
}

// Catalog is the service, built.
type Catalog struct {
	base  *service.Base
	api   *operation.API
	cases *app.Catalog
}

// New opens the database, migrates it and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Catalog, error) {
	base, err := service.Open(ctx, "catalog", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(base, c)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("catalog: %w", err)
	}
	return s, nil
}

func build(base *service.Base, c Config) (*Catalog, error) {
	if err := base.Follow("catalog", follow.Documents); err != nil {
		return nil, err
	}
	base.Project(store.Projection())
	base.Publish(bus.APIsBucket)
	table, err := base.API("Catalog")
	if err != nil {
		return nil, err
	}
	runner, err := c.runner()
	if err != nil {
		return nil, err
	}
	cases := app.New(base.Events, base.DB, app.Options{Inspect: runner, Log: base.Log, AllowPrivateReferences: c.ReferencesAllowPrivate})
	base.Add("sunset", func(ctx context.Context) error { return cases.Sunset(ctx, base.Clock, base.Log) })
	api.Register(table, cases)
	if err := base.Audit(table, "Catalog", "catalog.read", app.AuditStates()); err != nil {
		return nil, err
	}
	return &Catalog{base: base, api: table, cases: cases}, nil
}

// Ready is closed once the service answers.
func (s *Catalog) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Catalog) Run(ctx context.Context) error {
	if err := s.cases.BindRoutes(ctx); err != nil {
		s.base.DB.Close()
		return fmt.Errorf("catalog: bind the routes that are served: %w", err)
	}
	return s.base.Run(ctx, s.api)
}

// Maintain does a maintenance task in place of Run: see service.Base.
func (s *Catalog) Maintain(ctx context.Context, task string, out io.Writer) error {
	return s.base.Maintain(ctx, task, out)
}

// API returns the table of operations, for calls in process and for tests.
func (s *Catalog) API() *operation.API { return s.api }
