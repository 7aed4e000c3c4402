package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres/postgrestest"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/testkit"
	envelopev1 "github.com/tollgate/tollgate/proto/envelope/v1"
)

func TestRelay(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 4))
	js := testkit.NATS(t).JetStream()
	relay := newRelay(t, log, js)
	fill(t, log, "before", 300)
	start(t, relay.Run)
	awaitReplica(t, log, relay, js)
	fill(t, log, "after", 5)
	awaitReplica(t, log, relay, js)

	stream, err := js.Stream(t.Context(), "EV_CATALOG")
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	require.Equal(t, []string{"ev.catalog.>"}, config.Subjects)
	require.True(t, config.DenyDelete && config.DenyPurge)
	message, err := stream.GetMsg(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, "ev.catalog.api.APICreated", message.Subject)
	require.Equal(t, "before-6", message.Header.Get(eventlog.StreamIDHeader))
	var envelope envelopev1.Envelope
	require.NoError(t, proto.Unmarshal(message.Data, &envelope))
	require.EqualValues(t, 7, envelope.GetPosition())
	require.Equal(t, tenant, envelope.GetTenant())
	require.NoError(t, relay.Err())
	require.EqualValues(t, 305, relay.Published())
}

// TestRelayKilled ends relays at random moments while events are appended.
func TestRelayKilled(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 6))
	js := testkit.NATS(t).JetStream()
	random := rand.New(rand.NewPCG(7, 7))
	for round := range 12 {
		relay := newRelay(t, log, js)
		stop := start(t, relay.Run)
		fill(t, log, fmt.Sprintf("round-%d", round), 150)
		until := uint64(random.IntN(150))
		testkit.Await(t, patience, func() bool { return relay.Published() >= until })
		stop()
	}
	relay := newRelay(t, log, js)
	start(t, relay.Run)
	awaitReplica(t, log, relay, js)
}

// TestRelayLosesAcknowledgements lets messages arrive and their acknowledgements not.
func TestRelayLosesAcknowledgements(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 6))
	nats1 := testkit.NATS(t)
	direct := nats1.JetStream()
	proxy, url := postgrestest.NewURLProxy(t, nats1.URL())
	through, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(through.Close)
	js, err := jetstream.New(through)
	require.NoError(t, err)
	relay := newRelay(t, log, js)
	start(t, relay.Run)
	fill(t, log, "first", 1)
	awaitReplica(t, log, relay, direct)

	for round := range 8 {
		proxy.Mute(true)
		fill(t, log, fmt.Sprintf("round-%d", round), 50)
		head := mustHead(t, log)
		testkit.Await(t, patience, func() error { // stored, but the relay does not know; or it was just looking at the stream
			stream, err := direct.Stream(t.Context(), "EV_CATALOG")
			if err == nil && stream.CachedInfo().State.LastSeq < head-49 && relay.Err() == nil {
				err = errors.New("nothing arrived")
			}
			return err
		})
		proxy.Mute(false)
		proxy.Cut()
		awaitReplica(t, log, relay, direct)
	}
}

