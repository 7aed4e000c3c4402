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

// Member is a person in a tenant. Name and address are personal data and not part of it.
type Member struct {
	ID      string
	Roles   []string
	Removed bool
}

// Evolve applies an event.
func (m Member) Evolve(event proto.Message) Member {
	switch e := event.(type) {
	case *identityv1.MemberAdded:
		return Member{ID: e.GetMember(), Roles: e.GetRoles()}
	case *identityv1.MemberRolesChanged:
		m.Roles = e.GetRoles()
	case *identityv1.MemberRemoved:
		m.Removed = true
	}
	return m
}

// AddMember makes a member. installer says that the actor may give the role installer.
func AddMember(id string, roles []string, installer bool) ([]proto.Message, error) {
	if err := checkRoles(roles, installer); err != nil {
		return nil, err
	}
	return []proto.Message{&identityv1.MemberAdded{Member: id, Roles: roles}}, nil
}

// ChangeRoles gives the member other roles. otherOwners is the number of other owners of the tenant.
func (m Member) ChangeRoles(roles []string, installer bool, otherOwners int) ([]proto.Message, error) {
	if m.ID == "" || m.Removed {
		return nil, memberNotFound()
	}
	if slices.Contains(m.Roles, Installer) != slices.Contains(roles, Installer) && !installer {
		return nil, problem.NewDenied("operator-only", "Only an operator of the installation can give or take the role installer.")
	}
	if err := checkRoles(roles, installer || slices.Contains(m.Roles, Installer)); err != nil {
		return nil, err
	}
	if slices.Contains(m.Roles, Owner) && !slices.Contains(roles, Owner) && otherOwners == 0 {
		return nil, lastOwner()
	}
	if slices.Equal(m.Roles, roles) {
		return nil, nil
	}
	return []proto.Message{&identityv1.MemberRolesChanged{Member: m.ID, Roles: roles}}, nil
}

// Remove takes the member out of the tenant.
func (m Member) Remove(otherOwners int) ([]proto.Message, error) {
	switch {
	case m.ID == "":
		return nil, memberNotFound()
	case m.Removed:
		return nil, nil
	case slices.Contains(m.Roles, Owner) && otherOwners == 0:
		return nil, lastOwner()
	}
	return []proto.Message{&identityv1.MemberRemoved{Member: m.ID}}, nil
}

func memberNotFound() error {
	return problem.NewNotFound("member-not-found", "There is no such member.")
}

func lastOwner() error {
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
