package app

import (
	"context"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// NewTenant is a tenant that was just made, with the token of its first owner.
type NewTenant struct {
	Tenant store.Tenant `json:"tenant"`
	Owner  store.Member `json:"owner"`
	// OwnerToken is the owner's first personal access token; empty when the command was repeated.
	OwnerToken string `json:"ownerToken,omitempty"`
}

// Person is personal data of a member.
type Person struct {
	DisplayName, Email string
}

func (p Person) check() error {
	var fields problem.Fields
	if strings.TrimSpace(p.DisplayName) == "" || len(p.DisplayName) > 200 {
		fields.Add("displayName", "is empty or longer than 200 bytes; give the person's name")
	}
	if p.Email != "" {
		if a, err := mail.ParseAddress(p.Email); err != nil || a.Address != p.Email {
			fields.Add("email", "is not an e-mail address; want one as in kim@example.com")
		}
	}
	return fields.Err("member-invalid", "The member is not valid.")
}

// CreateTenant makes a tenant with its first owner. Roles beyond owner are for the first tenant of an installation.
func (i *Identity) CreateTenant(ctx context.Context, name, title string, owner Person, roles ...string) (NewTenant, error) {
	if err := owner.check(); err != nil {
		return NewTenant{}, err
	}
	// The new tenant's rows are not those of the actor's tenant.
	p := actor(ctx)
	p.Tenant = principal.AllTenants
	ctx = principal.With(ctx, p)
	secret := apibridge.PersonalTokenPrefix + newSecret()
	result, err := service.ExecuteResult(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (NewTenant, error) {
		return i.createTenant(ctx, tx, name, title, owner, append([]string{domain.Owner}, roles...), secret)
	})
	if err == nil && !result.Replayed {
		result.Value.OwnerToken = secret
	}
	if postgres.Violates(err, "tenants_name_key") {
		err = problem.NewConflict("tenant-exists", "There is a tenant named %s already.", name)
	}
	return result.Value, err
}

func (i *Identity) createTenant(ctx context.Context, tx *eventlog.Tx, name, title string, owner Person, roles []string, secret string) (NewTenant, error) {
	now := i.now()
	n := NewTenant{
		Tenant: store.Tenant{ID: newID(), Name: name, Title: title, CreatedAt: now},
		Owner:  store.Member{ID: newID(), DisplayName: owner.DisplayName, Email: owner.Email, Roles: roles, CreatedAt: now},
	}
	events, err := domain.CreateTenant(n.Tenant.ID, name, title)
	if err != nil {
		return n, err
	}
	tx.AppendFor(n.Tenant.ID, "tenant", n.Tenant.ID, 0, events...)
	if err := store.InsertTenant(ctx, tx, n.Tenant); err != nil {
		return n, err
	}
	if events, err = domain.AddMember(n.Owner.ID, roles, true); err != nil {
		return n, err
	}
	tx.AppendFor(n.Tenant.ID, "member", n.Owner.ID, 0, events...)
	if err := store.InsertMember(ctx, tx, n.Tenant.ID, n.Owner); err != nil {
		return n, err
	}
	_, err = i.issueToken(ctx, tx, n.Tenant.ID, n.Owner.ID, "First token", nil, time.Time{}, secret)
	return n, err
}

// Tenants returns tenants: all for an operator of the installation, else one's own.
func (i *Identity) Tenants(ctx context.Context, after string, limit int) ([]store.Tenant, error) {
	p := actor(ctx)
	if p.Operator {
		p.Tenant = principal.AllTenants
	}
	return read(principal.With(ctx, p), i, func(tx pgx.Tx, _ string) ([]store.Tenant, error) {
		return store.Tenants(ctx, tx, after, limit)
	})
}

// AddMember adds a person to the tenant.
func (i *Identity) AddMember(ctx context.Context, person Person, roles []string) (store.Member, error) {
	if err := person.check(); err != nil {
		return store.Member{}, err
	}
	p := actor(ctx)
	m, err := service.Execute(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (store.Member, error) {
		m := store.Member{ID: newID(), DisplayName: person.DisplayName, Email: person.Email, Roles: roles, CreatedAt: i.now()}
		events, err := domain.AddMember(m.ID, roles, p.Operator)
		if err != nil {
			return m, err
		}
		tx.Append("member", m.ID, 0, events...)
		return m, store.InsertMember(ctx, tx, p.Tenant, m)
	})
	if postgres.Violates(err, "members_email") {
		err = problem.NewConflict("member-exists", "There is a member with this e-mail address already.")
	}
	return m, err
}

// ChangeRoles gives a member other roles.
func (i *Identity) ChangeRoles(ctx context.Context, id string, roles []string) error {
	return i.changeMember(ctx, id, func(m domain.Member, owners int) ([]message, error) {
		return m.ChangeRoles(roles, actor(ctx).Operator, owners)
	})
}

// RemoveMember takes a member out of the tenant; their tokens are void and their personal data is erased.
func (i *Identity) RemoveMember(ctx context.Context, id string) error {
	return i.changeMember(ctx, id, domain.Member.Remove)
}

func (i *Identity) changeMember(ctx context.Context, id string, decide func(domain.Member, int) ([]message, error)) error {
	_, err := service.Execute(ctx, i.log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		owners, err := store.LockOwners(ctx, tx, id)
		if err != nil {
			return struct{}{}, err
		}
		m, version, err := loadMember(ctx, tx, id)
		if err != nil {
			return struct{}{}, err
		}
		events, err := decide(m, owners)
		if err != nil || len(events) == 0 {
			return struct{}{}, err
		}
		tx.Append("member", id, version, events...)
		m = evolve(m, domain.Member.Evolve, events)
		return struct{}{}, store.UpdateMember(ctx, tx, id, m.Roles, m.Removed)
	})
	return err
}

// Members returns the tenant's members.
func (i *Identity) Members(ctx context.Context, after string, limit int) ([]store.Member, error) {
	return read(ctx, i, func(tx pgx.Tx, _ string) ([]store.Member, error) {
		return store.Members(ctx, tx, after, limit)
	})
}

func loadMember(ctx context.Context, tx *eventlog.Tx, id string) (domain.Member, uint64, error) {
	history, err := tx.Load(ctx, "member", id)
	if err != nil {
		return domain.Member{}, 0, err
	}
	m := eventlog.Fold(history, domain.Member{}, domain.Member.Evolve)
	if m.ID == "" || m.Removed {
		return m, 0, problem.NewNotFound("member-not-found", "There is no such member.")
	}
	m.Roles = slices.Clone(m.Roles)
	return m, uint64(len(history)), nil
}
