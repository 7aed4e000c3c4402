// Package notify sends mail and signed webhooks for a service.
//
// A message is put into the outbox, a table of the service's own database, in the transaction of the event that it tells of:
// it is neither lost nor sent for what did not happen, and its key makes it one message however often the event is handled. It is
// then delivered at least once by any replica, again and again with growing pauses for three days. Tenants take turns: one whose
// endpoints do not answer holds up no other. What was delivered or given up loses its content, which may be personal or secret:
// only the fact remains, for thirty days.
//
// Used by identity, subscription and analytics. All methods are safe for concurrent use.
package notify

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/seal"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate makes the table, or brings it up to date.
func Migrate(ctx context.Context, db *postgres.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return db.Migrate(ctx, files, "tollgate_notify_versions")
}

// Config says how messages leave. It is embedded in the Config of each service that sends any.
type Config struct {
	MailURL string `help:"Where mail goes: smtp://USER:PASSWORD@HOST:587 (STARTTLS), smtps://USER:PASSWORD@HOST:465, or file:///DIRECTORY, which receives a file for each mail. Empty: mail waits." env:"TOLLGATE_MAIL_URL" secret:"true" placeholder:"URL"`
	// MailFrom is the sender of all mail.
	MailFrom string `help:"Sender of mail, as in tollgate@example.com." env:"TOLLGATE_MAIL_FROM" default:"tollgate@localhost"`
	// WebhookAllowPrivate lets webhooks reach loopback and private addresses. Without it, nobody who may set a webhook's URL
	// can make a service call into the network that it runs in.
	WebhookAllowPrivate bool `help:"Deliver webhooks to loopback and private addresses too." env:"TOLLGATE_WEBHOOK_ALLOW_PRIVATE"`
}

// Validate reports every field that is wrong.
func (c Config) Validate() error {
	_, err := newMailer(c)
	return err
}

// Deps is what an outbox is given.
type Deps struct {
	DB       *postgres.DB
	Log      *slog.Logger
	Seal     *seal.Seal
	Registry *prometheus.Registry
	// Clock gives the time; time.Now when nil.
	Clock func() time.Time
}

// Outbox keeps messages until they are delivered.
type Outbox struct {
	Deps
	senders   map[string]sender
	delivered *prometheus.CounterVec
	wake      chan struct{}
}

// sender delivers one message. id is the same whenever it is tried again.
type sender interface {
	send(ctx context.Context, id string, content []byte) error
}

const (
	kindMail    = "mail"
	kindWebhook = "webhook"
)

// New returns an outbox; Run delivers what is in it. Its table must be there: see Migrate.
func New(d Deps, c Config) (*Outbox, error) {
	if d.DB == nil || d.Log == nil || d.Seal == nil || d.Registry == nil {
		return nil, errors.New("notify: DB, Log, Seal and Registry must be given")
	}
	if d.Clock == nil {
		d.Clock = time.Now
	}
	mailer, err := newMailer(c)
	if err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	o := &Outbox{
		Deps: d, wake: make(chan struct{}, 1),
		senders: map[string]sender{kindMail: mailer, kindWebhook: newWebhooks(c.WebhookAllowPrivate, d.Clock)},
		delivered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tollgate_notify_attempts_total", Help: "Attempts to deliver a message, by kind and outcome.",
		}, []string{"kind", "outcome"}),
	}
	if err := d.Registry.Register(o.delivered); err != nil {
		return nil, fmt.Errorf("notify: register metrics: %w", err)
	}
	return o, nil
}

// Mail is a message to people.
type Mail struct {
	To      []string
	Subject string
	Text    string
	// HTML is an alternative to Text for readers that show it; empty for none.
	HTML        string       `json:",omitempty"`
	Attachments []Attachment `json:",omitempty"`
}

// Attachment is a file that comes with a mail.
type Attachment struct {
	Name, MediaType string
	Content         []byte
}

// Mail puts a mail into the outbox, in the caller's transaction. key makes it one message however often it is put.
func (o *Outbox) Mail(ctx context.Context, tx pgx.Tx, tenant, key string, m Mail) error {
	if len(m.To) == 0 {
		return errors.New("put mail: it has no recipient")
	}
	return o.put(ctx, tx, tenant, key, kindMail, "mail", strconv.Itoa(len(m.To))+" recipients", m)
}

