package app

import (
	"context"
	"fmt"
	"net/mail"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tollgate/tollgate/libs/eventlog"
	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/service"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/store"
)

// Notifier tells people and programs. It is nil in a process that has no seal key.
type Notifier struct {
	Outbox *notify.Outbox
	Seal   *seal.Seal
}

// maxRecipients bounds the recipients of a rule or report.
const maxRecipients = 20

func checkMail(addresses []string, fields *problem.Fields) {
	if len(addresses) > maxRecipients {
		fields.Add("spec.mail", "has %d addresses; the most is %d", len(addresses), maxRecipients)
	}
	for i, a := range addresses {
		if parsed, err := mail.ParseAddress(a); err != nil || parsed.Address != a {
			fields.Add(fmt.Sprintf("spec.mail[%d]", i), `is not a mail address as in "ops@example.com"`)
		}
	}
}

// mayNotify says why nobody can be told, or nil.
func (a *Analytics) mayNotify() error {
	if a.Notifier == nil {
		return problem.NewUnavailable("notifications-off", "This installation sends no notifications: analytics was started without TOLLGATE_SEAL_KEY.")
	}
	return nil
}

// WebhookSecret is what webhooks of a tenant are signed with.
type WebhookSecret struct {
	Secret string `json:"secret,omitempty" description:"Signs webhooks as Standard Webhooks 1.0 says. It is shown once; a dry run makes none."`
}

func secretName(tenant string) string { return "analytics webhook " + tenant }

// RotateWebhookSecret gives the acting tenant a new secret for webhooks, which takes the place of the one before at once.
func (a *Analytics) RotateWebhookSecret(ctx context.Context) (WebhookSecret, error) {
	if err := a.mayNotify(); err != nil {
		return WebhookSecret{}, err
	}
	secret := notify.NewSecret()
	result, err := service.ExecuteResult(ctx, a.Log, func(ctx context.Context, tx *eventlog.Tx) (struct{}, error) {
		who, err := actor(ctx)
		if err != nil {
			return struct{}{}, err
		}
		history, err := tx.Load(ctx, "settings", who.Tenant)
		if err != nil {
			return struct{}{}, err
		}
		tx.Append("settings", who.Tenant, uint64(len(history)), &analyticsv1.WebhookSecretRotated{})
		return struct{}{}, store.PutWebhookSecret(ctx, tx, who.Tenant, a.Notifier.Seal.Close(secretName(who.Tenant), []byte(secret)))
	})
	if err == nil && result.Replayed {
		return WebhookSecret{}, problem.NewConflict("secret-shown-once", "The secret was made before, with the same Idempotency-Key, and is shown once. Make another one with another key.")
	}
	if err != nil || principal.CommandFrom(ctx).DryRun {
		return WebhookSecret{}, err
	}
	return WebhookSecret{Secret: secret}, nil
}

// message is what is told of a transition or a report.
type message struct {
	tenant, key string
	mail        notify.Mail
	webhook     string
	kind        string
	at          time.Time
	payload     any
}

// tell puts a message into the outbox, once for its key.
func (a *Analytics) tell(ctx context.Context, tx pgx.Tx, m message) error {
	if a.Notifier == nil {
		a.Logger.Warn("nobody is told: there is no seal key", "message", m.key)
		return nil
	}
	if len(m.mail.To) > 0 {
		if err := a.Notifier.Outbox.Mail(ctx, tx, m.tenant, m.key+"/mail", m.mail); err != nil {
			return err
		}
	}
	if m.webhook == "" {
		return nil
	}
	s, err := store.SettingsOf(ctx, tx, m.tenant)
	if err != nil {
		return err
	}
	secret, err := a.Notifier.Seal.Open(secretName(m.tenant), s.WebhookSecret)
	if err != nil {
		return fmt.Errorf("sign a webhook: %w", err)
	}
	return a.Notifier.Outbox.Webhook(ctx, tx, m.tenant, m.key+"/webhook", notify.Webhook{URL: m.webhook, Secret: string(secret), Type: m.kind, At: m.at, Payload: m.payload})
}
