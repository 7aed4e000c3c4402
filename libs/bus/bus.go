// Package bus owns the connection to NATS and the names on it that services share: the CALLS stream with its
// partitions and the key-value buckets of the gateways' configuration.
//
// A Bus is safe for concurrent use. It reconnects for ever; what a caller publishes while it is down fails after the
// caller's own deadline.
package bus

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The buckets of the gateways' configuration. See proto/gateway/v1 for keys and values.
const (
	APIsBucket         = "gw_apis"
	EntitlementsBucket = "gw_entitlements"
	CredentialsBucket  = "gw_credentials"
	GatewaysBucket     = "gw_status"
	// KeysBucket holds the JSON Web Key Set with which every service verifies tokens, under the key "jwks".
	KeysBucket = "identity_keys"
)

// RatesSubject is where gateways tell each other what they let pass under rate limits: gateway.v1.RateConsumption.
const RatesSubject = "gw.rates"

// CallsStream is the name of the stream of call batches.
const CallsStream = "CALLS"

// Partitions is the number of subjects that calls are spread over. A gateway writes to one of them, so that its
// batches keep their order.
const Partitions = 4

// MaxPayload is the largest message, in bytes. An event may carry an OpenAPI document of several MiB.
const MaxPayload = 16 << 20

// Config says how to reach NATS.
type Config struct {
	// URL of one server or several, separated by commas.
	URL string
	// Name of the connection, for the operator: that of the service, or of one instance of it, as in gateway-gw1. Answers arrive
	// below _INBOX_<service>, so that the permissions of one service's user need not cover what is meant for another.
	Name string
	// Credentials is the path of a file with either the seed of the user's nkey or, for servers with an operator, a JWT and the seed
	// of its nkey (.creds); empty for none.
	Credentials string
	// Replicas of each stream and bucket: 1 standalone, 3 in a cluster.
	Replicas int
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.URL == "" {
		errs = append(errs, errors.New("bus.url: is empty; give one as in nats://127.0.0.1:4222"))
	}
	if c.Replicas < 0 || c.Replicas > 5 {
		errs = append(errs, fmt.Errorf("bus.replicas: %d is not 1 to 5", c.Replicas))
	}
	if _, err := c.login(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// login returns the option that identifies the user to the server; none without credentials.
func (c Config) login() ([]nats.Option, error) {
	if c.Credentials == "" {
		return nil, nil
	}
	content, err := os.ReadFile(c.Credentials)
	if err != nil {
		return nil, fmt.Errorf("bus.credentials: %w", err)
	}
	if strings.Contains(string(content), "BEGIN NATS USER JWT") {
		return []nats.Option{nats.UserCredentials(c.Credentials)}, nil
	}
	option, err := nats.NkeyOptionFromSeed(c.Credentials)
	if err != nil {
		return nil, fmt.Errorf("bus.credentials: %s holds neither the seed of a user's nkey (SU…) nor a user's JWT", c.Credentials)
	}
	return []nats.Option{option}, nil
}

var serviceName = regexp.MustCompile(`^[a-z0-9]+$`)

// inbox returns the prefix of the subjects on which answers arrive.
func (c Config) inbox() string {
	service, _, _ := strings.Cut(c.Name, "-")
	if !serviceName.MatchString(service) {
		return "_INBOX"
	}
	return "_INBOX_" + service
}

// Bus is a connection to NATS with JetStream.
type Bus struct {
	Conn     *nats.Conn
	JS       jetstream.JetStream
	Replicas int
}

// Connect opens a connection. It returns at once even when no server answers: the connection is then made in the
// background, so that a gateway starts with NATS down. Use Bus.Await where a service cannot do without.
func Connect(c Config, options ...nats.Option) (*Bus, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	login, err := c.login()
	if err != nil {
		return nil, err
	}
	all := append(login,
		nats.Name(c.Name), nats.CustomInboxPrefix(c.inbox()), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(200*time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 200*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.Timeout(2*time.Second), nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
	)
	conn, err := nats.Connect(c.URL, append(all, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return &Bus{Conn: conn, JS: js, Replicas: max(1, c.Replicas)}, nil
}

// Await returns once the connection is there and JetStream answers.
func (b *Bus) Await(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		_, err := b.JS.AccountInfo(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for JetStream: %w", errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Close closes the connection; what was published and not yet flushed is flushed within a second.
func (b *Bus) Close() {
	_ = b.Conn.FlushTimeout(time.Second)
	b.Conn.Close()
}

// Bucket opens the key-value bucket of that name and creates it when there is none: one value a key, on files.
func (b *Bus) Bucket(ctx context.Context, name string) (jetstream.KeyValue, error) {
	kv, err := b.JS.KeyValue(ctx, name)
	if err == nil {
		return kv, nil
	}
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	kv, err = b.JS.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: name, History: 1, Storage: jetstream.FileStorage, Replicas: b.Replicas,
	})
	if errors.Is(err, jetstream.ErrBucketExists) {
		return b.JS.KeyValue(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("create bucket %s: %w", name, err)
	}
	return kv, nil
}

// EnsureCalls declares the CALLS stream. Publishing fails when it is full (DiscardNew): nothing is dropped, the
// gateways' journals take what the stream cannot.
func (b *Bus) EnsureCalls(ctx context.Context) (jetstream.Stream, error) {
	stream, err := b.JS.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: CallsStream, Subjects: []string{"calls.*"}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Replicas: b.Replicas,
	})
	if err != nil {
		return nil, fmt.Errorf("declare stream %s: %w", CallsStream, err)
	}
	return stream, nil
}

// CallSubject returns the subject of a partition.
func CallSubject(partition int) string { return "calls." + strconv.Itoa(partition) }

// Partition returns the partition that a gateway writes to.
func Partition(gateway string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(gateway))
	return int(h.Sum32() % Partitions)
}

// RPCSubject returns the subject on which a service answers an internal call such as "metering.Lease".
func RPCSubject(name string) string { return "rpc." + name }

// APISubject returns the subject on which a service takes HTTP requests of its management API.
func APISubject(service string) string { return "api." + service }
