package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Named is something with its id and name.
type Named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Notification is what is told of a transition: the data of a webhook.
type Notification struct {
	Subscription Named  `json:"subscription"`
	Application  Named  `json:"application"`
	Account      Named  `json:"account"`
	Product      Named  `json:"product"`
	Plan         Named  `json:"plan"`
	PlanVersion  uint32 `json:"planVersion"`
	Transition
}

// Notify puts into the outbox what an event of subscription's log is told to webhooks and by mail, in the follower's transaction: once
// for each, however often the event comes.
func (s *Subscriptions) Notify(ctx context.Context, tx pgx.Tx, e eventlog.Event) error {
	transition := domain.TransitionOf(e.Payload)
	if e.StreamType != streamType || transition == "" || s.outbox == nil {
		return nil
	}
	row, err := store.Find(ctx, tx, e.Tenant, e.StreamID)
	if err != nil {
		return err
	}
	kind := domain.EventType(transition)
	targets, err := store.Targets(ctx, tx, e.Tenant, kind)
	if err != nil {
		return err
	}
	addresses, err := store.Addresses(ctx, tx, e.Tenant, row.AccountID, kind)
	if err != nil || len(targets)+len(addresses) == 0 {
		return err
	}
	n, err := s.notification(ctx, tx, e, row)
	if err != nil {
		return err
	}
	for _, target := range targets {
		secret, err := s.seal.Open(sealName(target.ID), target.Secret)
		if err != nil {
			return fmt.Errorf("tell webhook %s: %w", target.ID, err)
		}
		w := notify.Webhook{URL: target.URL, Secret: string(secret), Type: kind, At: e.RecordedAt, Payload: n}
		if err := s.outbox.Webhook(ctx, tx, e.Tenant, e.ID+"/"+target.ID, w); err != nil {
			return err
		}
	}
	for _, a := range addresses {
		if err := s.outbox.Mail(ctx, tx, e.Tenant, e.ID+"/"+a.ID, n.mail(a.Address)); err != nil {
			return err
		}
	}
	return nil
}

// CheckSealKey makes sure that the seal key is the one that the secrets of webhooks were sealed with.
func (s *Subscriptions) CheckSealKey(ctx context.Context) error {
	err := s.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) error {
		webhook, secret, err := store.AnyWebhookSecret(ctx, tx)
		if err == nil {
			_, err = s.seal.Open(sealName(webhook), secret)
		}
		return err
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case errors.Is(err, seal.ErrKey):
		return errors.New("seal-key: is not the one that the secrets of webhooks were sealed with; give that one")
	}
	return err
}

// CheckNobodyIsTold makes sure that nobody waits to be told of anything, of any tenant.
func (s *Subscriptions) CheckNobodyIsTold(ctx context.Context) error {
	var webhooks, recipients int
	err := s.db.InTenant(ctx, principal.AllTenants, func(tx pgx.Tx) (err error) {
		webhooks, recipients, err = store.CountTold(ctx, tx)
		return err
	})
	if err == nil && webhooks+recipients > 0 {
		err = fmt.Errorf("seal-key: is empty, but there are %d webhooks and %d recipients of mail to be told; give the key that they were made with", webhooks, recipients)
	}
	return err
}

// notification tells the event as it was when it happened, with the names of now.
func (s *Subscriptions) notification(ctx context.Context, tx pgx.Tx, e eventlog.Event, row store.Subscription) (Notification, error) {
	log, _, err := s.log.Within(ctx, tx)
	if err != nil {
		return Notification{}, err
	}
	history, err := log.LoadFor(ctx, e.Tenant, streamType, e.StreamID)
	if err != nil {
		return Notification{}, err
	}
	history = history[:min(e.Version, uint64(len(history)))]
	state := eventlog.Fold(history, domain.Subscription{}, domain.Subscription.Evolve)
	plan, err := store.FindPlanVersion(ctx, tx, state.Plan, state.PlanVersion)
	if err != nil {
		return Notification{}, err
	}
	all := transitions(history)
	return Notification{
		Subscription: Named{row.ID, row.Name}, Application: Named{row.ApplicationID, row.Application}, Account: Named{row.AccountID, row.Account},
		Product: Named{row.ProductID, row.Product}, Plan: Named{plan.ID, plan.Name}, PlanVersion: state.PlanVersion, Transition: all[len(all)-1],
	}, nil
}

// mail is the notification as people read it.
func (n Notification) mail(to string) notify.Mail {
	var text strings.Builder
	line := func(name, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(&text, "%-13s %s\n", name+":", value)
		}
	}
	line("Subscription", n.Subscription.Name)
	line("Application", n.Application.Name)
	line("Account", n.Account.Name)
	line("Product", n.Product.Name)
	line("Plan", fmt.Sprintf("%s, version %d", n.Plan.Name, n.PlanVersion))
	line("Event", n.Transition.Transition)
	line("State", n.To)
	line("Before", n.From)
	line("By", n.Actor)
	line("Reason", n.Reason)
	line("Comment", n.Comment)
	line("Time", n.At.UTC().Format(time.RFC3339))
	return notify.Mail{To: []string{to}, Subject: "Subscription " + n.Subscription.Name + ": " + n.Transition.Transition, Text: text.String()}
}
