package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// PutApplication makes the application of that name as the spec says.
func (i *Identity) PutApplication(ctx context.Context, account, name string, spec *identityv1.ApplicationSpec) (store.Application, error) {
	return service.Execute(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (store.Application, error) {
		row, _, err := i.putApplication(ctx, tx, account, name, spec)
		return row, err
	})
}

func (i *Identity) putApplication(ctx context.Context, tx *eventlog.Tx, account, name string, spec *identityv1.ApplicationSpec) (store.Application, *identityv1.ApplicationSpec, error) {
	if err := resource.CheckName(name); err != nil {
		return store.Application{}, nil, problem.NewInvalid("application-invalid", "The application is not valid.").With(problem.Field{Path: "metadata.name", Message: err.Error()})
	}
	owner, err := store.FindAccount(ctx, tx, actor(ctx).Tenant, account)
	if errors.Is(err, pgx.ErrNoRows) {
		return store.Application{}, nil, problem.NewInvalid("application-invalid", "The application is not valid.").With(
			problem.Field{Path: "metadata.account", Message: "there is no account \"" + account + "\"; name one that exists"})
	}
	if err != nil {
		return store.Application{}, nil, err
	}
	row, err := store.FindApplication(ctx, tx, actor(ctx).Tenant, name)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return i.createApplication(ctx, tx, owner, name, spec)
	case err != nil:
		return row, nil, err
	case row.AccountID != owner.ID:
		return row, nil, problem.NewConflict("application-exists", "The application %s belongs to the account %s.", name, row.Account)
	}
	before := applicationSpec(row)
	events, err := decideApplication(ctx, tx, row.ID, func(a domain.Application) ([]proto.Message, error) { return a.Change(spec) })
	if err != nil || len(events) == 0 {
		return row, before, err
	}
	row.Title, row.Description = spec.GetTitle(), spec.GetDescription()
	return row, before, store.UpsertApplication(ctx, tx, actor(ctx).Tenant, row)
}

func (i *Identity) createApplication(ctx context.Context, tx *eventlog.Tx, owner store.Account, name string, spec *identityv1.ApplicationSpec) (store.Application, *identityv1.ApplicationSpec, error) {
	row := store.Application{
		ID: newID(), Name: name, AccountID: owner.ID, Account: owner.Name, Title: spec.GetTitle(),
		Description: spec.GetDescription(), CreatedAt: i.now(),
	}
	account := domain.Account{ID: owner.ID, Name: owner.Name, Closed: owner.Closed}
	events, err := domain.CreateApplication(row.ID, name, account, spec)
	if err != nil {
		return row, nil, err
	}
	tx.Append("application", row.ID, 0, events...)
	return row, nil, store.UpsertApplication(ctx, tx, actor(ctx).Tenant, row)
}

// decideApplication loads an application, decides, and appends what was decided.
func decideApplication(ctx context.Context, tx *eventlog.Tx, id string, decide func(domain.Application) ([]proto.Message, error)) ([]proto.Message, error) {
	history, err := tx.Load(ctx, "application", id)
	if err != nil {
		return nil, err
	}
	events, err := decide(eventlog.Fold(history, domain.Application{}, domain.Application.Evolve))
	if err != nil {
		return nil, err
	}
	tx.Append("application", id, uint64(len(history)), events...)
	return events, nil
}

// command runs one decision on an application, by its name or id, and applies its events to the tables.
func (i *Identity) command(ctx context.Context, tx *eventlog.Tx, nameOrID string, decide func(domain.Application) ([]proto.Message, error)) (store.Application, []proto.Message, error) {
	row, err := store.FindApplication(ctx, tx, actor(ctx).Tenant, nameOrID)
	if err != nil {
		return row, nil, applicationNotFound(err, nameOrID)
	}
	events, err := decideApplication(ctx, tx, row.ID, decide)
	if err != nil {
		return row, nil, err
	}
	for _, event := range events {
		if err := i.project(ctx, tx, &row, event); err != nil {
			return row, nil, err
		}
	}
	return row, events, nil
}

func (i *Identity) project(ctx context.Context, tx pgx.Tx, row *store.Application, event proto.Message) error {
	tenant := actor(ctx).Tenant
	switch e := event.(type) {
	case *identityv1.ApplicationDeleted:
		row.Deleted = true
		return store.UpsertApplication(ctx, tx, tenant, *row)
	case *identityv1.CredentialIssued:
		return store.InsertCredential(ctx, tx, tenant, *row, i.credential(e), e.GetKeySha256())
	case *identityv1.CredentialExpirySet:
		return store.SetCredentialExpiry(ctx, tx, e.GetCredential(), time.Unix(e.GetExpiresAt(), 0))
	case *identityv1.CredentialRevoked:
		return store.RevokeCredential(ctx, tx, e.GetCredential())
	}
	return nil
}

