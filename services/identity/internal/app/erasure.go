package app

import (
	"context"
	"strings"

	"github.com/tollgate/tollgate/libs/audit"
	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

// Erasure tells what was erased of a person and what remains.
type Erasure struct {
	// Subject is the id that stands for the person from now on.
	Subject string `json:"subject"`
	Erased  []Part `json:"erased"`
	Remains []Part `json:"remains"`
}

// Part is one kind of data.
type Part struct {
	What  string `json:"what"`
	Count int    `json:"count"`
}

func parts(all ...Part) []Part {
	kept := []Part{}
	for _, p := range all {
		if p.Count > 0 {
			kept = append(kept, p)
		}
	}
	return kept
}

// acrossTenants returns a context in which the actor's transaction sees the installation's rows too: stored answers of
// commands on tenants are there. What is done in it names the tenant.
func acrossTenants(ctx context.Context) (context.Context, string) {
	p := actor(ctx)
	tenant := p.Tenant
	p.Tenant = principal.AllTenants
	return principal.With(withoutKey(ctx), p), tenant
}

// EraseMember erases the personal data of a member, who is removed first if they are not yet: name, address, what they sign
// in with, sessions, from where they acted, open invitations and mails to them, and what stored answers say of them. Events
// remain, which carry ids.
func (i *Identity) EraseMember(ctx context.Context, id string) (Erasure, error) {
	ctx, tenant := acrossTenants(ctx)
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (Erasure, error) {
		m, invitation, err := i.markErased(ctx, tx, tenant, id)
		if err != nil {
			return Erasure{}, err
		}
		email, err := store.MemberAddress(ctx, tx, tenant, m.ID)
		if err != nil {
			return Erasure{}, err
		}
		person := store.Person{IDs: []string{m.ID}, Email: email}
		if invitation != "" {
			person.IDs = append(person.IDs, invitation)
		}
		return i.eraseMember(ctx, tx, tenant, person)
	})
}

// markErased appends that a member is removed and erased, and returns the member with the invitation that they accepted.
func (i *Identity) markErased(ctx context.Context, tx *eventlog.Tx, tenant, id string) (m domain.Member, invitation string, err error) {
	history, err := tx.LoadFor(ctx, tenant, "member", id)
	if err != nil {
		return m, "", err
	}
	for _, e := range history {
		if added, ok := e.Payload.(*identityv1.MemberAdded); ok {
			invitation = added.GetInvitation()
		}
	}
	owners, err := store.LockOwnersOf(ctx, tx, tenant, id)
	if err != nil {
		return m, "", err
	}
	m = eventlog.Fold(history, domain.Member{}, domain.Member.Evolve)
	events, err := m.Erase(owners)
	tx.AppendFor(tenant, "member", id, uint64(len(history)), events...)
	return m, invitation, err
}

func (i *Identity) eraseMember(ctx context.Context, tx *eventlog.Tx, tenant string, person store.Person) (Erasure, error) {
	id := person.IDs[0]
	if person.Email != "" {
		t, err := store.TenantByID(ctx, tx, tenant)
		if err != nil {
			return Erasure{}, err
		}
		if err := store.Forget(ctx, tx, "sign in "+t.Name+" "+strings.ToLower(person.Email)); err != nil {
			return Erasure{}, err
		}
	}
	sessions, err := store.DeleteAuthenticators(ctx, tx, id)
	if err != nil {
		return Erasure{}, err
	}
	for _, s := range sessions {
		if err := endSessionFor(ctx, tx, tenant, s, "memberRemoved"); err != nil {
			return Erasure{}, err
		}
	}
	if err := store.UpdateMember(ctx, tx, id, nil, true); err != nil {
		return Erasure{}, err
	}
	titles, err := store.EraseTitles(ctx, tx, tenant, id)
	if err != nil {
		return Erasure{}, err
	}
	traces, err := i.forgetAddress(ctx, tx, tenant, person)
	if err != nil {
		return Erasure{}, err
	}
	origins, err := audit.ForgetActor(ctx, tx, tenant, "member:"+id)
	if err != nil {
		return Erasure{}, err
	}
	events, reasons, titled, err := store.CountHistory(ctx, tx, tenant, id)
	return Erasure{
		Subject: "member:" + id,
		Erased: parts(Part{"name and e-mail address, password, second factor and link to an OpenID provider", 1}, Part{"sessions", len(sessions)},
			Part{"invitations", traces.invitations}, Part{"mails", traces.mails}, Part{"titles of personal access tokens", titles},
			Part{"stored answers of commands", traces.answers}, Part{"addresses from which they acted", origins}),
		Remains: parts(Part{"events that name them by this id only", events},
			Part{"reasons that they wrote to their changes, in events: see the audit, filtered by actor", reasons},
			Part{"titles that they gave to personal access tokens, in events", titled}),
	}, err
}

