package domain

import (
	"slices"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

// AccessOf returns what an operation asks of its caller, nil when that is nothing: the alternatives of the document's security
// requirements, each with the scopes of the version's access list, and the list's roles.
//
// An alternative of API keys alone counts where the version accepts keys and no tokens. Where it accepts both, scopes that the
// document asks of tokens are asked of keys too: a token without them must not pass for a key. An alternative of other schemes
// counts if it has scopes, or if tokens are accepted. Where none counts, the document asks for no scopes. A version that
// accepts no credential asks for nothing.
func AccessOf(spec *catalogv1.APIVersionSpec, o *catalogv1.Operation) *gatewayv1.OperationAccess {
	if len(spec.GetAuthenticate()) == 0 {
		return nil
	}
	access := &gatewayv1.OperationAccess{Operation: o.GetId()}
	var always []string
	for _, a := range spec.GetAccess() {
		if Applies(a, o) {
			always = union(always, a.GetScopes())
			access.Roles = union(access.Roles, a.GetRoles())
		}
	}
	var alternatives []*catalogv1.Security
	scoped := slices.ContainsFunc(o.GetSecurity(), func(s *catalogv1.Security) bool { return len(s.GetScopes()) > 0 })
	for _, s := range o.GetSecurity() {
		if counts(s, spec.GetAuthenticate(), scoped) {
			alternatives = append(alternatives, s)
		}
	}
	if len(alternatives) == 0 {
		alternatives = []*catalogv1.Security{{}}
	}
	for _, s := range alternatives {
		scopes := union(always, s.GetScopes())
		if len(scopes) == 0 { // satisfied by everybody
			access.Scopes = nil
			break
		}
		access.Scopes = append(access.Scopes, &gatewayv1.ScopeSet{Scopes: scopes})
	}
	if len(access.GetScopes()) == 0 && len(access.GetRoles()) == 0 {
		return nil
	}
	return access
}

// counts says whether an alternative is one for callers that the version accepts; scoped says that one of them has scopes. Schemes
// that are asked for together are all meant by the one credential.
func counts(s *catalogv1.Security, accepted []string, scoped bool) bool {
	keys := slices.Contains(accepted, APIKey)
	tokens := slices.Contains(accepted, OAuth2) || slices.Contains(accepted, JWT)
	switch {
	case len(s.GetTypes()) == 0: // the document lets everybody in
		return true
	case slices.ContainsFunc(s.GetTypes(), func(t string) bool { return t != "apiKey" }):
		return tokens || len(s.GetScopes()) > 0
	default:
		return keys && (!tokens || !scoped)
	}
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
