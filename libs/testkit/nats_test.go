package testkit_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/testkit"
)

func TestNATSKeepsStreamsOverRestarts(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t)
	url := server.URL()
	js := server.JetStream()
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CALLS", Subjects: []string{"calls.>"}})
	require.NoError(t, err)
	for range 10 {
		_, err := js.Publish(t.Context(), "calls.acme", []byte("call"))
		require.NoError(t, err)
	}

	server.Restart()

	require.Equal(t, url, server.URL())
	testkit.Await(t, 10*time.Second, func() error {
		// A request into the restart is lost.
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		stream, err = js.Stream(ctx, "CALLS")
		return err
	})
	require.EqualValues(t, 10, stream.CachedInfo().State.Msgs)
}

func TestNATSIsDownUntilStarted(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t, testkit.SyncAlways())
	connection := server.Connect()
	require.NoError(t, connection.FlushTimeout(5*time.Second))
	server.Shutdown()
	server.Shutdown()
	testkit.Await(t, 10*time.Second, func() bool { return !connection.IsConnected() })
	server.Start()
	server.Start()
	testkit.Await(t, 10*time.Second, connection.IsConnected)
}

func TestNATSServersAreIndependent(t *testing.T) {
	t.Parallel()
	one, other := testkit.NATS(t), testkit.NATS(t)
	require.NotEqual(t, one.URL(), other.URL())
	require.NotEqual(t, one.StoreDir(), other.StoreDir())
	_, err := one.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{Name: "CALLS", Subjects: []string{"calls.>"}})
	require.NoError(t, err)
	_, err = other.JetStream().Stream(t.Context(), "CALLS")
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}

func TestNATSKeepsAcknowledgedMessagesWhenKilled(t *testing.T) {
	t.Parallel()
	server := testkit.NATS(t, testkit.OwnProcess())
	js := server.JetStream()
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CALLS", Subjects: []string{"calls.>"}})
	require.NoError(t, err)
	const messages = 500
	for range messages {
		_, err := js.Publish(t.Context(), "calls.acme", []byte("call"))
		require.NoError(t, err)
	}
	url := server.URL()
	server.Kill()
	server.Kill()
	server.Start()
	require.Equal(t, url, server.URL())
	testkit.Await(t, 10*time.Second, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		stream, err := js.Stream(ctx, "CALLS")
		if err == nil {
			require.EqualValues(t, messages, stream.CachedInfo().State.Msgs)
		}
		return err
	})
}

func TestNATSInsideTheTestCannotBeKilled(t *testing.T) {
	t.Parallel()
	message := failureOf(t, func(tb testing.TB) { testkit.NATS(tb).Kill() })
	require.Contains(t, message, "testkit.OwnProcess()")
}
