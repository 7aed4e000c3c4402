// Package follow has what metering makes of streams: of the calls, and of the logs of catalog and subscription, from which it
// learns plans, and under which of them a subscription is.
package follow

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	"github.com/tollgate/tollgate/services/metering/internal/store"
)

// Plans keeps the plan versions of catalog's log.
func Plans(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	if p, ok := e.Payload.(*catalogv1.PlanPublished); ok {
		return store.UpsertPlan(ctx, tx, e.Tenant, p.GetPlan(), p.GetVersion(), p.GetSpec())
	}
	return nil
}