// TestTwoRelays lets two processes append and relay at once.
func TestTwoRelays(t *testing.T) {
	t.Parallel()
	url := testkit.Database(t, "eventlog")
	nats1 := testkit.NATS(t)
	var group errgroup.Group
	var relay *eventlog.Relay
	var log *eventlog.Log
	for p := range 2 {
		log = newLog(t, openURL(t, url, 6))
		own := log
		relay = newRelay(t, log, nats1.JetStream())
		start(t, relay.Run)
		group.Go(func() error {
			for i := range 120 {
				name := fmt.Sprintf("p%d-%d", p, i)
				if _, err := appendTo(as(t.Context(), tenant), own, name, 0, created(name), changed(name)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	awaitReplica(t, log, relay, nats1.JetStream())
}

// TestReplicaIsRefilled loses the replica, or a part of it, in several ways, while the relay runs.
func TestReplicaIsRefilled(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, nats1 *testkit.NATSServer, js jetstream.JetStream, grow func()){
		"server restarted": func(_ *testing.T, nats1 *testkit.NATSServer, _ jetstream.JetStream, grow func()) {
			nats1.Shutdown()
			grow()
			nats1.Start()
		},
		"stream deleted": func(t *testing.T, _ *testkit.NATSServer, js jetstream.JetStream, grow func()) {
			require.NoError(t, js.DeleteStream(t.Context(), "EV_CATALOG"))
			grow()
		},
		"stream deleted, nothing appended": func(t *testing.T, _ *testkit.NATSServer, js jetstream.JetStream, _ func()) {
			require.NoError(t, js.DeleteStream(t.Context(), "EV_CATALOG"))
		},
		"store lost": func(t *testing.T, nats1 *testkit.NATSServer, _ jetstream.JetStream, grow func()) {
			nats1.Shutdown()
			require.NoError(t, os.RemoveAll(nats1.StoreDir()))
			grow()
			nats1.Start()
		},
		"tail lost": func(t *testing.T, nats1 *testkit.NATSServer, js jetstream.JetStream, grow func()) {
			nats1.Shutdown()
			kept := t.TempDir() + "/kept"
			require.NoError(t, exec.CommandContext(t.Context(), "cp", "-a", nats1.StoreDir(), kept).Run())
			nats1.Start()
			grow()
			testkit.Await(t, patience, func() error {
				stream, err := js.Stream(t.Context(), "EV_CATALOG")
				if err == nil && stream.CachedInfo().State.LastSeq < 200 {
					err = errors.New("not yet grown")
				}
				return err
			})
			nats1.Shutdown()
			require.NoError(t, os.RemoveAll(nats1.StoreDir()))
			require.NoError(t, os.Rename(kept, nats1.StoreDir()))
			nats1.Start()
		},
	}
	for name, lose := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := newLog(t, openDB(t, 6))
			nats1 := testkit.NATS(t)
			js := nats1.JetStream()
			relay := newRelay(t, log, js)
			start(t, relay.Run)
			fill(t, log, "before", 100)
			awaitReplica(t, log, relay, js)
			lose(t, nats1, js, func() { fill(t, log, "during", 100) })
			fill(t, log, "after", 50)
			awaitReplica(t, log, relay, js)
		})
	}
}

// TestBrokerKilled kills the broker at random moments of the publishing. It syncs each write, as in production.
func TestBrokerKilled(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 6))
	broker := testkit.NATS(t, testkit.OwnProcess(), testkit.SyncAlways())
	js := broker.JetStream()
	relay := newRelay(t, log, js)
	start(t, relay.Run)
	random := rand.New(rand.NewPCG(9, 9))
	for round := range 5 {
		before := relay.Published()
		fill(t, log, fmt.Sprintf("round-%d", round), 300)
		until := before + uint64(random.IntN(200))
		testkit.Await(t, patience, func() bool { return relay.Published() >= until })
		broker.Kill()
		broker.Start()
	}
	awaitReplica(t, log, relay, js)
}

// TestDamagedReplicaIsReplaced removes a message from the middle.
func TestDamagedReplicaIsReplaced(t *testing.T) {
	t.Parallel()
	for _, lost := range []uint64{1, 20} {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			t.Parallel()
			log := newLog(t, openDB(t, 6))
			js := testkit.NATS(t).JetStream()
			relay := newRelay(t, log, js)
			fill(t, log, "x", 50)
			stop := start(t, relay.Run)
			awaitReplica(t, log, relay, js)
			stop()
			copyReplica(t, js, lost)
			audit, err := relay.Audit(t.Context())
			require.NoError(t, err)
			require.Equal(t, []eventlog.Difference{{Position: lost, Problem: "missing in the replica"}}, audit.Differences)
			start(t, relay.Run)
			testkit.Await(t, patience, func() error {
				audit, err := relay.Audit(t.Context())
				if err == nil && (audit.ReplicaEnd != 50 || len(audit.Differences) > 0) {
					err = fmt.Errorf("%+v", audit)
				}
				return err
			})
		})
	}
}

// copyReplica makes the replica again without the protection against deletion, and deletes one message.
func copyReplica(t *testing.T, js jetstream.JetStream, lost uint64) {
	t.Helper()
	ctx := t.Context()
	stream, err := js.Stream(ctx, "EV_CATALOG")
	require.NoError(t, err)
	info := stream.CachedInfo()
	var messages []*nats.Msg
	for sequence := uint64(1); sequence <= info.State.LastSeq; sequence++ {
		m, err := stream.GetMsg(ctx, sequence)
		require.NoError(t, err)
		messages = append(messages, &nats.Msg{Subject: m.Subject, Header: nats.Header{eventlog.StreamIDHeader: m.Header[eventlog.StreamIDHeader]}, Data: m.Data})
	}
	require.NoError(t, js.DeleteStream(ctx, "EV_CATALOG"))
	config := info.Config
	config.DenyDelete, config.DenyPurge = false, false
	stream, err = js.CreateStream(ctx, config)
	require.NoError(t, err)
	for _, m := range messages {
		_, err := js.PublishMsg(ctx, m)
		require.NoError(t, err)
	}
	require.NoError(t, stream.DeleteMsg(ctx, lost))
}

