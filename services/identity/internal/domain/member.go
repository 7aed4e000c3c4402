package domain

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Tenant is a provider organization.
type Tenant struct {
	ID, Name, Title string
}

// Evolve applies an event.
func (t Tenant) Evolve(event proto.Message) Tenant {
	switch e := event.(type) {
	case *identityv1.TenantCreated:
		return Tenant{ID: e.GetTenant(), Name: e.GetName(), Title: e.GetTitle()}
	case *identityv1.TenantChanged:
		t.Title = e.GetTitle()
	}
	return t
}

// CreateTenant makes a tenant.
func CreateTenant(id, name, title string) ([]proto.Message, error) {
	var fields problem.Fields
	if err := resource.CheckName(name); err != nil {
		fields.Add("name", "%s", err)
	}
	checkTitle("title", title, &fields)
	if err := fields.Err("tenant-invalid", "The tenant is not valid."); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.TenantCreated{Tenant: id, Name: name, Title: title}}, nil
}

// Member is a person in a tenant, or in an account of it. Name and address are personal data and not part of it.
type Member struct {
	ID    string
	Roles []string
	// Account is that of a member of an account; empty for a member of the tenant.
	Account string
	// Password and SecondFactor say whether the member has one.
	Password, SecondFactor bool
	Removed, Erased        bool
}

// Evolve applies an event.
func (m Member) Evolve(event proto.Message) Member {
	switch e := event.(type) {
	case *identityv1.MemberAdded:
		return Member{ID: e.GetMember(), Roles: e.GetRoles(), Account: e.GetAccount()}
	case *identityv1.MemberRolesChanged:
		m.Roles = e.GetRoles()
	case *identityv1.MemberRemoved:
		m.Removed, m.Password, m.SecondFactor = true, false, false
	case *identityv1.MemberErased:
		m.Erased = true
	case *identityv1.PasswordSet:
		m.Password = true
	case *identityv1.SecondFactorEnabled:
		m.SecondFactor = true
	case *identityv1.SecondFactorDisabled:
		m.SecondFactor = false
	}
	return m
}

// AddMember makes a member of the tenant.
func AddMember(id, invitation string, roles []string, own Roles, by Giver) ([]proto.Message, error) {
	if err := own.Check(roles, nil, by); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.MemberAdded{Member: id, Roles: roles, Invitation: invitation}}, nil
}

// AddAccountMember makes a member of an account.
func AddAccountMember(id, invitation string, account Account, roles []string) ([]proto.Message, error) {
	if account.Closed {
		return nil, problem.NewConflict("account-closed", "The account %s is closed and takes no members.", account.Name)
	}
	if err := CheckAccountRoles(roles); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.MemberAdded{Member: id, Roles: roles, Account: account.ID, Invitation: invitation}}, nil
}

// ChangeRoles gives the member other roles. others is the number of others who could undo it: owners of the tenant, or
// admins of the account.
func (m Member) ChangeRoles(roles []string, own Roles, by Giver, others int) ([]proto.Message, error) {
	if m.ID == "" || m.Removed {
		return nil, memberNotFound()
	}
	if slices.Contains(m.Roles, Installer) != slices.Contains(roles, Installer) && !by.Installer {
		return nil, problem.NewDenied("operator-only", "Only an operator of the installation can give or take the role installer.")
	}
	if err := m.checkRoles(roles, own, by); err != nil {
		return nil, err
	}
	if m.leads(m.Roles) && !m.leads(roles) && others == 0 {
		return nil, m.last()
	}
	if slices.Equal(m.Roles, roles) {
		return nil, nil
	}
	return []proto.Message{&identityv1.MemberRolesChanged{Member: m.ID, Roles: roles}}, nil
}

func (m Member) checkRoles(roles []string, own Roles, by Giver) error {
	if m.Account != "" {
		return CheckAccountRoles(roles)
	}
	return own.Check(roles, m.Roles, by)
}

// leads says whether the roles have the one of which a tenant keeps one member. An account may be without.
func (m Member) leads(roles []string) bool { return m.Account == "" && slices.Contains(roles, Owner) }

// Remove takes the member out of the tenant or account.
func (m Member) Remove(others int) ([]proto.Message, error) {
	switch {
	case m.ID == "":
		return nil, memberNotFound()
	case m.Removed:
		return nil, nil
	case m.leads(m.Roles) && others == 0:
		return nil, m.last()
	}
	return []proto.Message{&identityv1.MemberRemoved{Member: m.ID}}, nil
}

// Erase notes that the member's personal data is gone; a member who is not removed is removed first.
func (m Member) Erase(others int) ([]proto.Message, error) {
	events, err := m.Remove(others)
	if err != nil || m.Erased {
		return nil, err
	}
	return append(events, &identityv1.MemberErased{Member: m.ID}), nil
}

// SetPassword notes that the member has a password, or another one.
func (m Member) SetPassword(reset bool) ([]proto.Message, error) {
	if m.ID == "" || m.Removed {
		return nil, memberNotFound()
	}
	return []proto.Message{&identityv1.PasswordSet{Member: m.ID, Reset_: reset}}, nil
}

// EnableSecondFactor notes that the member has confirmed a second factor.
func (m Member) EnableSecondFactor() ([]proto.Message, error) {
	if m.SecondFactor {
		return nil, problem.NewConflict("second-factor-enabled", "There is a second factor already; disable it first.")
	}
	return []proto.Message{&identityv1.SecondFactorEnabled{Member: m.ID}}, nil
}

// DisableSecondFactor notes that the member has none any more.
func (m Member) DisableSecondFactor() ([]proto.Message, error) {
	if !m.SecondFactor {
		return nil, problem.NewConflict("second-factor-missing", "There is no second factor.")
	}
	return []proto.Message{&identityv1.SecondFactorDisabled{Member: m.ID}}, nil
}

func memberNotFound() error {
	return problem.NewNotFound("member-not-found", "There is no such member.")
}

func (m Member) last() error {
	return problem.NewConflict("last-owner", "The member is the tenant's last owner; make somebody else owner first.")
}

func checkTitle(path, title string, fields *problem.Fields) {
	switch {
	case strings.TrimSpace(title) == "":
		fields.Add(path, "is empty; give a title for people to read")
	case len(title) > 200:
		fields.Add(path, "is %d bytes long; at most 200 are taken", len(title))
	}
}
