// Package api is catalog's table of operations: names, paths, scopes, requests and responses. It decodes, calls the app
// folder and encodes; it decides nothing.
package api

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/services/catalog/internal/app"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

const (
	read  = "catalog.read"
	write = "catalog.write"
)

// documentTimeout is for operations that read OpenAPI documents, of which large ones take seconds each.
const documentTimeout = time.Minute

// Register adds every operation of catalog to the API.
func Register(a *operation.API, c *app.Catalog) {
	registerAPIs(a, c)
	registerVersions(a, c)
	registerGovernance(a, c)
	registerProducts(a, c)
	registerPlans(a, c)
	registerResources(a, c)
}

type exportRequest struct {
	Kind   string `query:"kind" enum:"Ruleset,API,APIVersion,Product,Plan" description:"One kind; all when empty."`
	Cursor string `query:"cursor" description:"The next of the page before; a page has about 2 MiB."`
}

func registerResources(a *operation.API, c *app.Catalog) {
	operation.Register(a, operation.Op[resource.ApplyRequest, resource.ApplyResponse]{
		Name: "ApplyCatalogResources", Method: http.MethodPost, Path: "/apply", Scope: write, Timeout: documentTimeout,
		Summary: "Make the ruleset, APIs, their versions, products and plans as documents say, all or none.",
		Handle: func(ctx context.Context, r *resource.ApplyRequest) (resource.ApplyResponse, error) {
			return c.Apply(ctx, *r)
		},
	})
	operation.Register(a, operation.Op[exportRequest, resource.Export]{
		Name: "ExportCatalogResources", Method: http.MethodGet, Path: "/export", Scope: read,
		Summary: "Every ruleset, API, version, product and plan as documents, page by page.",
		Handle: func(ctx context.Context, r *exportRequest) (resource.Export, error) {
			return c.Export(ctx, r.Kind, r.Cursor)
		},
	})
}

type putAPI struct {
	API  string        `path:"api"`
	Spec store.APISpec `json:"spec" required:"true"`
}

type listAPIs struct {
	operation.Page
	operation.Search
}

type apiPath struct {
	API string `path:"api" description:"Name or id."`
}

func registerAPIs(a *operation.API, c *app.Catalog) {
	operation.Register(a, operation.Op[putAPI, store.API]{
		Name: "PutAPI", Method: http.MethodPut, Path: "/apis/{api}", Scope: write,
		Summary: "Make the API of this name as the specification says.",
		Handle:  func(ctx context.Context, r *putAPI) (store.API, error) { return c.PutAPI(ctx, r.API, r.Spec.Message) },
	})
	operation.Register(a, operation.Op[listAPIs, operation.List[store.API]]{
		Name: "ListAPIs", Method: http.MethodGet, Path: "/apis", Scope: read, Summary: "The tenant's APIs.",
		Handle: func(ctx context.Context, r *listAPIs) (operation.List[store.API], error) {
			rows, err := c.APIs(ctx, r.Text, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(a store.API) string { return a.Name }), err
		},
	})
	operation.Register(a, operation.Op[apiPath, store.API]{
		Name: "GetAPI", Method: http.MethodGet, Path: "/apis/{api}", Scope: read, Summary: "One API.",
		Handle: func(ctx context.Context, r *apiPath) (store.API, error) { return c.API(ctx, r.API) },
	})
	operation.Register(a, operation.Op[apiPath, operation.Empty]{
		Name: "DeleteAPI", Method: http.MethodDelete, Path: "/apis/{api}", Scope: write,
		Summary: "Delete an API that has no versions.",
		Handle: func(ctx context.Context, r *apiPath) (operation.Empty, error) {
			return operation.Empty{}, c.DeleteAPI(ctx, r.API)
		},
	})
}
