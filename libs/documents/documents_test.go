package documents_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/documents"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/testkit"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type fixture struct {
	db   *postgres.DB
	bus  *bus.Bus
	nats *testkit.NATSServer
}

func start(t *testing.T, publishers int) fixture {
	t.Helper()
	f := fixture{nats: testkit.NATS(t)}
	var err error
	f.bus, err = bus.Connect(bus.Config{URL: f.nats.URL(), Name: "test"})
	require.NoError(t, err)
	t.Cleanup(f.bus.Close)
	f.db, err = postgres.Open(t.Context(), postgres.Config{URL: testkit.Database(t, "documents")})
	require.NoError(t, err)
	t.Cleanup(f.db.Close)
	require.NoError(t, documents.Migrate(t.Context(), f.db))
	for range publishers {
		p := documents.NewPublisher(f.db, f.bus, bus.APIsBucket, testkit.Logger(t))
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	return f
}

func (f fixture) put(t *testing.T, key string, revision uint64) {
	t.Helper()
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		return documents.Put(t.Context(), tx, bus.APIsBucket, key, revision, &gatewayv1.APIDocument{Revision: revision, ApiVersion: key})
	}))
}

func (f fixture) awaitRevision(t *testing.T, key string, revision uint64) {
	t.Helper()
	testkit.Await(t, 15*time.Second, func() error {
		kv, err := f.bus.Bucket(t.Context(), bus.APIsBucket)
		if err != nil {
			return err
		}
		entry, err := kv.Get(t.Context(), key)
		if err != nil {
			return err
		}
		var d gatewayv1.APIDocument
		if err := proto.Unmarshal(entry.Value(), &d); err != nil {
			return err
		}
		if d.GetRevision() != revision {
			return fmt.Errorf("revision %d, want %d", d.GetRevision(), revision)
		}
		return nil
	})
}

func TestTheNewestRevisionIsPublished(t *testing.T) {
	t.Parallel()
	f := start(t, 2)
	for revision := uint64(1); revision <= 50; revision++ {
		f.put(t, fmt.Sprintf("v%d", revision%5), revision)
	}
	f.put(t, "v0", 3) // late and older: left out
	for key, revision := range map[string]uint64{"v0": 50, "v1": 46, "v2": 47, "v3": 48, "v4": 49} {
		f.awaitRevision(t, key, revision)
	}
}

func TestANewerDocumentInTheBucketStays(t *testing.T) {
	t.Parallel()
	f := start(t, 0)
	kv, err := f.bus.Bucket(t.Context(), bus.APIsBucket)
	require.NoError(t, err)
	newer, err := proto.Marshal(&gatewayv1.APIDocument{Revision: 9})
	require.NoError(t, err)
	_, err = kv.Put(t.Context(), "v1", newer)
	require.NoError(t, err)
	f.put(t, "v1", 7)
	f.put(t, "v2", 8)
	p := documents.NewPublisher(f.db, f.bus, bus.APIsBucket, testkit.Logger(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	f.awaitRevision(t, "v2", 8)
	f.awaitRevision(t, "v1", 9)
	f.put(t, "v1", 10)
	f.awaitRevision(t, "v1", 10)
	cancel()
	require.NoError(t, <-done)
}

func TestALostBucketIsFilledAgain(t *testing.T) {
	t.Parallel()
	f := start(t, 1)
	f.put(t, "v1", 1)
	f.awaitRevision(t, "v1", 1)
	require.NoError(t, f.bus.JS.DeleteKeyValue(t.Context(), bus.APIsBucket))
	f.awaitRevision(t, "v1", 1)
	kv, err := f.bus.Bucket(t.Context(), bus.APIsBucket)
	require.NoError(t, err)
	require.NoError(t, kv.Purge(t.Context(), "v1"))
	f.awaitRevision(t, "v1", 1)
	require.NoError(t, kv.Delete(t.Context(), "v1"))
	f.put(t, "v1", 2)
	f.awaitRevision(t, "v1", 2)
}

func TestPublishingOutlivesNATS(t *testing.T) {
	t.Parallel()
	f := start(t, 1)
	f.put(t, "v1", 1)
	f.awaitRevision(t, "v1", 1)
	f.nats.Shutdown()
	f.put(t, "v1", 2)
	f.nats.Start()
	f.awaitRevision(t, "v1", 2)
}

// A document that the bucket does not take holds up no other one, and is published once it can be.
func TestADocumentThatCannotBePublishedHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	f := start(t, 0) // its server takes 1 MiB
	large := func(tx pgx.Tx) error {
		return documents.PutBytes(t.Context(), tx, bus.APIsBucket, "large", 1, make([]byte, 2<<20))
	}
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, large))
	require.NoError(t, f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		return documents.PutBytes(t.Context(), tx, bus.APIsBucket, "no key!", 2, []byte("x"))
	}))
	f.put(t, "v1", 3)
	p := documents.NewPublisher(f.db, f.bus, bus.APIsBucket, testkit.Logger(t))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	f.awaitRevision(t, "v1", 3)
	f.put(t, "v2", 4)
	f.awaitRevision(t, "v2", 4)
	testkit.Await(t, 15*time.Second, func() bool { return p.Err() != nil })
	require.ErrorContains(t, p.Err(), "documents that cannot be published: 2, the first "+bus.APIsBucket+"/large")
	f.put(t, "large", 5)
	f.awaitRevision(t, "large", 5)
	testkit.Await(t, 15*time.Second, func() bool { return p.Err() != nil && strings.Contains(p.Err().Error(), "published: 1,") })
	cancel()
	require.NoError(t, <-done)

	err := f.db.InTenant(t.Context(), principal.AllTenants, func(tx pgx.Tx) error {
		return documents.PutBytes(t.Context(), tx, bus.APIsBucket, "larger", 6, make([]byte, documents.MaxSize+1))
	})
	require.Equal(t, problem.TooLarge, problem.KindOf(err))
	require.ErrorContains(t, err, "larger")
}
