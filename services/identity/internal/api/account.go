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

type putAccount struct {
	Account string                                                         `path:"account"`
	Spec    resource.Spec[identityv1.AccountSpec, *identityv1.AccountSpec] `json:"spec" required:"true"`
}

type accountPath struct {
	Account string `path:"account" description:"Name or id."`
}

func registerAccounts(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[putAccount, store.Account]{
		Name: "PutAccount", Method: http.MethodPut, Path: "/accounts/{account}", Scope: write,
		Summary: "Make the account of this name as the specification says.",
		Handle: func(ctx context.Context, r *putAccount) (store.Account, error) {
			return i.PutAccount(ctx, r.Account, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[page, operation.List[store.Account]]{
		Name: "ListAccounts", Method: http.MethodGet, Path: "/accounts", Scope: read, Summary: "The tenant's accounts.",
		Handle: func(ctx context.Context, r *page) (operation.List[store.Account], error) {
			rows, err := i.Accounts(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(a store.Account) string { return a.Name }), err
		},
	})
	operation.Register(a, operation.Op[accountPath, store.Account]{
		Name: "GetAccount", Method: http.MethodGet, Path: "/accounts/{account}", Scope: read, Summary: "One account.",
		Handle: func(ctx context.Context, r *accountPath) (store.Account, error) { return i.Account(ctx, r.Account) },
	})
	operation.Register(a, operation.Op[accountPath, operation.Empty]{
		Name: "CloseAccount", Method: http.MethodDelete, Path: "/accounts/{account}", Scope: write,
		Summary: "Close an account; its credentials are void.",
		Handle: func(ctx context.Context, r *accountPath) (operation.Empty, error) {
			return operation.Empty{}, i.CloseAccount(ctx, r.Account)
		},
	})
}

type putApplication struct {
	Application string                                                                 `path:"application"`
	Account     string                                                                 `json:"account" required:"true" description:"Name or id of the account that it belongs to."`
	Spec        resource.Spec[identityv1.ApplicationSpec, *identityv1.ApplicationSpec] `json:"spec" required:"true"`
}

type listApplications struct {
	operation.Page
	Account string `query:"account" description:"Name or id of an account."`
}

type applicationPath struct {
	Application string `path:"application" description:"Name or id."`
}

type issueCredential struct {
	Application string `path:"application"`
	Title       string `json:"title" required:"true"`
	ExpiresAt   string `json:"expiresAt" format:"date-time"`
}

type rotateCredential struct {
	Application string `path:"application"`
	Credential  string `path:"credential"`
	Overlap     string `json:"overlap" description:"How long the old key stays valid, as in 24h; at once void when empty."`
	ExpiresAt   string `json:"expiresAt" format:"date-time"`
}

type credentialPath struct {
	Application string `path:"application"`
	Credential  string `path:"credential"`
}

func registerApplications(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[putApplication, store.Application]{
		Name: "PutApplication", Method: http.MethodPut, Path: "/applications/{application}", Scope: write,
		Summary: "Make the application of this name as the specification says.",
		Handle: func(ctx context.Context, r *putApplication) (store.Application, error) {
			return i.PutApplication(ctx, r.Account, r.Application, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[listApplications, operation.List[store.Application]]{
		Name: "ListApplications", Method: http.MethodGet, Path: "/applications", Scope: read, Summary: "Applications, of one account or of all.",
		Handle: func(ctx context.Context, r *listApplications) (operation.List[store.Application], error) {
			rows, err := i.Applications(ctx, r.Account, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(a store.Application) string { return a.Name }), err
		},
	})
	operation.Register(a, operation.Op[applicationPath, store.Application]{
		Name: "GetApplication", Method: http.MethodGet, Path: "/applications/{application}", Scope: read, Summary: "One application.",
		Handle: func(ctx context.Context, r *applicationPath) (store.Application, error) {
			return i.Application(ctx, r.Application)
		},
	})
	operation.Register(a, operation.Op[applicationPath, operation.Empty]{
		Name: "DeleteApplication", Method: http.MethodDelete, Path: "/applications/{application}", Scope: write,
		Summary: "Delete an application; its credentials are void.",
		Handle: func(ctx context.Context, r *applicationPath) (operation.Empty, error) {
			return operation.Empty{}, i.DeleteApplication(ctx, r.Application)
		},
	})
	registerCredentials(a, i)
}

func registerCredentials(a *operation.API, i *app.Identity) {
	const path = "/applications/{application}/credentials"
	operation.Register(a, operation.Op[issueCredential, app.IssuedCredential]{
		Name: "IssueCredential", Method: http.MethodPost, Path: path, Scope: write, Status: http.StatusCreated,
		Summary: "Issue an API key; it is shown once.",
		Handle: func(ctx context.Context, r *issueCredential) (app.IssuedCredential, error) {
			expires, err := parseTime("expiresAt", r.ExpiresAt)
			if err != nil {
				return app.IssuedCredential{}, err
			}
			return i.IssueCredential(ctx, r.Application, r.Title, expires)
		},
	})
	operation.Register(a, operation.Op[rotateCredential, app.IssuedCredential]{
		Name: "RotateCredential", Method: http.MethodPost, Path: path + "/{credential}/rotate", Scope: write, Status: http.StatusCreated,
		Summary: "Issue an API key in place of another, with an overlap.",
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
		Name: "ListCredentials", Method: http.MethodGet, Path: path, Scope: read, Summary: "An application's credentials, without their keys.",
		Handle: func(ctx context.Context, r *applicationPath) (operation.List[store.Credential], error) {
			rows, err := i.Credentials(ctx, r.Application)
			if rows == nil {
				rows = []store.Credential{}
			}
			return operation.List[store.Credential]{Items: rows}, err
		},
	})
	operation.Register(a, operation.Op[credentialPath, operation.Empty]{
		Name: "RevokeCredential", Method: http.MethodDelete, Path: path + "/{credential}", Scope: write,
		Summary: "Make an API key void at once.",
		Handle: func(ctx context.Context, r *credentialPath) (operation.Empty, error) {
			return operation.Empty{}, i.RevokeCredential(ctx, r.Application, r.Credential)
		},
	})
}
