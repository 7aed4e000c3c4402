package app

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/token"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// OAuthError is an error of the OAuth 2 endpoints (RFC 6749, section 5.2; RFC 8707, section 2). Its description is for
// the client's developer and holds no secret.
type OAuthError struct {
	Code, Description string
}

// Error implements error.
func (e *OAuthError) Error() string { return e.Code + ": " + e.Description }

// OAuthFailure returns the error that an OAuth endpoint answers with: every error has one, so that nothing inner shows.
func OAuthFailure(err error) *OAuthError {
	var known *OAuthError
	if errors.As(err, &known) {
		return known
	}
	var p *problem.Error
	if !errors.As(err, &p) {
		return &OAuthError{"server_error", "The server could not do this. Try again."}
	}
	switch p.Kind {
	case problem.Invalid, problem.TooLarge:
		text := p.Message
		for _, f := range p.Fields {
			text += " " + f.Path + " " + f.Message + "."
		}
		return &OAuthError{"invalid_request", text}
	case problem.Exhausted, problem.Unavailable, problem.Timeout:
		return &OAuthError{"temporarily_unavailable", p.Message}
	default:
		return &OAuthError{"server_error", "The server could not do this. Try again."}
	}
}

var (
	// tokenRate is that of one client at the OAuth endpoints, addressRate that of one address, whoever is there.
	tokenRate   = store.Limit{Interval: 100 * time.Millisecond, Burst: 100}
	addressRate = store.Limit{Interval: 20 * time.Millisecond, Burst: 500}
	// failureRate is that of wrong client secrets from one address. A right one is taken in any case, so that one client's
	// mistake holds up no other behind the same address; a secret cannot be guessed at the rate of an address.
	failureRate = store.Limit{Interval: 6 * time.Second, Burst: 20}
)

// ClientCredentials are what a client authenticates with.
type ClientCredentials struct{ ID, Secret string }

// client authenticates an application (RFC 6749, section 2.3.1). It returns the credential whose secret was given.
func (i *Identity) client(ctx context.Context, c ClientCredentials) (store.GatewayCredential, error) {
	if c.ID == "" || c.Secret == "" {
		return store.GatewayCredential{}, &OAuthError{"invalid_client", "No client id and secret: send them by HTTP Basic, or as client_id and client_secret."}
	}
	if err := i.take(ctx, grant{addressRate, "oauth address " + addressOf(ctx)}); err != nil {
		return store.GatewayCredential{}, err
	}
	var rows []store.GatewayCredential
	err := i.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		rows, err = store.Clients(ctx, tx, c.ID)
		return err
	})
	if err != nil {
		return store.GatewayCredential{}, err
	}
	given, now := hash(c.Secret), i.now()
	for _, r := range rows {
		if subtle.ConstantTimeCompare(given, r.SHA256) == 1 && valid(r, now) {
			return r, i.take(ctx, grant{tokenRate, "oauth client " + c.ID}) // by the client alone: others know the id
		}
	}
	if err := i.take(ctx, grant{failureRate, "oauth failure " + addressOf(ctx)}); err != nil {
		return store.GatewayCredential{}, err
	}
	return store.GatewayCredential{}, &OAuthError{"invalid_client", "The client is not known, its secret is wrong, or it has expired or was revoked."}
}

func valid(c store.GatewayCredential, now time.Time) bool {
	return !c.Void && (c.ExpiresAt == nil || now.Before(*c.ExpiresAt))
}

// AccessToken is an access token as the token endpoint gives it (RFC 6749, section 5.1).
type AccessToken struct {
	Token   string
	Expires time.Time
	// In is the remaining time.
	In     time.Duration
	Scopes []string
}

