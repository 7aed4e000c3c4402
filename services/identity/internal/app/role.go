package app

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// ownRoles returns the roles of a tenant's own making.
func ownRoles(ctx context.Context, tx pgx.Tx, tenant string) (domain.Roles, error) {
	rows, err := store.Roles(ctx, tx, tenant)
	own := domain.Roles{}
	for _, r := range rows {
		own[r.Name] = r.Scopes
	}
	return own, err
}

// lockedRoles is ownRoles for giving them: none is deleted until the end of the transaction.
func lockedRoles(ctx context.Context, tx pgx.Tx, tenant string) (domain.Roles, error) {
	if err := store.LockRoles(ctx, tx, tenant); err != nil {
		return nil, err
	}
	return ownRoles(ctx, tx, tenant)
}

// giver returns what the actor can give to others.
func giver(ctx context.Context) domain.Giver {
	p := actor(ctx)
	return domain.Giver{Scopes: p.Scopes, Installer: p.Operator}
}

// everything is the giver of the first member of a tenant.
func everything() domain.Giver { return domain.Giver{Scopes: domain.AllScopes(), Installer: true} }

// SetRole makes a role of the tenant's own, or changes it.
func (i *Identity) SetRole(ctx context.Context, name, title string, scopes []string) (store.Role, error) {
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Role, error) {
		row := store.Role{Name: name, Title: title, Scopes: scopes}
		err := decideRole(ctx, tx, name, func(r domain.Role) ([]message, error) { return r.SetRole(name, title, scopes, giver(ctx)) })
		if err != nil {
			return row, err
		}
		return row, store.UpsertRole(ctx, tx, actor(ctx).Tenant, row)
	})
}

// DeleteRole deletes a role of the tenant's own that no member and no invitation has.
func (i *Identity) DeleteRole(ctx context.Context, name string) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		tenant := actor(ctx).Tenant
		if err := store.LockRoles(ctx, tx, tenant); err != nil {
			return struct{}{}, err
		}
		n, err := store.CountRole(ctx, tx, tenant, name)
		if err != nil {
			return struct{}{}, err
		}
		if err := decideRole(ctx, tx, name, func(r domain.Role) ([]message, error) { return r.Delete(n) }); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, store.DeleteRole(ctx, tx, tenant, name)
	})
	return err
}

// decideRole loads a role, decides, and appends. Its stream is named after it within the tenant, so that a role that is
// deleted and made again goes on.
func decideRole(ctx context.Context, tx *eventlog.Tx, name string, decide func(domain.Role) ([]message, error)) error {
	if name == "" || len(name) > 63 {
		_, err := decide(domain.Role{}) // which finds the name wrong
		return err
	}
	history, err := tx.Load(ctx, "role", name)
	if err != nil {
		return err
	}
	events, err := decide(eventlog.Fold(history, domain.Role{}, domain.Role.Evolve))
	if err != nil {
		return err
	}
	tx.Append("role", name, uint64(len(history)), events...)
	return nil
}

// Roles returns the built-in roles and the tenant's own.
func (i *Identity) Roles(ctx context.Context) ([]store.Role, error) {
	return read(ctx, i, func(tx pgx.Tx, tenant string) ([]store.Role, error) {
		all := []store.Role{}
		for _, r := range domain.BuiltInRoles() {
			all = append(all, store.Role{Name: r.Name, Title: r.Title, Scopes: r.Scopes, BuiltIn: true})
		}
		own, err := store.Roles(ctx, tx, tenant)
		return append(all, own...), err
	})
}
