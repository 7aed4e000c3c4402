package app

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/service"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/domain"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// Stream types of those who are told.
const (
	webhookStream   = "webhook"
	recipientStream = "mail-recipient"
)

// maxTold bounds the webhooks, and the recipients of mail, of a tenant: one event is put into the outbox for each.
const maxTold = 100

// SecretWebhook is a webhook as it is shown when its secret is made.
type SecretWebhook struct {
	store.Webhook
	// Secret signs (Standard Webhooks 1.0). It is shown once: empty when the webhook was there, or the command repeated.
	Secret string `json:"secret,omitempty"`
}

// PutWebhook makes a webhook of that name, or makes that one, by its name or id, as the specification says.
func (s *Subscriptions) PutWebhook(ctx context.Context, nameOrID string, spec *subscriptionv1.WebhookSpec) (SecretWebhook, error) {
	secret := ""
	result, err := service.ExecuteResult(ctx, s.log, func(ctx context.Context, tx *eventlog.Tx) (store.Webhook, error) {
		var err error
		var before *store.Webhook
		ch := newChange(ctx, tx)
		if before, secret, err = s.putWebhook(ctx, ch, nameOrID, spec, "name", ""); err != nil {
			return store.Webhook{}, err
		}
		if before != nil {
			nameOrID = before.ID
		}
		return store.FindWebhook(ctx, tx, ch.tenant, nameOrID)
	})
	if err != nil || result.Replayed {
		secret = ""
	}
	return SecretWebhook{result.Value, secret}, err
}

// putWebhook returns what the webhook was before, nil for none, and the secret of a new one. Errors name the paths of the name
// and of the specification, with its dot.
func (s *Subscriptions) putWebhook(ctx context.Context, ch *change, nameOrID string, spec *subscriptionv1.WebhookSpec, namePath, at string) (before *store.Webhook, secret string, err error) {
	if err := notify.CheckURL(at+"url", spec.GetUrl()); err != nil {
		return nil, "", err
	}
	row, err := store.FindWebhook(ctx, ch, ch.tenant, nameOrID)
	switch {
	case err == nil:
		before = &row
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, "", err
	default:
		all, err := store.Webhooks(ctx, ch, ch.tenant, "", maxTold)
		if err != nil {
			return nil, "", err
		}
		if err := checkNew(nameOrID, namePath, len(all), "webhooks"); err != nil {
			return nil, "", err
		}
		row = store.Webhook{ID: newID(), Name: nameOrID}
		secret = notify.NewSecret()
		if err := s.keepSecret(ctx, ch, row.ID, secret); err != nil {
			return nil, "", err
		}
	}
	return before, secret, ch.decideWebhook(ctx, row.ID, func(w domain.Webhook) ([]proto.Message, error) { return w.Set(row.ID, row.Name, spec, at) })
}

// checkNew checks the name of somebody new who is told, and that there are not too many.
func checkNew(name, path string, there int, what string) error {
	if err := resource.CheckName(name); err != nil {
		return problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: path, Message: err.Error()})
	}
	if there >= maxTold {
		return problem.NewConflict("too-many", "There are %d %s, which is the most; delete one first.", there, what)
	}
	return nil
}

func (s *Subscriptions) keepSecret(ctx context.Context, ch *change, webhook, secret string) error {
	return store.SetWebhookSecret(ctx, ch, ch.tenant, webhook, s.seal.Close(sealName(webhook), []byte(secret)))
}

func sealName(webhook string) string { return "webhook " + webhook }

func (ch *change) decideWebhook(ctx context.Context, id string, decide func(domain.Webhook) ([]proto.Message, error)) error {
	history, err := ch.Load(ctx, webhookStream, id)
	if err != nil {
		return err
	}
	events, err := decide(eventlog.Fold(history, domain.Webhook{}, domain.Webhook.Evolve))
	if err != nil {
		return err
	}
	return ch.recordIn(ctx, webhookStream, id, uint64(len(history)), events)
}

// RotateWebhook gives a webhook a new secret. What is on its way stays signed with the old one.
func (s *Subscriptions) RotateWebhook(ctx context.Context, nameOrID string) (SecretWebhook, error) {
	secret := notify.NewSecret()
	result, err := service.ExecuteResult(ctx, s.log, func(ctx context.Context, tx *eventlog.Tx) (store.Webhook, error) {
		ch := newChange(ctx, tx)
		row, err := store.FindWebhook(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return row, webhookNotFound(err, nameOrID)
		}
		if err := s.keepSecret(ctx, ch, row.ID, secret); err != nil {
			return row, err
		}
		return row, ch.decideWebhook(ctx, row.ID, func(w domain.Webhook) ([]proto.Message, error) { return w.Rotate(), nil })
	})
	if err != nil || result.Replayed {
		secret = ""
	}
	return SecretWebhook{result.Value, secret}, err
}

// DeleteWebhook ends a webhook and erases its secret. What is on its way is still delivered.
func (s *Subscriptions) DeleteWebhook(ctx context.Context, nameOrID string) error {
	_, err := execute(ctx, s, func(ctx context.Context, ch *change) (struct{}, error) {
		row, err := store.FindWebhook(ctx, ch, ch.tenant, nameOrID)
		if err != nil {
			return struct{}{}, webhookNotFound(err, nameOrID)
		}
		if err := store.DeleteWebhookSecret(ctx, ch, row.ID); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, ch.decideWebhook(ctx, row.ID, func(w domain.Webhook) ([]proto.Message, error) { return w.Delete(), nil })
	})
	return err
}

// Webhook returns a webhook by its name or id.
func (s *Subscriptions) Webhook(ctx context.Context, nameOrID string) (store.Webhook, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) (store.Webhook, error) {
		row, err := store.FindWebhook(ctx, tx, tenant, nameOrID)
		return row, webhookNotFound(err, nameOrID)
	})
}

// Webhooks returns webhooks in the order of their names, after one.
func (s *Subscriptions) Webhooks(ctx context.Context, after string, limit int) ([]store.Webhook, error) {
	return read(ctx, s, func(tx pgx.Tx, tenant string) ([]store.Webhook, error) {
		return store.Webhooks(ctx, tx, tenant, after, limit)
	})
}

func webhookNotFound(err error, nameOrID string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return problem.NewNotFound("webhook-not-found", "There is no webhook %q.", nameOrID)
	}
	return err
}
