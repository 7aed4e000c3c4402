// Package identity is the service that knows who acts: tenants, their members with roles and tokens, and the consumers'
// accounts, applications and credentials. It signs the short-lived tokens by which every service authorizes.
//
// Only deploy/tollgate, integration and this module's own command import it.
package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/identity/internal/api"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/follow"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// Config of identity.
type Config struct {
	Service service.Config `embed:""`
	// SealKey encrypts private keys at rest: 32 bytes in base64.
	SealKey string `help:"Key that private keys are sealed with: 32 bytes in base64." env:"TOLLGATE_SEAL_KEY" secret:"true"`
	// Issuer is where clients reach identity: what is at /identity of an admin listener.
	Issuer string `help:"Issuer of applications' access tokens: the address at which clients reach identity." env:"TOLLGATE_ISSUER" default:"http://127.0.0.1:8081/identity" placeholder:"URL"`
	// AccessTokenLifetime is that of applications' access tokens.
	AccessTokenLifetime time.Duration `help:"How long an application's access token is valid." env:"TOLLGATE_ACCESS_TOKEN_LIFETIME" default:"1h"`
	// SessionLifetime and SessionIdle bound the sessions of members who sign in.
	SessionLifetime time.Duration `help:"How long a member's session goes on at most." env:"TOLLGATE_SESSION_LIFETIME" default:"12h"`
	SessionIdle     time.Duration `help:"How long a member's session goes on without being used." env:"TOLLGATE_SESSION_IDLE" default:"2h"`
	SSOAllowPrivate bool          `name:"sso-allow-private" help:"Let OpenID providers be at loopback and private addresses too." env:"TOLLGATE_SSO_ALLOW_PRIVATE"`
	WebURL          string        `name:"web-url" help:"Address of the console, for links in mails. Empty: mails carry a token and where to send it." env:"TOLLGATE_WEB_URL" placeholder:"URL"`
	Notify          notify.Config `embed:""`
	// FirstTokenFile receives the first administrator's personal access token when there is no tenant yet.
	FirstTokenFile string `help:"File that receives the first administrator's token on an empty database; empty: no first tenant is made." env:"TOLLGATE_FIRST_TOKEN_FILE" placeholder:"FILE"`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	errs := []error{c.Service.Validate()}
	if _, err := seal.New(c.SealKey); err != nil {
		errs = append(errs, err)
	}
	c = c.withDefaults()
	if message := domain.CheckIssuer(c.Issuer); message != "" {
		errs = append(errs, fmt.Errorf("issuer: %q %s", c.Issuer, message))
	} else if strings.HasSuffix(c.Issuer, "/") {
		errs = append(errs, fmt.Errorf("issuer: %q ends with a slash; leave that out", c.Issuer))
	}
	if c.AccessTokenLifetime < time.Minute || c.AccessTokenLifetime > 24*time.Hour {
		errs = append(errs, fmt.Errorf("access-token-lifetime: %s is not from 1m to 24h", c.AccessTokenLifetime))
	}
	if c.SessionLifetime < time.Minute || c.SessionLifetime > 30*24*time.Hour {
		errs = append(errs, fmt.Errorf("session-lifetime: %s is not from 1m to 720h", c.SessionLifetime))
	}
	if c.SessionIdle < time.Minute || c.SessionIdle > c.SessionLifetime {
		errs = append(errs, fmt.Errorf("session-idle: %s is not from 1m to the session's lifetime, %s", c.SessionIdle, c.SessionLifetime))
	}
	if u, err := url.Parse(c.WebURL); c.WebURL != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		errs = append(errs, fmt.Errorf("web-url: %q is not the address of a site; want one as in https://console.example.com", c.WebURL))
	}
	return errors.Join(append(errs, c.Notify.Validate())...)
}

// withDefaults fills what is not set, for configurations that were not read from the command line.
func (c Config) withDefaults() Config {
	c.Issuer = cmp.Or(c.Issuer, "http://127.0.0.1:8081/identity")
	c.AccessTokenLifetime = cmp.Or(c.AccessTokenLifetime, time.Hour)
	c.SessionLifetime = cmp.Or(c.SessionLifetime, 12*time.Hour)
	c.SessionIdle = cmp.Or(c.SessionIdle, min(2*time.Hour, c.SessionLifetime))
	c.Notify.MailFrom = cmp.Or(c.Notify.MailFrom, "tollgate@localhost")
	return c
}

// Identity is the service, built.
type Identity struct {
	base *service.Base
	api  *operation.API
}

// New opens the database, migrates it, makes the first signing key and tenant where there are none, and builds the service.
func New(ctx context.Context, c Config, d service.Deps) (*Identity, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	base, err := service.Open(ctx, "identity", c.Service, d, store.Migrations())
	if err != nil {
		return nil, err
	}
	s, err := build(ctx, c, base)
	if err != nil {
		base.DB.Close()
		return nil, fmt.Errorf("identity: %w", err)
	}
	return s, nil
}

func build(ctx context.Context, c Config, base *service.Base) (*Identity, error) {
	sealer, err := seal.New(c.SealKey)
	if err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if err := notify.Migrate(ctx, base.DB); err != nil {
		return nil, err
	}
	outbox, err := notify.New(notify.Deps{DB: base.DB, Log: base.Log, Seal: sealer, Registry: base.Registry, Clock: base.Clock}, c.Notify)
	if err != nil {
		return nil, err
	}
	useCases := app.New(app.Deps{
		Log: base.Events, DB: base.DB, Clock: base.Clock, Seal: sealer, Outbox: outbox, Logger: base.Log,
	}, app.Config{
		Issuer: c.Issuer, AccessTokenLifetime: c.AccessTokenLifetime, SessionLifetime: c.SessionLifetime,
		SessionIdle: c.SessionIdle, WebURL: c.WebURL, SSOAllowPrivate: c.SSOAllowPrivate,
	})
	if err := useCases.EnsureSigningKey(ctx); err != nil {
		return nil, err
	}
	if c.FirstTokenFile != "" {
		if err := useCases.Bootstrap(ctx, c.FirstTokenFile); err != nil {
			return nil, err
		}
	}
	if err := base.Follow("identity", follow.Documents); err != nil {
		return nil, err
	}
	base.Add("notify", outbox.Run)
	base.Add("work", useCases.Run)
	base.Project(store.Projection())
	base.Publish(bus.CredentialsBucket)
	base.Publish(bus.KeysBucket)
	table, err := base.API("Identity")
	if err != nil {
		return nil, err
	}
	api.Register(table, useCases)
	if err := base.Audit(table, "Identity", "identity.admin", app.AuditStates()); err != nil {
		return nil, err
	}
	notify.Register(table, outbox, "Identity", "identity.admin", "identity.admin")
	return &Identity{base: base, api: table}, nil
}

// Ready is closed once the service answers.
func (s *Identity) Ready() <-chan struct{} { return s.base.Ready() }

// Run serves until ctx ends.
func (s *Identity) Run(ctx context.Context) error { return s.base.Run(ctx, s.api) }

// Maintain does a maintenance task in place of Run: see service.Base.
func (s *Identity) Maintain(ctx context.Context, task string, out io.Writer) error {
	return s.base.Maintain(ctx, task, out)
}

// API returns the table of operations, for calls in process and for tests.
func (s *Identity) API() *operation.API { return s.api }
