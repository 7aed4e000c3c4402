package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

const (
	// refreshKeys is how often an issuer's keys are read.
	refreshKeys = 15 * time.Minute
	keysTimeout = 5 * time.Second
	// unknownKeyPause is how often a key that is not known has an issuer's keys read before their time.
	unknownKeyPause = 10 * time.Second
	leeway          = 5 * time.Second
)

// algorithms that are accepted: asymmetric ones. With a shared secret, who verifies could sign.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Issuer is a trusted issuer, compiled. It never changes.
type Issuer struct {
	tenant, name            string
	sets                    *KeySets
	keys                    *keySet
	parser                  *jwt.Parser
	client                  []string // claims that name the client; the first one that is there counts
	scopesClaim, rolesClaim string
}

// KeySets holds the key sets of issuers, each read once for all versions that trust the issuer, and read again for as long as the
// process lives.
type KeySets struct {
	ctx context.Context //nolint:containedctx // ends the refreshing of all sets, which versions bring up at any time
	end context.CancelFunc
	log *slog.Logger

	mu   sync.Mutex
	sets map[string]*keySet
}

// keySet is one issuer's. Its keys are read when the first token needs them: a version is served, with API keys, before its
// issuer answers.
type keySet struct {
	once sync.Once
	uri  string
	keys keyfunc.Keyfunc
	err  error
}

// NewKeySets returns no key sets. Close ends what keeps them fresh.
func NewKeySets(log *slog.Logger) *KeySets {
	ctx, end := context.WithCancel(context.Background())
	return &KeySets{ctx: ctx, end: end, log: log, sets: map[string]*keySet{}}
}

// Close stops reading keys.
func (k *KeySets) Close() { k.end() }

// Compile returns the issuer of a tenant's document.
func (k *KeySets) Compile(tenant string, i *catalogv1.Issuer) (*Issuer, error) {
	var errs []error
	if i.GetIssuer() == "" {
		errs = append(errs, errors.New("issuer: is empty"))
	}
	if len(i.GetAudiences()) == 0 {
		errs = append(errs, errors.New("audiences: is empty; without one, tokens for others would be accepted"))
	}
	if err := checkKeysURI(i.GetJwksUri()); err != nil {
		errs = append(errs, fmt.Errorf("jwks_uri: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := &Issuer{
		tenant: tenant, name: i.GetIssuer(), sets: k, keys: k.set(i.GetJwksUri()), client: []string{"azp", "client_id", "sub"},
		scopesClaim: "scope", rolesClaim: "roles",
		parser: jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithIssuer(i.GetIssuer()), jwt.WithAudience(i.GetAudiences()...),
			jwt.WithExpirationRequired(), jwt.WithLeeway(leeway)),
	}
	if i.GetClientClaim() != "" {
		c.client = []string{i.GetClientClaim()}
	}
	if i.GetScopesClaim() != "" {
		c.scopesClaim = i.GetScopesClaim()
	}
	if i.GetRolesClaim() != "" {
		c.rolesClaim = i.GetRolesClaim()
	}
	return c, nil
}

// checkKeysURI asks for TLS unless the keys are on this machine: who can change them on the way can sign.
func checkKeysURI(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%q is not a URL", text)
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme != "https" && !(u.Scheme == "http" && local) {
		return fmt.Errorf("%q is not an https URL, nor http on a loopback address", text)
	}
	return nil
}

// set returns the key set at an address, always the same one.
func (k *KeySets) set(uri string) *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	set := k.sets[uri]
	if set == nil {
		set = &keySet{uri: uri}
		k.sets[uri] = set
	}
	return set
}

// keyfunc returns what finds a token's key. The first call reads the keys, the others of that moment wait for it.
func (k *KeySets) keyfunc(s *keySet) (keyfunc.Keyfunc, error) {
	s.once.Do(func() {
		s.keys, s.err = keyfunc.NewDefaultOverrideCtx(k.ctx, []string{s.uri}, keyfunc.Override{
			Client: &http.Client{
				Timeout: keysTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
			HTTPTimeout: keysTimeout, RefreshInterval: refreshKeys,
			RefreshErrorHandlerFunc: func(uri string) func(context.Context, error) {
				return func(_ context.Context, err error) {
					k.log.Warn("the keys of an issuer cannot be read; those there are stay", "jwks_uri", uri, "error", err)
				}
			},
			RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownKeyPause), 1), RateLimitWaitMax: 10 * time.Millisecond,
		})
	})
	return s.keys, s.err
}

func (i *Issuer) verify(signed string) (*Token, error) {
	keys, err := i.sets.keyfunc(i.keys)
	if err != nil {
		return nil, ErrUnavailable
	}
	claims := jwt.MapClaims{}
	switch _, err := i.parser.ParseWithClaims(signed, claims, keys.Keyfunc); {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, ErrExpired
	case err != nil:
		if known, readErr := keys.Storage().KeyReadAll(i.sets.ctx); readErr != nil || len(known) == 0 {
			return nil, ErrUnavailable
		}
		return nil, ErrInvalid
	}
	client := i.clientOf(claims)
	expires, err := claims.GetExpirationTime()
	if client == "" || err != nil || expires == nil {
		return nil, ErrInvalid
	}
	return &Token{
		Client: sha256.Sum256([]byte("jwt " + i.tenant + " " + i.name + " " + client)), Scopes: texts(claims[i.scopesClaim]), Roles: texts(claims[i.rolesClaim]),
		ExpiresAt: expires.Add(leeway).UnixNano(),
	}, nil
}

func (i *Issuer) clientOf(claims jwt.MapClaims) string {
	for _, name := range i.client {
		if client, ok := claims[name].(string); ok && client != "" {
			return client
		}
	}
	return ""
}

// texts reads a claim that is a list of strings, or one string separated by spaces (RFC 8693, section 4.2).
func texts(claim any) []string {
	switch c := claim.(type) {
	case string:
		return strings.Fields(c)
	case []any:
		var list []string
		for _, each := range c {
			if text, ok := each.(string); ok {
				list = append(list, text)
			}
		}
		return list
	default:
		return nil
	}
}
