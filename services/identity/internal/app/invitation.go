package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// Invitations go out in the provider's name: inviteTenantRate is that of a tenant's members, inviteAccountRate that of an
// account's, whom the provider need not trust, and inviteAddressRate that of all of a tenant's to one address.
var (
	inviteTenantRate  = store.Limit{Interval: 10 * time.Second, Burst: 1000}
	inviteAccountRate = store.Limit{Interval: 10 * time.Minute, Burst: 20}
	inviteAddressRate = store.Limit{Interval: time.Hour, Burst: 5}
)

// Invite asks a person by mail to become a member: of the tenant, or of an account unless that is empty. A member of an
// account invites to that one. To the same of them a person has one open invitation.
func (i *Identity) Invite(ctx context.Context, account, email string, roles []string) (store.Invitation, error) {
	if err := checkEmail(email); err != nil {
		return store.Invitation{}, err
	}
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (store.Invitation, error) {
		p, token, now := actor(ctx), newSecret(), i.now()
		row := store.Invitation{ID: newID(), Email: email, Roles: roles, ExpiresAt: now.Add(domain.InvitationLifetime), CreatedAt: now}
		into, err := i.invitedAccount(ctx, tx, account)
		if err != nil {
			return row, err
		}
		if into != nil {
			row.Account = into.ID
		}
		own, err := lockedRoles(ctx, tx, p.Tenant)
		if err != nil {
			return row, err
		}
		events, err := domain.Invite(row.ID, into, roles, own, giver(ctx), row.ExpiresAt)
		if err != nil {
			return row, err
		}
		if err := i.mayInvite(ctx, tx, row); err != nil {
			return row, err
		}
		tx.Append("invitation", row.ID, 0, events...)
		if err := store.InsertInvitation(ctx, tx, p.Tenant, row, hash(token)); err != nil {
			return row, err
		}
		return row, i.mailInvitation(ctx, tx, row, into, token)
	})
}

// mayInvite takes from the limits of who invites and of who is invited.
func (i *Identity) mayInvite(ctx context.Context, tx *eventlog.Tx, row store.Invitation) error {
	p := actor(ctx)
	by := grant{inviteTenantRate, "invitations by tenant " + p.Tenant}
	if p.Account != "" {
		by = grant{inviteAccountRate, "invitations by account " + p.Account}
	}
	to := grant{inviteAddressRate, "invitations to " + p.Tenant + " " + strings.ToLower(row.Email)}
	wait, err := i.takeIn(ctx, tx, by, to)
	if err != nil {
		return err
	}
	if wait > 0 {
		return tooMany("invitations", wait)
	}
	// Taking has locked the address: two invitations at the same time see each other.
	open, err := store.InvitationOpen(ctx, tx, p.Tenant, row.Account, row.Email, row.CreatedAt)
	if err == nil && open {
		err = problem.NewConflict("invitation-exists", "There is an open invitation to this e-mail address already; revoke it to send another one.")
	}
	return err
}

// invitedAccount returns the account that a person is invited to, nil for the tenant.
func (i *Identity) invitedAccount(ctx context.Context, tx *eventlog.Tx, account string) (*domain.Account, error) {
	if account == "" && actor(ctx).Account == "" {
		return nil, nil
	}
	row, err := findAccount(ctx, tx, account)
	if err != nil {
		return nil, accountNotFound(err, account)
	}
	a, _, err := loadAccount(ctx, tx, row.ID)
	return &a, err
}

func (i *Identity) mailInvitation(ctx context.Context, tx *eventlog.Tx, row store.Invitation, into *domain.Account, token string) error {
	tenant := actor(ctx).Tenant
	t, err := store.TenantByID(ctx, tx, tenant)
	if err != nil {
		return err
	}
	where := t.Title
	if into != nil {
		where = into.Title + " at " + t.Title
	}
	text := "You are invited to join " + where + " as " + strings.Join(row.Roles, ", ") + ".\n\n" +
		i.howTo("invitation", token, "/v1/invitations/accept", "your name and a password") +
		"\n\nThis works once, until " + row.ExpiresAt.Format(time.RFC1123) + ".\n"
	return i.outbox.Mail(ctx, tx, tenant, "invitation "+row.ID, notify.Mail{To: []string{row.Email}, Subject: "Invitation to " + where, Text: text})
}

// Invitations returns open invitations: those to an account, or all for "".
func (i *Identity) Invitations(ctx context.Context, account, after string, limit int) ([]store.Invitation, error) {
	return read(ctx, i, func(tx pgx.Tx, _ string) ([]store.Invitation, error) {
		if account != "" || actor(ctx).Account != "" {
			row, err := findAccount(ctx, tx, account)
			if err != nil {
				return nil, accountNotFound(err, account)
			}
			account = row.ID
		}
		return store.Invitations(ctx, tx, account, after, limit)
	})
}

