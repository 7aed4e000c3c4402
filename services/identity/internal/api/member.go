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

func registerTenants(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[createTenant, app.NewTenant]{
		Name: "CreateTenant", Method: http.MethodPost, Path: "/tenants", Operator: true, Status: http.StatusCreated,
		Summary: "Make a tenant with its first owner, whose token is shown once.",
		Handle: func(ctx context.Context, r *createTenant) (app.NewTenant, error) {
			return i.CreateTenant(ctx, r.Name, r.Title, app.Person{DisplayName: r.OwnerDisplayName, Email: r.OwnerEmail})
		},
	})
	operation.Register(a, operation.Op[page, operation.List[store.Tenant]]{
		Name: "ListTenants", Method: http.MethodGet, Path: "/tenants", Scope: read,
		Summary: "Your tenant; every tenant for an operator of the installation.",
		Handle: func(ctx context.Context, r *page) (operation.List[store.Tenant], error) {
			rows, err := i.Tenants(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(t store.Tenant) string { return t.Name }), err
		},
	})
}

type addMember struct {
	DisplayName string   `json:"displayName" required:"true"`
	Email       string   `json:"email"`
	Roles       []string `json:"roles" required:"true" description:"owner, publisher, operator, finance or viewer."`
}

type changeRoles struct {
	Member string   `path:"member"`
	Roles  []string `json:"roles" required:"true"`
}

type memberPath struct {
	Member string `path:"member"`
}

func registerMembers(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[addMember, store.Member]{
		Name: "AddMember", Method: http.MethodPost, Path: "/members", Scope: admin, Status: http.StatusCreated,
		Summary: "Add a person to the tenant.",
		Handle: func(ctx context.Context, r *addMember) (store.Member, error) {
			return i.AddMember(ctx, app.Person{DisplayName: r.DisplayName, Email: r.Email}, r.Roles)
		},
	})
	operation.Register(a, operation.Op[page, operation.List[store.Member]]{
		Name: "ListMembers", Method: http.MethodGet, Path: "/members", Scope: read, Summary: "The tenant's members.",
		Handle: func(ctx context.Context, r *page) (operation.List[store.Member], error) {
			rows, err := i.Members(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(m store.Member) string { return m.ID }), err
		},
	})
	operation.Register(a, operation.Op[changeRoles, operation.Empty]{
		Name: "ChangeMemberRoles", Method: http.MethodPut, Path: "/members/{member}/roles", Scope: admin,
		Summary: "Give a member other roles.",
		Handle: func(ctx context.Context, r *changeRoles) (operation.Empty, error) {
			return operation.Empty{}, i.ChangeRoles(ctx, r.Member, r.Roles)
		},
	})
	operation.Register(a, operation.Op[memberPath, operation.Empty]{
		Name: "RemoveMember", Method: http.MethodDelete, Path: "/members/{member}", Scope: admin,
		Summary: "Take a member out of the tenant; their tokens are void.",
		Handle: func(ctx context.Context, r *memberPath) (operation.Empty, error) {
			return operation.Empty{}, i.RemoveMember(ctx, r.Member)
		},
	})
}
