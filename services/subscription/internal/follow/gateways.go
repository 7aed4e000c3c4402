package follow

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/documents"
	"github.com/tollgate/tollgate/libs/eventlog"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Own follows subscription's own log for the documents of gateways.
func Own(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	if e.StreamType != "subscription" {
		return nil
	}
	return document(ctx, tx, e)
}

// document writes the entitlement that an event of subscription's own log changes, as it is now: that of the subscription
// which counts for the application and product. So an event of an ended subscription never takes the place of one that
// came after it.
func document(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	row, err := store.FindEntitlement(ctx, tx, e.StreamID)
	if err != nil {
		return err
	}
	d, err := compile(row, e.Position)
	if err != nil {
		return err
	}
	return documents.Put(ctx, tx, bus.EntitlementsBucket, row.ApplicationID+"."+row.ProductID, e.Position, d)
}

func compile(row store.Entitlement, revision uint64) (*gatewayv1.EntitlementDocument, error) {
	var spec catalogv1.PlanSpec
	if err := proto.Unmarshal(row.Spec, &spec); err != nil {
		return nil, fmt.Errorf("decode plan %s version %d: %w", row.PlanID, row.PlanVersion, err)
	}
	limits := spec.GetLimits()
	if len(row.Limits) > 0 {
		limits = row.Limits.Messages()
	}
	return &gatewayv1.EntitlementDocument{
		Revision: revision, Tenant: row.Tenant, Account: row.AccountID, Application: row.ApplicationID, Product: row.ProductID,
		Subscription: row.ID, State: row.State, Plan: row.PlanID, PlanName: row.Plan, PlanVersion: row.PlanVersion,
		Limits: limits, Charging: spec.GetCharging(), Prepaid: spec.GetPrepaid(),
		Free: len(spec.GetPrices()) == 0 && !spec.GetPrepaid(),
	}, nil
}
