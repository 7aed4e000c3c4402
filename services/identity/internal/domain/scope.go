// Package domain decides what may happen to tenants, members, tokens, accounts and applications, and what follows: each
// aggregate has commands that return events and an Evolve that applies one. It does no I/O and knows no clock; times and ids
// are given. Only identity's app folder imports it.
package domain

import "slices"

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

// The roles of members of an account.
const (
	AccountAdmin     = "admin"
	AccountDeveloper = "developer"
)

var readScopes = []string{
	"identity.read", "catalog.read", "subscription.read", "metering.read", "analytics.read", "billing.read",
}

var roleScopes = map[string][]string{
	Owner: append([]string{
		"identity.write", "identity.admin", "catalog.write", "subscription.write", "analytics.write", "metering.operate", "billing.run",
	}, readScopes...),
	Publisher: append([]string{"identity.write", "catalog.write", "subscription.write", "analytics.write"}, readScopes...),
	Operator:  append([]string{"analytics.write", "metering.operate"}, readScopes...),
	Finance:   append([]string{"billing.run"}, readScopes...),
	Viewer:    readScopes,
	Installer: {},
}

// accountScopes are for operations on the member's own account, and no others.
var accountScopes = map[string][]string{
	AccountAdmin:     {"account.read", "account.write", "account.admin"},
	AccountDeveloper: {"account.read", "account.write"},
}

// AllScopes returns every scope that members of a tenant can have, sorted.
func AllScopes() []string {
	all := slices.Clone(roleScopes[Owner])
	slices.Sort(all)
	return all
}

// Restrict returns the scopes that are in both.
func Restrict(scopes, limit []string) []string {
	return slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return !slices.Contains(limit, s) })
}
