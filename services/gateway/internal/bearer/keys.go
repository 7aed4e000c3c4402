package bearer

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"

	"github.com/tollgate/tollgate/libs/egress"
)

const (
	// refreshKeys is the age at which an issuer's keys are read again, while those there are go on. At twice that age tokens wait
	// for it, unless the issuer has just failed to answer.
	refreshKeys = 15 * time.Minute
	// unknownKeyPause is how often a key that is not known has an issuer's keys read before their time.
	unknownKeyPause = 10 * time.Second
	// failedPause is how soon a read that failed is tried again.
	failedPause = time.Second
	keysTimeout = 5 * time.Second
	// keepUnused is how long the keys of an issuer whose tokens do not come any more are shared with new versions.
	keepUnused = time.Hour

	// What an issuer's server answers is bounded: by bytes, after decompression, by keys, and by the size of one.
	maxKeysBytes = 1 << 20
	maxKeys      = 100
	maxRSABits   = 16384
)

// KeysConfig is what key sets are read by.
type KeysConfig struct {
	// AllowPrivate has keys read from loopback and private addresses too. Without it, nobody who may name an issuer has the gateway
	// ask its own network.
	AllowPrivate bool
	// Clock is time.Now when nil.
	Clock func() time.Time
	Log   *slog.Logger
}

// KeySets holds the key sets of issuers, each read once for all versions that trust the issuer, and again as its tokens come.
type KeySets struct {
	config KeysConfig
	client *http.Client
	ctx    context.Context //nolint:containedctx // ends the reads, which tokens bring up at any time
	end    context.CancelFunc
	reads  sync.WaitGroup
	// nothing is closed: what is waited for where no read is under way.
	nothing chan struct{}

	mu   sync.Mutex
	sets map[string]*keySet
}

// keySet is one issuer's. Its keys are read when the first token needs them: a version is served, with API keys, before its
// issuer answers.
type keySet struct {
	sets *KeySets
	uri  string
	used atomic.Int64 // in nanoseconds since the Unix epoch
	keys atomic.Pointer[keys]

	mu      sync.Mutex
	reading chan struct{} // closed when the read that is under way has ended; nil without one
	next    time.Time     // no read begins before
	failed  bool          // the last read did
}

// keys are what one read brought. They never change.
type keys struct {
	keyfunc.Keyfunc
	at time.Time
}

// NewKeySets returns no key sets. Close ends the reads.
func NewKeySets(c KeysConfig) *KeySets {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	dialer := &net.Dialer{Timeout: keysTimeout}
	if !c.AllowPrivate {
		dialer.Control = egress.Control
	}
	ctx, end := context.WithCancel(context.Background())
	nothing := make(chan struct{})
	close(nothing)
	return &KeySets{
		config: c, ctx: ctx, end: end, nothing: nothing, sets: map[string]*keySet{},
		client: &http.Client{
			Timeout: keysTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// No proxy: it would connect in place of the dialer, which looks at the address.
			Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true},
		},
	}
}

// Close ends the reads and waits for them.
func (k *KeySets) Close() {
	k.mu.Lock()
	k.end()
	k.mu.Unlock()
	k.reads.Wait()
}

// Sweep drops the key sets that nobody used for long. It is called now and then. A version that still points to one goes on with it.
func (k *KeySets) Sweep() {
	before := k.config.Clock().Add(-keepUnused).UnixNano()
	k.mu.Lock()
	defer k.mu.Unlock()
	for uri, s := range k.sets {
		if s.used.Load() <= before {
			delete(k.sets, uri)
		}
	}
}

// set returns the key set at an address, the same one for all who ask.
func (k *KeySets) set(uri string) *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.sets[uri]
	if s == nil {
		s = &keySet{sets: k, uri: uri}
		k.sets[uri] = s
	}
	s.used.Store(k.config.Clock().UnixNano())
	return s
}

// start runs a read, unless reading has come to its end.
func (k *KeySets) start(read func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		go read() // it fails at once
		return
	}
	k.reads.Go(read)
}

// current returns the keys, nil when they cannot be read.
func (s *keySet) current() *keys {
	now := s.sets.config.Clock()
	s.used.Store(now.UnixNano())
	held := s.keys.Load()
	switch {
	case held == nil || now.Sub(held.at) >= 2*refreshKeys && !s.failing(now):
		<-s.read(now)
	case now.Sub(held.at) >= refreshKeys:
		s.read(now)
	}
	return s.keys.Load()
}

// failing says whether the last read failed, a moment ago.
func (s *keySet) failing(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed && now.Before(s.next.Add(unknownKeyPause))
}

// newer returns keys that were read after those in which a token's was not found.
func (s *keySet) newer(than *keys) (*keys, error) {
	if held := s.keys.Load(); held != than {
		return held, nil
	}
	<-s.read(s.sets.config.Clock())
	if held := s.keys.Load(); held != than {
		return held, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return nil, ErrUnavailable
	}
	return nil, ErrInvalid
}

// read has the keys read, unless it is too soon, and returns what is closed when that is done. All who wait share one read.
func (s *keySet) read(now time.Time) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.reading != nil:
		return s.reading
	case now.Before(s.next):
		return s.sets.nothing
	}
	s.reading = make(chan struct{})
	s.sets.start(func() {
		set, err := s.sets.fetch(s.uri)
		if err != nil {
			s.sets.config.Log.Warn("the keys of an issuer cannot be read; those there are stay", "jwks_uri", s.uri, "error", err)
		}
		s.took(set, now, err)
	})
	return s.reading
}

func (s *keySet) took(set keyfunc.Keyfunc, at time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed, s.next = err != nil, at.Add(failedPause)
	if err == nil {
		s.next = at.Add(unknownKeyPause)
		s.keys.Store(&keys{Keyfunc: set, at: at})
	}
	close(s.reading)
	s.reading = nil
}

// fetch reads the JWK Set (RFC 7517, section 5) at an address.
func (k *KeySets) fetch(uri string) (keyfunc.Keyfunc, error) {
	request, err := http.NewRequestWithContext(k.ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := k.client.Do(request)
	if errors.Is(err, egress.ErrNotPublic) {
		err = fmt.Errorf("%w; allow others with issuer-keys-allow-private", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the status is %d, not 200", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeysBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxKeysBytes {
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxKeysBytes)
	}
	return parseKeys(k.ctx, body)
}

// parseKeys leaves out keys of kinds that are not known here.
func parseKeys(ctx context.Context, body []byte) (keyfunc.Keyfunc, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("the answer is not a JWK Set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("the set has %d keys, more than %d", len(set.Keys), maxKeys)
	}
	storage := jwkset.NewMemoryStorage()
	for i, each := range set.Keys {
		key, err := jwkset.NewJWKFromMarshal(each, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if errors.Is(err, jwkset.ErrUnsupportedKey) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if public, ok := key.Key().(*rsa.PublicKey); ok && public.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("keys[%d]: an RSA key of %d bits is longer than %d", i, public.N.BitLen(), maxRSABits)
		}
		if err := storage.KeyWrite(ctx, key); err != nil {
			return nil, err
		}
	}
	return keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
}
