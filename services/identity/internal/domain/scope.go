// Package domain decides what may happen to tenants, members, tokens, accounts and applications, and what follows: each
// aggregate has commands that return events and an Evolve that applies one. It does no I/O and knows no clock; times and ids
// are given. Only identity's app folder imports it.
package domain

import (
	"slices"

	"github.com/tollgate/tollgate/libs/problem"
)

// The roles of members of a tenant.
const (
	Owner     = "owner"
	Publisher = "publisher"
	Operator  = "operator"
	Finance   = "finance"
	Viewer    = "viewer"
	// Installer may act on the installation itself, such as creating tenants. Only an installer can give the role.
	Installer = "installer"
)

var readScopes = []string{
	"identity.read", "catalog.read", "subscription.read", "metering.read", "analytics.read", "billing.read",
}

var roleScopes = map[string][]string{
	Owner: append([]string{
		"identity.write", "identity.admin", "catalog.write", "subscription.write", "metering.operate", "billing.run",
	}, readScopes...),
	Publisher: append([]string{"identity.write", "catalog.write", "subscription.write"}, readScopes...),
	Operator:  append([]string{"metering.operate"}, readScopes...),
	Finance:   append([]string{"billing.run"}, readScopes...),
	Viewer:    readScopes,
	Installer: {},
}

// AllScopes returns every scope there is, sorted.
func AllScopes() []string {
	all := slices.Clone(roleScopes[Owner])
	slices.Sort(all)
	return all
}

// ScopesOf returns what the roles together may do, sorted.
func ScopesOf(roles []string) []string {
	var scopes []string
	for _, role := range roles {
		scopes = append(scopes, roleScopes[role]...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// Restrict returns the scopes that are in both; an empty limit limits nothing.
func Restrict(scopes, limit []string) []string {
	if len(limit) == 0 {
		return scopes
	}
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !slices.Contains(limit, s) })
}

func checkRoles(roles []string, actorMayInstall bool) error {
	var fields problem.Fields
	if len(roles) == 0 {
		fields.Add("roles", "is empty; give one or more of owner, publisher, operator, finance, viewer")
	}
	for i, role := range roles {
		switch {
		case roleScopes[role] == nil:
			fields.Add("roles", "%q is not a role; want owner, publisher, operator, finance or viewer", role)
		case role == Installer && !actorMayInstall:
			fields.Add("roles", "only an operator of the installation can give the role installer")
		case slices.Contains(roles[:i], role):
			fields.Add("roles", "%q is there twice", role)
		}
	}
	return fields.Err("member-invalid", "The roles are not valid.")
}
