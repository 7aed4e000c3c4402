package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	subscriptionv1 "github.com/tollgate/tollgate/proto/subscription/v1"
	"github.com/tollgate/tollgate/services/subscription/internal/app"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

type putWebhook struct {
	Webhook  string   `path:"webhook" description:"Name, a DNS label; of one that is there also its id."`
	URL      string   `json:"url" required:"true" description:"http or https, without user and fragment."`
	Events   []string `json:"events" description:"Types of events, as in subscription.activated; none for all."`
	Disabled bool     `json:"disabled" description:"Nothing is sent while it is true."`
}

type webhookPath struct {
	Webhook string `path:"webhook" description:"Name or id."`
}

type listPage struct{ operation.Page }

type putMailRecipient struct {
	Recipient string   `path:"recipient" description:"Name, a DNS label; of one that is there also its id."`
	Address   string   `json:"address" required:"true" description:"Mail address."`
	Account   string   `json:"account" description:"Name or id of the account whose subscriptions it is told of; empty for those of all accounts."`
	Events    []string `json:"events" description:"Types of events, as in subscription.activated; none for all."`
	Disabled  bool     `json:"disabled" description:"Nothing is sent while it is true."`
}

type recipientPath struct {
	Recipient string `path:"recipient" description:"Name or id."`
}

// RegisterNotifications adds the operations on those who are told of transitions.
func RegisterNotifications(a *operation.API, s *app.Subscriptions) {
	registerWebhooks(a, s)
	registerMailRecipients(a, s)
}

func registerWebhooks(a *operation.API, s *app.Subscriptions) {
	const one = "/webhooks/{webhook}"
	operation.Register(a, operation.Op[listPage, operation.List[store.Webhook]]{
		Name: "ListWebhooks", Method: http.MethodGet, Path: "/webhooks", Scope: Read, Summary: "Endpoints that are told of transitions, by name.",
		Handle: func(ctx context.Context, r *listPage) (operation.List[store.Webhook], error) {
			rows, err := s.Webhooks(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(w store.Webhook) string { return w.Name }), err
		},
	})
	operation.Register(a, operation.Op[webhookPath, store.Webhook]{
		Name: "GetWebhook", Method: http.MethodGet, Path: one, Scope: Read, Summary: "One webhook, without its secret.",
		Handle: func(ctx context.Context, r *webhookPath) (store.Webhook, error) { return s.Webhook(ctx, r.Webhook) },
	})
	operation.Register(a, operation.Op[putWebhook, app.SecretWebhook]{
		Name: "PutWebhook", Method: http.MethodPut, Path: one, Scope: Write,
		Summary: "Make a webhook, or change it; the secret of a new one is in the answer, once.",
		Handle: func(ctx context.Context, r *putWebhook) (app.SecretWebhook, error) {
			return s.PutWebhook(ctx, r.Webhook, &subscriptionv1.WebhookSpec{Url: r.URL, Events: r.Events, Disabled: r.Disabled})
		},
	})
	operation.Register(a, operation.Op[webhookPath, app.SecretWebhook]{
		Name: "RotateWebhookSecret", Method: http.MethodPost, Path: one + "/rotate", Scope: Write,
		Summary: "Sign with a new secret from now on; it is in the answer, once.",
		Handle: func(ctx context.Context, r *webhookPath) (app.SecretWebhook, error) {
			return s.RotateWebhook(ctx, r.Webhook)
		},
	})
	operation.Register(a, operation.Op[webhookPath, operation.Empty]{
		Name: "DeleteWebhook", Method: http.MethodDelete, Path: one, Scope: Write, Summary: "End a webhook and erase its secret.",
		Handle: func(ctx context.Context, r *webhookPath) (operation.Empty, error) {
			return operation.Empty{}, s.DeleteWebhook(ctx, r.Webhook)
		},
	})
}

// Mail addresses are personal data: reading them takes the scope to change them.
func registerMailRecipients(a *operation.API, s *app.Subscriptions) {
	const one = "/mail-recipients/{recipient}"
	operation.Register(a, operation.Op[listPage, operation.List[store.MailRecipient]]{
		Name: "ListMailRecipients", Method: http.MethodGet, Path: "/mail-recipients", Scope: Write, Summary: "Who gets mail about transitions, by name.",
		Handle: func(ctx context.Context, r *listPage) (operation.List[store.MailRecipient], error) {
			rows, err := s.MailRecipients(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(m store.MailRecipient) string { return m.Name }), err
		},
	})
	operation.Register(a, operation.Op[recipientPath, store.MailRecipient]{
		Name: "GetMailRecipient", Method: http.MethodGet, Path: one, Scope: Write, Summary: "One recipient of mail.",
		Handle: func(ctx context.Context, r *recipientPath) (store.MailRecipient, error) {
			return s.MailRecipient(ctx, r.Recipient)
		},
	})
	operation.Register(a, operation.Op[putMailRecipient, store.MailRecipient]{
		Name: "PutMailRecipient", Method: http.MethodPut, Path: one, Scope: Write, Summary: "Make a recipient of mail, or change it.",
		Handle: func(ctx context.Context, r *putMailRecipient) (store.MailRecipient, error) {
			return s.PutMailRecipient(ctx, r.Recipient, &subscriptionv1.MailRecipientSpec{Address: r.Address, Account: r.Account, Events: r.Events, Disabled: r.Disabled})
		},
	})
	operation.Register(a, operation.Op[recipientPath, operation.Empty]{
		Name: "DeleteMailRecipient", Method: http.MethodDelete, Path: one, Scope: Write, Summary: "End a recipient of mail and erase the address.",
		Handle: func(ctx context.Context, r *recipientPath) (operation.Empty, error) {
			return operation.Empty{}, s.DeleteMailRecipient(ctx, r.Recipient)
		},
	})
}
