// Package token owns the short-lived signed token with which services authorize each request: its claims, its
// signature (Ed25519, RFC 8037) and its verification against published keys (JWK Set, RFC 7517).
//
// identity signs; every other service only verifies, with the keys that identity publishes in the bucket
// identity_keys, so that it goes on authorizing while identity is down. What a principal may do is decided by the
// scopes in the token; roles are identity's business.
//
// It owns the access tokens of applications too (RFC 9068), which gateways verify with the same keys. The two kinds differ
// in header and issuer, and neither passes for the other.
package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tollgate/tollgate/libs/principal"
)

// Issuer is the "iss" of every token.
const Issuer = "tollgate"

// Lifetime of a signed token. Revoking a member or a personal access token takes effect within it.
const Lifetime = 5 * time.Minute

// Claims of a signed token (RFC 7519, section 4), with Tollgate's own.
type Claims struct {
	jwt.RegisteredClaims
	Tenant   string   `json:"tenant"`
	Scopes   []string `json:"scopes"`
	Operator bool     `json:"operator,omitempty"`
	Account  string   `json:"account,omitempty"`
}

// Principal returns who the claims stand for.
func (c Claims) Principal() principal.Principal {
	return principal.Principal{Tenant: c.Tenant, Subject: c.Subject, Scopes: c.Scopes, Operator: c.Operator, Account: c.Account}
}

// Sign issues a token for p at a time, valid for Lifetime.
func Sign(key ed25519.PrivateKey, kid string, p principal.Principal, now time.Time) (signed string, expires time.Time, err error) {
	expires = now.Add(Lifetime)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: Issuer, Subject: p.Subject,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Tenant: p.Tenant, Scopes: p.Scopes, Operator: p.Operator, Account: p.Account,
	})
	t.Header["kid"] = kid
	signed, err = t.SignedString(key)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token: %w", err)
	}
	return signed, expires, nil
}

// JWK is the public half of a signing key as a JSON Web Key (RFC 8037, section 2).
type JWK struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	KeyID     string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	X         string `json:"x"`
}

// JWKSet is a JSON Web Key Set (RFC 7517, section 5).
type JWKSet struct {
	Keys []JWK `json:"keys"`
}

// PublicJWK describes the public half of a key.
func PublicJWK(kid string, key ed25519.PublicKey) JWK {
	return JWK{
		KeyType: "OKP", Curve: "Ed25519", KeyID: kid, Use: "sig", Algorithm: "EdDSA",
		X: base64.RawURLEncoding.EncodeToString(key),
	}
}

// Keys verifies tokens with a set of public keys. The zero value knows no key and refuses every token. It is
// immutable.
type Keys struct {
	byID map[string]ed25519.PublicKey
}

// ParseKeys reads a JWK Set. Keys of other kinds than Ed25519 are an error: there are none.
func ParseKeys(data []byte) (Keys, error) {
	var set JWKSet
	if err := json.Unmarshal(data, &set); err != nil {
		return Keys{}, fmt.Errorf("parse key set: %w", err)
	}
	keys := Keys{byID: make(map[string]ed25519.PublicKey, len(set.Keys))}
	for _, k := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil || k.KeyType != "OKP" || k.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize || k.KeyID == "" {
			return Keys{}, fmt.Errorf("parse key set: key %q is not an Ed25519 key", k.KeyID)
		}
		keys.byID[k.KeyID] = x
	}
	return keys, nil
}

// Verify returns who the signed token stands for at a time. The error says what is wrong with it, never the token.
func (k Keys) Verify(signed string, now time.Time) (principal.Principal, error) {
	var claims Claims
	parsed, err := jwt.ParseWithClaims(signed, &claims, k.find,
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(Issuer),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithLeeway(5*time.Second))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return principal.Principal{}, errors.New("the token has expired")
	case err != nil:
		return principal.Principal{}, errors.New("the token is not one that identity signed")
	case isAccess(parsed):
		return principal.Principal{}, errors.New("the token is an application's access token, which manages nothing")
	case claims.Tenant == "" || claims.Subject == "" || claims.Tenant == principal.AllTenants:
		return principal.Principal{}, errors.New("the token names no tenant or no subject")
	}
	return claims.Principal(), nil
}

func (k Keys) find(t *jwt.Token) (any, error) {
	kid, _ := t.Header["kid"].(string)
	key, ok := k.byID[kid]
	if !ok {
		return nil, errors.New("unknown key")
	}
	return key, nil
}