// RevokeInvitation makes an invitation void.
func (i *Identity) RevokeInvitation(ctx context.Context, id string) error {
	_, err := execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		invitation, version, err := loadInvitation(ctx, tx, id)
		if err != nil {
			return struct{}{}, err
		}
		if own := actor(ctx).Account; own != "" && invitation.Account != own {
			invitation = domain.Invitation{}
		}
		events, err := invitation.Revoke()
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("invitation", id, version, events...)
		return struct{}{}, store.DeleteInvitation(ctx, tx, id)
	})
	return err
}

func loadInvitation(ctx context.Context, tx *eventlog.Tx, id string) (domain.Invitation, uint64, error) {
	history, err := tx.Load(ctx, "invitation", id)
	return eventlog.Fold(history, domain.Invitation{}, domain.Invitation.Evolve), uint64(len(history)), err
}

// AcceptInvitation makes the person with the token of a mail a member, with a password.
func (i *Identity) AcceptInvitation(ctx context.Context, token, displayName, secret string) (store.Member, error) {
	if err := i.take(ctx, grant{resetAddressRate, "invitation from " + addressOf(ctx)}); err != nil {
		return store.Member{}, err
	}
	var tenant, tenantName, id string
	row, err := readAll(ctx, i, func(tx pgx.Tx) (row store.Invitation, err error) {
		if tenant, tenantName, id, err = store.FindInvitation(ctx, tx, hash(token)); err != nil {
			return row, err
		}
		return store.InvitationByID(ctx, tx, id)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		_, err = domain.Invitation{}.Accept("", i.now())
	}
	if err != nil {
		return store.Member{}, err
	}
	person := Person{DisplayName: displayName, Email: row.Email}
	if err := person.check(); err != nil {
		return store.Member{}, err
	}
	if err := checkPassword("password", secret, store.SignIn{Name: displayName, Email: row.Email, TenantName: tenantName}); err != nil {
		return store.Member{}, err
	}
	encoded, err := i.passwords.Hash(ctx, secret)
	if err != nil {
		return store.Member{}, err
	}
	member := store.Member{ID: newID(), DisplayName: displayName, Email: row.Email, Roles: row.Roles, Account: row.Account, CreatedAt: i.now()}
	_, err = execute(asMember(ctx, tenant, member.ID), i, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		if err := i.join(ctx, tx, id, member); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, store.SetPassword(ctx, tx, tenant, member.ID, encoded)
	})
	if postgres.Violates(err, "members_email") {
		err = memberExists()
	}
	return member, err
}

// join makes the member that an invitation is for.
func (i *Identity) join(ctx context.Context, tx *eventlog.Tx, id string, member store.Member) error {
	invitation, version, err := loadInvitation(ctx, tx, id)
	if err != nil {
		return err
	}
	accepted, err := invitation.Accept(member.ID, i.now())
	if err != nil {
		return err
	}
	tenant := actor(ctx).Tenant
	var added []message
	if invitation.Account != "" {
		account, _, err := loadAccount(ctx, tx, invitation.Account)
		if err != nil {
			return err
		}
		added, err = domain.AddAccountMember(member.ID, id, account, invitation.Roles)
		if err != nil {
			return err
		}
	} else {
		own, err := lockedRoles(ctx, tx, tenant)
		if err != nil {
			return err
		}
		// Who invited could give the roles then; installer among them only if an installer did.
		added, err = domain.AddMember(member.ID, id, invitation.Roles, own, domain.Giver{Scopes: domain.AllScopes(), Installer: true})
		if err != nil {
			return err
		}
	}
	set, err := evolve(domain.Member{}, domain.Member.Evolve, added).SetPassword(false)
	if err != nil {
		return err
	}
	tx.Append("invitation", id, version, accepted...)
	tx.Append("member", member.ID, 0, append(added, set...)...)
	if err := store.InsertMember(ctx, tx, tenant, member); err != nil {
		return err
	}
	return store.DeleteInvitation(ctx, tx, id)
}

func checkEmail(email string) error {
	if email == "" {
		return problem.NewInvalid("member-invalid", "The member is not valid.").With(problem.Field{Path: "email", Message: "is empty; give an e-mail address as in kim@example.com"})
	}
	return Person{DisplayName: "-", Email: email}.check()
}

func memberExists() error {
	return problem.NewConflict("member-exists", "There is a member with this e-mail address already.")
}
