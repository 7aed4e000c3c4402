package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/catalog/internal/app"
	"github.com/tollgate/tollgate/services/catalog/internal/store"
)

type putProduct struct {
	Product string            `path:"product"`
	Spec    store.ProductSpec `json:"spec" required:"true"`
}

type productPath struct {
	Product string `path:"product" description:"Name or id."`
}

func registerProducts(a *operation.API, c *app.Catalog) {
	operation.Register(a, operation.Op[putProduct, store.Product]{
		Name: "PutProduct", Method: http.MethodPut, Path: "/products/{product}", Scope: write,
		Summary: "Make the product of this name as the specification says.",
		Handle: func(ctx context.Context, r *putProduct) (store.Product, error) {
			return c.PutProduct(ctx, r.Product, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[listProducts, operation.List[store.Product]]{
		Name: "ListProducts", Method: http.MethodGet, Path: "/products", Scope: read, Summary: "The tenant's products, or those that one account sees.",
		Handle: func(ctx context.Context, r *listProducts) (operation.List[store.Product], error) {
			rows, err := c.Products(ctx, r.Account, r.Text, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(p store.Product) string { return p.Name }), err
		},
	})
	operation.Register(a, operation.Op[productPath, store.Product]{
		Name: "GetProduct", Method: http.MethodGet, Path: "/products/{product}", Scope: read, Summary: "One product.",
		Handle: func(ctx context.Context, r *productPath) (store.Product, error) { return c.Product(ctx, r.Product) },
	})
}

type listProducts struct {
	operation.Page
	operation.Search
	Account string `query:"account" description:"Name of an account: only the products that it sees."`
}

type comparePlans struct {
	Product string     `path:"product" description:"Name or id."`
	Plans   []string   `json:"plans,omitempty" description:"Names or ids of plans; all that are not retired when left out."`
	Usage   *app.Usage `json:"usage,omitempty" description:"Usage of a whole period, to be rated under each plan."`
}

type publishPlan struct {
	Product string         `path:"product" description:"Name or id."`
	Plan    string         `path:"plan"`
	Spec    store.PlanSpec `json:"spec" required:"true"`
}

type planPath struct {
	Product string `path:"product" description:"Name or id."`
	Plan    string `path:"plan" description:"Name or id."`
}

type getPlan struct {
	planPath
	Version uint32 `query:"version" description:"The newest when left out."`
}

type listPlans struct {
	operation.Page
	operation.Search
	Product string `query:"product" description:"Name or id of a product."`
	Account string `query:"account" description:"Name of an account: only plans of products that it sees."`
}

type listPlanVersions struct {
	operation.Page
	planPath
}

const plansPath = "/products/{product}/plans/{plan}"

func registerPlans(a *operation.API, c *app.Catalog) {
	operation.Register(a, operation.Op[publishPlan, store.Plan]{
		Name: "PublishPlan", Method: http.MethodPut, Path: plansPath, Scope: write,
		Summary: "Make the newest version of the plan of this name as the specification says; another specification becomes the next version.",
		Handle: func(ctx context.Context, r *publishPlan) (store.Plan, error) {
			return c.PublishPlan(ctx, r.Product, r.Plan, r.Spec.Message)
		},
	})
	operation.Register(a, operation.Op[listPlans, operation.List[store.Plan]]{
		Name: "ListPlans", Method: http.MethodGet, Path: "/plans", Scope: read, Summary: "Plans in their newest versions, of one product or of all.",
		Handle: func(ctx context.Context, r *listPlans) (operation.List[store.Plan], error) {
			product, plan, _ := strings.Cut(r.Cursor, "/")
			rows, err := c.Plans(ctx, r.Product, r.Account, r.Text, product, plan, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(p store.Plan) string { return p.Product + "/" + p.Name }), err
		},
	})
	operation.Register(a, operation.Op[getPlan, store.Plan]{
		Name: "GetPlan", Method: http.MethodGet, Path: plansPath, Scope: read, Summary: "One plan, in its newest version or in the one asked for.",
		Handle: func(ctx context.Context, r *getPlan) (store.Plan, error) {
			return c.Plan(ctx, r.Product, r.Plan, r.Version)
		},
	})
	operation.Register(a, operation.Op[listPlanVersions, operation.List[store.Plan]]{
		Name: "ListPlanVersions", Method: http.MethodGet, Path: plansPath + "/versions", Scope: read, Summary: "The versions of a plan, the newest first.",
		Handle: func(ctx context.Context, r *listPlanVersions) (operation.List[store.Plan], error) {
			before, err := number("cursor", r.Cursor)
			if err != nil {
				return operation.List[store.Plan]{}, err
			}
			rows, err := c.PlanVersions(ctx, r.Product, r.Plan, uint32(before), r.Size()+1)
			return operation.PageOf(rows, r.Page, func(p store.Plan) string { return strconv.FormatUint(uint64(p.Version), 10) }), err
		},
	})
	operation.Register(a, operation.Op[comparePlans, app.PlanComparison]{
		Name: "ComparePlans", Method: http.MethodPost, Path: "/products/{product}/plan-comparison", Scope: read,
		Summary: "Plans of a product side by side: limits, prices, what one gets, and what a given usage costs under each.",
		Handle: func(ctx context.Context, r *comparePlans) (app.PlanComparison, error) {
			return c.ComparePlans(ctx, r.Product, r.Plans, r.Usage)
		},
	})
	operation.Register(a, operation.Op[planPath, store.Plan]{
		Name: "RetirePlan", Method: http.MethodPost, Path: plansPath + "/retire", Scope: write,
		Summary: "End a plan for new subscriptions; those there are go on.",
		Handle: func(ctx context.Context, r *planPath) (store.Plan, error) {
			return c.RetirePlan(ctx, r.Product, r.Plan)
		},
	})
}
