package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/identity/internal/app"
)

// clientAuth is how a client authenticates: by HTTP Basic or in the form (RFC 6749, section 2.3.1).
type clientAuth struct {
	Authorization string `header:"Authorization"`
	ClientID      string `formData:"client_id"`
	ClientSecret  string `formData:"client_secret" format:"password"`
}

func (c clientAuth) credentials() (app.ClientCredentials, error) {
	scheme, encoded, _ := strings.Cut(c.Authorization, " ")
	if c.Authorization == "" {
		return app.ClientCredentials{ID: c.ClientID, Secret: c.ClientSecret}, nil
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	id, secret, found := strings.Cut(string(raw), ":")
	if !strings.EqualFold(scheme, "Basic") || err != nil || !found {
		return app.ClientCredentials{}, &app.OAuthError{Code: "invalid_client", Description: "The header Authorization is not HTTP Basic with a client id and secret."}
	}
	basic := app.ClientCredentials{ID: unescape(id), Secret: unescape(secret)}
	if c.ClientSecret != "" || (c.ClientID != "" && c.ClientID != basic.ID) {
		return app.ClientCredentials{}, &app.OAuthError{Code: "invalid_request", Description: "The client authenticates in two ways; use one."}
	}
	return basic, nil
}

// unescape decodes what clients must encode as in a form; those that do not are understood too.
func unescape(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}

type tokenRequest struct {
	clientAuth
	GrantType string   `formData:"grant_type" required:"true" description:"client_credentials."`
	Scope     string   `formData:"scope" description:"Scopes separated by spaces; all that the client may have when empty."`
	Resource  []string `formData:"resource" description:"Whom the token is for, as absolute URIs (RFC 8707); the tenant when there are none."`
}

type tokenResponse struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

type tokenQuestion struct {
	clientAuth
	Token         string `formData:"token" required:"true"`
	TokenTypeHint string `formData:"token_type_hint"`
}

type introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Expires   int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Audience  []string `json:"aud,omitempty"`
	Issuer    string   `json:"iss,omitempty"`
	ID        string   `json:"jti,omitempty"`
}

// plain is the answer of the OAuth endpoints, which nobody may keep (RFC 6749, section 5.1).
func plain(status int, v any) operation.Raw {
	body, err := json.Marshal(v)
	if err != nil {
		return oauthFailure(err)
	}
	return operation.Raw{
		ContentType: "application/json", Body: append(body, '\n'), Status: status,
		Header: http.Header{"Cache-Control": {"no-store"}, "Pragma": {"no-cache"}},
	}
}

// oauthError is the body of an error (RFC 6749, section 5.2).
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

// oauthFailure encodes an error as RFC 6749, section 5.2 says.
func oauthFailure(err error) operation.Raw {
	e := app.OAuthFailure(err)
	status := http.StatusBadRequest
	var known *problem.Error
	switch {
	case e.Code == "invalid_client":
		status = http.StatusUnauthorized
	case errors.As(err, &known) && known.Kind != problem.Invalid:
		status = known.Kind.Status()
	case e.Code == "server_error":
		status = http.StatusInternalServerError
	}
	answer := plain(status, oauthError{e.Code, visible(e.Description)})
	if status == http.StatusUnauthorized {
		answer.Header.Set("WWW-Authenticate", `Basic realm="tollgate", charset="UTF-8"`)
	}
	return answer
}

// visible keeps a description to the characters that RFC 6749, section 5.2 allows.
func visible(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r > 0x7e || r == '\\':
			return '?'
		}
		return r
	}, text)
}

