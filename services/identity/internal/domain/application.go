package domain

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Application is something that an account runs and that calls APIs, with its credentials.
type Application struct {
	ID, Account, Name, Title, Description string
	// Roles are what an API's operations may ask of the caller.
	Roles       []string
	Deleted     bool
	Credentials map[string]Credential
}

// Evolve applies an event.
func (a Application) Evolve(event proto.Message) Application {
	switch e := event.(type) {
	case *identityv1.ApplicationCreated:
		return Application{
			ID: e.GetApplication(), Account: e.GetAccount(), Name: e.GetName(), Title: e.GetTitle(),
			Description: e.GetDescription(), Roles: e.GetRoles(), Credentials: map[string]Credential{},
		}
	case *identityv1.ApplicationChanged:
		a.Title, a.Description, a.Roles = e.GetTitle(), e.GetDescription(), e.GetRoles()
	case *identityv1.ApplicationDeleted:
		a.Deleted = true
	case *identityv1.CredentialIssued:
		a.Credentials[e.GetCredential()] = Credential{
			ID: e.GetCredential(), Kind: e.GetKind(), Title: e.GetTitle(), Expires: timeOrZero(e.GetExpiresAt()),
			Scopes: e.GetScopes(), ClientID: e.GetClientId(), Issuer: e.GetIssuer(),
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
	checkGrants("spec.roles", "role", spec.GetRoles(), &fields)
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
		Roles: spec.GetRoles(),
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
	if a.Title == spec.GetTitle() && a.Description == spec.GetDescription() && slices.Equal(a.Roles, spec.GetRoles()) {
		return nil, nil
	}
	return []proto.Message{&identityv1.ApplicationChanged{
		Application: a.ID, Title: spec.GetTitle(), Description: spec.GetDescription(), Roles: spec.GetRoles(),
	}}, nil
}

// Delete ends the application.
func (a Application) Delete() ([]proto.Message, error) {
	if a.Deleted {
		return nil, nil
	}
	return []proto.Message{&identityv1.ApplicationDeleted{Application: a.ID}}, nil
}

func (a Application) deleted() error {
	return problem.NewConflict("application-deleted", "The application %s was deleted.", a.Name)
}

func timeOrZero(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}
