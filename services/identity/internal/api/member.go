package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

type createTenant struct {
	Name             string `json:"name" required:"true" description:"A DNS label, unique in the installation."`
	Title            string `json:"title" required:"true"`
	OwnerDisplayName string `json:"ownerDisplayName" required:"true"`
	OwnerEmail       string `json:"ownerEmail"`
}

type page struct{ operation.Page }

type searchPage struct {
	operation.Page
	operation.Search
}

func registerTenants(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[createTenant, app.NewTenant]{
		Name: "CreateTenant", Method: http.MethodPost, Path: "/tenants", Operator: true, Status: http.StatusCreated,
		Summary: "Make a tenant with its first owner, whose token is shown once.",
		Handle: func(ctx context.Context, r *createTenant) (app.NewTenant, error) {
			return i.CreateTenant(ctx, r.Name, r.Title, app.Person{DisplayName: r.OwnerDisplayName, Email: r.OwnerEmail})
		},
	})
	operation.Register(a, operation.Op[searchPage, operation.List[store.Tenant]]{
		Name: "ListTenants", Method: http.MethodGet, Path: "/tenants", Scope: read,
		Summary: "Your tenant; every tenant for an operator of the installation.",
		Handle: func(ctx context.Context, r *searchPage) (operation.List[store.Tenant], error) {
			rows, err := i.Tenants(ctx, r.Text, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(t store.Tenant) string { return t.Name }), err
		},
	})
}

type addMember struct {
	DisplayName string   `json:"displayName" required:"true"`
	Email       string   `json:"email"`
	Roles       []string `json:"roles" required:"true" description:"owner, publisher, operator, finance, viewer, or roles of the tenant's own."`
}

type changePerson struct {
	Member      string `path:"member"`
	DisplayName string `json:"displayName" required:"true"`
	Email       string `json:"email"`
}

type changeRoles struct {
	Member string   `path:"member"`
	Roles  []string `json:"roles" required:"true"`
}

type memberPath struct {
	Member string `path:"member"`
}

type accountPage struct {
	operation.Page
	Account string `path:"account" description:"Name or id."`
}

func memberID(m store.Member) string { return m.ID }

func registerMembers(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[addMember, store.Member]{
		Name: "AddMember", Method: http.MethodPost, Path: "/members", Scope: admin, Status: http.StatusCreated,
		Summary: "Add a person to the tenant, without a mail; see InviteMember.",
		Handle: func(ctx context.Context, r *addMember) (store.Member, error) {
			return i.AddMember(ctx, app.Person{DisplayName: r.DisplayName, Email: r.Email}, r.Roles)
		},
	})
	operation.Register(a, operation.Op[page, operation.List[store.Member]]{
		Name: "ListMembers", Method: http.MethodGet, Path: "/members", Scope: read, Summary: "The tenant's members.",
		Handle: func(ctx context.Context, r *page) (operation.List[store.Member], error) {
			rows, err := i.Members(ctx, "", r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, memberID), err
		},
	})
	operation.Register(a, operation.Op[accountPage, operation.List[store.Member]]{
		Name: "ListAccountMembers", Method: http.MethodGet, Path: "/accounts/{account}/members", Scope: read, Summary: "An account's members.",
		Handle: func(ctx context.Context, r *accountPage) (operation.List[store.Member], error) {
			rows, err := i.Members(ctx, r.Account, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, memberID), err
		},
	})
	operation.Register(a, operation.Op[page, operation.List[store.Member]]{
		Name: "ListOwnMembers", Method: http.MethodGet, Path: "/account/members", Scope: accountRead, Account: true, Summary: "The members of your account.",
		Handle: func(ctx context.Context, r *page) (operation.List[store.Member], error) {
			rows, err := i.Members(ctx, "", r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, memberID), err
		},
	})
	operation.Register(a, operation.Op[changePerson, store.Member]{
		Name: "ChangeMember", Method: http.MethodPut, Path: "/members/{member}", Scope: admin, Summary: "Set a member's name and e-mail address.",
		Handle: func(ctx context.Context, r *changePerson) (store.Member, error) {
			return i.ChangePerson(ctx, r.Member, app.Person{DisplayName: r.DisplayName, Email: r.Email})
		},
	})
	operation.Register(a, operation.Op[memberPath, operation.Empty]{
		Name: "ResetSecondFactor", Method: http.MethodDelete, Path: "/members/{member}/totp", Scope: admin,
		Summary: "Take away the second factor of a member who has lost it.",
		Handle: func(ctx context.Context, r *memberPath) (operation.Empty, error) {
			return operation.Empty{}, i.ResetSecondFactor(ctx, r.Member)
		},
	})
	operation.Register(a, operation.Op[memberPath, app.Erasure]{
		Name: "EraseMember", Method: http.MethodPost, Path: "/members/{member}/erase", Scope: admin,
		Summary: "Take a member out, if they are not yet, and erase all personal data; the answer tells what remains.",
		Handle: func(ctx context.Context, r *memberPath) (app.Erasure, error) {
			return i.EraseMember(ctx, r.Member)
		},
	})
	for _, f := range []face{{"", "", "", admin, false}, {"Own", "/account", "", accountAdmin, true}} {
		operation.Register(a, operation.Op[changeRoles, operation.Empty]{
			Name: "Change" + f.noun + "MemberRoles", Method: http.MethodPut, Path: f.prefix + "/members/{member}/roles", Scope: f.write, Account: f.account,
			Summary: "Give a member other roles.",
			Handle: func(ctx context.Context, r *changeRoles) (operation.Empty, error) {
				return operation.Empty{}, i.ChangeRoles(ctx, r.Member, r.Roles)
			},
		})
		operation.Register(a, operation.Op[memberPath, operation.Empty]{
			Name: "Remove" + f.noun + "Member", Method: http.MethodDelete, Path: f.prefix + "/members/{member}", Scope: f.write, Account: f.account,
			Summary: "Take a member out; their tokens and sessions are void.",
			Handle: func(ctx context.Context, r *memberPath) (operation.Empty, error) {
				return operation.Empty{}, i.RemoveMember(ctx, r.Member)
			},
		})
	}
}
