package config

import (
	"errors"
	"fmt"

	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/bearer"
)

// compileAuthentication notes which credentials are accepted.
func (a *API) compileAuthentication(d *gatewayv1.APIDocument, sets *bearer.KeySets) error {
	var errs []error
	a.Authenticated = len(d.GetAuthenticate()) > 0
	foreign := false
	for i, kind := range d.GetAuthenticate() {
		switch kind {
		case "apiKey":
			a.Keys = true
		case "oauth2":
			a.Own = true
		case "jwt":
			foreign = true
		default:
			errs = append(errs, fmt.Errorf("authenticate[%d]: this gateway does not know %q; it knows apiKey, oauth2 and jwt", i, kind))
		}
	}
	if foreign == (len(d.GetIssuers()) == 0) {
		errs = append(errs, errors.New("issuers: are there if, and only if, authenticate has jwt"))
	}
	for i, document := range d.GetIssuers() {
		issuer, err := sets.Compile(a.Tenant, document)
		if err != nil {
			errs = append(errs, fmt.Errorf("issuers[%d].%w", i, err))
		}
		a.Issuers = append(a.Issuers, issuer)
	}
	return errors.Join(errs...)
}

// compileAccess notes what operations ask of the caller. Anonymous callers have neither scopes nor roles.
func (a *API) compileAccess(access []*gatewayv1.OperationAccess) error {
	var errs []error
	for i, d := range access {
		o := a.operation(d.GetOperation())
		if o == nil {
			errs = append(errs, fmt.Errorf("access[%d].operation: there is no operation %q", i, d.GetOperation()))
			continue
		}
		for _, set := range d.GetScopes() {
			o.Scopes = append(o.Scopes, set.GetScopes())
		}
		o.Roles = d.GetRoles()
	}
	if len(access) > 0 && !a.Authenticated {
		errs = append(errs, errors.New("access: nobody can have a scope or a role where no credential is asked for"))
	}
	return errors.Join(errs...)
}

func (a *API) operation(id string) *Operation {
	for _, o := range a.Operations {
		if o.ID == id {
			return o
		}
	}
	return nil
}
