package domain

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// The kinds of credentials of applications.
const (
	// APIKey is a secret that is sent with each call.
	APIKey = "apiKey"
	// OAuth2 is a client id and secret, for which the token endpoint gives access tokens (RFC 6749, section 4.4).
	OAuth2 = "oauth2"
	// JWT is a client of another issuer, whose tokens an API accepts. It has no secret here.
	JWT = "jwt"
)

// MaxOverlap is the longest time that a rotated credential may go on being valid.
const MaxOverlap = 30 * 24 * time.Hour

// Credential is an application's proof of who it is.
type Credential struct {
	ID, Kind, Title string
	// Scopes of an API key, or those that access tokens may be for at most.
	Scopes []string
	// ClientID of a credential of the kinds oauth2 and jwt.
	ClientID string
	// Issuer of the client's tokens, for the kind jwt.
	Issuer  string
	Expires time.Time
	Revoked bool
}

// valid says whether the credential can be used at a time.
func (c Credential) valid(now time.Time) bool {
	return !c.Revoked && (c.Expires.IsZero() || now.Before(c.Expires))
}

// NewCredential is a credential that is to be issued; of its secret the application keeps the hash only.
type NewCredential struct {
	ID, Kind, Title string
	// Prefix are the first characters of the key or client secret, SHA256 its hash; both empty for the kind jwt.
	Prefix string
	SHA256 []byte
	// Expires is zero for a credential that does not.
	Expires          time.Time
	Scopes           []string
	ClientID, Issuer string
}

func (n NewCredential) check(now time.Time) error {
	var fields problem.Fields
	checkTitle("title", n.Title, &fields)
	checkExpiry("expiresAt", n.Expires, now, &fields)
	checkGrants("scopes", "scope", n.Scopes, &fields)
	switch n.Kind {
	case APIKey, OAuth2:
		if n.Issuer != "" {
			fields.Add("issuer", "belongs to credentials of the kind jwt only; leave it out")
		}
	case JWT:
		n.checkForeign(&fields)
	default:
		fields.Add("kind", "%q is not a kind of credential; want apiKey, oauth2 or jwt", n.Kind)
	}
	return fields.Err("credential-invalid", "The credential is not valid.")
}

func (n NewCredential) checkForeign(fields *problem.Fields) {
	if len(n.Scopes) > 0 {
		fields.Add("scopes", "come with the issuer's tokens for the kind jwt; leave them out")
	}
	if n.ClientID == "" || len(n.ClientID) > 200 || strings.ContainsFunc(n.ClientID, notVisible) {
		fields.Add("client", "%q does not name a client; give 1 to 200 visible ASCII characters, as the issuer's tokens name it", n.ClientID)
	}
	if message := CheckIssuer(n.Issuer); message != "" {
		fields.Add("issuer", "%s", message)
	}
}

// CheckIssuer says what is wrong with the URL of an issuer of tokens (RFC 8414, section 2), or nothing. http is for
// loopback addresses.
func CheckIssuer(issuer string) string {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || len(issuer) > 500:
		return "is not the URL of an issuer; want one as in https://login.example.com"
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return "has a user, a query or a fragment; an issuer has none"
	case u.Scheme == "http" && u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback():
		return "is not https, which only an issuer on a loopback address may leave out"
	}
	return ""
}

// notVisible says whether a character may not be in a name that travels in headers and tokens.
func notVisible(r rune) bool { return r < 0x21 || r > 0x7e }

// checkGrants checks scopes or roles: their form is that of a scope (RFC 6749, section 3.3).
func checkGrants(path, what string, names []string, fields *problem.Fields) {
	if len(names) > 100 {
		fields.Add(path, "has %d entries; at most 100 are taken", len(names))
		return
	}
	for i, name := range names {
		switch {
		case name == "" || len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return notVisible(r) || r == '"' || r == '\\' }):
			fields.Add(path, `%q is not a %s; want 1 to 100 visible ASCII characters without spaces, " and \`, name, what)
		case slices.Contains(names[:i], name):
			fields.Add(path, "%q is there twice", name)
		}
	}
}

// Issue gives the application, which is the account's, a credential.
func (a Application) Issue(account Account, n NewCredential, now time.Time) ([]proto.Message, error) {
	return a.issue(account, n, "", now)
}

func (a Application) issue(account Account, n NewCredential, replaces string, now time.Time) ([]proto.Message, error) {
	switch {
	case a.Deleted:
		return nil, a.deleted()
	case account.Closed:
		return nil, problem.NewConflict("account-closed", "The account %s is closed and its applications get no credentials.", account.Name)
	}
	if err := n.check(now); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.CredentialIssued{
		Credential: n.ID, Application: a.ID, Account: a.Account, Kind: n.Kind, Title: n.Title, Prefix: n.Prefix,
		KeySha256: n.SHA256, ExpiresAt: unixOrZero(n.Expires), Replaces: replaces, Scopes: n.Scopes,
		ClientId: n.ClientID, Issuer: n.Issuer,
	}}, nil
}

// Rotate issues a new secret in place of a credential's, which stays valid for the overlap. Kind, scopes and client id stay.
func (a Application) Rotate(account Account, credential string, n NewCredential, overlap time.Duration, now time.Time) ([]proto.Message, error) {
	old, err := a.usable(credential, now)
	if err != nil {
		return nil, err
	}
	if old.Kind == JWT {
		return nil, problem.NewConflict("credential-without-secret", "A credential of the kind jwt has no secret to rotate: its issuer holds the keys.")
	}
	if overlap < 0 || overlap > MaxOverlap {
		return nil, problem.NewInvalid("credential-invalid", "The credential cannot be rotated.").With(problem.Field{
			Path: "overlap", Message: "is not from 0s to 720h",
		})
	}
	n.Kind, n.Scopes, n.ClientID = old.Kind, old.Scopes, old.ClientID
	if n.Title == "" {
		n.Title = old.Title
	}
	events, err := a.issue(account, n, old.ID, now)
	if err != nil {
		return nil, err
	}
	if overlap == 0 {
		return append(events, &identityv1.CredentialRevoked{Credential: old.ID}), nil
	}
	end := now.Add(overlap)
	if !old.Expires.IsZero() && old.Expires.Before(end) {
		return events, nil // it ends sooner by itself
	}
	return append(events, &identityv1.CredentialExpirySet{Credential: old.ID, ExpiresAt: end.Unix()}), nil
}

// Revoke makes a credential void at once.
func (a Application) Revoke(credential string) ([]proto.Message, error) {
	c, ok := a.Credentials[credential]
	switch {
	case !ok:
		return nil, credentialNotFound()
	case c.Revoked:
		return nil, nil
	}
	return []proto.Message{&identityv1.CredentialRevoked{Credential: credential}}, nil
}

func (a Application) usable(credential string, now time.Time) (Credential, error) {
	c, ok := a.Credentials[credential]
	switch {
	case a.Deleted:
		return c, a.deleted()
	case !ok:
		return c, credentialNotFound()
	case !c.valid(now):
		return c, problem.NewConflict("credential-void", "The credential has expired or was revoked; issue a new one.")
	}
	return c, nil
}

func credentialNotFound() error {
	return problem.NewNotFound("credential-not-found", "The application has no such credential.")
}
