package token

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// AccessType is the header "typ" of an access token (RFC 9068, section 2.1). It keeps access tokens of applications and
// the signed tokens of members apart: neither passes for the other.
const AccessType = "at+jwt"

// ErrExpired is what VerifyAccess returns for a token that was valid.
var ErrExpired = errors.New("the access token has expired")

// AccessClaims of an application's access token (RFC 9068, section 2.2), with Tollgate's own. The claims iat, exp and nbf
// are set by SignAccess.
type AccessClaims struct {
	// Issuer is the issuer URL that identity is configured with; never the Issuer of members' tokens.
	Issuer string
	// Subject is the client's id: a client acts for itself (RFC 9068, section 2.2, "sub").
	Subject  string
	ClientID string
	// Audience is whom the token is for: the tenant's id unless the client asked for something else.
	Audience []string
	// ID is the claim jti, by which the token is revoked.
	ID string
	// Scopes are the claim scope, which separates them by spaces (RFC 8693, section 4.2).
	Scopes []string
	Tenant string
	// IssuedAt and ExpiresAt are set by VerifyAccess, to the second.
	IssuedAt, ExpiresAt time.Time
}

// accessClaims are AccessClaims as they stand in the token.
type accessClaims struct {
	jwt.RegisteredClaims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope,omitempty"`
	Tenant   string `json:"tenant"`
}

func (c AccessClaims) check() error {
	switch {
	case c.Issuer == "" || c.Issuer == Issuer:
		return fmt.Errorf("the issuer is %q; want identity's issuer URL", c.Issuer)
	case c.ClientID == "" || c.Subject != c.ClientID:
		return errors.New("the subject is not the client")
	case c.Tenant == "" || c.Tenant == "*":
		return errors.New("the token names no tenant")
	case c.ID == "":
		return errors.New("the token has no id")
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return errors.New("the token is for nobody")
	}
	return nil
}

// SignAccess issues an access token for an application at a time, valid for lifetime.
func SignAccess(key ed25519.PrivateKey, kid string, c AccessClaims, now time.Time, lifetime time.Duration) (signed string, expires time.Time, err error) {
	if err := c.check(); err != nil {
		return "", time.Time{}, fmt.Errorf("sign access token: %w", err)
	}
	expires = now.Add(lifetime).Truncate(time.Second)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ID: c.ID,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		ClientID: c.ClientID, Scope: strings.Join(c.Scopes, " "), Tenant: c.Tenant,
	})
	t.Header["kid"], t.Header["typ"] = kid, AccessType
	signed, err = t.SignedString(key)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign access token: %w", err)
	}
	return signed, expires, nil
}

// VerifyAccess returns the claims of an access token of the issuer at a time (RFC 9068, section 4). Whether it was revoked
// and whether the audience is the right one is for the caller to see. The error says what is wrong, never the token.
func (k Keys) VerifyAccess(signed string, now time.Time, issuer string) (AccessClaims, error) {
	var claims accessClaims
	parsed, err := jwt.ParseWithClaims(signed, &claims, k.find,
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithIssuedAt(),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithLeeway(5*time.Second))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return AccessClaims{}, ErrExpired
	case err != nil || !isAccess(parsed):
		return AccessClaims{}, errors.New("the access token is not one that identity issued")
	}
	c := AccessClaims{
		Issuer: claims.Issuer, Subject: claims.Subject, ClientID: claims.ClientID, Audience: claims.Audience,
		ID: claims.ID, Scopes: strings.Fields(claims.Scope), Tenant: claims.Tenant, ExpiresAt: claims.ExpiresAt.UTC(),
	}
	if claims.IssuedAt != nil {
		c.IssuedAt = claims.IssuedAt.UTC()
	}
	if err := c.check(); err != nil {
		return AccessClaims{}, fmt.Errorf("the access token is not complete: %w", err)
	}
	return c, nil
}

// isAccess says whether the header names an access token; "application/at+jwt" is the same (RFC 9068, section 4).
func isAccess(t *jwt.Token) bool {
	typ, _ := t.Header["typ"].(string)
	return strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), AccessType)
}
