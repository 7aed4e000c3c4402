// Package provider signs people in at an OpenID provider (OpenID Connect Core 1.0, section 3.1: the authorization code flow),
// with PKCE (RFC 7636) and a nonce. It keeps nothing. Only identity's app folder imports it.
//
// Who configures a provider chooses which addresses the service calls: unless private addresses are allowed, only public ones
// are.
package provider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tollgate/tollgate/libs/egress"
)

// Config of one sign-in.
type Config struct {
	Issuer, ClientID, ClientSecret, RedirectURL string
	// RolesClaim names the claim whose values are returned; empty for none.
	RolesClaim string
}

// Person is who signed in, as the provider says.
type Person struct {
	Subject, Name, Email string
	// EmailVerified says that the provider has made sure that the address is the person's.
	EmailVerified bool
	// Roles are the values of the claim RolesClaim.
	Roles []string
}

// Client signs people in. It is safe for concurrent use.
type Client struct {
	http  *http.Client
	clock func() time.Time
}

// maxAnswer bounds what a provider answers, in bytes.
const maxAnswer = 1 << 20

// New returns a client. allowPrivate lets it call loopback and private addresses.
func New(clock func() time.Time, allowPrivate bool) *Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if !allowPrivate {
		dialer.Control = egress.Control
	}
	return &Client{clock: clock, http: &http.Client{
		Timeout: 10 * time.Second,
		Transport: bounded{&http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second, DisableKeepAlives: true,
		}},
	}}
}

// bounded cuts answers off.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, maxAnswer), response.Body}
	return response, nil
}

// discover reads the provider's metadata (OpenID Connect Discovery 1.0). Errors are shown to whoever names the issuer: they
// repeat nothing of an answer but the issuer in it, and no address that a name has.
func (c *Client) discover(ctx context.Context, issuer string) (*oidc.Provider, error) {
	p, err := oidc.NewProvider(ctx, issuer)
	var mismatch *oidc.IssuerMismatchError
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, egress.ErrNotPublic):
		return nil, fmt.Errorf("%w, and private ones are not allowed (sso-allow-private)", egress.ErrNotPublic)
	case errors.As(err, &mismatch):
		return nil, fmt.Errorf("its metadata is of the issuer %.200q", mismatch.Discovered)
	case errors.As(err, &certificate):
		return nil, fmt.Errorf("its certificate is not accepted: %w", certificate.Err)
	case errors.As(err, new(*url.Error)):
		return nil, errors.New("there is no connection to it, or no answer in time")
	}
	return nil, errors.New("what it answers at /.well-known/openid-configuration is not a provider's metadata")
}

// Check says why nobody could sign in at an issuer, or returns nil.
func (c *Client) Check(ctx context.Context, issuer string) error {
	p, err := c.discover(oidc.ClientContext(ctx, c.http), issuer)
	if err != nil {
		return err
	}
	if p.Endpoint().AuthURL == "" || p.Endpoint().TokenURL == "" {
		return errors.New("the provider's metadata names no authorization endpoint or no token endpoint")
	}
	return nil
}

// Start returns where the browser is sent to sign in.
func (c *Client) Start(ctx context.Context, config Config, state, nonce, verifier string) (string, error) {
	p, err := c.discover(oidc.ClientContext(ctx, c.http), config.Issuer)
	if err != nil {
		return "", err
	}
	return config.oauth(p).AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), nil
}

func (c Config) oauth(p *oidc.Provider) *oauth2.Config {
	scopes := []string{oidc.ScopeOpenID, "email", "profile"}
	var metadata struct {
		Scopes []string `json:"scopes_supported"`
	}
	if p.Claims(&metadata) == nil && c.RolesClaim != "" && slices.Contains(metadata.Scopes, c.RolesClaim) {
		scopes = append(scopes, c.RolesClaim) // as with the scope groups, which some providers have
	}
	return &oauth2.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret, RedirectURL: c.RedirectURL, Endpoint: p.Endpoint(), Scopes: scopes}
}

// Finish exchanges the code that the browser came back with, and verifies the ID token (OpenID Connect Core 1.0, section
// 3.1.3.7). Claims that are not in it are asked for at the UserInfo endpoint.
func (c *Client) Finish(ctx context.Context, config Config, code, nonce, verifier string) (Person, error) {
	ctx = oidc.ClientContext(ctx, c.http)
	p, err := c.discover(ctx, config.Issuer)
	if err != nil {
		return Person{}, err
	}
	tokens, err := config.oauth(p).Exchange(ctx, code, oauth2.VerifierOption(verifier))
	if err != nil {
		return Person{}, fmt.Errorf("exchange the code: %w", err)
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return Person{}, errors.New("the provider gave no ID token")
	}
	id, err := p.VerifierContext(ctx, &oidc.Config{ClientID: config.ClientID, Now: c.clock}).Verify(ctx, raw)
	if err != nil {
		return Person{}, fmt.Errorf("verify the ID token: %w", err)
	}
	if id.Nonce != nonce {
		return Person{}, errors.New("verify the ID token: its nonce is not the one of this sign-in")
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("read the ID token: %w", err)
	}
	if err := c.complete(ctx, p, tokens, id.Subject, claims, config); err != nil {
		return Person{}, err
	}
	return personOf(id.Subject, claims, config), nil
}

// complete adds the claims of the UserInfo endpoint that the ID token does not have.
func (c *Client) complete(ctx context.Context, p *oidc.Provider, tokens *oauth2.Token, subject string, claims map[string]any, config Config) error {
	_, email := claims["email"]
	_, roles := claims[config.RolesClaim]
	if (email && (roles || config.RolesClaim == "")) || p.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := p.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
	if err != nil {
		return fmt.Errorf("ask for the person's claims: %w", err)
	}
	if info.Subject != subject {
		return errors.New("ask for the person's claims: they are of somebody else") // section 5.3.2
	}
	more := map[string]any{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("read the person's claims: %w", err)
	}
	for name, value := range more {
		if _, ok := claims[name]; !ok {
			claims[name] = value
		}
	}
	return nil
}

func personOf(subject string, claims map[string]any, config Config) Person {
	person := Person{Subject: subject}
	person.Name, _ = claims["name"].(string)
	person.Email, _ = claims["email"].(string)
	switch verified := claims["email_verified"].(type) {
	case bool:
		person.EmailVerified = verified
	case string: // as some providers send it
		person.EmailVerified = verified == "true"
	}
	switch values := claims[config.RolesClaim].(type) {
	case string:
		person.Roles = []string{values}
	case []any:
		for _, v := range values {
			if text, ok := v.(string); ok {
				person.Roles = append(person.Roles, text)
			}
		}
	}
	return person
}
