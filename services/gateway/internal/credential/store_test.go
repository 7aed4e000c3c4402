package credential

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/testkit"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

// source is a bucket of documents with counted reads.
type source struct {
	mu     sync.Mutex
	values map[string][]byte
	reads  atomic.Int64
	down   atomic.Bool
	hold   chan struct{} // when set, reads wait for it after they read
	began  chan struct{}
	saved  map[string][]byte
	saveMu sync.Mutex
}

func newSource() *source { return &source{values: map[string][]byte{}, saved: map[string][]byte{}} }

func (s *source) fetch(ctx context.Context, key string) ([]byte, error) {
	s.reads.Add(1)
	if s.down.Load() {
		return nil, errors.New("nobody answers")
	}
	s.mu.Lock()
	value, ok := s.values[key]
	hold, began := s.hold, s.began
	s.mu.Unlock()
	if hold != nil {
		close(began)
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if !ok {
		return nil, ErrNotFound
	}
	return value, nil
}

func (s *source) save(key string, value []byte) {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.saved[key] = value
}

func name(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

func document(t testing.TB, revision uint64, revoked bool) []byte {
	t.Helper()
	value, err := proto.Marshal(&gatewayv1.CredentialDocument{Revision: revision, Tenant: "t", Account: "a", Application: "app", Credential: "c", Revoked: revoked})
	require.NoError(t, err)
	return value
}

func TestAKeyIsFetchedOnce(t *testing.T) {
	t.Parallel()
	src := newSource()
	src.values[name("k")] = document(t, 1, false)
	src.hold, src.began = make(chan struct{}), make(chan struct{})
	s := NewStore(Config{Fetch: src.fetch, Save: src.save})
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			c, outcome := s.Lookup(t.Context(), []byte("k"))
			if outcome != Known || c.Application != "app" {
				t.Error(outcome)
			}
		})
	}
	<-src.began
	close(src.hold)
	waiting.Wait()
	require.Equal(t, int64(1), src.reads.Load())
	require.Contains(t, src.saved, name("k"))
	require.Equal(t, 1, s.Count())
}

func TestARevocationDuringTheFetchCounts(t *testing.T) {
	t.Parallel()
	src := newSource()
	src.values[name("k")] = document(t, 1, false)
	src.hold, src.began = make(chan struct{}), make(chan struct{})
	s := NewStore(Config{Fetch: src.fetch, Save: src.save})
	got := make(chan *Credential, 1)
	go func() { c, _ := s.Lookup(context.Background(), []byte("k")); got <- c }()
	<-src.began
	require.NoError(t, s.Apply(name("k"), document(t, 2, true)))
	close(src.hold)
	require.True(t, (<-got).Revoked)
}

func TestUnknownKeysAreBelievedForAMoment(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock(time.Unix(1_800_000_000, 0))
	src := newSource()
	s := NewStore(Config{Fetch: src.fetch, Save: src.save, Clock: clock.Now})
	for range 10 {
		_, outcome := s.Lookup(t.Context(), []byte("k"))
		require.Equal(t, Unknown, outcome)
	}
	require.Equal(t, int64(1), src.reads.Load())
	clock.Advance(negativeFor)
	_, outcome := s.Lookup(t.Context(), []byte("k"))
	require.Equal(t, Unknown, outcome)
	require.Equal(t, int64(2), src.reads.Load())
	src.values[name("k")] = document(t, 1, false)
	require.NoError(t, s.Apply(name("k"), document(t, 1, false))) // the watch ends the belief
	_, outcome = s.Lookup(t.Context(), []byte("k"))
	require.Equal(t, Known, outcome)
	for i := range 70_000 { // memory is bounded
		s.Lookup(t.Context(), fmt.Append(nil, i))
	}
	for i := range s.shards {
		require.LessOrEqual(t, len(s.shards[i].unknown), maxNegative)
	}
}

func TestWithoutAnAnswerNothingIsBelieved(t *testing.T) {
	t.Parallel()
	src := newSource()
	src.values[name("k")] = document(t, 1, false)
	src.values[name("broken")] = []byte("nonsense")
	src.down.Store(true)
	s := NewStore(Config{Fetch: src.fetch, Save: src.save})
	_, outcome := s.Lookup(t.Context(), []byte("k"))
	require.Equal(t, Unavailable, outcome)
	src.down.Store(false)
	_, outcome = s.Lookup(t.Context(), []byte("k"))
	require.Equal(t, Known, outcome)
	_, outcome = s.Lookup(t.Context(), []byte("broken"))
	require.Equal(t, Unavailable, outcome)
}

func TestOlderDocumentsAreIgnoredAndMissingOnesRemoveNothing(t *testing.T) {
	t.Parallel()
	src := newSource()
	s := NewStore(Config{Fetch: src.fetch, Save: src.save})
	require.NoError(t, s.Load(name("k"), document(t, 5, true)))
	require.NoError(t, s.Apply(name("k"), document(t, 4, false)))
	c, _ := s.Lookup(t.Context(), []byte("k"))
	require.True(t, c.Revoked)
	s.Refresh(t.Context()) // the source has no such document
	c, outcome := s.Lookup(t.Context(), []byte("k"))
	require.Equal(t, Known, outcome)
	require.True(t, c.Revoked)
	src.values[name("k")] = document(t, 6, false)
	s.Refresh(t.Context())
	c, _ = s.Lookup(t.Context(), []byte("k"))
	require.False(t, c.Revoked)
}

func TestDocumentsThatAreWrong(t *testing.T) {
	t.Parallel()
	s := NewStore(Config{Fetch: newSource().fetch, Save: newSource().save})
	require.Error(t, s.Apply("nonsense", document(t, 1, false)))
	require.Error(t, s.Apply(name("k")+"00", document(t, 1, false)))
	require.Error(t, s.Apply(name("k"), []byte("nonsense")))
	require.Error(t, s.Load(name("k"), nil))
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	c := Credential{ExpiresAt: 100}
	require.True(t, c.Valid(99))
	require.False(t, c.Valid(100))
	require.True(t, (&Credential{}).Valid(1<<62))
	require.False(t, (&Credential{Revoked: true}).Valid(0))
}

func BenchmarkLookup(b *testing.B) {
	s := NewStore(Config{})
	for i := range 10_000 {
		require.NoError(b, s.Load(name(fmt.Sprint("key", i)), document(b, 1, false)))
	}
	key := []byte("key4711")
	b.ReportAllocs()
	for b.Loop() {
		if _, outcome := s.Lookup(b.Context(), key); outcome != Known {
			b.Fatal(outcome)
		}
	}
}
