package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/telemetry"

	"github.com/tollgate/tollgate/services/gateway/internal/journal"
)

// Config of a gateway. Sizes are in bytes. Zero values stand for the defaults.
type Config struct {
	Name        string `help:"Stable name of this instance: part of every call's identity. Two gateways must never share one." env:"TOLLGATE_GATEWAY_NAME" default:"gateway"`
	Listen      string `help:"Address that takes the clients' requests." env:"TOLLGATE_GATEWAY_LISTEN" default:"127.0.0.1:8080"`
	AdminListen string `help:"Address of the management API, health and metrics; keep it from the public." env:"TOLLGATE_ADMIN_LISTEN" default:"127.0.0.1:8081"`
	Issuer      string `help:"Issuer URL of identity, as its own setting has it: access tokens of another issuer are not its." env:"TOLLGATE_ISSUER" default:"http://127.0.0.1:8081/identity"`
	DataDir     string `help:"Directory of the journal and the last good configuration; it must outlive the process." env:"TOLLGATE_GATEWAY_DATA" default:"data/gateway" placeholder:"DIR"`

	NATSURL         string `name:"nats-url" help:"NATS servers, separated by commas." env:"TOLLGATE_NATS_URL" default:"nats://127.0.0.1:4222"`
	NATSCredentials string `name:"nats-credentials" help:"Credentials file for NATS." env:"TOLLGATE_NATS_CREDENTIALS" placeholder:"FILE"`
	NATSReplicas    int    `name:"nats-replicas" help:"Replicas of streams and buckets: 1, or 3 in a cluster." env:"TOLLGATE_NATS_REPLICAS" default:"1"`

	JournalMode         string        `help:"bounded: a record survives a killed process at once, a lost machine after journal-sync-interval. strict: both at once, at the cost of a sync." default:"bounded" enum:"bounded,strict"`
	JournalSyncInterval time.Duration `help:"How often mode bounded syncs." default:"200ms"`
	JournalSegmentBytes int64         `help:"Size of a journal file." default:"67108864"`
	JournalMaxBytes     int64         `help:"Limit of the journal's disk space." default:"4294967296"`
	WhenJournalFull     string        `help:"refuse: metered APIs answer 503. serve: they go on unmetered, and every such call is counted." default:"refuse" enum:"refuse,serve"`

	MaxConnections int           `help:"Connections at once; more are answered 503." default:"4096"`
	MaxInFlight    int64         `help:"Requests at once; more are answered 503." default:"2048"`
	MaxHeader      int           `help:"Largest request line with header fields, in bytes." default:"16384"`
	MaxBody        int64         `help:"Largest request body, in bytes." default:"33554432"`
	ReadTimeout    time.Duration `help:"For a request's head, and each wait for more of its body." default:"15s"`
	WriteTimeout   time.Duration `help:"For each wait until the client takes more of an answer." default:"30s"`
	IdleTimeout    time.Duration `help:"For the next request on a connection." default:"75s"`
	DrainTimeout   time.Duration `help:"For calls in flight at shutdown." default:"20s"`
	TrustedProxies []string      `help:"Networks whose Forwarded and X-Forwarded-For fields are believed, as in 10.0.0.0/8, at both listeners."`

	UpstreamAllowLoopback  bool `help:"Let upstreams be at loopback addresses, on the gateway's own machine. Link-local addresses and the gateway's own listeners are never called." env:"TOLLGATE_UPSTREAM_ALLOW_LOOPBACK"`
	IssuerKeysAllowPrivate bool `help:"Read the keys of trusted issuers from loopback and private addresses too." env:"TOLLGATE_ISSUER_KEYS_ALLOW_PRIVATE"`

	Telemetry telemetry.Config `embed:""`
}

// withDefaults fills what is zero, for those who build a Config in Go.
func (c Config) withDefaults() Config {
	text := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	text(&c.Name, "gateway")
	text(&c.Listen, "127.0.0.1:8080")
	text(&c.AdminListen, "127.0.0.1:8081")
	text(&c.Issuer, "http://127.0.0.1:8081/identity")
	text(&c.JournalMode, string(journal.Bounded))
	text(&c.WhenJournalFull, "refuse")
	for field, value := range map[*time.Duration]time.Duration{
		&c.JournalSyncInterval: 200 * time.Millisecond, &c.ReadTimeout: 15 * time.Second, &c.WriteTimeout: 30 * time.Second,
		&c.IdleTimeout: 75 * time.Second, &c.DrainTimeout: 20 * time.Second,
	} {
		if *field == 0 {
			*field = value
		}
	}
	for field, value := range map[*int64]int64{
		&c.JournalSegmentBytes: 64 << 20, &c.JournalMaxBytes: 4 << 30, &c.MaxInFlight: 2048, &c.MaxBody: 32 << 20,
	} {
		if *field == 0 {
			*field = value
		}
	}
	for field, value := range map[*int]int{&c.MaxConnections: 4096, &c.MaxHeader: 16 << 10, &c.NATSReplicas: 1} {
		if *field == 0 {
			*field = value
		}
	}
	return c
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	c = c.withDefaults()
	errs := []error{c.journal(nil).Validate()}
	if !validName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("name: %q is not up to 40 letters, digits, hyphens and underscores", c.Name))
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("data-dir: is empty; give a directory that outlives the process"))
	}
	for name, address := range map[string]string{"listen": c.Listen, "admin-listen": c.AdminListen} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, fmt.Errorf("%s: %q is not host:port: %w", name, address, err))
		}
	}
	if c.WhenJournalFull != "refuse" && c.WhenJournalFull != "serve" {
		errs = append(errs, fmt.Errorf(`when-journal-full: %q is not refuse or serve`, c.WhenJournalFull))
	}
	for name, d := range map[string]time.Duration{"read-timeout": c.ReadTimeout, "write-timeout": c.WriteTimeout, "idle-timeout": c.IdleTimeout, "drain-timeout": c.DrainTimeout} {
		if d < 10*time.Millisecond || d > time.Hour {
			errs = append(errs, fmt.Errorf("%s: %v is not from 10ms to 1h", name, d))
		}
	}
	if most := journal.InFlight(c.JournalSegmentBytes); c.MaxConnections < 1 || int64(c.MaxConnections) > most {
		errs = append(errs, fmt.Errorf("max-connections: %d is not from 1 to %d, the calls whose records fit into one journal file; raise journal-segment-bytes for more", c.MaxConnections, most))
	}
	if c.MaxInFlight < 1 {
		errs = append(errs, fmt.Errorf("max-in-flight: %d is not above 0", c.MaxInFlight))
	}
	if c.MaxHeader < 1024 || c.MaxHeader > 1<<20 {
		errs = append(errs, fmt.Errorf("max-header: %d is not from 1024 to %d", c.MaxHeader, 1<<20))
	}
	if c.MaxBody < 1 || c.MaxBody > 1<<40 {
		errs = append(errs, fmt.Errorf("max-body: %d is not from 1 to %d", c.MaxBody, int64(1)<<40))
	}
	if _, err := c.proxies(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) proxies() ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	var errs []error
	for i, text := range c.TrustedProxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("trusted-proxies[%d]: %q is not a network such as 10.0.0.0/8", i, text))
			continue
		}
		proxies = append(proxies, p.Masked())
	}
	return proxies, errors.Join(errs...)
}

// BusConfig is how the gateway reaches NATS when it runs as a process of its own.
func (c Config) BusConfig() bus.Config {
	return bus.Config{URL: c.NATSURL, Name: "gateway-" + c.Name, Credentials: c.NATSCredentials, Replicas: max(1, c.NATSReplicas)}
}
