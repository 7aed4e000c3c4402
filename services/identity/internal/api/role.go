package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

type setRole struct {
	Role   string   `path:"role"`
	Title  string   `json:"title" required:"true"`
	Scopes []string `json:"scopes" required:"true"`
}

type rolePath struct {
	Role string `path:"role"`
}

func registerRoles(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[struct{}, operation.List[store.Role]]{
		Name: "ListRoles", Method: http.MethodGet, Path: "/roles", Scope: read, Summary: "The built-in roles and the tenant's own, with their scopes.",
		Handle: func(ctx context.Context, _ *struct{}) (operation.List[store.Role], error) {
			rows, err := i.Roles(ctx)
			return operation.List[store.Role]{Items: rows}, err
		},
	})
	operation.Register(a, operation.Op[setRole, store.Role]{
		Name: "SetRole", Method: http.MethodPut, Path: "/roles/{role}", Scope: admin,
		Summary: "Make a role of the tenant's own, or give it other scopes; at most those that you have.",
		Handle: func(ctx context.Context, r *setRole) (store.Role, error) {
			return i.SetRole(ctx, r.Role, r.Title, r.Scopes)
		},
	})
	operation.Register(a, operation.Op[rolePath, operation.Empty]{
		Name: "DeleteRole", Method: http.MethodDelete, Path: "/roles/{role}", Scope: admin, Summary: "Delete a role that nobody has.",
		Handle: func(ctx context.Context, r *rolePath) (operation.Empty, error) {
			return operation.Empty{}, i.DeleteRole(ctx, r.Role)
		},
	})
}
