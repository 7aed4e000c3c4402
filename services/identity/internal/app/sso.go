package app

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/provider"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

const (
	// SSOLifetime is how long a person may take to sign in at the provider.
	SSOLifetime = 10 * time.Minute
	// SSOCodeLifetime is how long a session can be started after that.
	SSOCodeLifetime = 2 * time.Minute
)

// SingleSignOn is a tenant's configuration of it, without the client secret.
type SingleSignOn struct {
	Issuer       string               `json:"issuer"`
	ClientID     string               `json:"clientId"`
	Domain       string               `json:"domain"`
	RolesClaim   string               `json:"rolesClaim,omitempty"`
	Mappings     []domain.RoleMapping `json:"mappings,omitempty"`
	DefaultRoles []string             `json:"defaultRoles,omitempty"`
	// RedirectURL is what the provider must know.
	RedirectURL string `json:"redirectUrl" description:"To be registered at the provider."`
}

// SSOPath is that of the operations that browsers call, below the issuer.
const SSOPath = "/v1/sso"

func (i *Identity) redirectURL() string { return i.config.Issuer + SSOPath + "/callback" }

func (i *Identity) singleSignOn(row store.SingleSignOn) (SingleSignOn, error) {
	s := SingleSignOn{
		Issuer: row.Issuer, ClientID: row.ClientID, Domain: row.Domain, RolesClaim: row.RolesClaim, DefaultRoles: row.DefaultRoles,
		RedirectURL: i.redirectURL(),
	}
	return s, json.Unmarshal(row.Mappings, &s.Mappings)
}

func ssoSeal(tenant string) string { return "sso " + tenant }

// SetSingleSignOn says at which provider the tenant's members sign in. An empty secret keeps the one that the client has.
func (i *Identity) SetSingleSignOn(ctx context.Context, want domain.SingleSignOn, secret string) (SingleSignOn, error) {
	if domain.CheckIssuer(want.Issuer) == "" {
		if err := i.providers.Check(ctx, want.Issuer); err != nil {
			return SingleSignOn{}, problem.NewInvalid("single-sign-on-invalid", "The configuration of single sign-on is not valid.").
				With(problem.Field{Path: "issuer", Message: "does not answer as an OpenID provider: " + err.Error()})
		}
	}
	return execute(withoutKey(ctx), i, func(ctx context.Context, tx *eventlog.Tx) (SingleSignOn, error) {
		tenant := actor(ctx).Tenant
		own, err := lockedRoles(ctx, tx, tenant)
		if err != nil {
			return SingleSignOn{}, err
		}
		err = decideSSO(ctx, tx, tenant, func(s domain.SingleSignOn) ([]message, error) { return s.Set(want, own, giver(ctx)) })
		if err != nil {
			return SingleSignOn{}, err
		}
		mappings, err := json.Marshal(append([]domain.RoleMapping{}, want.Mappings...))
		if err != nil {
			return SingleSignOn{}, err
		}
		row := store.SingleSignOn{
			Tenant: tenant, Issuer: want.Issuer, ClientID: want.ClientID, Domain: want.Domain, RolesClaim: want.RolesClaim,
			Mappings: mappings, DefaultRoles: want.DefaultRoles, Secret: i.seal.Close(ssoSeal(tenant), []byte(secret)),
			Scopes: giver(ctx).Scopes, Operator: giver(ctx).Installer,
		}
		if secret == "" {
			before, err := store.FindSingleSignOn(ctx, tx, tenant)
			if errors.Is(err, pgx.ErrNoRows) || (err == nil && (before.Issuer != row.Issuer || before.ClientID != row.ClientID)) {
				err = problem.NewInvalid("single-sign-on-invalid", "The configuration of single sign-on is not valid.").
					With(problem.Field{Path: "clientSecret", Message: "is empty; give the client's secret, which may be left out for the same client only"})
			}
			if err != nil {
				return SingleSignOn{}, err
			}
			row.Secret = before.Secret
		}
		if err := store.UpsertSingleSignOn(ctx, tx, row); err != nil {
			return SingleSignOn{}, err
		}
		return i.singleSignOn(row)
	})
}

// SingleSignOn returns the tenant's configuration.
func (i *Identity) SingleSignOn(ctx context.Context) (SingleSignOn, error) {
	row, err := read(ctx, i, func(tx pgx.Tx, tenant string) (store.SingleSignOn, error) {
		return store.FindSingleSignOn(ctx, tx, tenant)
	})
	if err != nil {
		return SingleSignOn{}, ssoNotFound(err)
	}
	return i.singleSignOn(row)
}

// RemoveSingleSignOn ends it. Sessions that go on do so.
func (i *Identity) RemoveSingleSignOn(ctx context.Context) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		tenant := actor(ctx).Tenant
		if err := decideSSO(ctx, tx, tenant, domain.SingleSignOn.Remove); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, store.DeleteSingleSignOn(ctx, tx, tenant)
	})
	return err
}