// ClientToken gives a client an access token for scopes, all that it may have when none are asked for. resources are whom
// the token is for (RFC 8707); the tenant when there are none.
func (i *Identity) ClientToken(ctx context.Context, c ClientCredentials, scope string, resources []string) (AccessToken, error) {
	client, err := i.client(ctx, c)
	if err != nil {
		return AccessToken{}, err
	}
	scopes := strings.Fields(scope)
	if len(scopes) == 0 {
		scopes = client.Scopes
	}
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	for _, s := range scopes {
		if !slices.Contains(client.Scopes, s) {
			return AccessToken{}, &OAuthError{"invalid_scope", fmt.Sprintf("The client may not ask for the scope %q.", s)}
		}
	}
	audience := []string{client.Tenant}
	if len(resources) > 0 {
		audience = resources
	}
	for _, r := range resources {
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || u.Host == "" || u.Fragment != "" || len(r) > 500 {
			return AccessToken{}, &OAuthError{"invalid_target", fmt.Sprintf("The resource %q is not an absolute URI without a fragment.", r)}
		}
	}
	kid, key, err := i.signingKey(ctx)
	if err != nil {
		return AccessToken{}, err
	}
	now := i.now()
	signed, expires, err := token.SignAccess(key, kid, token.AccessClaims{
		Issuer: i.config.Issuer, Subject: client.ClientID, ClientID: client.ClientID, Audience: audience, ID: newID(),
		Scopes: scopes, Tenant: client.Tenant,
	}, now, i.config.AccessTokenLifetime)
	return AccessToken{Token: signed, Expires: expires, In: expires.Sub(now), Scopes: scopes}, err
}

// IntrospectToken returns the claims of an access token of the client's tenant that is active, and false for anything else
// (RFC 7662, section 2.2).
func (i *Identity) IntrospectToken(ctx context.Context, c ClientCredentials, signed string) (token.AccessClaims, bool, error) {
	caller, err := i.client(ctx, c)
	if err != nil {
		return token.AccessClaims{}, false, err
	}
	claims, ok, err := i.verifyAccess(ctx, signed)
	if err != nil || !ok || claims.Tenant != caller.Tenant {
		return token.AccessClaims{}, false, err
	}
	active := false
	err = i.db.InTenant(ctx, claims.Tenant, func(tx pgx.Tx) error {
		revoked, err := store.TokenRevoked(ctx, tx, claims.ID)
		if err != nil || revoked {
			return err
		}
		rows, err := store.Clients(ctx, tx, claims.ClientID)
		now := i.now()
		active = slices.ContainsFunc(rows, func(r store.GatewayCredential) bool { return valid(r, now) })
		return err
	})
	return claims, active, err
}

func (i *Identity) verifyAccess(ctx context.Context, signed string) (token.AccessClaims, bool, error) {
	set, err := i.KeySet(ctx)
	if err != nil {
		return token.AccessClaims{}, false, err
	}
	keys, err := token.ParseKeys(set)
	if err != nil {
		return token.AccessClaims{}, false, err
	}
	claims, err := keys.VerifyAccess(signed, i.now(), i.config.Issuer)
	return claims, err == nil, nil
}

// RevokeAccessToken makes an access token of the client's own void. A token that is not valid is none to revoke, which is no
// error (RFC 7009, section 2.2).
func (i *Identity) RevokeAccessToken(ctx context.Context, c ClientCredentials, signed string) error {
	client, err := i.client(ctx, c)
	if err != nil {
		return err
	}
	claims, ok, err := i.verifyAccess(ctx, signed)
	if err != nil || !ok {
		return err
	}
	if claims.ClientID != client.ClientID {
		return &OAuthError{"invalid_grant", "The token was issued to another client."}
	}
	ctx = principal.With(ctx, principal.Principal{Tenant: client.Tenant, Subject: "client:" + client.ClientID})
	_, err = execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		fresh, err := store.InsertRevokedToken(ctx, tx, client.Tenant, claims.ID, claims.ExpiresAt)
		if err == nil && fresh {
			tx.Append("access-token", claims.ID, 0, &identityv1.AccessTokenRevoked{
				Token: claims.ID, ClientId: client.ClientID, ExpiresAt: claims.ExpiresAt.Unix(),
			})
		}
		return struct{}{}, err
	})
	return err
}
