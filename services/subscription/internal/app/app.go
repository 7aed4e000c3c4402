// Package app has subscription's use cases: load the aggregate, let the domain decide, append the events and write the
// table in one transaction. Who acts, and in which tenant, comes with the context (libs/principal); the transaction sees
// that tenant alone.
package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/service"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// streamType of a subscription's events.
const streamType = "subscription"

// Subscriptions has the use cases. It is safe for concurrent use.
type Subscriptions struct {
	log    *eventlog.Log
	db     *postgres.DB
	seal   *seal.Seal
	outbox *notify.Outbox
}

// New returns the use cases over a database and its log.
func New(log *eventlog.Log, db *postgres.DB) *Subscriptions { return &Subscriptions{log: log, db: db} }

// Tell has the use cases tell others, with an outbox, and seal their secrets. It is called before anything else, or never: then
// nobody is told.
func (s *Subscriptions) Tell(sealer *seal.Seal, outbox *notify.Outbox) {
	s.seal, s.outbox = sealer, outbox
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// change is one command on its way.
type change struct {
	*eventlog.Tx
	tenant, subject, reason string
}

func newChange(ctx context.Context, tx *eventlog.Tx) *change {
	p, _ := principal.From(ctx)
	return &change{Tx: tx, tenant: p.Tenant, subject: p.Subject, reason: principal.CommandFrom(ctx).Reason}
}

func execute[R any](ctx context.Context, s *Subscriptions, fn func(ctx context.Context, ch *change) (R, error)) (R, error) {
	return service.Execute(ctx, s.log, func(ctx context.Context, tx *eventlog.Tx) (R, error) {
		return fn(ctx, newChange(ctx, tx))
	})
}

// record appends what was decided and writes it to the table.
func (ch *change) record(ctx context.Context, id string, version uint64, events []proto.Message) error {
	return ch.recordIn(ctx, streamType, id, version, events)
}

// recordIn is record for streams of any type.
func (ch *change) recordIn(ctx context.Context, streamType, id string, version uint64, events []proto.Message) error {
	ch.Append(streamType, id, version, events...)
	for _, e := range events {
		version++
		err := store.Project(ctx, ch, store.Fact{
			Tenant: ch.tenant, Actor: ch.subject, Reason: ch.reason, Version: version, At: ch.Now(), Payload: e,
		})
		for _, unique := range []string{"subscriptions_name", "subscriptions_product", "webhooks_tenant_id_name_key", "mail_recipients_tenant_id_name_key"} {
			if postgres.Violates(err, unique) { // somebody else was faster: start again and find theirs
				return errors.Join(eventlog.ErrConflict, err)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// decide runs one decision on a subscription, by its id, and records it.
func (ch *change) decide(ctx context.Context, id string, decide func(domain.Subscription) ([]proto.Message, error)) error {
	history, err := ch.Load(ctx, streamType, id)
	if err != nil {
		return err
	}
	events, err := decide(eventlog.Fold(history, domain.Subscription{}, domain.Subscription.Evolve))
	if err != nil {
		return err
	}
	return ch.record(ctx, id, uint64(len(history)), events)
}

// CancelAll cancels the live subscriptions of an account or application that has ended, in a follower's transaction.
func (s *Subscriptions) CancelAll(ctx context.Context, pgtx pgx.Tx, id, reason string) error {
	before, err := store.LiveOf(ctx, pgtx, id)
	if err != nil || len(before) == 0 {
		return err
	}
	command := principal.CommandFrom(ctx)
	command.Reason = reason
	ctx = principal.WithCommand(ctx, command)
	tx, flush, err := s.log.Within(ctx, pgtx)
	if err != nil {
		return err
	}
	ch := newChange(ctx, tx)
	plans := plansOf(before)
	if err := store.HoldPlans(ctx, ch, plans); err != nil {
		return err
	}
	live, err := store.LiveOf(ctx, pgtx, id)
	if err != nil {
		return err
	}
	for _, r := range live {
		err := ch.decide(ctx, r.ID, func(s domain.Subscription) ([]proto.Message, error) { return s.Cancel(ch.Now()) })
		if err != nil {
			return fmt.Errorf("cancel subscription %s: %w", r.ID, err)
		}
	}
	for _, plan := range plans {
		if err := ch.admit(ctx, plan); err != nil {
			return err
		}
	}
	_, err = flush(ctx)
	return err
}

// plansOf returns the plans of subscriptions, in the order in which they are held.
func plansOf(subscriptions []store.Reference) []string {
	plans := make([]string, len(subscriptions))
	for i, r := range subscriptions {
		plans[i] = r.Plan
	}
	slices.Sort(plans)
	return slices.Compact(plans)
}

// read runs fn in a transaction of the acting tenant.
func read[R any](ctx context.Context, s *Subscriptions, fn func(tx pgx.Tx, tenant string) (R, error)) (R, error) {
	var result R
	p, ok := principal.From(ctx)
	if !ok {
		return result, problem.NewUnauthenticated("token-missing", "Nobody is known to act here.")
	}
	err := s.db.InTenant(ctx, p.Tenant, func(tx pgx.Tx) error {
		var err error
		result, err = fn(tx, p.Tenant)
		return err
	})
	return result, err
}

func notFound(err error, nameOrID string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound("subscription-not-found", "There is no subscription %q.", nameOrID)
	}
	return err
}

// paths are where the parts of a subscription stand in a request, for errors.
type paths struct{ name, application, plan, product, terms, limits string }

var (
	requestPaths  = paths{"name", "application", "plan", "product", "acceptedTerms", "limits"}
	resourcePaths = paths{"metadata.name", "metadata.application", "spec.plan", "spec.product", "spec.acceptedTerms", "spec.limits"}
)

func invalid(path, format string, args ...any) error {
	return problem.NewInvalid("subscription-invalid", "The subscription is not valid.").With(
		problem.Field{Path: path, Message: fmt.Sprintf(format, args...)})
}

// application finds the application that a request names.
func (ch *change) application(ctx context.Context, at paths, nameOrID string) (domain.Application, error) {
	a, err := store.FindApplication(ctx, ch, ch.tenant, nameOrID)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, invalid(at.application, "there is no application %q; name one that exists", nameOrID)
	}
	return a, err
}

// plan finds the plan that is named for an application, in its newest version.
func (ch *change) plan(ctx context.Context, at paths, plan, product string, asking domain.Application) (store.ProductPlan, error) {
	plans, err := store.FindPlans(ctx, ch, ch.tenant, plan, product, asking)
	if err != nil {
		return store.ProductPlan{}, err
	}
	names := make([]string, len(plans))
	for i, p := range plans {
		names[i] = p.ProductName
	}
	return only(plans, names, at, plan, product)
}

// only returns the one plan that was found, by the products' names; none and several are errors.
func only[P any](plans []P, products []string, at paths, plan, product string) (P, error) {
	var none P
	switch {
	case len(plans) == 1:
		return plans[0], nil
	case len(plans) > 1:
		return none, invalid(at.product, "is missing, and the products %s have a plan %q each; name one", strings.Join(products, ", "), plan)
	case product != "":
		return none, invalid(at.plan, "the product %q has no plan %q; name one that exists", product, plan)
	}
	return none, invalid(at.plan, "there is no plan %q; name one that exists", plan)
}