func decideSSO(ctx context.Context, tx *eventlog.Tx, tenant string, decide func(domain.SingleSignOn) ([]message, error)) error {
	history, err := tx.Load(ctx, "single-sign-on", tenant)
	if err != nil {
		return err
	}
	events, err := decide(eventlog.Fold(history, domain.SingleSignOn{}, domain.SingleSignOn.Evolve))
	if err != nil {
		return err
	}
	tx.Append("single-sign-on", tenant, uint64(len(history)), events...)
	return nil
}

func ssoNotFound(err error) error {
	return notFound(err, "single-sign-on-not-found", "The tenant has no single sign-on.")
}

func (i *Identity) providerConfig(row store.SingleSignOn) (provider.Config, error) {
	secret, err := i.seal.Open(ssoSeal(row.Tenant), row.Secret)
	return provider.Config{
		Issuer: row.Issuer, ClientID: row.ClientID, ClientSecret: string(secret), RedirectURL: i.redirectURL(), RolesClaim: row.RolesClaim,
	}, err
}

// StartSSO begins to sign a member of the tenant in. It returns where the browser goes, and what it keeps in a cookie, so
// that nobody else's sign-in can be put into it.
func (i *Identity) StartSSO(ctx context.Context, tenantName string) (location, cookie string, err error) {
	if err := i.take(ctx, grant{signInAddressRate, "sso from " + addressOf(ctx)}); err != nil {
		return "", "", err
	}
	row, err := readAll(ctx, i, func(tx pgx.Tx) (store.SingleSignOn, error) { return store.SingleSignOnOf(ctx, tx, tenantName) })
	if err != nil {
		return "", "", ssoNotFound(err)
	}
	config, err := i.providerConfig(row)
	if err != nil {
		return "", "", err
	}
	state, browser := newSecret(), newSecret()
	s := store.SSOSignIn{Tenant: row.Tenant, Browser: hash(browser), Nonce: newSecret(), Verifier: oauth2.GenerateVerifier()}
	location, err = i.providers.Start(ctx, config, state, s.Nonce, s.Verifier)
	if err != nil {
		return "", "", problem.NewUnavailable("provider-unavailable", "The OpenID provider does not answer. Try again later.").Wrap(err)
	}
	return location, browser, i.db.InTenant(ctx, row.Tenant, func(tx pgx.Tx) error {
		return store.InsertSSOSignIn(ctx, tx, hash(state), s, i.now().Add(SSOLifetime))
	})
}

// FinishSSO takes the provider's answer, makes or changes the member as it says, and returns a code with which the session
// is started, once.
func (i *Identity) FinishSSO(ctx context.Context, state, code, cookie string) (string, error) {
	failed := problem.NewUnauthenticated("sign-in-failed", "The sign-in is not known, was finished or took too long. Begin again.")
	if err := i.take(ctx, grant{signInAddressRate, "sso from " + addressOf(ctx)}); err != nil {
		return "", err
	}
	s, err := readAll(ctx, i, func(tx pgx.Tx) (store.SSOSignIn, error) {
		return store.TakeSSOSignIn(ctx, tx, hash(state), false, i.now())
	})
	if errors.Is(err, pgx.ErrNoRows) || (err == nil && subtle.ConstantTimeCompare(s.Browser, hash(cookie)) != 1) {
		return "", failed
	}
	if err != nil {
		return "", err
	}
	row, err := readAll(ctx, i, func(tx pgx.Tx) (store.SingleSignOn, error) { return store.FindSingleSignOn(ctx, tx, s.Tenant) })
	if err != nil {
		return "", ssoNotFound(err)
	}
	config, err := i.providerConfig(row)
	if err != nil {
		return "", err
	}
	person, err := i.providers.Finish(ctx, config, code, s.Nonce, s.Verifier)
	if err != nil {
		return "", problem.NewUnauthenticated("sign-in-failed", "The OpenID provider's answer was not accepted. Begin again.").Wrap(err)
	}
	return i.admit(ctx, row, s.Browser, person)
}

// admit makes the member who signed in, or finds and changes them, and returns the code of their session, for the same browser.
func (i *Identity) admit(ctx context.Context, row store.SingleSignOn, browser []byte, person provider.Person) (string, error) {
	shown, err := i.singleSignOn(row)
	if err != nil {
		return "", err
	}
	sso := domain.SingleSignOn{
		Domain: row.Domain, Mappings: shown.Mappings, DefaultRoles: row.DefaultRoles,
		By: domain.Giver{Scopes: row.Scopes, Installer: row.Operator},
	}
	switch {
	case !person.EmailVerified || checkEmail(person.Email) != nil:
		return "", problem.NewDenied("email-not-verified", "The OpenID provider does not say that your e-mail address is verified.")
	case !sso.Admits(person.Email):
		return "", problem.NewDenied("domain-not-admitted", "Only addresses of the domain %s sign in here.", row.Domain)
	}
	code := newSecret()
	ctx = withoutKey(principal.With(ctx, principal.Service("identity", row.Tenant)))
	_, err = execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		own, err := lockedRoles(ctx, tx, row.Tenant)
		if err != nil {
			return struct{}{}, err
		}
		roles := sso.RolesOf(person.Roles, own)
		if len(roles) == 0 {
			return struct{}{}, problem.NewDenied("no-role", "None of your groups at the OpenID provider has a role here.")
		}
		member, err := i.memberOf(ctx, tx, row, sso, person, roles, own)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, store.InsertSSOSignIn(ctx, tx, hash(code), store.SSOSignIn{Tenant: row.Tenant, Browser: browser, Member: member}, i.now().Add(SSOCodeLifetime))
	})
	return code, err
}

