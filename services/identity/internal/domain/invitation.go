package domain

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// InvitationLifetime is how long an invitation can be accepted.
const InvitationLifetime = 7 * 24 * time.Hour

// Invitation asks a person to become a member. The address is personal data and not part of it.
type Invitation struct {
	ID, Account string
	Roles       []string
	Expires     time.Time
	// Member is who accepted it.
	Member  string
	Revoked bool
}

// Evolve applies an event.
func (i Invitation) Evolve(event proto.Message) Invitation {
	switch e := event.(type) {
	case *identityv1.InvitationSent:
		return Invitation{ID: e.GetInvitation(), Account: e.GetAccount(), Roles: e.GetRoles(), Expires: timeOrZero(e.GetExpiresAt())}
	case *identityv1.InvitationAccepted:
		i.Member = e.GetMember()
	case *identityv1.InvitationRevoked:
		i.Revoked = true
	}
	return i
}

// Invite asks a person to become a member of the tenant with the roles, or of an account.
func Invite(id string, account *Account, roles []string, own Roles, by Giver, expires time.Time) ([]proto.Message, error) {
	sent := &identityv1.InvitationSent{Invitation: id, Roles: roles, ExpiresAt: expires.Unix()}
	if account == nil {
		return []proto.Message{sent}, own.Check(roles, nil, by)
	}
	sent.Account = account.ID
	if account.Closed {
		return nil, problem.NewConflict("account-closed", "The account %s is closed and takes no members.", account.Name)
	}
	return []proto.Message{sent}, CheckAccountRoles(roles)
}

// Accept notes that the person became a member.
func (i Invitation) Accept(member string, now time.Time) ([]proto.Message, error) {
	if i.ID == "" || i.Revoked || i.Member != "" || !now.Before(i.Expires) {
		return nil, problem.NewNotFound("invitation-not-found", "The invitation is not known, has expired, or was accepted or revoked. Ask for another one.")
	}
	return []proto.Message{&identityv1.InvitationAccepted{Invitation: i.ID, Member: member}}, nil
}

// Revoke makes the invitation void.
func (i Invitation) Revoke() ([]proto.Message, error) {
	switch {
	case i.ID == "":
		return nil, problem.NewNotFound("invitation-not-found", "There is no such invitation.")
	case i.Member != "":
		return nil, problem.NewConflict("invitation-accepted", "The invitation was accepted; remove the member instead.")
	case i.Revoked:
		return nil, nil
	}
	return []proto.Message{&identityv1.InvitationRevoked{Invitation: i.ID}}, nil
}
