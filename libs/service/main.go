package service

import (
	"context"
	"os"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/config"
	"github.com/tollgate/tollgate/libs/telemetry"
)

// Runner is a service that was built.
type Runner interface {
	Run(ctx context.Context) error
}

// Main runs one service as a process of its own: it reads the configuration, connects to NATS, builds and runs.
// common returns the part of the configuration that every service has.
func Main[C interface{ Validate() error }, R Runner](name, description string, common func(C) Config, build func(context.Context, C, Deps) (R, error)) {
	config.Exit(config.Process[C]{
		Name: name, Description: description,
		Validate: func(c C) error { return c.Validate() },
		Health:   func(ctx context.Context, c C) error { return telemetry.Probe(ctx, common(c).Listen) },
		Run: func(ctx context.Context, c C) error {
			shared := common(c)
			log := telemetry.Logger(shared.Telemetry, os.Stderr, name)
			flush, err := telemetry.StartTraces(ctx, name, config.Version)
			if err != nil {
				return err
			}
			defer func() { _ = flush(context.WithoutCancel(ctx)) }()
			b, err := bus.Connect(shared.bus(name))
			if err != nil {
				return err
			}
			defer b.Close()
			if err := b.Await(ctx); err != nil {
				return err
			}
			s, err := build(ctx, c, Deps{Bus: b, Log: log, Registry: telemetry.Registry()})
			if err != nil {
				return err
			}
			return s.Run(ctx)
		},
	})
}
