package deploy_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
)

// violations is a server's log, of which it keeps what was refused, each thing once.
type violations struct {
	mu   sync.Mutex
	seen []string
}

func (v *violations) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !strings.Contains(line, "iolation") {
		return
	}
	_, line, _ = strings.Cut(line, " - cid:") // the address
	_, line, _ = strings.Cut(line, " - ")
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.Contains(v.seen, line) {
		v.seen = append(v.seen, line)
	}
}

func (v *violations) Noticef(format string, args ...any) { v.note(format, args...) }
func (v *violations) Warnf(format string, args ...any)   { v.note(format, args...) }
func (v *violations) Fatalf(format string, args ...any)  { v.note(format, args...) }
func (v *violations) Errorf(format string, args ...any)  { v.note(format, args...) }
func (v *violations) Debugf(string, ...any)              {}
func (v *violations) Tracef(string, ...any)              {}

func (v *violations) all() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.seen)
}

// natsOptions reads the configuration of a NATS container as the server there would, strictly, and moves it to this machine: free
// ports on loopback, a store of the test's own.
func natsOptions(tb testing.TB, project *types.Project, name string) *server.Options {
	tb.Helper()
	c := containerOf(tb, project, name)
	dir := tb.TempDir()
	for target, source := range c.files {
		write(tb, read(tb, source), dir, target)
	}
	require.Equal(tb, []string{"--config", "--name"}, []string{c.Command[0], c.Command[2]})
	options := &server.Options{CheckConfig: true}
	require.NoError(tb, options.ProcessConfigFile(filepath.Join(dir, c.Command[1])))
	require.NoError(tb, (&server.Options{CheckConfig: true}).ProcessConfigFile(filepath.Join(dir, c.Command[1])))
	require.Equal(tb, 4222, options.Port)
	require.Equal(tb, 8222, options.HTTPPort)
	require.True(tb, options.SyncAlways)
	require.EqualValues(tb, bus.MaxPayload, options.MaxPayload)
	require.Equal(tb, c.Volumes[slices.IndexFunc(c.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Type == types.VolumeTypeVolume })].Target, options.StoreDir)

	options.CheckConfig, options.ServerName = false, c.Command[3]
	options.Host, options.Port, options.HTTPPort = "127.0.0.1", server.RANDOM_PORT, server.RANDOM_PORT
	options.StoreDir, options.NoSigs = filepath.Join(dir, "store"), true
	return options
}

func startNATS(tb testing.TB, options *server.Options) (*server.Server, *violations) {
	tb.Helper()
	s, err := server.NewServer(options)
	require.NoError(tb, err)
	log := &violations{}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	tb.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(tb, s.ReadyForConnections(20*time.Second))
	return s, log
}

// user is a connection with a service's credentials that notes what the server refuses.
type user struct {
	*nats.Conn
	mu      sync.Mutex
	refused []string
}

func connectAs(tb testing.TB, s *server.Server, secrets, service string) *user {
	tb.Helper()
	login, err := nats.NkeyOptionFromSeed(filepath.Join(secrets, service+".nk"))
	require.NoError(tb, err)
	u := &user{}
	u.Conn, err = nats.Connect(s.ClientURL(), login, nats.CustomInboxPrefix("_INBOX_"+service), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.refused = append(u.refused, err.Error())
	}))
	require.NoError(tb, err)
	tb.Cleanup(u.Close)
	return u
}

// wasRefused says whether the server refused an operation ("Publish", "Subscription") on a subject.
func (u *user) wasRefused(operation, subject string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.ContainsFunc(u.refused, func(line string) bool {
		return strings.Contains(strings.ToLower(line), strings.ToLower(fmt.Sprintf(`permissions violation for %s to "%s"`, operation, subject)))
	})
}

