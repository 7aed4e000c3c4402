package app

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

type message = proto.Message

func evolve[S any](state S, apply func(S, proto.Message) S, events []proto.Message) S {
	for _, e := range events {
		state = apply(state, e)
	}
	return state
}

// PutAccount makes the account of that name as the spec says.
func (i *Identity) PutAccount(ctx context.Context, name string, spec *identityv1.AccountSpec) (store.Account, error) {
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Account, error) {
		row, _, err := i.putAccount(ctx, tx, name, spec)
		return row, err
	})
}

// putAccount returns the account as it is now and its spec before, nil for none.
func (i *Identity) putAccount(ctx context.Context, tx *eventlog.Tx, name string, spec *identityv1.AccountSpec) (store.Account, *identityv1.AccountSpec, error) {
	if err := resource.CheckName(name); err != nil {
		return store.Account{}, nil, problem.NewInvalid("account-invalid", "The account is not valid.").With(problem.Field{Path: "metadata.name", Message: err.Error()})
	}
	row, err := store.LockAccount(ctx, tx, actor(ctx).Tenant, name)
	var before *identityv1.AccountSpec
	var events []proto.Message
	var version uint64
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		row = store.Account{ID: newID(), Name: name, CreatedAt: i.now()}
		events, err = domain.CreateAccount(row.ID, name, spec)
	case err == nil:
		before = accountSpec(row)
		var a domain.Account
		if a, version, err = loadAccount(ctx, tx, row.ID); err == nil {
			events, err = a.Change(spec)
		}
	}
	if err != nil {
		return row, nil, err
	}
	tx.Append("account", row.ID, version, events...)
	row.Title, row.Country, row.Currency, row.BillingEmail = spec.GetTitle(), spec.GetCountry(), spec.GetCurrency(), spec.GetBillingEmail()
	return row, before, store.UpsertAccount(ctx, tx, actor(ctx).Tenant, row)
}

// CloseAccount ends an account; its credentials are void from then on.
func (i *Identity) CloseAccount(ctx context.Context, nameOrID string) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		row, err := store.LockAccount(ctx, tx, actor(ctx).Tenant, nameOrID)
		if err != nil {
			return struct{}{}, accountNotFound(err, nameOrID)
		}
		a, version, err := loadAccount(ctx, tx, row.ID)
		if err != nil {
			return struct{}{}, err
		}
		events, err := a.Close()
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("account", row.ID, version, events...)
		row.Closed = true
		if err := store.UpsertAccount(ctx, tx, actor(ctx).Tenant, row); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, store.RevokeCredentials(ctx, tx, row.ID)
	})
	return err
}

// Account returns an account by its name or id.
func (i *Identity) Account(ctx context.Context, nameOrID string) (store.Account, error) {
	return read(ctx, i, func(tx pgx.Tx, _ string) (store.Account, error) {
		row, err := findAccount(ctx, tx, nameOrID)
		return row, accountNotFound(err, nameOrID)
	})
}

// Accounts returns accounts in order of their name.
func (i *Identity) Accounts(ctx context.Context, search, after string, limit int) ([]store.Account, error) {
	return read(ctx, i, func(tx pgx.Tx, tenant string) ([]store.Account, error) {
		return store.Accounts(ctx, tx, tenant, search, after, limit)
	})
}

func loadAccount(ctx context.Context, tx *eventlog.Tx, id string) (domain.Account, uint64, error) {
	history, err := tx.Load(ctx, "account", id)
	return eventlog.Fold(history, domain.Account{}, domain.Account.Evolve), uint64(len(history)), err
}

func accountSpec(a store.Account) *identityv1.AccountSpec {
	return &identityv1.AccountSpec{Title: a.Title, BillingEmail: a.BillingEmail, Country: a.Country, Currency: a.Currency}
}

// findAccount returns an account by its name or id. A member of an account finds that one, whatever it is called, and no
// other.
func findAccount(ctx context.Context, tx pgx.Tx, nameOrID string) (store.Account, error) {
	p := actor(ctx)
	if p.Account == "" {
		return store.FindAccount(ctx, tx, p.Tenant, nameOrID)
	}
	row, err := store.FindAccount(ctx, tx, p.Tenant, p.Account)
	if err == nil && nameOrID != "" && nameOrID != row.ID && nameOrID != row.Name {
		return store.Account{}, pgx.ErrNoRows
	}
	return row, err
}

func accountNotFound(err error, nameOrID string) error {
	return notFound(err, "account-not-found", "There is no account %q.", nameOrID)
}
