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
	operation.Register(a, operation.Op[searchPage, operation.List[store.Account]]{
		Name: "ListAccounts", Method: http.MethodGet, Path: "/accounts", Scope: read, Summary: "The tenant's accounts.",
		Handle: func(ctx context.Context, r *searchPage) (operation.List[store.Account], error) {
			rows, err := i.Accounts(ctx, r.Text, r.Cursor, r.Size()+1)
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
	operation.Register(a, operation.Op[accountPath, app.Erasure]{
		Name: "EraseAccountContact", Method: http.MethodPost, Path: "/accounts/{account}/erase-contact", Scope: admin,
		Summary: "Erase the personal data of an account's contact; the answer tells what remains.",
		Handle: func(ctx context.Context, r *accountPath) (app.Erasure, error) {
			return i.EraseAccountContact(ctx, r.Account)
		},
	})
	operation.Register(a, operation.Op[struct{}, store.Account]{
		Name: "GetOwnAccount", Method: http.MethodGet, Path: "/account", Scope: accountRead, Account: true,
		Summary: "The account that you are a member of.",
		Handle:  func(ctx context.Context, _ *struct{}) (store.Account, error) { return i.Account(ctx, "") },
	})
}
