package callstream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/callstream"
)

func TestPurge(t *testing.T) {
	t.Parallel()
	_, b, created := connect(t)
	var sequences []uint64
	for n := range uint64(6) {
		sequences = append(sequences, publish(t, b, n+1))
		_, err := b.JS.Publish(t.Context(), bus.CallSubject((partition+1)%bus.Partitions), []byte("of another partition"))
		require.NoError(t, err)
	}
	stream, err := b.JS.Stream(t.Context(), bus.CallsStream)
	require.NoError(t, err)
	at := func(sequence uint64) time.Time {
		message, err := stream.GetMsg(t.Context(), sequence)
		require.NoError(t, err)
		return message.Time
	}
	left := func(subject string) uint64 {
		info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(subject))
		require.NoError(t, err)
		return info.State.Subjects[subject]
	}
	last, third := sequences[5], sequences[2]
	limit, late := at(third), at(last).Add(time.Second)

	require.NoError(t, callstream.Purge(t.Context(), b, partition, last, at(sequences[0]), created))
	require.EqualValues(t, 6, left(bus.CallSubject(partition)), "none came before the first")
	require.NoError(t, callstream.Purge(t.Context(), b, partition, last, limit, created))
	require.EqualValues(t, 4, left(bus.CallSubject(partition)), "two came before the third")
	require.NoError(t, callstream.Purge(t.Context(), b, partition, third, late, created))
	require.EqualValues(t, 3, left(bus.CallSubject(partition)), "the third is the last that was taken")
	require.NoError(t, callstream.Purge(t.Context(), b, partition, last, late, created))
	require.Zero(t, left(bus.CallSubject(partition)))
	require.NoError(t, callstream.Purge(t.Context(), b, partition, last, late, created), "there is nothing any more")
	require.EqualValues(t, 6, left(bus.CallSubject((partition+1)%bus.Partitions)), "others' stay")
	require.ErrorIs(t, callstream.Purge(t.Context(), b, partition, last, late, created.Add(-time.Second)), callstream.ErrLost)
}