// Webhook is a message to a program. It is signed as Standard Webhooks 1.0 says.
type Webhook struct {
	URL string
	// Secret signs: see NewSecret.
	Secret string
	// Type of the event, for example "subscription.activated".
	Type string
	// At is when the event happened.
	At time.Time
	// Payload is the event's data; it is encoded as JSON.
	Payload any
}

// Webhook puts a webhook into the outbox, in the caller's transaction. key makes it one message however often it is put.
func (o *Outbox) Webhook(ctx context.Context, tx pgx.Tx, tenant, key string, w Webhook) error {
	target, err := url.Parse(w.URL)
	if err != nil {
		return fmt.Errorf("put webhook: %w", err)
	}
	body, err := json.Marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      any       `json:"data"`
	}{w.Type, w.At.UTC(), w.Payload})
	if err != nil {
		return fmt.Errorf("put webhook: encode its data: %w", err)
	}
	return o.put(ctx, tx, tenant, key, kindWebhook, w.Type, target.Host, signedRequest{w.URL, w.Secret, body})
}

func (o *Outbox) put(ctx context.Context, tx pgx.Tx, tenant, key, kind, messageType, destination string, content any) error {
	encoded, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("put %s: %w", kind, err)
	}
	id := uuid.Must(uuid.NewV7()).String()
	now := o.Clock().UTC()
	_, err = tx.Exec(ctx, `
		INSERT INTO notify_outbox (id, tenant_id, key, kind, type, destination, content, created_at, next_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (tenant_id, key) DO NOTHING`,
		id, tenant, key, kind, messageType, destination, o.Seal.Close(id, encoded), now)
	if err != nil {
		return fmt.Errorf("put %s: %w", kind, err)
	}
	o.nudge() // the transaction is about to be committed; if Run looks too early, it looks again within a second
	return nil
}

// Delivery is what remains of a message for those who look after it.
type Delivery struct {
	ID          string     `json:"id"`
	Kind        string     `json:"kind" description:"mail or webhook."`
	Type        string     `json:"type"`
	Destination string     `json:"destination" description:"A host, or the number of recipients."`
	Status      string     `json:"status" description:"pending, delivered or failed."`
	Attempts    int        `json:"attempts"`
	LastError   string     `json:"lastError,omitempty"`
	CreatedAt   time.Time  `json:"createdAt"`
	NextAt      *time.Time `json:"nextAt,omitempty"`
	FinishedAt  *time.Time `json:"finishedAt,omitempty"`
}

// List returns deliveries of a tenant, the newest first, beginning below a delivery's id; status is empty for all.
func (o *Outbox) List(ctx context.Context, tenant, status, below string, limit int) ([]Delivery, error) {
	var list []Delivery
	err := o.DB.InTenant(ctx, tenant, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT id::text, kind, type, destination, status, attempts, last_error, created_at,
			       CASE WHEN status = 'pending' THEN next_at END, finished_at
			FROM notify_outbox WHERE ($1 = '' OR status = $1) AND ($2 = '' OR id::text < $2) ORDER BY id DESC LIMIT $3`, status, below, limit)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Delivery])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return list, nil
}

// Retry tries a pending delivery now instead of at its time. One that is finished cannot be tried again: its content is gone.
func (o *Outbox) Retry(ctx context.Context, tenant, id string) error {
	var status string
	err := o.DB.InTenant(ctx, tenant, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			WITH due AS (UPDATE notify_outbox SET next_at = $2 WHERE id::text = $1 AND status = 'pending' RETURNING id)
			SELECT status FROM notify_outbox WHERE id::text = $1`, id, o.Clock().UTC()).Scan(&status)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return problem.NewNotFound("delivery-unknown", "There is no delivery %q.", id)
	case err != nil:
		return fmt.Errorf("retry delivery: %w", err)
	case status != "pending":
		return problem.NewConflict("delivery-finished", "The delivery is %s; its content is gone and it cannot be tried again.", status)
	}
	o.nudge()
	return nil
}

func (o *Outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
