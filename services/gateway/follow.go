package gateway

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/token"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	meteringv1 "github.com/tollgate/tollgate/proto/metering/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/credential"
)

// load takes the last good configuration in from the disk.
func (g *Gateway) load() error {
	disk, err := config.OpenDisk(filepath.Join(g.config.DataDir, "configuration"), func(bucket, key string, value []byte) {
		var err error
		switch bucket {
		case bus.CredentialsBucket:
			err = g.credentials.Load(key, value)
		case bus.KeysBucket:
			err = g.bearer.SetKeys(value)
		default:
			_, err = g.store.Apply(bucket, key, value)
		}
		if err != nil {
			g.deps.Log.Warn("a stored document is not served", "bucket", bucket, "key", key, "error", err)
		}
	})
	if err != nil {
		return err
	}
	g.disk = disk
	g.store.Publish()
	if disk.Complete() {
		g.wholeConfiguration()
	}
	return nil
}

// followed returns what keeps the configuration fresh.
func (g *Gateway) followed() []*config.Bucket {
	var refreshes sync.WaitGroup
	credentials := &config.Bucket{
		Bus: g.deps.Bus, Name: bus.CredentialsBucket, UpdatesOnly: true, Log: g.deps.Log,
		Apply: func(key string, value []byte) {
			if err := g.credentials.Apply(key, value); err != nil {
				g.deps.Log.Warn("a document is not served", "bucket", bus.CredentialsBucket, "error", err)
			}
		},
		// What changed before the watch began went unseen.
		Began: func(ctx context.Context) {
			g.bearer.ForgetOwn() // so that it is asked again whether they are revoked
			refreshes.Go(func() { g.credentials.Refresh(ctx) })
		},
		Ended: refreshes.Wait,
	}
	return []*config.Bucket{g.document(bus.APIsBucket), g.document(bus.EntitlementsBucket), credentials, g.keys()}
}

// keys follows the keys that identity signs access tokens with.
func (g *Gateway) keys() *config.Bucket {
	return &config.Bucket{
		Bus: g.deps.Bus, Name: bus.KeysBucket, Log: g.deps.Log, Began: func(context.Context) {},
		Apply: func(key string, value []byte) {
			if key != token.KeysKey {
				return
			}
			err := g.bearer.SetKeys(value)
			if err == nil {
				err = g.disk.Put(bus.KeysBucket, key, value)
			}
			if err != nil {
				g.deps.Log.Warn("identity's keys are not taken in; those before stay", "error", err)
			}
		},
	}
}

// document follows a bucket whose documents are all held.
func (g *Gateway) document(name string) *config.Bucket {
	return &config.Bucket{
		Bus: g.deps.Bus, Name: name, Log: g.deps.Log,
		Apply: func(key string, value []byte) {
			news, err := g.store.Apply(name, key, value)
			if err != nil {
				g.deps.Log.Warn("a document is not served; the one before it stays", "bucket", name, "key", key, "error", err)
			}
			if !news {
				return
			}
			if err := g.disk.Put(name, key, value); err != nil {
				g.deps.Log.Error("a document cannot be stored", "bucket", name, "key", key, "error", err)
			}
		},
		Idle: g.store.Publish,
		Synced: func() {
			if !g.synced.note(name) {
				return
			}
			if err := g.disk.MarkComplete(); err != nil {
				g.deps.Log.Error("the configuration cannot be stored", "error", err)
			}
			g.synced.whole()
		},
	}
}

func (g *Gateway) saveCredential(key string, document []byte) {
	if err := g.disk.Put(bus.CredentialsBucket, key, document); err != nil {
		g.deps.Log.Error("a credential cannot be stored", "error", err)
	}
}

// credentialBucket reads single documents of the bucket of credentials.
type credentialBucket struct {
	bus *bus.Bus
	mu  sync.Mutex
	kv  jetstream.KeyValue
}

