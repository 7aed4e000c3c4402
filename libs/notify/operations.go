package notify

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
)

type listDeliveries struct {
	operation.Page
	Status string `query:"status" enum:"pending,delivered,failed" description:"Only those of this status."`
}

type deliveryPath struct {
	Delivery string `path:"delivery"`
}

// Register adds the operations on deliveries to a service's table: reading them takes the scope read, trying one again the
// scope write. noun goes into the operations' names, for example "Subscription".
func Register(a *operation.API, o *Outbox, noun, read, write string) {
	operation.Register(a, operation.Op[listDeliveries, operation.List[Delivery]]{
		Name: "List" + noun + "Deliveries", Method: http.MethodGet, Path: "/deliveries", Scope: read,
		Summary: "Mails and webhooks, the newest first: whether they were delivered, and why not.",
		Handle: func(ctx context.Context, r *listDeliveries) (operation.List[Delivery], error) {
			p, _ := principal.From(ctx)
			rows, err := o.List(ctx, p.Tenant, r.Status, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(d Delivery) string { return d.ID }), err
		},
	})
	operation.Register(a, operation.Op[deliveryPath, operation.Empty]{
		Name: "Retry" + noun + "Delivery", Method: http.MethodPost, Path: "/deliveries/{delivery}/retry", Scope: write, Direct: true,
		Summary: "Try a pending mail or webhook now.",
		Handle: func(ctx context.Context, r *deliveryPath) (operation.Empty, error) {
			p, _ := principal.From(ctx)
			return operation.Empty{}, o.Retry(ctx, p.Tenant, r.Delivery)
		},
	})
}
