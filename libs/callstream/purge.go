package callstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tollgate/tollgate/libs/bus"
)

// Purge deletes the messages of a partition up to a sequence that came before a time, of the stream made at the given time.
// It looks at some thirty messages to find where they end. It fails with ErrLost when that stream is not there any more.
func Purge(ctx context.Context, b *bus.Bus, partition int, last uint64, before, created time.Time) error {
	stream, err := b.JS.Stream(ctx, bus.CallsStream)
	if err != nil {
		return fmt.Errorf("look at stream %s: %w", bus.CallsStream, err)
	}
	info := stream.CachedInfo()
	if !info.Created.UTC().Truncate(time.Microsecond).Equal(created) {
		return fmt.Errorf("look at stream %s: it was made anew: %w", bus.CallsStream, ErrLost)
	}
	subject := bus.CallSubject(partition)
	// Messages from low on, up to high, have to be looked at: those below came before the time.
	low, high := info.State.FirstSeq, last+1
	for low < high {
		middle := low + (high-low)/2
		message, err := stream.GetMsg(ctx, middle, jetstream.WithGetMsgSubject(subject))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			high = middle
		case err != nil:
			return fmt.Errorf("look at message %d of stream %s: %w", middle, bus.CallsStream, err)
		case message.Sequence < high && message.Time.Before(before):
			low = message.Sequence + 1
		default:
			high = middle
		}
	}
	if low <= info.State.FirstSeq {
		return nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(low)); err != nil {
		return fmt.Errorf("purge partition %d of stream %s: %w", partition, bus.CallsStream, err)
	}
	return nil
}
