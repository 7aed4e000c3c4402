package suite

import (
	"context"
	"errors"
	"log/slog"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/lifecycle"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/libs/telemetry"
	"github.com/tollgate/tollgate/services/analytics"
	"github.com/tollgate/tollgate/services/billing"
	"github.com/tollgate/tollgate/services/catalog"
	"github.com/tollgate/tollgate/services/gateway"
	"github.com/tollgate/tollgate/services/identity"
	"github.com/tollgate/tollgate/services/metering"
	"github.com/tollgate/tollgate/services/subscription"
)

// services builds the services on the engines.
type services struct {
	config  Config
	engines *engines
	log     *slog.Logger
	bus     *bus.Bus
	seal    string
}

// newServices makes the key that they share before any of them is built.
func newServices(c Config, e *engines, log *slog.Logger, b *bus.Bus) (*services, error) {
	seal, err := keptSecret(c.path("seal-key"), func() string { return randomBase64(32) })
	return &services{config: c, engines: e, log: log, bus: b, seal: seal}, err
}

// runner is a service that was built.
type runner interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
}

// part begins to build a service, all of them at once since each migrates a database of its own, and returns what runs it when its
// turn comes.
func (s *services) part(ctx context.Context, name string) lifecycle.Run {
	type outcome struct {
		service runner
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		built, err := s.build(ctx, name)
		done <- outcome{built, err}
	}()
	return func(ctx context.Context, ready func()) error {
		o := <-done
		built, err := o.service, o.err
		if err != nil {
			return err
		}
		go func() {
			select {
			case <-built.Ready():
				ready()
			case <-ctx.Done():
			}
		}()
		return built.Run(ctx)
	}
}

func (s *services) build(ctx context.Context, name string) (runner, error) {
	deps := service.Deps{Bus: s.bus, Log: s.log.With("service", name), Registry: telemetry.Registry()}
	if name == "gateway" {
		return s.gateway()
	}
	database, err := s.engines.database(ctx, name)
	if err != nil {
		return nil, err
	}
	seal := s.seal
	common := service.Config{PostgresURL: database, NATSURL: s.engines.natsURL, NATSReplicas: 1}
	messages := s.config.notify()
	switch name {
	case "identity":
		return identity.New(ctx, identity.Config{
			Service: common, SealKey: seal, Issuer: s.issuer(), SSOAllowPrivate: s.config.AllowPrivate, Notify: messages,
			FirstTokenFile: s.config.path("admin-token"),
		}, deps)
	case "catalog":
		return catalog.New(ctx, catalog.Config{Service: common, ReferencesAllowPrivate: s.config.AllowPrivate}, deps)
	case "subscription":
		return subscription.New(ctx, subscription.Config{Service: common, SealKey: seal, Notify: messages}, deps)
	case "metering":
		return metering.New(ctx, metering.Config{Service: common}, deps)
	case "analytics":
		return analytics.New(ctx, analytics.Config{Service: common, ClickHouseURL: s.engines.clickhouseURL(), SealKey: seal, Notify: messages}, deps)
	case "billing":
		return billing.New(ctx, billing.Config{Service: common}, deps)
	}
	return nil, errors.New("no such service: " + name)
}

// issuer of applications' access tokens: identity as the admin listener serves it.
func (s *services) issuer() string { return "http://" + s.config.Admin + "/identity" }

func (s *services) gateway() (runner, error) {
	return gateway.New(gateway.Config{
		Name: "gw1", Listen: s.config.Listen, AdminListen: s.config.Admin, DataDir: s.config.path("gateway"),
		NATSURL: s.engines.natsURL, NATSReplicas: 1, Issuer: s.issuer(),
		// Who runs the suite on one machine has the upstreams there too.
		UpstreamAllowLoopback: true, IssuerKeysAllowPrivate: s.config.AllowPrivate,
	}, gateway.Deps{Bus: s.bus, Log: s.log.With("service", "gateway"), Registry: telemetry.Registry()})
}
