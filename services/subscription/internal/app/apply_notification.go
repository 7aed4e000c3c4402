package app

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// errSilent says that the deployment tells nobody.
func errSilent() error {
	return problem.NewConflict("notifications-off", "This deployment has neither webhooks nor mail: the subscription service was given no seal key (TOLLGATE_SEAL_KEY).")
}

// applyWebhook makes a webhook as a document says. The secret of a new one is shown to nobody: rotate it to get one.
func (s *Subscriptions) applyWebhook(ctx context.Context, ch *change, name string, spec *subscriptionv1.WebhookSpec) (proto.Message, error) {
	if s.outbox == nil {
		return nil, errSilent()
	}
	before, _, err := s.putWebhook(ctx, ch, name, spec, "metadata.name", "spec.")
	if before == nil || err != nil {
		return nil, err
	}
	return before.Spec(), nil
}

// applyMailRecipient makes a recipient as a document says. A dry run takes an account to exist that the request assumes.
func (s *Subscriptions) applyMailRecipient(ctx context.Context, ch *change, name string, spec *subscriptionv1.MailRecipientSpec, assumed map[string]bool) (proto.Message, error) {
	if s.outbox == nil {
		return nil, errSilent()
	}
	set := spec
	if assumed["Account "+spec.GetAccount()] {
		_, err := store.FindAccount(ctx, ch, ch.tenant, spec.GetAccount())
		if errors.Is(err, pgx.ErrNoRows) {
			set = proto.CloneOf(spec)
			set.Account = ""
		}
	}
	before, err := ch.putMailRecipient(ctx, name, set, "metadata.name", "spec.")
	if before == nil || err != nil {
		return nil, err
	}
	return before.Spec(), nil
}

// exportTold adds everybody who is told.
func exportTold(ctx context.Context, tx pgx.Tx, tenant string, out *resource.Export) error {
	add := func(kind, name string, spec proto.Message) error {
		r, err := resource.NewResource(kind, resource.Metadata{Name: name}, spec)
		out.Resources = append(out.Resources, r)
		return err
	}
	webhooks, err := store.Webhooks(ctx, tx, tenant, "", maxTold)
	if err != nil {
		return err
	}
	for _, w := range webhooks {
		if err := add("Webhook", w.Name, w.Spec()); err != nil {
			return err
		}
	}
	recipients, err := store.MailRecipients(ctx, tx, tenant, "", maxTold)
	if err != nil {
		return err
	}
	for _, r := range recipients {
		if err := add("MailRecipient", r.Name, r.Spec()); err != nil {
			return err
		}
	}
	return nil
}