// publishers says who may publish to a subject: all others may not.
var publishers = map[string][]string{
	"ev.identity.tenant.TenantCreated":         {"identity"},
	"ev.catalog.plan.PlanPublished":            {"catalog"},
	"ev.subscription.subscription.Requested":   {"subscription"},
	"ev.metering.meter.Sealed":                 {"metering"},
	"ev.analytics.call.Found":                  {"analytics"},
	"ev.billing.invoice.Finalized":             {"billing"},
	"$KV.gw_credentials.key":                   {"identity"},
	"$KV.identity_keys.jwks":                   {"identity"},
	"$KV.gw_apis.key":                          {"catalog"},
	"$KV.gw_entitlements.key":                  {"subscription"},
	"$KV.gw_status.gateway":                    {"gateway"},
	"calls.0":                                  {"gateway"},
	"calls.3":                                  {"gateway"},
	"gw.rates":                                 {"gateway"},
	"rpc.identity.Exchange":                    {"gateway"},
	"rpc.metering.Lease":                       {"gateway"},
	"rpc.metering.Usage":                       {"billing"},
	"rpc.metering.Count":                       {"analytics"},
	"rpc.analytics.Count":                      {"billing"},
	"rpc.analytics.Proof":                      {"billing"},
	"api.identity":                             {"gateway"},
	"api.billing":                              {"gateway"},
	"$JS.API.STREAM.DELETE.EV_IDENTITY":        {"identity"},
	"$JS.API.STREAM.DELETE.EV_BILLING":         {"billing"},
	"$JS.API.STREAM.UPDATE.CALLS":              {"metering", "analytics", "gateway"},
	"$JS.API.STREAM.CREATE.KV_identity_keys":   {"identity"},
	"$JS.API.STREAM.CREATE.KV_gw_apis":         {"catalog"},
	"$JS.API.CONSUMER.CREATE.EV_IDENTITY.x":    {"identity", "catalog", "subscription", "metering", "analytics", "billing"},
	"$JS.API.CONSUMER.CREATE.EV_BILLING.x":     {"analytics"},
	"$JS.API.CONSUMER.CREATE.EV_METERING.x":    {"analytics"},
	"$JS.API.CONSUMER.CREATE.EV_ANALYTICS.x":   nil,
	"$JS.API.CONSUMER.CREATE.CALLS.x.calls.1":  {"metering", "analytics"},
	"$JS.API.STREAM.DELETE.CALLS":              nil,
	"$JS.API.STREAM.PURGE.CALLS":               {"analytics"},
	"$JS.API.STREAM.MSG.DELETE.CALLS":          nil,
	"$JS.API.STREAM.PURGE.KV_gw_credentials":   nil,
	"$JS.API.STREAM.DELETE.KV_gw_entitlements": {"subscription"},
	"$JS.API.STREAM.CREATE.ANOTHER":            nil,
	"$JS.API.STREAM.NAMES":                     nil,
	"$JS.API.ACCOUNT.PURGE.TOLLGATE":           nil,
	"$SYS.REQ.SERVER.PING":                     nil,
	"_INBOX.x":                                 nil,
	"anything":                                 nil,
}

// subscribers says who may subscribe to a subject.
var subscribers = map[string][]string{
	"api.identity":         {"identity"},
	"api.billing":          {"billing"},
	"rpc.identity.*":       {"identity"},
	"rpc.metering.Lease":   {"metering"},
	"rpc.analytics.Proof":  {"analytics"},
	"$SRV.PING":            {"identity", "catalog", "subscription", "metering", "analytics", "billing"},
	"gw.rates":             {"gateway"},
	"_INBOX_gateway.>":     {"gateway"},
	"_INBOX_identity.>":    {"identity"},
	"_INBOX_metering.x.*":  {"metering"},
	"_INBOX.>":             nil,
	"calls.*":              nil,
	"ev.>":                 nil,
	"$KV.>":                nil,
	"$KV.gw_credentials.>": nil,
	"api.*":                nil,
	"$JS.>":                nil,
	">":                    nil,
}

