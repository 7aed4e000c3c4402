package bearer

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

const leeway = 5 * time.Second

// algorithms that are accepted: asymmetric ones. With a shared secret, who verifies could sign.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Issuer is a trusted issuer, compiled. It never changes.
type Issuer struct {
	tenant, name            string
	keys                    *keySet
	parser                  *jwt.Parser
	client                  []string // claims that name the client; the first one that is there counts
	scopesClaim, rolesClaim string
}

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
		tenant: tenant, name: i.GetIssuer(), keys: k.set(i.GetJwksUri()), client: []string{"azp", "client_id", "sub"},
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

func (i *Issuer) verify(signed string) (*Token, error) {
	held := i.keys.current()
	if held == nil {
		return nil, ErrUnavailable
	}
	claims := jwt.MapClaims{}
	err := i.parse(signed, claims, held)
	if errors.Is(err, errUnknownKey) {
		if held, err = i.keys.newer(held); err != nil {
			return nil, err
		}
		clear(claims)
		err = i.parse(signed, claims, held)
	}
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, ErrExpired
	case err != nil:
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

// errUnknownKey: the token is signed with a key that is not among those that were read; the issuer may have a new one.
var errUnknownKey = errors.New("the token's key is not known")

func (i *Issuer) parse(signed string, claims jwt.MapClaims, held *keys) error {
	parsed, err := i.parser.ParseWithClaims(signed, claims, held.Keyfunc.Keyfunc)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jwkset.ErrKeyNotFound):
		return errUnknownKey
	case parsed != nil && parsed.Header["kid"] == nil && errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return errUnknownKey // it does not say which key it is signed with
	}
	return err
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