// memberOf returns the member that a person is: by the provider's subject, else by the verified address, else a new one.
func (i *Identity) memberOf(ctx context.Context, tx *eventlog.Tx, row store.SingleSignOn, sso domain.SingleSignOn, person provider.Person, roles []string, own domain.Roles) (string, error) {
	id, err := store.MemberBySubject(ctx, tx, row.Issuer, person.Subject)
	if err == nil {
		return id, i.changeBySSO(ctx, tx, id, row, roles)
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return "", err
	}
	id, account, subject, err := store.MemberByEmail(ctx, tx, row.Issuer, person.Email)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		if id, err = i.addBySSO(ctx, tx, row.Tenant, person, roles, own); err != nil {
			return "", err
		}
	case err != nil:
		return "", err
	case account != "" || subject != "":
		return "", problem.NewConflict("member-exists", "Your e-mail address belongs to another member, or to a member of an account.")
	default:
		m, _, err := loadMember(ctx, tx, id)
		if err != nil {
			return "", err
		}
		if !sso.Finds(m.Roles, roles, own) {
			return "", problem.NewDenied("member-may-more", "The member with your e-mail address may more than single sign-on gives. One who may as much must set it up, or you sign in with a password.")
		}
		if err := i.changeBySSO(ctx, tx, id, row, roles); err != nil {
			return "", err
		}
	}
	return id, store.LinkSubject(ctx, tx, row.Tenant, id, row.Issuer, person.Subject)
}

// changeBySSO gives a member the roles that the provider's claims say, where there are mappings.
func (i *Identity) changeBySSO(ctx context.Context, tx *eventlog.Tx, id string, row store.SingleSignOn, roles []string) error {
	if row.RolesClaim == "" {
		return nil
	}
	others, err := store.LockOwners(ctx, tx, id)
	if err != nil {
		return err
	}
	m, version, err := loadMember(ctx, tx, id)
	if err != nil {
		return err
	}
	events := m.SignInRoles(roles, others)
	if len(events) == 0 {
		return nil
	}
	tx.Append("member", id, version, events...)
	m = evolve(m, domain.Member.Evolve, events)
	return store.UpdateMember(ctx, tx, id, m.Roles, false)
}

func (i *Identity) addBySSO(ctx context.Context, tx *eventlog.Tx, tenant string, person provider.Person, roles []string, own domain.Roles) (string, error) {
	name := person.Name
	if (Person{DisplayName: name}).check() != nil {
		name = person.Email
	}
	m := store.Member{ID: newID(), DisplayName: name, Email: person.Email, Roles: slices.Clone(roles), CreatedAt: i.now()}
	scopes := append(domain.AllScopes(), own.Scopes(roles)...)
	events, err := domain.AddMember(m.ID, "", roles, own, domain.Giver{Scopes: scopes})
	if err != nil {
		return "", fmt.Errorf("add member who signed in: %w", err)
	}
	tx.Append("member", m.ID, 0, events...)
	return m.ID, store.InsertMember(ctx, tx, tenant, m)
}

// StartSSOSession starts the session of a member who signed in at the provider, by the code that FinishSSO gave and the cookie
// of the browser that began: nobody is signed in as another one by a code that was put before them.
func (i *Identity) StartSSOSession(ctx context.Context, code, cookie string) (StartedSession, error) {
	if err := i.take(ctx, grant{signInAddressRate, "sso from " + addressOf(ctx)}); err != nil {
		return StartedSession{}, err
	}
	s, err := readAll(ctx, i, func(tx pgx.Tx) (store.SSOSignIn, error) {
		return store.TakeSSOSignIn(ctx, tx, hash(code), true, i.now())
	})
	if errors.Is(err, pgx.ErrNoRows) || (err == nil && subtle.ConstantTimeCompare(s.Browser, hash(cookie)) != 1) {
		return StartedSession{}, problem.NewUnauthenticated("sign-in-failed", "The code is not known, was used, has expired, or is of another browser. Begin again.")
	}
	if err != nil {
		return StartedSession{}, err
	}
	return i.startSession(asMember(ctx, s.Tenant, s.Member), s.Member, func(context.Context, *eventlog.Tx) (string, error) { return bySSO, nil })
}

// AfterSSO returns where the console takes over with a code; empty when there is none.
func (i *Identity) AfterSSO(code string) string {
	if i.config.WebURL == "" {
		return ""
	}
	return i.webPage("sso", "code", code)
}