func (b *credentialBucket) get(ctx context.Context, key string) ([]byte, error) {
	if !b.bus.Conn.IsConnected() {
		return nil, nats.ErrDisconnected
	}
	kv, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, credential.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read a credential: %w", err)
	}
	return entry.Value(), nil
}

func (b *credentialBucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kv != nil {
		return b.kv, nil
	}
	kv, err := b.bus.JS.KeyValue(ctx, bus.CredentialsBucket)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", bus.CredentialsBucket, err)
	}
	b.kv = kv
	return kv, nil
}

// lease calls metering.Lease.
func (g *Gateway) lease(ctx context.Context, req *meteringv1.LeaseRequest) (*meteringv1.LeaseReply, error) {
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("ask for leases: %w", err)
	}
	msg, err := g.deps.Bus.Conn.RequestWithContext(ctx, bus.RPCSubject("metering.Lease"), data)
	if err != nil {
		return nil, fmt.Errorf("ask for leases: %w", err)
	}
	if msg.Header.Get("Nats-Service-Error-Code") != "" {
		return nil, fmt.Errorf("ask for leases: metering answered %s: %s", msg.Header.Get("Nats-Service-Error-Code"), msg.Header.Get("Nats-Service-Error"))
	}
	var reply meteringv1.LeaseReply
	if err := proto.Unmarshal(msg.Data, &reply); err != nil {
		return nil, fmt.Errorf("ask for leases: %w", err)
	}
	return &reply, nil
}

// status is what the gateway tells of itself.
func (g *Gateway) status() *gatewayv1.GatewayStatus {
	revisions, rejected := g.store.Report()
	return &gatewayv1.GatewayStatus{
		Gateway: g.config.Name, Boot: g.journal.Boot(), Revisions: revisions, Rejected: rejected, Unshipped: g.shipper.Unshipped(), ReportedAt: time.Now().UnixNano(),
	}
}

// report puts the status into its bucket once a second until ctx ends.
func (g *Gateway) report(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var kv jetstream.KeyValue
	for {
		if g.deps.Bus.Conn.IsConnected() {
			attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
			kv = g.reportOnce(attempt, kv)
			cancel()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// reportOnce returns the bucket to use next time: nil to open it again.
func (g *Gateway) reportOnce(ctx context.Context, kv jetstream.KeyValue) jetstream.KeyValue {
	if kv == nil {
		var err error
		if kv, err = g.deps.Bus.Bucket(ctx, bus.GatewaysBucket); err != nil {
			g.deps.Log.Debug("the status is not reported", "error", err)
			return nil
		}
	}
	value, err := proto.Marshal(g.status())
	if err == nil {
		_, err = kv.Put(ctx, g.config.Name, value)
	}
	if err != nil {
		g.deps.Log.Debug("the status is not reported", "error", err)
		return nil
	}
	return kv
}

func (g *Gateway) registerGauges() error {
	for name, gauge := range map[[2]string]func() float64{
		{"tollgate_gateway_unshipped_records", "Call records that the CALLS stream has not acknowledged."}: func() float64 { return float64(g.shipper.Unshipped()) },
		{"tollgate_gateway_in_flight", "Requests that are being served."}:                                  func() float64 { return float64(g.pipeline.InFlight()) },
		{"tollgate_gateway_credentials", "API keys that are held."}:                                        func() float64 { return float64(g.credentials.Count()) },
		{"tollgate_gateway_ship_failures", "Attempts to ship call records that failed."}:                   func() float64 { return float64(g.shipper.Failures()) },
		{"tollgate_gateway_configuration_revision", "Newest revision of any API document that is served."}: func() float64 { return float64(g.store.Snapshot().Revision) },
		{"tollgate_gateway_journal_full", "1 when calls are refused because there is no room to record them, else 0."}: func() float64 {
			if g.journal.Full() {
				return 1
			}
			return 0
		},
	} {
		if err := g.deps.Registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name[0], Help: name[1]}, gauge)); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}
