package domain

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// APIKey is the only kind of credential so far.
const APIKey = "apiKey"

// MaxOverlap is the longest time that a rotated credential may go on being valid.
const MaxOverlap = 30 * 24 * time.Hour

// Application is something that an account runs and that calls APIs, with its credentials.
type Application struct {
	ID, Account, Name, Title, Description string
	Deleted                               bool
	Credentials                           map[string]Credential
}

// Credential is an application's proof of who it is.
type Credential struct {
	ID, Kind, Title string
	Expires         time.Time
	Revoked         bool
}

// valid says whether the credential can be used at a time.
func (c Credential) valid(now time.Time) bool {
	return !c.Revoked && (c.Expires.IsZero() || now.Before(c.Expires))
}

// Evolve applies an event.
func (a Application) Evolve(event proto.Message) Application {
	switch e := event.(type) {
	case *identityv1.ApplicationCreated:
		return Application{
			ID: e.GetApplication(), Account: e.GetAccount(), Name: e.GetName(), Title: e.GetTitle(),
			Description: e.GetDescription(), Credentials: map[string]Credential{},
		}
	case *identityv1.ApplicationChanged:
		a.Title, a.Description = e.GetTitle(), e.GetDescription()
	case *identityv1.ApplicationDeleted:
		a.Deleted = true
	case *identityv1.CredentialIssued:
		a.Credentials[e.GetCredential()] = Credential{
			ID: e.GetCredential(), Kind: e.GetKind(), Title: e.GetTitle(), Expires: timeOrZero(e.GetExpiresAt()),
		}
	case *identityv1.CredentialExpirySet:
		c := a.Credentials[e.GetCredential()]
		c.Expires = timeOrZero(e.GetExpiresAt())
		a.Credentials[c.ID] = c
	case *identityv1.CredentialRevoked:
		c := a.Credentials[e.GetCredential()]
		c.Revoked = true
		a.Credentials[c.ID] = c
	}
	return a
}

func checkApplication(spec *identityv1.ApplicationSpec) error {
	var fields problem.Fields
	checkTitle("spec.title", spec.GetTitle(), &fields)
	if len(spec.GetDescription()) > 2000 {
		fields.Add("spec.description", "is %d bytes long; at most 2000 are taken", len(spec.GetDescription()))
	}
	return fields.Err("application-invalid", "The application is not valid.")
}

// CreateApplication makes an application of an account.
func CreateApplication(id, name string, account Account, spec *identityv1.ApplicationSpec) ([]proto.Message, error) {
	if account.Closed {
		return nil, problem.NewConflict("account-closed", "The account %s is closed and takes no applications.", account.Name)
	}
	if err := checkApplication(spec); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.ApplicationCreated{
		Application: id, Account: account.ID, Name: name, Title: spec.GetTitle(), Description: spec.GetDescription(),
	}}, nil
}

// Change makes the application as the spec says.
func (a Application) Change(spec *identityv1.ApplicationSpec) ([]proto.Message, error) {
	if a.Deleted {
		return nil, a.deleted()
	}
	if err := checkApplication(spec); err != nil {
		return nil, err
	}
	if a.Title == spec.GetTitle() && a.Description == spec.GetDescription() {
		return nil, nil
	}
	return []proto.Message{&identityv1.ApplicationChanged{Application: a.ID, Title: spec.GetTitle(), Description: spec.GetDescription()}}, nil
}

// Delete ends the application.
func (a Application) Delete() ([]proto.Message, error) {
	if a.Deleted {
		return nil, nil
	}
	return []proto.Message{&identityv1.ApplicationDeleted{Application: a.ID}}, nil
}

// NewKey is a key that was just made; the application keeps its hash only.
type NewKey struct {
	ID, Title, Prefix string
	SHA256            []byte
	// Expires is zero for a key that does not.
	Expires time.Time
}

// Issue gives the application a credential.
func (a Application) Issue(key NewKey, now time.Time) ([]proto.Message, error) {
	return a.issue(key, "", now)
}

func (a Application) issue(key NewKey, replaces string, now time.Time) ([]proto.Message, error) {
	if a.Deleted {
		return nil, a.deleted()
	}
	var fields problem.Fields
	checkTitle("title", key.Title, &fields)
	checkExpiry("expiresAt", key.Expires, now, &fields)
	if err := fields.Err("credential-invalid", "The credential is not valid."); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.CredentialIssued{
		Credential: key.ID, Application: a.ID, Account: a.Account, Kind: APIKey, Title: key.Title, Prefix: key.Prefix,
		KeySha256: key.SHA256, ExpiresAt: unixOrZero(key.Expires), Replaces: replaces,
	}}, nil
}

// Rotate issues a new key in place of a credential, which stays valid for the overlap.
func (a Application) Rotate(credential string, key NewKey, overlap time.Duration, now time.Time) ([]proto.Message, error) {
	old, err := a.usable(credential, now)
	if err != nil {
		return nil, err
	}
	if overlap < 0 || overlap > MaxOverlap {
		return nil, problem.NewInvalid("credential-invalid", "The credential cannot be rotated.").With(problem.Field{
			Path: "overlap", Message: "is not from 0s to 720h",
		})
	}
	if key.Title == "" {
		key.Title = old.Title
	}
	events, err := a.issue(key, old.ID, now)
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

func (a Application) deleted() error {
	return problem.NewConflict("application-deleted", "The application %s was deleted.", a.Name)
}

func credentialNotFound() error {
	return problem.NewNotFound("credential-not-found", "The application has no such credential.")
}

func timeOrZero(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}
