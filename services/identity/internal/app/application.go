package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// PutApplication makes the application of that name as the spec says.
func (i *Identity) PutApplication(ctx context.Context, account, name string, spec *identityv1.ApplicationSpec) (store.Application, error) {
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Application, error) {
		row, _, err := i.putApplication(ctx, tx, account, name, spec)
		return row, err
	})
}

func (i *Identity) putApplication(ctx context.Context, tx *eventlog.Tx, account, name string, spec *identityv1.ApplicationSpec) (store.Application, *identityv1.ApplicationSpec, error) {
	if err := resource.CheckName(name); err != nil {
		return store.Application{}, nil, problem.NewInvalid("application-invalid", "The application is not valid.").With(problem.Field{Path: "metadata.name", Message: err.Error()})
	}
	owner, err := findAccount(ctx, tx, account)
	if errors.Is(err, pgx.ErrNoRows) {
		return store.Application{}, nil, problem.NewInvalid("application-invalid", "The application is not valid.").With(
			problem.Field{Path: "metadata.account", Message: "there is no account \"" + account + "\"; name one that exists"})
	}
	if err != nil {
		return store.Application{}, nil, err
	}
	row, err := store.FindApplication(ctx, tx, actor(ctx).Tenant, name)
	byAccount := actor(ctx).Account != ""
	if byAccount && len(spec.GetRoles()) > 0 && !slices.Equal(spec.GetRoles(), row.Roles) {
		return row, nil, problem.NewDenied("granted-by-provider", "Roles of an application are given by members of the tenant; leave spec.roles out.")
	}
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return i.createApplication(ctx, tx, owner, name, spec)
	case err != nil:
		return row, nil, err
	case row.AccountID != owner.ID && byAccount:
		return store.Application{}, nil, problem.NewConflict("application-exists", "The name %s is taken; choose another.", name)
	case row.AccountID != owner.ID:
		return row, nil, problem.NewConflict("application-exists", "The application %s belongs to the account %s.", name, row.Account)
	case byAccount:
		spec = &identityv1.ApplicationSpec{Title: spec.GetTitle(), Description: spec.GetDescription(), Roles: row.Roles}
	}
	before := applicationSpec(row)
	events, err := decideApplication(ctx, tx, row.ID, func(a domain.Application) ([]proto.Message, error) { return a.Change(spec) })
	if err != nil || len(events) == 0 {
		return row, before, err
	}
	row.Title, row.Description, row.Roles = spec.GetTitle(), spec.GetDescription(), spec.GetRoles()
	return row, before, store.UpsertApplication(ctx, tx, actor(ctx).Tenant, row)
}

func (i *Identity) createApplication(ctx context.Context, tx *eventlog.Tx, owner store.Account, name string, spec *identityv1.ApplicationSpec) (store.Application, *identityv1.ApplicationSpec, error) {
	row := store.Application{
		ID: newID(), Name: name, AccountID: owner.ID, Account: owner.Name, Title: spec.GetTitle(),
		Description: spec.GetDescription(), Roles: spec.GetRoles(), CreatedAt: i.now(),
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

// command runs one decision on an application, by its name or id, and its account, and applies its events to the tables.
func (i *Identity) command(ctx context.Context, tx *eventlog.Tx, nameOrID string, decide func(domain.Application, domain.Account) ([]proto.Message, error)) (store.Application, []proto.Message, error) {
	row, err := ownApplication(ctx, tx, nameOrID, store.LockApplication)
	if err != nil {
		return row, nil, applicationNotFound(err, nameOrID)
	}
	account := domain.Account{ID: row.AccountID, Name: row.Account, Closed: row.AccountClosed}
	events, err := decideApplication(ctx, tx, row.ID, func(a domain.Application) ([]proto.Message, error) { return decide(a, account) })
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
		if err := store.UpsertApplication(ctx, tx, tenant, *row); err != nil {
			return err
		}
		return store.RevokeCredentials(ctx, tx, row.ID)
	case *identityv1.CredentialIssued:
		return store.InsertCredential(ctx, tx, tenant, *row, i.credential(e), e.GetKeySha256())
	case *identityv1.CredentialExpirySet:
		return store.SetCredentialExpiry(ctx, tx, e.GetCredential(), time.Unix(e.GetExpiresAt(), 0))
	case *identityv1.CredentialRevoked:
		return store.RevokeCredentials(ctx, tx, e.GetCredential())
	}
	return nil
}

// DeleteApplication ends an application; its credentials are void from then on.
func (i *Identity) DeleteApplication(ctx context.Context, nameOrID string) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		_, _, err := i.command(ctx, tx, nameOrID, func(a domain.Application, _ domain.Account) ([]proto.Message, error) { return a.Delete() })
		return struct{}{}, err
	})
	return err
}

// Application returns an application by its name or id.
func (i *Identity) Application(ctx context.Context, nameOrID string) (store.Application, error) {
	return read(ctx, i, func(tx pgx.Tx, _ string) (store.Application, error) {
		row, err := findApplication(ctx, tx, nameOrID)
		return row, applicationNotFound(err, nameOrID)
	})
}

// Applications returns the applications of an account, or of all, in order of their name.
func (i *Identity) Applications(ctx context.Context, account, search, after string, limit int) ([]store.Application, error) {
	if own := actor(ctx).Account; own != "" {
		account = own
	}
	return read(ctx, i, func(tx pgx.Tx, tenant string) ([]store.Application, error) {
		return store.Applications(ctx, tx, tenant, account, search, after, limit)
	})
}

func applicationSpec(a store.Application) *identityv1.ApplicationSpec {
	return &identityv1.ApplicationSpec{Title: a.Title, Description: a.Description, Roles: a.Roles}
}

// findApplication returns an application by its name or id; for a member of an account, one of that account.
func findApplication(ctx context.Context, tx pgx.Tx, nameOrID string) (store.Application, error) {
	return ownApplication(ctx, tx, nameOrID, store.FindApplication)
}

func ownApplication(ctx context.Context, tx pgx.Tx, nameOrID string, find func(context.Context, pgx.Tx, string, string) (store.Application, error)) (store.Application, error) {
	p := actor(ctx)
	row, err := find(ctx, tx, p.Tenant, nameOrID)
	if err == nil && p.Account != "" && row.AccountID != p.Account {
		return store.Application{}, pgx.ErrNoRows
	}
	return row, err
}

func applicationNotFound(err error, nameOrID string) error {
	return notFound(err, "application-not-found", "There is no application %q.", nameOrID)
}
