package token_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/token"
)

var alice = principal.Principal{Tenant: "t1", Subject: "member:m1", Scopes: []string{"catalog.read"}}

func newKey(t *testing.T, kid string) (ed25519.PrivateKey, token.Keys) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	set, err := json.Marshal(token.JWKSet{Keys: []token.JWK{token.PublicJWK(kid, public)}})
	require.NoError(t, err)
	keys, err := token.ParseKeys(set)
	require.NoError(t, err)
	return private, keys
}

func TestSignedTokenIsVerified(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	key, keys := newKey(t, "k1")
	signed, expires, err := token.Sign(key, "k1", alice, now)
	require.NoError(t, err)
	require.Equal(t, now.Add(token.Lifetime), expires)
	p, err := keys.Verify(signed, now)
	require.NoError(t, err)
	require.Equal(t, alice, p)
	_, err = keys.Verify(signed, expires.Add(6*time.Second))
	require.ErrorContains(t, err, "expired")
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key, keys := newKey(t, "k1")
	other, _ := newKey(t, "k1")
	forged, _, err := token.Sign(other, "k1", alice, now)
	require.NoError(t, err)
	unknownKey, _, err := token.Sign(key, "k2", alice, now)
	require.NoError(t, err)
	everyTenant, _, err := token.Sign(key, "k1", principal.Service("x", principal.AllTenants), now)
	require.NoError(t, err)
	claims := jwt.MapClaims{"iss": token.Issuer, "sub": "member:m1", "tenant": "t1", "exp": now.Add(time.Hour).Unix()}
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	for name, signed := range map[string]string{
		"another key": forged, "unknown key": unknownKey, "every tenant": everyTenant, "no signature": unsigned,
		"empty": "", "garbage": "a.b.c",
	} {
		_, err := keys.Verify(signed, now)
		require.Error(t, err, name)
	}
	_, err = token.Keys{}.Verify(forged, now)
	require.Error(t, err)
}
