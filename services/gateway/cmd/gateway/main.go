// Command gateway runs a gateway as a process of its own.
package main

import (
	"context"
	"os"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/config"
	"github.com/tollgate/tollgate/libs/telemetry"

	"github.com/tollgate/tollgate/services/gateway"
)

func main() {
	config.Exit(config.Process[gateway.Config]{
		Name:        "gateway",
		Description: "The request path: routes, authenticates, limits, forwards and records calls.",
		Validate:    gateway.Config.Validate,
		Health:      func(ctx context.Context, c gateway.Config) error { return telemetry.Probe(ctx, c.AdminListen) },
		Run:         run,
	})
}

func run(ctx context.Context, c gateway.Config) error {
	log := telemetry.Logger(c.Telemetry, os.Stderr, "gateway")
	b, err := bus.Connect(c.BusConfig())
	if err != nil {
		return err
	}
	defer b.Close()
	g, err := gateway.New(c, gateway.Deps{Bus: b, Log: log, Registry: telemetry.Registry()})
	if err != nil {
		return err
	}
	return g.Run(ctx)
}
