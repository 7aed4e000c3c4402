package token_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/token"
)

const issuer = "https://identity.example.com"

func weatherApp() token.AccessClaims {
	return token.AccessClaims{
		Issuer: issuer, Subject: "tgc_1", ClientID: "tgc_1", Audience: []string{"t1"}, ID: "j1",
		Scopes: []string{"forecast.read", "forecast.write"}, Tenant: "t1",
	}
}

func TestAccessTokenIsVerified(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 8, 0, 0, 500, time.UTC)
	key, keys := newKey(t, "k1")
	signed, expires, err := token.SignAccess(key, "k1", weatherApp(), now, time.Hour)
	require.NoError(t, err)
	require.Equal(t, now.Add(time.Hour).Truncate(time.Second), expires)
	got, err := keys.VerifyAccess(signed, now, issuer)
	require.NoError(t, err)
	want := weatherApp()
	want.IssuedAt, want.ExpiresAt = now.Truncate(time.Second), expires
	require.Equal(t, want, got)

	_, err = keys.VerifyAccess(signed, expires.Add(6*time.Second), issuer)
	require.ErrorContains(t, err, "expired")
	_, err = keys.VerifyAccess(signed, now, "https://elsewhere.example.com")
	require.ErrorContains(t, err, "not one that identity issued")
}

func TestNeitherKindOfTokenPassesForTheOther(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key, keys := newKey(t, "k1")
	access, _, err := token.SignAccess(key, "k1", weatherApp(), now, time.Hour)
	require.NoError(t, err)
	_, err = keys.Verify(access, now)
	require.Error(t, err)

	member, _, err := token.Sign(key, "k1", alice, now)
	require.NoError(t, err)
	for _, as := range []string{issuer, token.Issuer} {
		_, err = keys.VerifyAccess(member, now, as)
		require.Error(t, err)
	}

	// Each with the other's issuer: the header alone must be enough.
	claims := jwt.MapClaims{
		"iss": token.Issuer, "sub": "member:m1", "tenant": "t1", "exp": now.Add(time.Hour).Unix(), "scopes": []string{"identity.admin"},
	}
	_, err = keys.Verify(sign(t, key, token.AccessType, claims), now)
	require.ErrorContains(t, err, "access token")
	_, err = keys.Verify(sign(t, key, "application/AT+JWT", claims), now)
	require.ErrorContains(t, err, "access token")
	claims = jwt.MapClaims{
		"iss": issuer, "sub": "tgc_1", "client_id": "tgc_1", "aud": "t1", "jti": "j", "tenant": "t1", "exp": now.Add(time.Hour).Unix(),
	}
	_, err = keys.VerifyAccess(sign(t, key, "JWT", claims), now, issuer)
	require.ErrorContains(t, err, "not one that identity issued")
	_, err = keys.VerifyAccess(sign(t, key, token.AccessType, claims), now, issuer)
	require.NoError(t, err)
}

func sign(t *testing.T, key ed25519.PrivateKey, typ string, claims jwt.Claims) string {
	t.Helper()
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	unsigned.Header["kid"], unsigned.Header["typ"] = "k1", typ
	signed, err := unsigned.SignedString(key)
	require.NoError(t, err)
	return signed
}

func TestIncompleteAccessTokens(t *testing.T) {
	t.Parallel()
	now := time.Now()
	key, keys := newKey(t, "k1")
	for name, spoil := range map[string]func(*token.AccessClaims){
		"no issuer":         func(c *token.AccessClaims) { c.Issuer = "" },
		"issuer of members": func(c *token.AccessClaims) { c.Issuer = token.Issuer },
		"another's subject": func(c *token.AccessClaims) { c.Subject = "member:m1" },
		"no client":         func(c *token.AccessClaims) { c.ClientID, c.Subject = "", "" },
		"no tenant":         func(c *token.AccessClaims) { c.Tenant = "" },
		"every tenant":      func(c *token.AccessClaims) { c.Tenant = principal.AllTenants },
		"no id":             func(c *token.AccessClaims) { c.ID = "" },
		"no audience":       func(c *token.AccessClaims) { c.Audience = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := weatherApp()
			spoil(&c)
			_, _, err := token.SignAccess(key, "k1", c, now, time.Hour)
			require.Error(t, err)
		})
	}
	claims := jwt.MapClaims{"iss": issuer, "sub": "x", "client_id": "y", "aud": "t1", "jti": "j", "tenant": "t1", "exp": now.Add(time.Hour).Unix()}
	_, err := keys.VerifyAccess(sign(t, key, token.AccessType, claims), now, issuer)
	require.ErrorContains(t, err, "not complete")
	delete(claims, "exp")
	_, err = keys.VerifyAccess(sign(t, key, token.AccessType, claims), now, issuer)
	require.Error(t, err)
}

func FuzzVerifyAccess(f *testing.F) {
	f.Add("")
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJpc3MiOiJodHRwczovL2lkZW50aXR5LmV4YW1wbGUuY29tIn0.")
	f.Add(strings.Repeat(".", 1000))
	f.Fuzz(func(t *testing.T, signed string) {
		_, err := token.Keys{}.VerifyAccess(signed, time.Now(), issuer)
		require.Error(t, err)
	})
}
