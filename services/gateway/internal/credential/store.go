// Package credential owns the API keys that this gateway knows.
//
// A key is known by its SHA-256 alone: it is neither stored nor logged. Looking a digest up in a map tells nothing by its timing:
// who does not have the key cannot choose its digest. A key is fetched on its first use, once for all who wait for it, and then kept
// fresh by the watch on the bucket; that a key is unknown is believed for a short time. Only the gateway's own packages import it.
package credential

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
)

// Credential says whose a key is. It never changes.
type Credential struct {
	Revision                         uint64
	ID, Tenant, Account, Application string
	// ExpiresAt is in nanoseconds since the Unix epoch; 0 means never.
	ExpiresAt int64
	Revoked   bool
	// Kind is apiKey, oauth2, jwt, or revokedToken for an access token that was revoked before its end.
	Kind string
	// Scopes of an API key; a token carries its own. Roles of the application.
	Scopes, Roles []string
}

// RevokedToken is the kind of the document that says so of an access token.
const RevokedToken = "revokedToken"

// Valid says whether calls may use it at a time, in nanoseconds since the Unix epoch.
func (c *Credential) Valid(now int64) bool {
	return !c.Revoked && (c.ExpiresAt == 0 || now < c.ExpiresAt)
}

// Outcome of a look-up.
type Outcome uint8

// The outcomes.
const (
	// Known: the credential, valid or not.
	Known Outcome = iota
	// Unknown: there is no such key.
	Unknown
	// Unavailable: nobody can say now.
	Unavailable
)

// ErrNotFound is what Config.Fetch returns when there is no such document.
var ErrNotFound = errors.New("no such document")

const (
	shardCount   = 64
	maxNegative  = 1024 // a shard
	negativeFor  = time.Second
	fetchTimeout = 2 * time.Second
	maxFetches   = 64
)

// Config of a store.
type Config struct {
	// Fetch reads the document with a key, the hex digest: ErrNotFound when there is none.
	Fetch func(ctx context.Context, key string) ([]byte, error)
	// Save keeps a document for the next start.
	Save func(key string, document []byte)
	// Clock is time.Now when nil.
	Clock func() time.Time
}

// Digest names a document: see gateway.v1.CredentialDocument.
type Digest = [sha256.Size]byte

type digest = Digest

// Store holds the credentials. It is safe for concurrent use.
type Store struct {
	config Config
	slots  chan struct{} // bounds the fetches at once
	shards [shardCount]shard
}

type shard struct {
	mu       sync.RWMutex
	known    map[digest]*Credential
	unknown  map[digest]int64 // until when it is believed
	fetching map[digest]*fetch
	revoked  []digest // documents of revoked tokens in known
	unsaved  map[digest][]byte

	saving sync.Mutex // held while a document is saved, without mu: the disk may be slow
}

// fetch is a document on its way.
type fetch struct {
	done    chan struct{}
	newer   []byte // came by the watch meanwhile
	outcome Outcome
}

// NewStore returns an empty store.
func NewStore(c Config) *Store {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	s := &Store{config: c, slots: make(chan struct{}, maxFetches)}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.known, sh.unknown, sh.fetching, sh.unsaved = map[digest]*Credential{}, map[digest]int64{}, map[digest]*fetch{}, map[digest][]byte{}
	}
	return s
}

func (s *Store) shard(d *digest) *shard { return &s.shards[d[0]%shardCount] }

// Lookup returns the credential of an API key. One that is not held is fetched, which takes a moment.
func (s *Store) Lookup(ctx context.Context, key []byte) (*Credential, Outcome) {
	return s.Find(ctx, sha256.Sum256(key))
}

// Find is Lookup by the document's name.
func (s *Store) Find(ctx context.Context, d Digest) (*Credential, Outcome) {
	sh := s.shard(&d)
	sh.mu.RLock()
	c := sh.known[d]
	sh.mu.RUnlock()
	if c != nil {
		return c, Known
	}
	return s.first(ctx, sh, d)
}

// first looks up a key that is not held.
func (s *Store) first(ctx context.Context, sh *shard, d digest) (*Credential, Outcome) {
	sh.mu.Lock()
	if c := sh.known[d]; c != nil {
		sh.mu.Unlock()
		return c, Known
	}
	if until, ok := sh.unknown[d]; ok {
		if s.config.Clock().UnixNano() < until {
			sh.mu.Unlock()
			return nil, Unknown
		}
		delete(sh.unknown, d)
	}
	f := sh.fetching[d]
	if f == nil {
		f = &fetch{done: make(chan struct{})}
		sh.fetching[d] = f
		sh.mu.Unlock()
		s.fetch(ctx, sh, d, f)
	} else {
		sh.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, Unavailable
		}
	}
	if f.outcome != Known {
		return nil, f.outcome
	}
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.known[d], Known
}

// fetch gets the document and settles f.
func (s *Store) fetch(ctx context.Context, sh *shard, d digest, f *fetch) {
	// Those who wait share the answer: it must not depend on the first one's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	name := hex.EncodeToString(d[:])
	document, err := s.get(ctx, name)
	s.settle(sh, d, f, document, err)
	s.save(sh, d, name)
}

