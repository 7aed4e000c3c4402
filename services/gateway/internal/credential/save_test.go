package credential

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestASlowDiskHoldsUpNobodyElse has a document saved for as long as the test likes: every other key goes on, those of the same shard
// too, and what comes meanwhile is what is saved last.
func TestASlowDiskHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	src := newSource()
	begun, disk := make(chan string, 10), make(chan struct{})
	var saved [][]byte
	s := NewStore(Config{Fetch: src.fetch, Save: func(key string, value []byte) {
		begun <- key
		<-disk
		saved = append(saved, value) // one at a time
	}})
	var keys []string // of one shard
	for i := 0; len(keys) < 2; i++ {
		if key := fmt.Sprint("key", i); len(keys) == 0 || shardOf(s, key) == shardOf(s, keys[0]) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		src.values[name(key)] = document(t, 1, false)
	}
	require.NoError(t, s.Load(name(keys[1]), document(t, 1, false)))
	first := make(chan Outcome, 1)
	go func() {
		_, outcome := s.Lookup(context.Background(), []byte(keys[0]))
		first <- outcome
	}()
	require.Equal(t, name(keys[0]), <-begun)

	_, outcome := s.Lookup(t.Context(), []byte(keys[1]))
	require.Equal(t, Known, outcome, "one that is held")
	_, outcome = s.Lookup(t.Context(), []byte("no such key"))
	require.Equal(t, Unknown, outcome)
	_, outcome = s.Lookup(t.Context(), []byte(keys[0]))
	require.Equal(t, Known, outcome, "the one that is being saved")
	require.Equal(t, 2, s.Count())
	s.Sweep()
	// The watch brings two changes: the newer of them is on the disk in the end.
	changed := make(chan error, 2)
	for revision := range uint64(2) {
		go func() { changed <- s.Apply(name(keys[0]), document(t, 2+revision, revision == 1)) }()
		require.Eventually(t, func() bool {
			c, outcome := s.Lookup(t.Context(), []byte(keys[0]))
			return outcome == Known && c.Revision == 2+revision
		}, time.Minute, time.Millisecond)
	}
	close(disk)
	require.Equal(t, Known, <-first)
	require.NoError(t, <-changed)
	require.NoError(t, <-changed)
	require.Equal(t, document(t, 3, true), saved[len(saved)-1])
}

func shardOf(s *Store, key string) *shard {
	d, err := parseName(name(key))
	if err != nil {
		panic(err)
	}
	return s.shard(&d)
}