func (i *Identity) credential(e *identityv1.CredentialIssued) store.Credential {
	c := store.Credential{ID: e.GetCredential(), Kind: e.GetKind(), Title: e.GetTitle(), Prefix: e.GetPrefix(), CreatedAt: i.now()}
	if e.GetExpiresAt() != 0 {
		c.ExpiresAt = timePointer(time.Unix(e.GetExpiresAt(), 0))
	}
	return c
}

// DeleteApplication ends an application; its credentials are void from then on.
func (i *Identity) DeleteApplication(ctx context.Context, nameOrID string) error {
	_, err := service.Execute(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		_, _, err := i.command(ctx, tx, nameOrID, domain.Application.Delete)
		return struct{}{}, err
	})
	return err
}

// IssuedCredential is a credential as it is shown once.
type IssuedCredential struct {
	store.Credential
	// Key is the API key itself; empty when the command was repeated, because it is not kept.
	Key string `json:"key,omitempty"`
}

// IssueCredential gives an application an API key.
func (i *Identity) IssueCredential(ctx context.Context, application, title string, expires time.Time) (IssuedCredential, error) {
	return i.issue(ctx, application, title, expires, func(a domain.Application, key domain.NewKey) ([]proto.Message, error) {
		return a.Issue(key, i.now())
	})
}

// RotateCredential issues a new key in place of one, which stays valid for the overlap.
func (i *Identity) RotateCredential(ctx context.Context, application, credential string, expires time.Time, overlap time.Duration) (IssuedCredential, error) {
	return i.issue(ctx, application, "", expires, func(a domain.Application, key domain.NewKey) ([]proto.Message, error) {
		return a.Rotate(credential, key, overlap, i.now())
	})
}

// prefixLength is how much of a key is kept in clear, to recognize it by.
const prefixLength = 10

func (i *Identity) issue(ctx context.Context, application, title string, expires time.Time, decide func(domain.Application, domain.NewKey) ([]proto.Message, error)) (IssuedCredential, error) {
	key := "tg_" + newSecret()
	result, err := service.ExecuteResult(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (store.Credential, error) {
		fresh := domain.NewKey{ID: newID(), Title: title, Prefix: key[:prefixLength], SHA256: hash(key), Expires: expires}
		_, events, err := i.command(ctx, tx, application, func(a domain.Application) ([]proto.Message, error) { return decide(a, fresh) })
		if err != nil {
			return store.Credential{}, err
		}
		return i.credential(events[0].(*identityv1.CredentialIssued)), nil
	})
	issued := IssuedCredential{Credential: result.Value}
	if err == nil && !result.Replayed {
		issued.Key = key
	}
	return issued, err
}

// RevokeCredential makes a credential void at once.
func (i *Identity) RevokeCredential(ctx context.Context, application, credential string) error {
	_, err := service.Execute(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		_, _, err := i.command(ctx, tx, application, func(a domain.Application) ([]proto.Message, error) { return a.Revoke(credential) })
		return struct{}{}, err
	})
	return err
}

// Application returns an application by its name or id.
func (i *Identity) Application(ctx context.Context, nameOrID string) (store.Application, error) {
	return read(ctx, i, func(tx pgx.Tx, tenant string) (store.Application, error) {
		row, err := store.FindApplication(ctx, tx, tenant, nameOrID)
		return row, applicationNotFound(err, nameOrID)
	})
}

// Applications returns the applications of an account, or of all, in order of their name.
func (i *Identity) Applications(ctx context.Context, account, after string, limit int) ([]store.Application, error) {
	return read(ctx, i, func(tx pgx.Tx, tenant string) ([]store.Application, error) {
		return store.Applications(ctx, tx, tenant, account, after, limit)
	})
}

// Credentials returns an application's credentials, without their keys.
func (i *Identity) Credentials(ctx context.Context, application string) ([]store.Credential, error) {
	return read(ctx, i, func(tx pgx.Tx, tenant string) ([]store.Credential, error) {
		row, err := store.FindApplication(ctx, tx, tenant, application)
		if err != nil {
			return nil, applicationNotFound(err, application)
		}
		return store.Credentials(ctx, tx, tenant, row.ID)
	})
}

func applicationSpec(a store.Application) *identityv1.ApplicationSpec {
	return &identityv1.ApplicationSpec{Title: a.Title, Description: a.Description}
}

func applicationNotFound(err error, nameOrID string) error {
	return notFound(err, "application-not-found", "There is no application %q.", nameOrID)
}
