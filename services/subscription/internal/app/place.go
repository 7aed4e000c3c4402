package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// A plan's places are counted while the plan is held (store.HoldPlans), by every command that takes or frees one: so never
// more are given away than there are.

// maxAdmitted bounds the requests that one command admits; the sweeper goes on with the rest.
const maxAdmitted = 100

// hold finds a subscription by its name or id and holds its plan, and others.
func (ch *change) hold(ctx context.Context, nameOrID string, others ...string) (store.Subscription, error) {
	before, err := store.Find(ctx, ch, ch.tenant, nameOrID)
	if err != nil {
		return before, notFound(err, nameOrID)
	}
	plans := append([]string{before.PlanID}, others...)
	slices.Sort(plans)
	if err := store.HoldPlans(ctx, ch, slices.Compact(plans)); err != nil {
		return before, err
	}
	row, err := store.Find(ctx, ch, ch.tenant, before.ID)
	if err == nil && row.PlanID != before.PlanID {
		err = fmt.Errorf("the plan of subscription %s changes: %w", row.ID, eventlog.ErrConflict)
	}
	return row, notFound(err, nameOrID)
}

// place returns what a plan, which is held, has for one more subscription.
func (ch *change) place(ctx context.Context, plan string) (domain.Place, error) {
	p, err := store.FindPlaces(ctx, ch, plan)
	return domain.Place{Free: p.Free() && p.Last == 0, Number: uint64(p.Last) + 1}, err
}

// admit gives the free places of a plan, which is held, to those who are first in line.
func (ch *change) admit(ctx context.Context, plan string) error {
	for range maxAdmitted {
		p, err := store.FindPlaces(ctx, ch, plan)
		if err != nil || p.Last == 0 || !p.Free() {
			return err
		}
		id, err := store.NextWaiting(ctx, ch, plan)
		if err != nil {
			return err
		}
		row, err := store.Find(ctx, ch, ch.tenant, id)
		if err != nil {
			return err
		}
		version, err := store.FindPlanVersion(ctx, ch, row.PlanID, row.PlanVersion)
		if err != nil {
			return err
		}
		err = ch.decide(ctx, id, func(s domain.Subscription) ([]proto.Message, error) { return s.Admit(version.Plan, ch.Now()) })
		if err != nil {
			return fmt.Errorf("admit subscription %s: %w", id, err)
		}
	}
	return nil
}

// requested is whether a subscription still waits for a decision; a subscription that is gone does not.
func requested(row store.Subscription, err error) (bool, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil && row.State == string(domain.Requested), err
}