// traces counts what there was with a person's address.
type traces struct{ invitations, mails, answers int }

// forgetAddress revokes open invitations to a person's address, and deletes mails to it and what stored answers say of the
// person. The first id is that of the member, others are of invitations.
func (i *Identity) forgetAddress(ctx context.Context, tx *eventlog.Tx, tenant string, person store.Person) (traces, error) {
	var found traces
	if person.Email != "" {
		invitations, err := i.revokeInvitationsTo(ctx, tx, tenant, person.Email)
		if err != nil {
			return found, err
		}
		found.invitations = len(invitations)
		person.IDs = append(person.IDs, invitations...)
	}
	keys := make([]string, len(person.IDs)-1)
	for n, invitation := range person.IDs[1:] {
		keys[n] = "invitation " + invitation
	}
	var err error
	if found.mails, err = store.DeleteMails(ctx, tx, tenant, keys, "password-reset "+person.IDs[0]+" "); err != nil {
		return found, err
	}
	found.answers, err = store.EraseAnswers(ctx, tx, tenant, person)
	return found, err
}

func (i *Identity) revokeInvitationsTo(ctx context.Context, tx *eventlog.Tx, tenant, email string) ([]string, error) {
	ids, err := store.InvitationsTo(ctx, tx, tenant, email)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		history, err := tx.LoadFor(ctx, tenant, "invitation", id)
		if err != nil {
			return nil, err
		}
		events, err := eventlog.Fold(history, domain.Invitation{}, domain.Invitation.Evolve).Revoke()
		if err != nil {
			return nil, err
		}
		tx.AppendFor(tenant, "invitation", id, uint64(len(history)), events...)
		if err := store.DeleteInvitation(ctx, tx, id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func endSessionFor(ctx context.Context, tx *eventlog.Tx, tenant, id, cause string) error {
	history, err := tx.LoadFor(ctx, tenant, "session", id)
	if err != nil {
		return err
	}
	s := eventlog.Fold(history, domain.Session{}, domain.Session.Evolve)
	tx.AppendFor(tenant, "session", id, uint64(len(history)), s.End(cause)...)
	return nil
}

// EraseAccountContact erases the personal data of an account's contact: the address for bills, here and in stored answers.
func (i *Identity) EraseAccountContact(ctx context.Context, nameOrID string) (Erasure, error) {
	ctx, tenant := acrossTenants(ctx)
	return execute(ctx, i, func(ctx context.Context, tx *eventlog.Tx) (Erasure, error) {
		row, err := store.LockAccount(ctx, tx, tenant, nameOrID)
		if err != nil {
			return Erasure{}, accountNotFound(err, nameOrID)
		}
		history, err := tx.LoadFor(ctx, tenant, "account", row.ID)
		if err != nil {
			return Erasure{}, err
		}
		had := 0
		if row.BillingEmail != "" {
			had = 1
		}
		person := store.Person{IDs: []string{row.ID}, AccountName: row.Name, Email: row.BillingEmail}
		row.BillingEmail = ""
		if err := store.UpsertAccount(ctx, tx, tenant, row); err != nil {
			return Erasure{}, err
		}
		answers, err := store.EraseAnswers(ctx, tx, tenant, person)
		if err != nil {
			return Erasure{}, err
		}
		if had+answers > 0 {
			tx.AppendFor(tenant, "account", row.ID, uint64(len(history)), &identityv1.AccountContactErased{Account: row.ID})
		}
		return Erasure{
			Subject: "account:" + row.ID,
			Erased:  parts(Part{"address for bills", had}, Part{"stored answers of commands", answers}),
			Remains: parts(Part{"events of the account, which name no person", len(history)}),
		}, nil
	})
}
