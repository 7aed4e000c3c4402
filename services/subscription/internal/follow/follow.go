// Package follow has what subscription makes of event streams: of identity's and catalog's, what it must know of
// applications and plans; of its own, the documents that gateways read.
package follow

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/app"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Identity keeps accounts and applications, and cancels the subscriptions of those that end.
func Identity(s *app.Subscriptions) eventlog.Handle {
	return func(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
		switch p := e.Payload.(type) {
		case *identityv1.AccountCreated:
			return store.InsertAccount(ctx, tx, e.Tenant, p.GetAccount(), p.GetName())
		case *identityv1.ApplicationCreated:
			return store.InsertApplication(ctx, tx, e.Tenant, p.GetApplication(), p.GetAccount(), p.GetName())
		case *identityv1.AccountClosed:
			if err := store.CloseAccount(ctx, tx, p.GetAccount()); err != nil {
				return err
			}
			return s.CancelAll(ctx, tx, p.GetAccount(), "The account was closed.")
		case *identityv1.ApplicationDeleted:
			if err := store.DeleteApplication(ctx, tx, p.GetApplication()); err != nil {
				return err
			}
			return s.CancelAll(ctx, tx, p.GetApplication(), "The application was deleted.")
		}
		return nil
	}
}

// Catalog keeps products and every version of their plans.
func Catalog(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	switch p := e.Payload.(type) {
	case *catalogv1.ProductCreated:
		return store.InsertProduct(ctx, tx, e.Tenant, p.GetProduct(), p.GetName(), p.GetSpec())
	case *catalogv1.ProductChanged:
		return store.ShowProduct(ctx, tx, p.GetProduct(), p.GetSpec())
	case *catalogv1.PlanPublished:
		return store.InsertPlanVersion(ctx, tx, e.Tenant, p)
	case *catalogv1.PlanRetired:
		return store.RetirePlan(ctx, tx, p.GetPlan())
	}
	return nil
}