func (s *Store) settle(sh *shard, d digest, f *fetch, document []byte, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer close(f.done)
	delete(sh.fetching, d)
	switch {
	case err == nil || f.newer != nil:
		for _, candidate := range [][]byte{document, f.newer} {
			if candidate != nil {
				sh.hold(d, candidate)
			}
		}
		f.outcome = Unavailable // the document cannot be read: another may come
		if sh.known[d] != nil {
			f.outcome = Known
		}
	case errors.Is(err, ErrNotFound):
		f.outcome = Unknown
		if len(sh.unknown) >= maxNegative {
			clear(sh.unknown)
		}
		sh.unknown[d] = s.config.Clock().Add(negativeFor).UnixNano()
	default:
		f.outcome = Unavailable
	}
}

func (s *Store) get(ctx context.Context, name string) ([]byte, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.config.Fetch(ctx, name)
}

// hold takes a document in unless it is older than the one held. The caller holds mu, and calls save without it.
func (sh *shard) hold(d digest, document []byte) {
	c, err := parse(document)
	if err != nil {
		return
	}
	if held := sh.known[d]; held != nil && (c.Revision < held.Revision || reflect.DeepEqual(c, held)) {
		return
	}
	sh.known[d] = c
	delete(sh.unknown, d)
	if c.Kind == RevokedToken {
		sh.revoked = append(sh.revoked, d)
		return // the next start asks for it when the token comes
	}
	sh.unsaved[d] = document
}

// save saves what was taken in of a key, unless somebody else does. Documents of a key are saved in the order in which they were taken
// in: the newest is the last.
func (s *Store) save(sh *shard, d digest, name string) {
	sh.mu.RLock()
	waiting := sh.unsaved[d] != nil
	sh.mu.RUnlock()
	if !waiting {
		return
	}
	sh.saving.Lock()
	defer sh.saving.Unlock()
	sh.mu.Lock()
	document := sh.unsaved[d]
	delete(sh.unsaved, d)
	sh.mu.Unlock()
	if document != nil {
		s.config.Save(name, document)
	}
}

// Sweep forgets revoked tokens that have ended anyway.
func (s *Store) Sweep() {
	now := s.config.Clock().UnixNano()
	for i := range s.shards {
		s.shards[i].sweep(now)
	}
}

func (sh *shard) sweep(now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.revoked = slices.DeleteFunc(sh.revoked, func(d digest) bool {
		if c := sh.known[d]; c != nil && now < c.ExpiresAt {
			return false
		}
		delete(sh.known, d)
		return true
	})
}

// Revoked says whether an access token is known to be revoked, without asking anybody: who takes a token for the first time
// calls Find, from when on the watch tells.
func (s *Store) Revoked(d Digest) bool {
	sh := s.shard(&d)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.known[d] != nil
}

func parse(document []byte) (*Credential, error) {
	var m gatewayv1.CredentialDocument
	if err := proto.Unmarshal(document, &m); err != nil {
		return nil, fmt.Errorf("is not a gateway.v1.CredentialDocument: %w", err)
	}
	ids := map[string]string{"tenant": m.GetTenant()}
	if m.GetKind() != RevokedToken {
		ids["account"], ids["application"], ids["credential"] = m.GetAccount(), m.GetApplication(), m.GetCredential()
	}
	for name, id := range ids {
		if id == "" || len(id) > callrecord.MaxID {
			return nil, fmt.Errorf("%s: %q is not an id of 1 to %d bytes", name, id, callrecord.MaxID)
		}
	}
	return &Credential{
		Revision: m.GetRevision(), ID: m.GetCredential(), Tenant: m.GetTenant(), Account: m.GetAccount(), Application: m.GetApplication(),
		ExpiresAt: m.GetExpiresAt() * int64(time.Second), Revoked: m.GetRevoked(), Kind: m.GetKind(), Scopes: m.GetScopes(), Roles: m.GetRoles(),
	}, nil
}

// Apply takes a document in that the watch brought: of a key that is held, being fetched, or thought not to exist, and every one
// of a revoked token. Others are fetched on their first use.
func (s *Store) Apply(name string, document []byte) error {
	d, err := parseName(name)
	if err != nil {
		return err
	}
	c, err := parse(document)
	if err != nil {
		return fmt.Errorf("credential document: %w", err)
	}
	sh := s.shard(&d)
	sh.apply(d, c, document)
	s.save(sh, d, name)
	return nil
}

func (sh *shard) apply(d digest, c *Credential, document []byte) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	delete(sh.unknown, d)
	if f := sh.fetching[d]; f != nil {
		f.newer = document
	}
	if sh.known[d] != nil || c.Kind == RevokedToken {
		sh.hold(d, document)
	}
}

// Load takes a document in that an earlier run saved.
func (s *Store) Load(name string, document []byte) error {
	d, err := parseName(name)
	if err != nil {
		return err
	}
	c, err := parse(document)
	if err != nil {
		return err
	}
	sh := s.shard(&d)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.known[d] = c
	return nil
}

func parseName(name string) (digest, error) {
	var d digest
	n, err := hex.Decode(d[:], []byte(name[:min(len(name), 2*len(d))]))
	if err != nil || n != len(d) || len(name) != 2*len(d) {
		return d, fmt.Errorf("%q is not a SHA-256 in hexadecimal", name)
	}
	return d, nil
}

// Count is how many credentials are held.
func (s *Store) Count() int {
	n := 0
	for i := range s.shards {
		s.shards[i].mu.RLock()
		n += len(s.shards[i].known)
		s.shards[i].mu.RUnlock()
	}
	return n
}
