// Package gateway is the request path: it routes, authenticates, limits and validates calls, forwards them upstream, and records
// every answered one in its journal, from where the records go to the CALLS stream.
//
// A gateway starts and serves with every other service down: from the last good configuration on its disk, with the keys it has
// seen and the quota it has leased. Only deploy/tollgate, integration and this module's own command import it.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/lifecycle"

	"github.com/tollgate/tollgate/services/gateway/internal/admin"
	"github.com/tollgate/tollgate/services/gateway/internal/bearer"
	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/credential"
	"github.com/tollgate/tollgate/services/gateway/internal/journal"
	"github.com/tollgate/tollgate/services/gateway/internal/limit"
	"github.com/tollgate/tollgate/services/gateway/internal/pipeline"
	"github.com/tollgate/tollgate/services/gateway/internal/proxy"
	"github.com/tollgate/tollgate/services/gateway/internal/ship"
	"github.com/tollgate/tollgate/services/gateway/internal/upstream"
)

// Deps is what a gateway is given.
type Deps struct {
	// Bus need not be connected yet.
	Bus *bus.Bus
	Log *slog.Logger
	// Registry takes the metrics; a private one when nil.
	Registry *prometheus.Registry
	// Admin serves what the admin listener does not know itself; the management API of the services, over NATS, when nil.
	Admin http.Handler
}

// services whose management API the admin listener forwards to.
var services = []string{"identity", "catalog", "subscription", "metering", "analytics", "billing"}

// Gateway is a gateway, built. It is run once.
type Gateway struct {
	config      Config
	deps        Deps
	journal     *journal.Journal
	disk        *config.Disk
	store       *config.Store
	credentials *credential.Store
	bearer      *bearer.Verifier
	issuers     *bearer.KeySets
	rates       *limit.Rates
	quotas      *limit.Quotas
	pools       *upstream.Pools
	shipper     *ship.Shipper
	pipeline    *pipeline.Pipeline
	front       *proxy.Front
	listener    net.Listener
	admin       *admin.Server
	buckets     credentialBucket

	serving atomic.Bool // there is a whole configuration
	ready   chan struct{}
	synced  syncedBuckets
}

// New locks and opens the journal, loads the last good configuration and binds the listeners. Run must follow, or Close.
func New(c Config, d Deps) (_ *Gateway, err error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	c = c.withDefaults()
	if d.Bus == nil || d.Log == nil {
		return nil, errors.New("gateway: Bus and Log must be given")
	}
	if d.Registry == nil {
		d.Registry = prometheus.NewRegistry()
	}
	if d.Admin == nil {
		d.Admin = apibridge.Handler(d.Bus, services, d.Log)
	}
	g := &Gateway{config: c, deps: d, ready: make(chan struct{})}
	g.synced.whole = g.wholeConfiguration
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("gateway: %w", err), g.Close())
		}
	}()
	if g.journal, err = journal.Open(c.journal(d.Log)); err != nil {
		return nil, err
	}
	g.buckets.bus = d.Bus
	g.pools = upstream.NewPools(upstream.Config{Guard: upstream.Guard{AllowLoopback: c.UpstreamAllowLoopback, Own: g.listeners}})
	g.quotas = limit.NewQuotas(limit.Config{Gateway: c.Name, Boot: g.journal.Boot(), Lease: g.lease, Log: d.Log})
	g.rates = limit.NewRates()
	g.bearer, g.issuers = bearer.NewVerifier(c.Issuer), bearer.NewKeySets(bearer.KeysConfig{AllowPrivate: c.IssuerKeysAllowPrivate, Log: d.Log})
	g.store = config.NewStore(config.Parts{Pools: g.pools, Rates: g.rates, Quotas: g.quotas, Issuers: g.issuers})
	g.credentials = credential.NewStore(credential.Config{Fetch: g.buckets.get, Save: g.saveCredential})
	if err = g.load(); err != nil {
		return nil, err
	}
	g.shipper = ship.New(c.Name, g.journal, d.Bus, d.Log)
	if err = g.buildFront(); err != nil {
		return nil, err
	}
	if g.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	proxies, err := c.proxies()
	if err != nil {
		return nil, err
	}
	g.admin, err = admin.Listen(c.AdminListen, admin.Config{
		Registry: d.Registry, Ready: g.notReady, Status: g.status, Next: d.Admin, TrustedProxies: proxies, Log: d.Log,
	})
	return g, err
}

func (c Config) journal(log *slog.Logger) journal.Config {
	return journal.Config{
		Dir: filepath.Join(c.DataDir, "journal"), SegmentBytes: c.JournalSegmentBytes, MaxBytes: c.JournalMaxBytes, Mode: journal.Mode(c.JournalMode),
		SyncInterval: c.JournalSyncInterval, Log: log,
	}
}

