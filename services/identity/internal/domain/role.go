package domain

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// Roles are those of a tenant's own making, by name, with their scopes. The built-in ones are always there besides.
type Roles map[string][]string

// Scopes returns what a member with the roles may do, sorted. A role that is not there any more gives nothing.
func (r Roles) Scopes(roles []string) []string {
	var scopes []string
	for _, role := range roles {
		scopes = append(append(scopes, roleScopes[role]...), r[role]...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// AccountScopes returns what a member of an account with the roles may do, sorted.
func AccountScopes(roles []string) []string {
	var scopes []string
	for _, role := range roles {
		scopes = append(scopes, accountScopes[role]...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// Giver is who gives roles: nobody can give more than they have.
type Giver struct {
	Scopes []string
	// Installer says that the role installer may be given.
	Installer bool
}

// Covered says whether by may all that a member of the tenant with the roles may, acting on the installation included: who
// does not would gain by being that member.
func (r Roles) Covered(roles []string, by Giver) bool {
	missing := func(scope string) bool { return !slices.Contains(by.Scopes, scope) }
	return !slices.ContainsFunc(r.Scopes(roles), missing) && (by.Installer || !IsInstaller(roles))
}

// names are those of all roles but installer, sorted.
func (r Roles) names() string {
	names := []string{Owner, Publisher, Operator, Finance, Viewer}
	for name := range r {
		names = append(names, name)
	}
	slices.Sort(names[5:])
	return strings.Join(names, ", ")
}

// Check says what is wrong with the roles that are given to a member of the tenant. Those the member has already are not
// given.
func (r Roles) Check(roles, has []string, by Giver) error {
	var fields problem.Fields
	if len(roles) == 0 {
		fields.Add("roles", "is empty; give one or more of %s", r.names())
	}
	for i, role := range roles {
		scopes, own := r[role]
		switch {
		case roleScopes[role] == nil && !own:
			fields.Add("roles", "%q is not a role; want some of %s", role, r.names())
		case slices.Contains(roles[:i], role):
			fields.Add("roles", "%q is there twice", role)
		case slices.Contains(has, role):
		case role == Installer && !by.Installer:
			fields.Add("roles", "only an operator of the installation can give the role installer")
		default:
			for _, scope := range append(slices.Clone(scopes), roleScopes[role]...) {
				if !slices.Contains(by.Scopes, scope) {
					fields.Add("roles", "%q has the scope %s, which cannot be given by one who does not have it", role, scope)
				}
			}
		}
	}
	return fields.Err("member-invalid", "The roles are not valid.")
}

// CheckAccountRoles says what is wrong with the roles of a member of an account.
func CheckAccountRoles(roles []string) error {
	var fields problem.Fields
	if len(roles) == 0 {
		fields.Add("roles", "is empty; give admin or developer")
	}
	for i, role := range roles {
		switch {
		case accountScopes[role] == nil:
			fields.Add("roles", "%q is not a role of an account's members; want admin or developer", role)
		case slices.Contains(roles[:i], role):
			fields.Add("roles", "%q is there twice", role)
		}
	}
	return fields.Err("member-invalid", "The roles are not valid.")
}

// IsInstaller says whether the roles have the one that acts on the installation.
func IsInstaller(roles []string) bool { return slices.Contains(roles, Installer) }

// BuiltInRoles returns the roles of members of a tenant that are always there, with their scopes.
func BuiltInRoles() []Role {
	titles := map[string]string{
		Owner: "Owner", Publisher: "Publisher", Operator: "Operator", Finance: "Finance", Viewer: "Viewer", Installer: "Installer",
	}
	var all []Role
	for _, name := range []string{Owner, Publisher, Operator, Finance, Viewer, Installer} {
		scopes := slices.Clone(roleScopes[name])
		slices.Sort(scopes)
		all = append(all, Role{Name: name, Title: titles[name], Scopes: scopes})
	}
	return all
}

// Role is a role of a tenant's own making.
type Role struct {
	Name, Title string
	Scopes      []string
}

// Evolve applies an event.
func (r Role) Evolve(event proto.Message) Role {
	switch e := event.(type) {
	case *identityv1.RoleSet:
		return Role{Name: e.GetRole(), Title: e.GetTitle(), Scopes: e.GetScopes()}
	case *identityv1.RoleDeleted:
		return Role{}
	}
	return r
}

// SetRole makes a role, or gives it another title and scopes.
func (r Role) SetRole(name, title string, scopes []string, by Giver) ([]proto.Message, error) {
	var fields problem.Fields
	if err := resource.CheckName(name); err != nil {
		fields.Add("role", "%s", err)
	}
	if roleScopes[name] != nil || accountScopes[name] != nil {
		fields.Add("role", "%q is built in and cannot be changed; choose another name", name)
	}
	checkTitle("title", title, &fields)
	if len(scopes) == 0 {
		fields.Add("scopes", "is empty; give some of %s", strings.Join(AllScopes(), ", "))
	}
	for i, scope := range scopes {
		switch {
		case !slices.Contains(AllScopes(), scope):
			fields.Add("scopes", "%q is not a scope; want some of %s", scope, strings.Join(AllScopes(), ", "))
		case slices.Contains(scopes[:i], scope):
			fields.Add("scopes", "%q is there twice", scope)
		case !slices.Contains(by.Scopes, scope) && !slices.Contains(r.Scopes, scope):
			fields.Add("scopes", "%s cannot be given by one who does not have it", scope)
		}
	}
	if err := fields.Err("role-invalid", "The role is not valid."); err != nil {
		return nil, err
	}
	if r.Name == name && r.Title == title && slices.Equal(r.Scopes, scopes) {
		return nil, nil
	}
	return []proto.Message{&identityv1.RoleSet{Role: name, Title: title, Scopes: scopes}}, nil
}

// Delete takes the role away, which nobody may have.
func (r Role) Delete(members int) ([]proto.Message, error) {
	switch {
	case r.Name == "":
		return nil, problem.NewNotFound("role-not-found", "There is no such role of the tenant's own.")
	case members > 0:
		return nil, problem.NewConflict("role-in-use", "%d members or invitations have the role %s; give them another first.", members, r.Name)
	}
	return []proto.Message{&identityv1.RoleDeleted{Role: r.Name}}, nil
}
