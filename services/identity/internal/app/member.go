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
	result, err := executeResult(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (NewTenant, error) {
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
	if events, err = domain.AddMember(n.Owner.ID, "", roles, nil, everything()); err != nil {
		return n, err
	}
	tx.AppendFor(n.Tenant.ID, "member", n.Owner.ID, 0, events...)
	if err := store.InsertMember(ctx, tx, n.Tenant.ID, n.Owner); err != nil {
		return n, err
	}
	grant := domain.Grant{Unlimited: true, Operator: domain.IsInstaller(roles)}
	_, err = i.issueToken(ctx, tx, n.Tenant.ID, n.Owner.ID, "First token", grant, time.Time{}, secret)
	return n, err
}

// Tenants returns tenants: all for an operator of the installation, else one's own.
func (i *Identity) Tenants(ctx context.Context, search, after string, limit int) ([]store.Tenant, error) {
	p := actor(ctx)
	if p.Operator {
		p.Tenant = principal.AllTenants
	}
	return read(principal.With(ctx, p), i, func(tx pgx.Tx, _ string) ([]store.Tenant, error) {
		return store.Tenants(ctx, tx, search, after, limit)
	})
}

// AddMember adds a person to the tenant.
func (i *Identity) AddMember(ctx context.Context, person Person, roles []string) (store.Member, error) {
	if err := person.check(); err != nil {
		return store.Member{}, err
	}
	p := actor(ctx)
	m, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Member, error) {
		m := store.Member{ID: newID(), DisplayName: person.DisplayName, Email: person.Email, Roles: roles, CreatedAt: i.now()}
		own, err := lockedRoles(ctx, tx, p.Tenant)
		if err != nil {
			return m, err
		}
		events, err := domain.AddMember(m.ID, "", roles, own, giver(ctx))
		if err != nil {
			return m, err
		}
		tx.Append("member", m.ID, 0, events...)
		return m, store.InsertMember(ctx, tx, p.Tenant, m)
	})
	if postgres.Violates(err, "members_email") {
		err = memberExists()
	}
	return m, err
}

// ChangePerson sets the personal data of a member, which is in no event. Mails to the address of before, with which another
// password could be set, are void then.
func (i *Identity) ChangePerson(ctx context.Context, id string, person Person) (store.Member, error) {
	if err := person.check(); err != nil {
		return store.Member{}, err
	}
	m, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Member, error) {
		m, _, err := loadMember(ctx, tx, id)
		if err != nil {
			return store.Member{}, err
		}
		if err := mayBecome(ctx, tx, m); err != nil {
			return store.Member{}, err
		}
		row, err := store.FindMember(ctx, tx, id)
		if err != nil {
			return store.Member{}, err
		}
		if row.Email != person.Email {
			if err := store.DeleteResets(ctx, tx, id); err != nil {
				return store.Member{}, err
			}
		}
		row.DisplayName, row.Email = person.DisplayName, person.Email
		return row, store.SetMemberPerson(ctx, tx, id, person.DisplayName, person.Email)
	})
	if postgres.Violates(err, "members_email") {
		err = memberExists()
	}
	return m, err
}

// mayBecome keeps an actor from what could make them a member of the tenant who may more: giving that one another address or a
// token, or taking away a second factor. Members of accounts may less than each of the tenant's who manage members.
func mayBecome(ctx context.Context, tx pgx.Tx, m domain.Member) error {
	if m.Account != "" {
		return nil
	}
	own, err := ownRoles(ctx, tx, actor(ctx).Tenant)
	if err == nil && !own.Covered(m.Roles, giver(ctx)) {
		err = problem.NewDenied("scope-missing", "The member may do what your token may not. Only who may all of that can do this.")
	}
	return err
}

// ChangeRoles gives a member other roles.
func (i *Identity) ChangeRoles(ctx context.Context, id string, roles []string) error {
	return i.changeMember(ctx, id, func(m domain.Member, own domain.Roles, owners int) ([]message, error) {
		return m.ChangeRoles(roles, own, giver(ctx), owners)
	})
}

// RemoveMember takes a member out of the tenant or account; their tokens and sessions are void, so are invitations to their
// address, and it is erased with their name.
func (i *Identity) RemoveMember(ctx context.Context, id string) error {
	return i.changeMember(ctx, id, func(m domain.Member, _ domain.Roles, owners int) ([]message, error) { return m.Remove(owners) })
}

func (i *Identity) changeMember(ctx context.Context, id string, decide func(domain.Member, domain.Roles, int) ([]message, error)) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		owners, err := store.LockOwners(ctx, tx, id)
		if err != nil {
			return struct{}{}, err
		}
		own, err := lockedRoles(ctx, tx, actor(ctx).Tenant)
		if err != nil {
			return struct{}{}, err
		}
		m, version, err := loadMember(ctx, tx, id)
		if err != nil {
			return struct{}{}, err
		}
		if account := actor(ctx).Account; account != "" && m.Account != account {
			return struct{}{}, problem.NewNotFound("member-not-found", "There is no such member.")
		}
		events, err := decide(m, own, owners)
		if err != nil || len(events) == 0 {
			return struct{}{}, err
		}
		tx.Append("member", id, version, events...)
		m = evolve(m, domain.Member.Evolve, events)
		if m.Removed {
			if err := i.forgetRemoved(ctx, tx, id); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, store.UpdateMember(ctx, tx, id, m.Roles, m.Removed)
	})
	return err
}

// forgetRemoved deletes what a member signs in with, ends their sessions, and forgets the address: once it is gone, nothing else
// with it could be found to be erased.
func (i *Identity) forgetRemoved(ctx context.Context, tx *eventlog.Tx, id string) error {
	sessions, err := store.DeleteAuthenticators(ctx, tx, id)
	if err != nil {
		return err
	}
	if err := endSessions(ctx, tx, sessions, "memberRemoved"); err != nil {
		return err
	}
	tenant := actor(ctx).Tenant
	email, err := store.MemberAddress(ctx, tx, tenant, id)
	if err != nil {
		return err
	}
	_, err = i.forgetAddress(ctx, tx, tenant, store.Person{IDs: []string{id}, Email: email})
	return err
}

// Members returns the members of an account, those of the tenant for "".
func (i *Identity) Members(ctx context.Context, account, after string, limit int) ([]store.Member, error) {
	return read(ctx, i, func(tx pgx.Tx, _ string) ([]store.Member, error) {
		if account != "" || actor(ctx).Account != "" {
			row, err := findAccount(ctx, tx, account)
			if err != nil {
				return nil, accountNotFound(err, account)
			}
			account = row.ID
		}
		return store.Members(ctx, tx, account, after, limit)
	})
}

// Self is the acting member.
type Self struct {
	store.Member
	Scopes       []string `json:"scopes" description:"What the token may do."`
	Password     bool     `json:"password" description:"Whether there is a password to sign in with."`
	SecondFactor bool     `json:"secondFactor"`
}

// Self returns the acting member.
func (i *Identity) Self(ctx context.Context) (Self, error) {
	return read(ctx, i, func(tx pgx.Tx, _ string) (Self, error) {
		m, err := store.FindMember(ctx, tx, ownID(ctx))
		if err != nil {
			return Self{}, notFound(err, "member-not-found", "You are not a member.")
		}
		s, err := store.MemberSignIn(ctx, tx, m.ID)
		return Self{Member: m, Scopes: actor(ctx).Scopes, Password: s.Password != "", SecondFactor: s.TOTPConfirmed}, err
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
