package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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

// keptResponse is an answer as it is kept for a repeated command: without addresses.
type keptResponse struct{ resource.ApplyResponse }

// MarshalJSON implements json.Marshaler.
func (r keptResponse) MarshalJSON() ([]byte, error) {
	kept := resource.ApplyResponse{Changes: slices.Clone(r.Changes)}
	for i, c := range kept.Changes {
		if c.Kind != "MailRecipient" {
			continue
		}
		for _, spec := range []*json.RawMessage{&kept.Changes[i].Before, &kept.Changes[i].After} {
			if len(*spec) == 0 {
				continue
			}
			var fields map[string]json.RawMessage
			err := json.Unmarshal(*spec, &fields)
			delete(fields, "address")
			if err == nil {
				*spec, err = json.Marshal(fields)
			}
			if err != nil {
				return nil, fmt.Errorf("leave the address out of an answer: %w", err)
			}
		}
	}
	return json.Marshal(kept)
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
