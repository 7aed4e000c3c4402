package eventlog_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/testkit"
)

// TestReplicaInACluster keeps three copies of the replica and takes the server that leads it away, twice, while events are
// appended, relayed and followed.
func TestReplicaInACluster(t *testing.T) {
	t.Parallel()
	cluster := testkit.StartNATSCluster(t, 3)
	conn, err := nats.Connect(cluster.URL(), nats.MaxReconnects(-1))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	log := newLog(t, openDB(t, 6))
	relay, err := eventlog.NewRelay(log, js, eventlog.RelayConfig{Replicas: 3, Logger: testkit.Logger(t)})
	require.NoError(t, err)
	start(t, relay.Run)
	db := followerDB(t)
	follower := (&source{log: log, js: js}).follower(t, db, nil)
	start(t, follower.Run)
	fill(t, log, "first", 200)
	waitFor(t, follower, 200)

	for round, prefix := range []string{"second", "third"} {
		leader := cluster.Leader("EV_CATALOG")
		leader.Shutdown()
		fill(t, log, prefix, 200)
		waitFor(t, follower, uint64(400+200*round))
		leader.Start()
	}
	awaitReplica(t, log, relay, js)
	requireEffects(t, db, 600)
	stream, err := js.Stream(t.Context(), "EV_CATALOG")
	require.NoError(t, err)
	require.Equal(t, 3, stream.CachedInfo().Config.Replicas)
	require.Len(t, stream.CachedInfo().Cluster.Replicas, 2)
}
