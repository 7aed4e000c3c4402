// Package bearer owns the verification of access tokens: those that identity issues to applications (RFC 9068), and JSON Web
// Tokens (RFC 7519) of the issuers that a version trusts.
//
// A token is verified once and remembered by its SHA-256 until it ends; it is neither stored nor logged. Whether its client may
// call, and whether it was revoked, is looked up for each call among the credentials. All types are safe for concurrent use.
// Only the gateway's own packages import this one.
package bearer

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/libs/token"
)

// Digest is the name of a document of the bucket gw_credentials; see gateway.v1.CredentialDocument.
type Digest = [sha256.Size]byte

// Token is a verified token. What it says never changes.
type Token struct {
	// Client names the credential of the application that the token was issued to.
	Client Digest
	// Revocation names the document that is there when the token was revoked; zero for tokens of other issuers.
	Revocation Digest
	// Own: identity issued it.
	Own       bool
	Audiences []string
	Scopes    []string
	// Roles that the issuer gives; of an own token they are the application's.
	Roles []string
	// ExpiresAt is in nanoseconds since the Unix epoch.
	ExpiresAt int64

	checked atomic.Bool
}

// Checked says whether it was asked whether the token is revoked; Check notes that it was, and that it is not.
func (t *Token) Checked() bool { return t.checked.Load() }

// Check is the other half of Checked.
func (t *Token) Check() { t.checked.Store(true) }

// The reasons why a token is refused.
var (
	ErrInvalid = errors.New("the token is not a valid one of an issuer that is trusted here")
	ErrExpired = errors.New("the token has expired")
	// ErrUnavailable: the issuer's keys could not be read yet.
	ErrUnavailable = errors.New("the issuer's keys are not known at the moment")
)

const (
	shards   = 16
	maxShard = 4096 // tokens of a shard
	// MaxToken is the longest token that is looked at, in bytes.
	MaxToken = 8 << 10
)

// Verifier verifies tokens.
type Verifier struct {
	issuer string
	keys   atomic.Pointer[token.Keys]
	shards [shards]shard
}

type shard struct {
	mu    sync.RWMutex
	known map[cacheKey]*Token
}

// cacheKey tells tokens apart, and the issuers as which they were verified: nil for identity.
type cacheKey struct {
	token  Digest
	issuer *Issuer
}

// NewVerifier returns a verifier of identity's tokens with that issuer. It knows no key until SetKeys.
func NewVerifier(issuer string) *Verifier {
	v := &Verifier{issuer: issuer}
	v.keys.Store(&token.Keys{})
	for i := range v.shards {
		v.shards[i].known = map[cacheKey]*Token{}
	}
	return v
}

// SetKeys replaces identity's keys by those of a JWK Set (RFC 7517). Tokens signed with a key that is gone are refused.
func (v *Verifier) SetKeys(set []byte) error {
	keys, err := token.ParseKeys(set)
	if err != nil {
		return err
	}
	v.keys.Store(&keys)
	v.ForgetOwn()
	return nil
}

// ForgetOwn has identity's tokens verified again when they come again.
func (v *Verifier) ForgetOwn() {
	for i := range v.shards {
		v.shards[i].forgetOwn()
	}
}

func (s *shard) forgetOwn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.known {
		if k.issuer == nil {
			delete(s.known, k)
		}
	}
}

// Looks says whether a credential has the form of a signed token (RFC 7515, section 7.1): no API key has.
func Looks(credential []byte) bool { return bytes.Count(credential, []byte{'.'}) == 2 }

// LooksOwn says whether a credential says of itself that it is a token of identity. It is not verified.
func (v *Verifier) LooksOwn(credential []byte) bool {
	return len(credential) <= MaxToken && Looks(credential) && v.issuer != "" && claimedIssuer(credential) == v.issuer
}

// Verify returns what a token says at a time: one of identity if own, or of one of the issuers.
func (v *Verifier) Verify(signed []byte, own bool, issuers []*Issuer, now time.Time) (*Token, error) {
	if len(signed) > MaxToken {
		return nil, ErrInvalid
	}
	digest := sha256.Sum256(signed)
	if own {
		if t := v.cached(cacheKey{token: digest}); t != nil {
			return current(t, now)
		}
	}
	for _, i := range issuers {
		if t := v.cached(cacheKey{digest, i}); t != nil {
			return current(t, now)
		}
	}
	issuer := claimedIssuer(signed)
	if own && issuer == v.issuer {
		t, err := v.verifyOwn(string(signed), now)
		return v.remember(cacheKey{token: digest}, t, now), err
	}
	for _, i := range issuers {
		if i.name == issuer {
			t, err := i.verify(string(signed))
			return v.remember(cacheKey{digest, i}, t, now), err
		}
	}
	return nil, ErrInvalid
}

func current(t *Token, now time.Time) (*Token, error) {
	if now.UnixNano() >= t.ExpiresAt {
		return nil, ErrExpired
	}
	return t, nil
}

func (v *Verifier) verifyOwn(signed string, now time.Time) (*Token, error) {
	claims, err := v.keys.Load().VerifyAccess(signed, now, v.issuer)
	switch {
	case errors.Is(err, token.ErrExpired):
		return nil, ErrExpired
	case err != nil:
		return nil, ErrInvalid
	}
	return &Token{
		Own: true, Client: sha256.Sum256([]byte("oauth2 " + claims.ClientID)), Revocation: sha256.Sum256([]byte("token " + claims.ID)),
		Audiences: claims.Audience, Scopes: claims.Scopes, ExpiresAt: claims.ExpiresAt.UnixNano(),
	}, nil
}

// claimedIssuer reads the claim iss of a token that is not verified yet.
func claimedIssuer(signed []byte) string {
	parts := bytes.SplitN(signed, []byte{'.'}, 3)
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.AppendDecode(nil, parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

func (v *Verifier) shard(k cacheKey) *shard { return &v.shards[k.token[0]%shards] }

func (v *Verifier) cached(k cacheKey) *Token {
	s := v.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.known[k]
}

func (v *Verifier) remember(k cacheKey, t *Token, now time.Time) *Token {
	if t == nil {
		return nil
	}
	s := v.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxShard {
		s.makeRoom(now.UnixNano())
	}
	s.known[k] = t
	return t
}

// makeRoom forgets what has ended, or else anything: it is verified again.
func (s *shard) makeRoom(now int64) {
	for k, t := range s.known {
		if now >= t.ExpiresAt {
			delete(s.known, k)
		}
	}
	for k := range s.known {
		if len(s.known) <= maxShard*3/4 {
			return
		}
		delete(s.known, k)
	}
}
