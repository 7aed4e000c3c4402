package bearer

import (
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate/tollgate/libs/token"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is the time of the key sets under test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// issuing is an authorization server whose keys a test changes.
type issuing struct {
	*httptest.Server
	t       *testing.T
	mu      sync.Mutex
	keys    map[string]ed25519.PrivateKey
	answer  http.HandlerFunc // in place of the keys
	reads   int
	holding chan struct{} // an answer waits until it is closed
}

func newIssuing(t *testing.T) *issuing {
	t.Helper()
	s := &issuing{t: t, keys: map[string]ed25519.PrivateKey{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *issuing) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.reads++
	answer, holding := s.answer, s.holding
	var set token.JWKSet
	for kid, key := range s.keys {
		set.Keys = append(set.Keys, token.PublicJWK(kid, key.Public().(ed25519.PublicKey)))
	}
	s.mu.Unlock()
	if holding != nil {
		<-holding
	}
	if answer != nil {
		answer(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(set)
}

func (s *issuing) set(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *issuing) hold() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	holding := make(chan struct{})
	s.holding = holding
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.holding = nil
		close(holding)
	}
}

func (s *issuing) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// rotate replaces the keys by a new one, which signs what it returns.
func (s *issuing) rotate(kid string) string {
	s.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(s.t, err)
	s.mu.Lock()
	s.keys = map[string]ed25519.PrivateKey{kid: key}
	s.mu.Unlock()
	return s.sign(kid, key)
}

func (s *issuing) sign(kid string, key ed25519.PrivateKey) string {
	s.t.Helper()
	signed := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://idp.example.com", "aud": "weather", "azp": "app", "exp": time.Now().Add(time.Hour).Unix(),
	})
	if kid != "" {
		signed.Header["kid"] = kid
	}
	text, err := signed.SignedString(key)
	require.NoError(s.t, err)
	return text
}

func (s *issuing) forged(kid string) string {
	s.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(s.t, err)
	return s.sign(kid, key)
}

func trusting(t *testing.T, s *issuing, c *clock) (*KeySets, *Issuer) {
	t.Helper()
	sets := NewKeySets(KeysConfig{AllowPrivate: true, Clock: c.Now, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(sets.Close)
	return sets, compiled(t, sets, s.URL)
}

func compiled(t *testing.T, sets *KeySets, uri string) *Issuer {
	t.Helper()
	i, err := sets.Compile("t1", &catalogv1.Issuer{Issuer: "https://idp.example.com", JwksUri: uri, Audiences: []string{"weather"}})
	require.NoError(t, err)
	return i
}

func TestARotatedKeyIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	s, c := newIssuing(t), newClock()
	_, i := trusting(t, s, c)
	for _, kid := range []string{"one", "two", ""} {
		signed := s.rotate(kid)
		_, err := i.verify(signed)
		require.NoError(t, err, "key %q", kid)
		c.forward(unknownKeyPause)
	}
	require.Equal(t, 3, s.count())
	// A stranger's tokens do not have the keys read all the time.
	for range 10 {
		_, err := i.verify(s.forged("three"))
		require.ErrorIs(t, err, ErrInvalid)
		_, err = i.verify(s.forged(""))
		require.ErrorIs(t, err, ErrInvalid)
	}
	require.Equal(t, 4, s.count())
}

func TestThoseWhoWaitForAKeyShareOneRead(t *testing.T) {
	t.Parallel()
	s, c := newIssuing(t), newClock()
	_, i := trusting(t, s, c)
	_, err := i.verify(s.rotate("one"))
	require.NoError(t, err)
	c.forward(unknownKeyPause)
	signed := s.rotate("two")
	release := s.hold()
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() {
			_, err := i.verify(signed)
			errs <- err
		}()
	}
	require.Eventually(t, func() bool { return s.count() == 2 }, time.Minute, time.Millisecond)
	release()
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.Equal(t, 2, s.count())
}

func TestAFirstReadThatFailedIsTriedAgainSoon(t *testing.T) {
	t.Parallel()
	s, c := newIssuing(t), newClock()
	_, i := trusting(t, s, c)
	signed := s.rotate("one")
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for range 10 {
		_, err := i.verify(signed)
		require.ErrorIs(t, err, ErrUnavailable)
	}
	require.Equal(t, 1, s.count())
	s.set(nil)
	c.forward(failedPause)
	_, err := i.verify(signed)
	require.NoError(t, err)
}