// TestNATSPermissions: a service can publish only its own subjects and hear only what is meant for it.
func TestNATSPermissions(t *testing.T) {
	t.Parallel()
	dir := secrets(t)
	s, _ := startNATS(t, natsOptions(t, loadProject(t, dir, ""), "nats"))
	for _, service := range services {
		t.Run(service, func(t *testing.T) {
			t.Parallel()
			u := connectAs(t, s, dir, service)
			for subject := range publishers {
				require.NoError(t, u.PublishRequest(subject, u.NewInbox(), []byte("{}")))
			}
			for subject := range subscribers {
				_, err := u.SubscribeSync(subject)
				require.NoError(t, err)
			}
			require.NoError(t, u.Flush()) // the server answers in order: every refusal is here, though not yet handled
			expected := 0
			for _, allowed := range []map[string][]string{publishers, subscribers} {
				for _, names := range allowed {
					if !slices.Contains(names, service) {
						expected++
					}
				}
			}
			testkit.Await(t, 10*time.Second, func() error {
				u.mu.Lock()
				defer u.mu.Unlock()
				if len(u.refused) < expected {
					return fmt.Errorf("%d of %d refusals", len(u.refused), expected)
				}
				return nil
			})
			for subject, names := range publishers {
				require.Equal(t, !slices.Contains(names, service), u.wasRefused("publish", subject), "%s publishes to %s", service, subject)
			}
			for subject, names := range subscribers {
				require.Equal(t, !slices.Contains(names, service), u.wasRefused("subscription", subject), "%s subscribes to %s", service, subject)
			}
		})
	}
}

// TestNATSKnowsItsUsers: nobody else gets in.
func TestNATSKnowsItsUsers(t *testing.T) {
	t.Parallel()
	s, _ := startNATS(t, natsOptions(t, loadProject(t, secrets(t), ""), "nats"))
	_, err := nats.Connect(s.ClientURL())
	require.ErrorIs(t, err, nats.ErrAuthorization)
	stranger, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err := stranger.PublicKey()
	require.NoError(t, err)
	_, err = nats.Connect(s.ClientURL(), nats.Nkey(public, stranger.Sign))
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

// TestNATSHealth: the container's health check asks for something that is there.
func TestNATSHealth(t *testing.T) {
	t.Parallel()
	project := loadProject(t, secrets(t), "")
	s, _ := startNATS(t, natsOptions(t, project, "nats"))
	check := containerOf(t, project, "nats").HealthCheck.Test
	address, err := url.Parse(check[len(check)-1])
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8222", address.Host)
	address.Host = s.MonitorAddr().String()
	response, err := http.Get(address.String())
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
}

// TestNATSCluster: the three servers of the profile find each other with the password they share, and keep a bucket three times.
func TestNATSCluster(t *testing.T) {
	t.Parallel()
	dir := secrets(t)
	project := loadProject(t, dir, "deploy/compose/cluster.env")
	names := []string{"nats", "nats-2", "nats-3"}
	ports := map[string]string{}
	for _, name := range names {
		_, ports[name], _ = net.SplitHostPort(harness.FreeAddress(t))
	}
	var servers []*server.Server
	for _, name := range names {
		options := natsOptions(t, project, name)
		require.Equal(t, 6222, options.Cluster.Port)
		require.Len(t, options.Routes, 3)
		for _, route := range options.Routes {
			require.Equal(t, "6222", route.Port())
			require.Contains(t, names, route.Hostname())
			route.Host = "127.0.0.1:" + ports[route.Hostname()]
		}
		options.Cluster.Host = "127.0.0.1"
		options.Cluster.Port, _ = strconv.Atoi(ports[name])
		s, err := server.NewServer(options)
		require.NoError(t, err)
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		servers = append(servers, s)
	}
	for _, s := range servers {
		require.True(t, s.ReadyForConnections(20*time.Second))
	}
	b, err := bus.Connect(bus.Config{URL: servers[0].ClientURL(), Name: "identity", Credentials: filepath.Join(dir, "identity.nk"), Replicas: 3})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	testkit.Await(t, 60*time.Second, func() error {
		kv, err := b.Bucket(t.Context(), bus.KeysBucket)
		if err != nil {
			return err
		}
		status, err := kv.Status(t.Context())
		if err != nil {
			return err
		}
		info := status.(*jetstream.KeyValueBucketStatus).StreamInfo()
		if info.Config.Replicas != 3 || info.Cluster == nil || len(info.Cluster.Replicas) != 2 {
			return errors.New("the bucket has no three replicas")
		}
		_, err = kv.Put(t.Context(), "jwks", []byte("{}"))
		return err
	})
}
