package service

import (
	"context"
	"io"
	"os"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/config"
	"github.com/tollgate/tollgate/libs/telemetry"
)

// Runner is a service that was built. One of both is called, once.
type Runner interface {
	Run(ctx context.Context) error
	// Maintain does a maintenance task instead: see Base.Maintain.
	Maintain(ctx context.Context, task string, out io.Writer) error
}

// Main runs one service as a process of its own, or does a maintenance task of it (see Base.Maintain): it reads the
// configuration, connects to NATS and builds the service. common returns the part of the configuration that every service has.
func Main[C interface{ Validate() error }, R Runner](name, description string, common func(C) Config, build func(context.Context, C, Deps) (R, error)) {
	with := func(ctx context.Context, c C, do func(R) error) error {
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
		return do(s)
	}
	config.Exit(config.Process[C]{
		Name: name, Description: description,
		Validate: func(c C) error { return c.Validate() },
		Health:   func(ctx context.Context, c C) error { return telemetry.Probe(ctx, common(c).Listen) },
		Run: func(ctx context.Context, c C) error {
			return with(ctx, c, func(s R) error { return s.Run(ctx) })
		},
		Tasks: Tasks(),
		Do: func(ctx context.Context, c C, task string) error {
			return with(ctx, c, func(s R) error { return s.Maintain(ctx, task, os.Stdout) })
		},
	})
}