func registerOAuth(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[tokenRequest, operation.Raw]{
		Name: "CreateAccessToken", Method: http.MethodPost, Path: "/oauth/token", Public: true, Direct: true, Failure: oauthFailure,
		Answers: map[int]any{0: oauthError{}, http.StatusOK: tokenResponse{}},
		Summary: "An access token for an application, by the grant client_credentials (RFC 6749, section 4.4; RFC 9068).",
		Handle: func(ctx context.Context, r *tokenRequest) (operation.Raw, error) {
			switch r.GrantType {
			case "client_credentials":
			case "":
				return operation.Raw{}, &app.OAuthError{Code: "invalid_request", Description: "grant_type is missing; want client_credentials."}
			default:
				return operation.Raw{}, &app.OAuthError{Code: "unsupported_grant_type", Description: "The grant type is not one of: client_credentials."}
			}
			c, err := r.credentials()
			if err != nil {
				return operation.Raw{}, err
			}
			t, err := i.ClientToken(ctx, c, r.Scope, r.Resource)
			if err != nil {
				return operation.Raw{}, err
			}
			return plain(http.StatusOK, tokenResponse{t.Token, "Bearer", int64(t.In.Seconds()), strings.Join(t.Scopes, " ")}), nil
		},
	})
	operation.Register(a, operation.Op[tokenQuestion, operation.Raw]{
		Name: "IntrospectAccessToken", Method: http.MethodPost, Path: "/oauth/introspect", Public: true, Failure: oauthFailure,
		Answers: map[int]any{0: oauthError{}, http.StatusOK: introspection{}},
		Summary: "Whether an access token is active (RFC 7662), for clients of the same tenant.",
		Handle: func(ctx context.Context, r *tokenQuestion) (operation.Raw, error) {
			c, err := r.credentials()
			if err != nil {
				return operation.Raw{}, err
			}
			claims, active, err := i.IntrospectToken(ctx, c, r.Token)
			if err != nil || !active {
				return plain(http.StatusOK, introspection{}), err
			}
			return plain(http.StatusOK, introspection{
				Active: true, Scope: strings.Join(claims.Scopes, " "), ClientID: claims.ClientID, TokenType: "Bearer",
				Expires: claims.ExpiresAt.Unix(), IssuedAt: claims.IssuedAt.Unix(), Subject: claims.Subject,
				Audience: claims.Audience, Issuer: claims.Issuer, ID: claims.ID,
			}), nil
		},
	})
	operation.Register(a, operation.Op[tokenQuestion, operation.Raw]{
		Name: "RevokeAccessToken", Method: http.MethodPost, Path: "/oauth/revoke", Public: true, Failure: oauthFailure,
		Answers: map[int]any{0: oauthError{}, http.StatusOK: nil},
		Summary: "Make an access token of one's own void (RFC 7009).",
		Handle: func(ctx context.Context, r *tokenQuestion) (operation.Raw, error) {
			c, err := r.credentials()
			if err != nil {
				return operation.Raw{}, err
			}
			return operation.Raw{Status: http.StatusOK}, i.RevokeAccessToken(ctx, c, r.Token)
		},
	})
	registerMetadata(a, i)
}

// metadata is that of an authorization server (RFC 8414, section 2).
type metadata struct {
	Issuer                    string   `json:"issuer"`
	TokenEndpoint             string   `json:"token_endpoint"`
	JWKSURI                   string   `json:"jwks_uri"`
	IntrospectionEndpoint     string   `json:"introspection_endpoint"`
	RevocationEndpoint        string   `json:"revocation_endpoint"`
	GrantTypes                []string `json:"grant_types_supported"`
	ResponseTypes             []string `json:"response_types_supported"`
	TokenAuthMethods          []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectionAuthMethods  []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationEndpointMethods []string `json:"revocation_endpoint_auth_methods_supported"`
}

func registerMetadata(a *operation.API, i *app.Identity) {
	handle := func(context.Context, *struct{}) (metadata, error) {
		issuer, methods := i.Issuer(), []string{"client_secret_basic", "client_secret_post"}
		return metadata{
			Issuer: issuer, TokenEndpoint: issuer + "/v1/oauth/token", JWKSURI: issuer + "/v1/jwks.json",
			IntrospectionEndpoint: issuer + "/v1/oauth/introspect", RevocationEndpoint: issuer + "/v1/oauth/revoke",
			GrantTypes: []string{"client_credentials"}, ResponseTypes: []string{},
			TokenAuthMethods: methods, IntrospectionAuthMethods: methods, RevocationEndpointMethods: methods,
		}, nil
	}
	// Clients put the well-known part before the issuer's path, as the standard says, or after it, as many do.
	for _, at := range [][2]string{
		{"GetAuthorizationServerMetadata", "/.well-known/oauth-authorization-server/identity"},
		{"GetAuthorizationServerMetadataBelow", "/identity/.well-known/oauth-authorization-server"},
	} {
		operation.Register(a, operation.Op[struct{}, metadata]{
			Name: at[0], Method: http.MethodGet, Path: at[1], Root: true, Public: true,
			Summary: "What the authorization server offers (RFC 8414).", Handle: handle,
		})
	}
}