func TestRebuildReplica(t *testing.T) {
	t.Parallel()
	log := newLog(t, openDB(t, 6))
	js := testkit.NATS(t).JetStream()
	relay := newRelay(t, log, js)
	start(t, relay.Run)
	fill(t, log, "x", 600)
	awaitReplica(t, log, relay, js)
	require.NoError(t, relay.Rebuild(t.Context()))
	awaitReplica(t, log, relay, js)
	require.EqualValues(t, 1200, relay.Published())
}

// TestRelayRefusesAnotherLog connects a database to the replica of another one.
func TestRelayRefusesAnotherLog(t *testing.T) {
	t.Parallel()
	for name, events := range map[string]int{"shorter": 5, "longer": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			js := testkit.NATS(t).JetStream()
			log := newLog(t, openDB(t, 4))
			relay := newRelay(t, log, js)
			stop := start(t, relay.Run)
			fill(t, log, "right", 10)
			awaitReplica(t, log, relay, js)
			stop()

			wrong := newLog(t, openDB(t, 4))
			fill(t, wrong, "wrong", events)
			refusing := newRelay(t, wrong, js)
			start(t, refusing.Run)
			testkit.Await(t, patience, func() bool { return errors.Is(refusing.Err(), eventlog.ErrDiverged) })
			awaitReplica(t, log, relay, js)
		})
	}
}

func TestRelayRefusesAForeignStream(t *testing.T) {
	t.Parallel()
	js := testkit.NATS(t).JetStream()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EV_CATALOG", Subjects: []string{"something.>"}})
	require.NoError(t, err)
	relay := newRelay(t, newLog(t, openDB(t, 4)), js)
	start(t, relay.Run)
	testkit.Await(t, patience, func() bool { return relay.Err() != nil })
	require.ErrorContains(t, relay.Err(), "is no replica of an event log")
}

func TestLargeEvents(t *testing.T) {
	t.Parallel()
	large := created(strings.Repeat("x", eventlog.MaxPayload/2-100)) // id and name
	log := newLog(t, openDB(t, 4))
	_, err := appendTo(as(t.Context(), tenant), log, "large", 0, large)
	require.NoError(t, err)

	t.Run("refused by a server with a lower limit", func(t *testing.T) {
		t.Parallel()
		relay := newRelay(t, log, testkit.NATS(t).JetStream())
		start(t, relay.Run)
		testkit.Await(t, patience, func() bool { return relay.Err() != nil })
		require.ErrorIs(t, relay.Err(), nats.ErrMaxPayload)
		require.ErrorContains(t, relay.Err(), "publish log catalog from position 1: send ")
	})
	t.Run("relayed", func(t *testing.T) {
		t.Parallel()
		js := largeNATS(t)
		relay := newRelay(t, log, js)
		start(t, relay.Run)
		awaitReplica(t, log, relay, js)
	})
}

// largeNATS starts a server with the limit that Tollgate's have.
func largeNATS(t *testing.T) jetstream.JetStream {
	t.Helper()
	running, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: bus.MaxPayload,
	})
	require.NoError(t, err)
	running.Start()
	t.Cleanup(func() {
		running.Shutdown()
		running.WaitForShutdown()
	})
	require.True(t, running.ReadyForConnections(patience))
	connection, err := nats.Connect(running.ClientURL())
	require.NoError(t, err)
	t.Cleanup(connection.Close)
	js, err := jetstream.New(connection)
	require.NoError(t, err)
	return js
}

// TestAppendedSignals: each append closes the channel, also one within a transaction of somebody else.
func TestAppendedSignals(t *testing.T) {
	t.Parallel()
	db := openDB(t, 4)
	log := newLog(t, db)
	signal := log.Appended()
	fill(t, log, "x", 1)
	<-signal

	signal = log.Appended()
	_, err := eventlog.Execute(as(t.Context(), tenant), log, func(context.Context, *eventlog.Tx) (int, error) { return 0, nil })
	require.NoError(t, err)
	select {
	case <-signal:
		require.Fail(t, "nothing was appended")
	default:
	}
	require.NoError(t, db.InTenant(t.Context(), "*", func(tx pgx.Tx) error {
		ctx := principal.With(t.Context(), principal.Service("catalog", tenant))
		inner, flush, err := log.Within(ctx, tx)
		if err != nil {
			return err
		}
		inner.Append("api", "y", 0, created("y"))
		position, err := flush(ctx)
		require.EqualValues(t, 2, position)
		return err
	}))
	<-signal
	require.EqualValues(t, 2, mustHead(t, log))
}
