package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

type putApplication struct {
	Application string                                                                 `path:"application"`
	Account     string                                                                 `json:"account" required:"true" description:"Name or id of the account that it belongs to."`
	Spec        resource.Spec[identityv1.ApplicationSpec, *identityv1.ApplicationSpec] `json:"spec" required:"true"`
}

type putOwnApplication struct {
	Application string                                                                 `path:"application"`
	Spec        resource.Spec[identityv1.ApplicationSpec, *identityv1.ApplicationSpec] `json:"spec" required:"true"`
}

type listApplications struct {
	operation.Page
	operation.Search
	Account string `query:"account" description:"Name or id of an account."`
}

type applicationPath struct {
	Application string `path:"application" description:"Name or id."`
}

type issueCredential struct {
	Application string   `path:"application"`
	Kind        string   `json:"kind" enum:"apiKey,oauth2,jwt" default:"apiKey" description:"apiKey; oauth2: a client of the token endpoint; jwt: a client of another issuer."`
	Title       string   `json:"title" required:"true"`
	Scopes      []string `json:"scopes" description:"What calls with the key may do, or access tokens may be for at most."`
	Issuer      string   `json:"issuer" description:"For jwt: the issuer of the client's tokens."`
	Client      string   `json:"client" description:"For jwt: the client as the issuer's tokens name it."`
	ExpiresAt   string   `json:"expiresAt" format:"date-time"`
}

type rotateCredential struct {
	Application string `path:"application"`
	Credential  string `path:"credential"`
	Overlap     string `json:"overlap" description:"How long the old secret stays valid, as in 24h; at once void when empty."`
	ExpiresAt   string `json:"expiresAt" format:"date-time"`
}

type credentialPath struct {
	Application string `path:"application"`
	Credential  string `path:"credential"`
}

// face is one of the two that operations on applications have: for members of the tenant, on those of every account, and for
// members of an account, on its own.
type face struct {
	// noun goes into the operations' names, prefix begins their paths.
	noun, prefix string
	read, write  string
	account      bool
}

func faces() []face {
	return []face{
		{"", "", read, write, false},
		{"Own", "/account", accountRead, accountWrite, true},
	}
}

func registerApplications(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[putApplication, store.Application]{
		Name: "PutApplication", Method: http.MethodPut, Path: "/applications/{application}", Scope: write,
		Summary: "Make the application of this name as the specification says.",
		Handle: func(ctx context.Context, r *putApplication) (store.Application, error) {
			return i.PutApplication(ctx, r.Account, r.Application, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[putOwnApplication, store.Application]{
		Name: "PutOwnApplication", Method: http.MethodPut, Path: "/account/applications/{application}", Scope: accountWrite, Account: true,
		Summary: "Make the application of this name as the specification says.",
		Handle: func(ctx context.Context, r *putOwnApplication) (store.Application, error) {
			return i.PutApplication(ctx, "", r.Application, r.Spec.Message)
		},
	})
	for _, f := range faces() {
		registerApplicationFace(a, i, f)
		registerCredentials(a, i, f)
	}
}

func registerApplicationFace(a *operation.API, i *app.Identity, f face) {
	operation.Register(a, operation.Op[listApplications, operation.List[store.Application]]{
		Name: "List" + f.noun + "Applications", Method: http.MethodGet, Path: f.prefix + "/applications", Scope: f.read, Account: f.account, Summary: "Applications, of one account or of all.",
		Handle: func(ctx context.Context, r *listApplications) (operation.List[store.Application], error) {
			rows, err := i.Applications(ctx, r.Account, r.Text, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(a store.Application) string { return a.Name }), err
		},
	})
	operation.Register(a, operation.Op[applicationPath, store.Application]{
		Name: "Get" + f.noun + "Application", Method: http.MethodGet, Path: f.prefix + "/applications/{application}", Scope: f.read, Account: f.account, Summary: "One application.",
		Handle: func(ctx context.Context, r *applicationPath) (store.Application, error) {
			return i.Application(ctx, r.Application)
		},
	})
	operation.Register(a, operation.Op[applicationPath, operation.Empty]{
		Name: "Delete" + f.noun + "Application", Method: http.MethodDelete, Path: f.prefix + "/applications/{application}", Scope: f.write, Account: f.account,
		Summary: "Delete an application; its credentials are void.",
		Handle: func(ctx context.Context, r *applicationPath) (operation.Empty, error) {
			return operation.Empty{}, i.DeleteApplication(ctx, r.Application)
		},
	})
}

func registerCredentials(a *operation.API, i *app.Identity, f face) {
	path := f.prefix + "/applications/{application}/credentials"
	operation.Register(a, operation.Op[issueCredential, app.IssuedCredential]{
		Name: "Issue" + f.noun + "Credential", Method: http.MethodPost, Path: path, Scope: f.write, Account: f.account, Status: http.StatusCreated,
		Summary: "Issue a credential; its secret is shown once.",
		Handle: func(ctx context.Context, r *issueCredential) (app.IssuedCredential, error) {
			expires, err := parseTime("expiresAt", r.ExpiresAt)
			if err != nil {
				return app.IssuedCredential{}, err
			}
			return i.IssueCredential(ctx, r.Application, app.CredentialRequest{
				Kind: r.Kind, Title: r.Title, Scopes: r.Scopes, Issuer: r.Issuer, Client: r.Client, Expires: expires,
			})
		},
	})
	operation.Register(a, operation.Op[rotateCredential, app.IssuedCredential]{
		Name: "Rotate" + f.noun + "Credential", Method: http.MethodPost, Path: path + "/{credential}/rotate", Scope: f.write, Account: f.account, Status: http.StatusCreated,
		Summary: "Issue a new secret in place of another, with an overlap; a client keeps its id.",
		Handle: func(ctx context.Context, r *rotateCredential) (app.IssuedCredential, error) {
			expires, err := parseTime("expiresAt", r.ExpiresAt)
			if err != nil {
				return app.IssuedCredential{}, err
			}
			overlap, err := parseDuration("overlap", r.Overlap)
			if err != nil {
				return app.IssuedCredential{}, err
			}
			return i.RotateCredential(ctx, r.Application, r.Credential, expires, overlap)
		},
	})
	operation.Register(a, operation.Op[applicationPath, operation.List[store.Credential]]{
		Name: "List" + f.noun + "Credentials", Method: http.MethodGet, Path: path, Scope: f.read, Account: f.account, Summary: "An application's credentials, without their secrets.",
		Handle: func(ctx context.Context, r *applicationPath) (operation.List[store.Credential], error) {
			rows, err := i.Credentials(ctx, r.Application)
			if rows == nil {
				rows = []store.Credential{}
			}
			return operation.List[store.Credential]{Items: rows}, err
		},
	})
	operation.Register(a, operation.Op[credentialPath, operation.Empty]{
		Name: "Revoke" + f.noun + "Credential", Method: http.MethodDelete, Path: path + "/{credential}", Scope: f.write, Account: f.account,
		Summary: "Make a credential void at once.",
		Handle: func(ctx context.Context, r *credentialPath) (operation.Empty, error) {
			return operation.Empty{}, i.RevokeCredential(ctx, r.Application, r.Credential)
		},
	})
}