func TestKeysAreReadAgainInTime(t *testing.T) {
	t.Parallel()
	s, c := newIssuing(t), newClock()
	_, i := trusting(t, s, c)
	old := s.rotate("one")
	_, err := i.verify(old)
	require.NoError(t, err)
	// Those there are go on while newer ones are read.
	s.rotate("two")
	c.forward(refreshKeys)
	release := s.hold()
	_, err = i.verify(old)
	require.NoError(t, err)
	release()
	require.Eventually(t, func() bool {
		_, err := i.verify(old)
		return err != nil
	}, time.Minute, time.Millisecond, "the key was withdrawn")
	// After a long time without tokens, nobody gets by with a key that was withdrawn meanwhile.
	old = s.rotate("three")
	c.forward(unknownKeyPause)
	_, err = i.verify(old)
	require.NoError(t, err)
	s.rotate("four")
	c.forward(2 * refreshKeys)
	_, err = i.verify(old)
	require.ErrorIs(t, err, ErrInvalid)
	// An issuer that does not answer costs nothing that is known.
	last := s.rotate("five")
	c.forward(unknownKeyPause)
	_, err = i.verify(last)
	require.NoError(t, err)
	s.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	c.forward(2 * refreshKeys)
	_, err = i.verify(last)
	require.NoError(t, err)
	c.forward(failedPause)
	_, err = i.verify(s.forged("six"))
	require.ErrorIs(t, err, ErrUnavailable, "whether there is such a key now cannot be said")
	// Nor does it keep tokens waiting, once it has failed.
	c.forward(failedPause)
	release = s.hold()
	_, err = i.verify(last)
	require.NoError(t, err)
	i.keys.mu.Lock()
	require.NotNil(t, i.keys.reading, "the read goes on")
	i.keys.mu.Unlock()
	release()
}

// endless sends an answer without an end, or with one far away.
func endless(w io.Writer) {
	_, err := io.WriteString(w, `{"keys":["`)
	for text := strings.Repeat("x", 64<<10); err == nil; {
		_, err = io.WriteString(w, text)
	}
}

func TestAnswersThatAreNoKeySetsAreRefused(t *testing.T) {
	t.Parallel()
	many := func(w http.ResponseWriter, _ *http.Request) {
		_, public, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		var set token.JWKSet
		for n := range maxKeys + 1 {
			set.Keys = append(set.Keys, token.PublicJWK(fmt.Sprint(n), public.Public().(ed25519.PublicKey)))
		}
		_ = json.NewEncoder(w).Encode(set)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"compressed": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			endless(gzip.NewWriter(w))
		},
		"too many":  many,
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := newIssuing(t), newClock()
			_, i := trusting(t, s, c)
			signed := s.rotate("one")
			s.set(answer)
			_, err := i.verify(signed)
			require.ErrorIs(t, err, ErrUnavailable)
			s.set(nil)
			c.forward(failedPause)
			_, err = i.verify(signed)
			require.NoError(t, err)
		})
	}
}

func TestKeysAtPrivateAddressesAreNotRead(t *testing.T) {
	t.Parallel()
	s, c := newIssuing(t), newClock()
	var log strings.Builder
	sets := NewKeySets(KeysConfig{Clock: c.Now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	t.Cleanup(sets.Close)
	i := compiled(t, sets, s.URL)
	_, err := i.verify(s.rotate("one"))
	require.ErrorIs(t, err, ErrUnavailable)
	require.Zero(t, s.count())
	require.Contains(t, log.String(), "issuer-keys-allow-private")
}

func TestKeySetsThatNobodyUsesAreDropped(t *testing.T) {
	t.Parallel()
	s, c := newIssuing(t), newClock()
	sets, i := trusting(t, s, c)
	for n := range 100 {
		compiled(t, sets, fmt.Sprintf("%s/%d", s.URL, n))
	}
	require.Len(t, sets.sets, 101)
	c.forward(keepUnused)
	_, err := i.verify(s.rotate("one"))
	require.NoError(t, err)
	sets.Sweep()
	require.Len(t, sets.sets, 1)
	c.forward(2 * keepUnused)
	sets.Sweep()
	require.Empty(t, sets.sets)
	_, err = i.verify(s.rotate("two"))
	require.NoError(t, err, "a version that is still there goes on")
}
