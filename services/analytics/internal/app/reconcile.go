package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Reconcile is Prove for the acting tenant: of the calls of a subscription, by its name or id, or of all calls when it is empty.
// all asks for the calls of every tenant, which only operators of the installation may.
func (a *Analytics) Reconcile(ctx context.Context, subscription string, from, to time.Time, all bool) (*analyticsv1.ProofReply, error) {
	who, err := actor(ctx)
	if err != nil {
		return nil, err
	}
	tenant := who.Tenant
	if all {
		if !who.Operator {
			return nil, problem.NewDenied("operator-only", "The calls of every tenant are for operators of the installation.")
		}
		tenant = principal.AllTenants
	}
	if subscription != "" {
		err := a.in(ctx, tenant, func(tx pgx.Tx) (err error) {
			subscription, err = findID(ctx, tx, store.Subscription, subscription)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return a.Prove(ctx, tenant, subscription, from.UnixNano(), to.UnixNano())
}

// ProveAndReport is Prove for a caller that acts on it, such as billing: a disagreement becomes an event, once for the same counters.
func (a *Analytics) ProveAndReport(ctx context.Context, req *analyticsv1.ProofRequest) (*analyticsv1.ProofReply, error) {
	reply, err := a.Prove(ctx, req.GetTenant(), req.GetSubscription(), req.GetStart(), req.GetEnd())
	if err != nil || reply.GetAgree() {
		return reply, err
	}
	event := &analyticsv1.ReconciliationFailed{
		Start: req.GetStart(), End: req.GetEnd(), Answered: reply.GetAnswered(), Stored: reply.GetStored(), Landed: reply.GetLanded(), Metered: reply.GetMetered(),
	}
	stream := fmt.Sprintf("%s/%d/%d", req.GetSubscription(), req.GetStart(), req.GetEnd())
	ctx = principal.With(ctx, principal.Service("analytics", req.GetTenant()))
	_, err = eventlog.Execute(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		history, err := tx.LoadFor(ctx, req.GetTenant(), "reconciliation", stream)
		if err != nil {
			return struct{}{}, err
		}
		last := eventlog.Fold(history, &analyticsv1.ReconciliationFailed{}, lastFailure)
		if slices.Equal(counters(last), counters(event)) {
			return struct{}{}, nil
		}
		tx.Append("reconciliation", stream, uint64(len(history)), event)
		return struct{}{}, nil
	})
	return reply, err
}

// lastFailure evolves to the newest failure.
func lastFailure(before *analyticsv1.ReconciliationFailed, event proto.Message) *analyticsv1.ReconciliationFailed {
	if e, ok := event.(*analyticsv1.ReconciliationFailed); ok {
		return e
	}
	return before
}

func counters(e *analyticsv1.ReconciliationFailed) []uint64 {
	return []uint64{e.GetAnswered(), e.GetStored(), e.GetLanded(), e.GetMetered()}
}
