package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/libs/eventlog"
)

// TestPositionsAreGapless lets 32 writers append, fail and collide while readers follow by position.
func TestPositionsAreGapless(t *testing.T) {
	t.Parallel()
	const writers, commands = 32, 60
	log := newLog(t, openDB(t, 40))
	ctx, stopReading := context.WithCancel(t.Context())
	defer stopReading()
	broken := errors.New("rolled back")

	var writing errgroup.Group
	for w := range writers {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		tenant := fmt.Sprintf("tenant-%d", w%5)
		writing.Go(func() error {
			for c := range commands {
				n, fails, shared := 1+random.IntN(4), random.IntN(4) == 0, random.IntN(3) == 0
				_, err := eventlog.Execute(as(ctx, tenant), log, func(ctx context.Context, tx *eventlog.Tx) (int, error) {
					stream := fmt.Sprintf("w%d-%d", w, c)
					if shared {
						stream = "shared"
					}
					events, err := tx.Load(ctx, "api", stream)
					if err != nil {
						return 0, err
					}
					for i := range n {
						tx.Append("api", stream, uint64(len(events)+i), changed(stream))
					}
					if fails {
						return 0, broken
					}
					return 0, nil
				})
				if err != nil && !errors.Is(err, broken) && !errors.Is(err, eventlog.ErrConflict) {
					return err
				}
			}
			return nil
		})
	}
	var reading errgroup.Group
	seen := make([][]string, 4)
	for r := range seen {
		reading.Go(func() error {
			for {
				ended := ctx.Err() != nil
				// Reading goes on after the writers' end until nothing is left.
				events, err := log.Read(context.WithoutCancel(ctx), uint64(len(seen[r])), 7)
				if err != nil {
					return err
				}
				for _, e := range events {
					if e.Position != uint64(len(seen[r]))+1 {
						return fmt.Errorf("position %d came after %d", e.Position, len(seen[r]))
					}
					seen[r] = append(seen[r], e.ID)
				}
				if ended && len(events) == 0 {
					return nil
				}
			}
		})
	}
	require.NoError(t, writing.Wait())
	stopReading()
	require.NoError(t, reading.Wait())

	all := readAll(t, log)
	require.Equal(t, mustHead(t, log), uint64(len(all)))
	ids := make([]string, len(all))
	versions := map[string]uint64{}
	for i, e := range all {
		require.Equal(t, uint64(i)+1, e.Position)
		stream := e.Tenant + "/" + e.StreamID
		versions[stream]++
		require.Equal(t, versions[stream], e.Version, "versions of a stream follow each other in the log")
		ids[i] = e.ID
	}
	for _, read := range seen {
		require.Equal(t, ids, read)
	}
}