func (g *Gateway) buildFront() error {
	metrics, err := pipeline.NewMetrics(g.deps.Registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	proxies, err := g.config.proxies()
	if err != nil {
		return err
	}
	c := g.config
	g.pipeline = pipeline.New(pipeline.Config{
		Gateway: c.Name, MaxInFlight: c.MaxInFlight, MaxBody: c.MaxBody, ServeUnrecorded: c.WhenJournalFull == "serve", Ready: g.serving.Load,
		Store: g.store, Credentials: g.credentials, Bearer: g.bearer, Journal: g.journal, Metrics: metrics, Log: g.deps.Log,
	})
	g.front = proxy.New(proxy.Config{
		MaxConnections: c.MaxConnections, MaxHeader: c.MaxHeader, MaxBody: c.MaxBody, ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout,
		IdleTimeout: c.IdleTimeout, TrustedProxies: proxies,
	}, g.pipeline, g.deps.Log)
	return g.registerGauges()
}

// Addr is the address that takes the clients' requests, for example after port 0 was asked for.
func (g *Gateway) Addr() string { return g.listener.Addr().String() }

// AdminAddr is the address of the management API.
func (g *Gateway) AdminAddr() string { return g.admin.Addr() }

// listeners are the addresses that no upstream is at.
func (g *Gateway) listeners() []netip.AddrPort {
	var own []netip.AddrPort
	for _, address := range []string{g.Addr(), g.AdminAddr()} {
		if at, err := netip.ParseAddrPort(address); err == nil {
			own = append(own, at)
		}
	}
	return own
}

// Ready is closed when the gateway has a whole configuration to serve, from its disk or from NATS.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// notReady says why the gateway does not serve yet, or nil.
func (g *Gateway) notReady() error {
	if !g.serving.Load() {
		return errors.New("there is neither a whole configuration on the disk nor, yet, from NATS")
	}
	return nil
}

func (g *Gateway) wholeConfiguration() {
	if g.serving.CompareAndSwap(false, true) {
		close(g.ready)
	}
}

// Run serves until ctx ends. Then it drains, ships what is recorded if the bus answers, and closes the boot.
func (g *Gateway) Run(ctx context.Context) error {
	group := lifecycle.New(g.deps.Log)
	group.Grace = g.config.DrainTimeout + 15*time.Second
	for _, b := range g.followed() {
		group.AddSimple("configuration "+b.Name, b.Run)
	}
	group.AddSimple("upkeep", g.upkeep)
	group.AddSimple("shipper", g.ship)
	group.AddSimple("quotas", g.spend)
	group.AddSimple("rates", g.shareRates)
	group.AddSimple("status", g.report)
	group.AddSimple("admin", g.admin.Run)
	group.AddSimple("front", g.serve)
	err := group.Run(ctx)
	return errors.Join(err, g.Close())
}

// serve takes requests until ctx ends, then drains.
func (g *Gateway) serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- g.front.Serve(g.listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.DrainTimeout)
	defer cancel()
	err := g.front.Shutdown(drain)
	if err != nil {
		g.deps.Log.Warn("calls in flight were cut off", "error", err)
	}
	return errors.Join(<-served, g.settled(context.WithoutCancel(ctx)))
}

// settled waits until no call is in the making any more: the journal may then be closed.
func (g *Gateway) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for g.pipeline.InFlight() > 0 {
		select {
		case <-ctx.Done():
			return errors.New("calls are still in the making; they are shipped at the next start")
		case <-tick.C:
		}
	}
	return nil
}

// ship ships until ctx ends, then the rest.
func (g *Gateway) ship(ctx context.Context) error {
	if err := g.shipper.Run(ctx); err != nil {
		return err
	}
	if g.pipeline.InFlight() > 0 {
		return nil
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	closed, err := g.shipper.Finish(rest)
	if err == nil && !closed {
		g.deps.Log.Warn("call records are left in the journal; they are shipped at the next start", "records", g.shipper.Unshipped())
	}
	return err
}

// spend keeps the quotas supplied until ctx ends, then gives back what is left.
func (g *Gateway) spend(ctx context.Context) error {
	if err := g.quotas.Run(ctx); err != nil {
		return err
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := g.quotas.ReturnAll(rest); err != nil {
		g.deps.Log.Warn("leased quota was not given back; it comes back when the leases expire", "error", err)
	}
	return nil
}

// upkeep closes unused connections and syncs the stored configuration until ctx ends.
func (g *Gateway) upkeep(ctx context.Context) error {
	tick, sweep := time.NewTicker(2*time.Second), time.NewTicker(time.Minute)
	defer tick.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-sweep.C:
			g.issuers.Sweep()
			g.store.Sweep(now)
		case <-tick.C:
			g.pools.CloseIdle()
			g.credentials.Sweep()
			if err := g.disk.Sync(); err != nil {
				g.deps.Log.Error("the stored configuration cannot be synced", "error", err)
			}
		}
	}
}

// Close gives back what New took, when Run is not called.
func (g *Gateway) Close() error {
	var errs []error
	if g.listener != nil {
		if err := g.listener.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if g.admin != nil {
		errs = append(errs, g.admin.Close())
	}
	if g.pools != nil {
		g.pools.Close()
	}
	if g.issuers != nil {
		g.issuers.Close()
	}
	if g.disk != nil {
		errs = append(errs, g.disk.Close())
	}
	// A call that is still in the making writes into the journal's memory: then the end of the process closes it.
	if g.journal != nil && (g.pipeline == nil || g.pipeline.InFlight() == 0) {
		closed := g.journal.Checkpoint()
		errs = append(errs, g.journal.Close())
		if closed.Boot == g.journal.Boot() && closed.Closed {
			errs = append(errs, g.journal.RemoveAll())
		}
	}
	return errors.Join(errs...)
}

// syncedBuckets says when every bucket that a whole configuration needs is there.
type syncedBuckets struct {
	mu    sync.Mutex
	names map[string]bool
	whole func()
}

func (s *syncedBuckets) note(name string) (complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = map[string]bool{}
	}
	s.names[name] = true
	return s.names[bus.APIsBucket] && s.names[bus.EntitlementsBucket]
}
