package notify_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/seal"
	"github.com/tollgate/tollgate/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const patience = time.Minute

// clock is one that tests set.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

type fixture struct {
	db    *postgres.DB
	seal  *seal.Seal
	clock *clock
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: testkit.Database(t, "notify")})
	require.NoError(t, err)
	t.Cleanup(db.Close)
	require.NoError(t, notify.Migrate(t.Context(), db))
	sealer, err := seal.New("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	require.NoError(t, err)
	return &fixture{db: db, seal: sealer, clock: &clock{}}
}

func (f *fixture) outbox(t *testing.T, c notify.Config) *notify.Outbox {
	t.Helper()
	if c.MailFrom == "" {
		c.MailFrom = "tollgate@example.com"
	}
	outbox, err := notify.New(notify.Deps{
		DB: f.db, Log: testkit.Logger(t), Seal: f.seal, Registry: prometheus.NewRegistry(), Clock: f.clock.now,
	}, c)
	require.NoError(t, err)
	return outbox
}

func run(t *testing.T, o *notify.Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(stop)
	return stop
}

// put runs something in a transaction of a tenant.
func (f *fixture) put(t *testing.T, tenant string, fn func(tx pgx.Tx) error) {
	t.Helper()
	require.NoError(t, f.db.InTenant(t.Context(), tenant, fn))
}

func (f *fixture) webhook(t *testing.T, o *notify.Outbox, tenant, key, url, secret string) {
	t.Helper()
	f.put(t, tenant, func(tx pgx.Tx) error {
		return o.Webhook(t.Context(), tx, tenant, key, notify.Webhook{
			URL: url, Secret: secret, Type: "subscription.activated", At: time.Unix(1_900_000_000, 0), Payload: map[string]string{"subscription": key},
		})
	})
}

// await waits until a tenant's deliveries are as wanted.
func await(t *testing.T, o *notify.Outbox, tenant string, want func([]notify.Delivery) error) []notify.Delivery {
	t.Helper()
	var list []notify.Delivery
	testkit.Await(t, patience, func() (err error) {
		if list, err = o.List(t.Context(), tenant, "", "", 1000); err == nil {
			err = want(list)
		}
		return err
	})
	return list
}

func all(status string, n int) func([]notify.Delivery) error {
	return func(list []notify.Delivery) error {
		for _, d := range list {
			if d.Status != status {
				return errors.New(d.ID + " is " + d.Status + ": " + d.LastError)
			}
		}
		if len(list) != n {
			return errors.New("there are not as many yet")
		}
		return nil
	}
}

// kept says whether any content is still in the table.
func (f *fixture) kept(t *testing.T) (n int) {
	t.Helper()
	f.put(t, "*", func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM notify_outbox WHERE content IS NOT NULL`).Scan(&n)
	})
	return n
}

// endpoint receives webhooks and answers as told.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	answer int
	got    map[string]int
	bodies []string
}

func newEndpoint(t *testing.T, secret string) *endpoint {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	e := &endpoint{answer: http.StatusNoContent, got: map[string]int{}}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		defer e.mu.Unlock()
		if err := verifier.Verify(body, r.Header); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		e.got[r.Header.Get(notify.HeaderID)]++
		e.bodies = append(e.bodies, string(body))
		w.WriteHeader(e.answer)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) set(answer int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

func (e *endpoint) attempts() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, times := range e.got {
		n += times
	}
	return n
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := notify.NewSecret()
	e := newEndpoint(t, secret)
	o := f.outbox(t, notify.Config{WebhookAllowPrivate: true})
	run(t, o)
	f.webhook(t, o, "acme", "s1", e.URL, secret)
	f.webhook(t, o, "acme", "s1", e.URL, secret) // handled again
	list := await(t, o, "acme", all("delivered", 1))
	require.Equal(t, 1, e.attempts())
	require.Equal(t, []string{`{"type":"subscription.activated","timestamp":"2030-03-17T17:46:40Z","data":{"subscription":"s1"}}`}, e.bodies)
	require.Equal(t, 1, list[0].Attempts)
	require.NotNil(t, list[0].FinishedAt)
	require.Zero(t, f.kept(t), "the content is gone")

	others, err := o.List(t.Context(), "other", "", "", 10)
	require.NoError(t, err)
	require.Empty(t, others)
	require.Equal(t, problem.NotFound, problem.KindOf(o.Retry(t.Context(), "other", list[0].ID)))
	require.Equal(t, problem.Conflict, problem.KindOf(o.Retry(t.Context(), "acme", list[0].ID)))
}

func TestWebhookIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := notify.NewSecret()
	e := newEndpoint(t, secret)
	e.set(http.StatusServiceUnavailable)
	o := f.outbox(t, notify.Config{WebhookAllowPrivate: true})
	run(t, o)
	f.webhook(t, o, "acme", "s1", e.URL, secret)
	failing := func(list []notify.Delivery) error {
		if len(list) != 1 || list[0].LastError == "" {
			return errors.New("not tried yet")
		}
		return nil
	}
	list := await(t, o, "acme", failing)
	require.Equal(t, "pending", list[0].Status)
	require.Equal(t, "the endpoint answered 503, not 2xx", list[0].LastError)
	e.set(http.StatusOK)
	require.NoError(t, o.Retry(t.Context(), "acme", list[0].ID))
	await(t, o, "acme", all("delivered", 1))
	require.Equal(t, map[string]int{list[0].ID: 2}, e.got, "the same id")

	e.set(http.StatusGone)
	f.webhook(t, o, "acme", "s2", e.URL, secret)
	list = await(t, o, "acme", func(list []notify.Delivery) error {
		if len(list) != 2 || list[0].Status != "failed" {
			return errors.New("not given up yet")
		}
		return nil
	})
	require.Equal(t, "given up: the endpoint answered 410 Gone", list[0].LastError)
	require.Zero(t, f.kept(t))
}

func TestWebhookIsGivenUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := notify.NewSecret()
	e := newEndpoint(t, secret)
	e.set(http.StatusInternalServerError)
	o := f.outbox(t, notify.Config{WebhookAllowPrivate: true})
	f.webhook(t, o, "acme", "s1", e.URL, secret)
	f.clock.ahead.Store(int64(73 * time.Hour))
	run(t, o)
	await(t, o, "acme", all("failed", 1))
	require.Zero(t, f.kept(t))
}

// TestReplicas lets two deliver at once, and one die with what it took.
func TestReplicas(t *testing.T) {
	t.Parallel()
	const messages = 200
	f := newFixture(t)
	secret := notify.NewSecret()
	e := newEndpoint(t, secret)
	first, second := f.outbox(t, notify.Config{WebhookAllowPrivate: true}), f.outbox(t, notify.Config{WebhookAllowPrivate: true})
	for i := range messages {
		f.webhook(t, first, "acme", "s"+string(rune('a'+i%26))+string(rune('a'+i/26)), e.URL, secret)
	}
	f.put(t, "*", func(tx pgx.Tx) error { // taken by one that died
		_, err := tx.Exec(t.Context(), `UPDATE notify_outbox SET attempts = 1, next_at = next_at - interval '1 second' WHERE key = 'saa'`)
		return err
	})
	run(t, first)
	run(t, second)
	await(t, first, "acme", all("delivered", messages))
	require.Len(t, e.got, messages)
	require.Equal(t, messages, e.attempts(), "each once")
}

func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.outbox(t, notify.Config{})
	run(t, o)
	secret := notify.NewSecret()
	e := newEndpoint(t, secret)
	f.webhook(t, o, "acme", "literal", e.URL, secret)
	f.webhook(t, o, "acme", "mapped", "http://[::ffff:127.0.0.1]:80/", secret)
	f.webhook(t, o, "acme", "name", strings.Replace(e.URL, "127.0.0.1", "localhost", 1), secret)
	f.webhook(t, o, "acme", "link-local", "http://169.254.169.254/latest/meta-data", secret)
	f.webhook(t, o, "acme", "embedded", "http://[64:ff9b::7f00:1]:80/", secret)
	const refused = "the address is not a public one, and private ones are not allowed (webhook-allow-private)"
	list := await(t, o, "acme", func(list []notify.Delivery) error {
		for _, d := range list {
			if d.LastError != refused { // which says nothing of the address
				return errors.New(d.Destination + ": " + d.LastError)
			}
		}
		return nil
	})
	require.Len(t, list, 5)
	require.Zero(t, e.attempts())
	require.Error(t, notify.CheckURL("url", "ftp://example.com"))
	require.Error(t, notify.CheckURL("url", "https://user@example.com"))
	require.NoError(t, notify.CheckURL("url", "https://example.com/hooks"))
}

func TestMailFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	folder := filepath.Join(t.TempDir(), "mail")
	o := f.outbox(t, notify.Config{MailURL: "file://" + folder})
	run(t, o)
	f.put(t, "acme", func(tx pgx.Tx) error {
		return o.Mail(t.Context(), tx, "acme", "m1", notify.Mail{
			To: []string{"ann@example.com"}, Subject: "Hello\r\nBcc: eve@example.com", Text: "Grüße", HTML: "<p>Grüße</p>",
			Attachments: []notify.Attachment{{Name: "a.csv", MediaType: "text/csv", Content: []byte("x,y")}},
		})
	})
	list := await(t, o, "acme", all("delivered", 1))
	require.Equal(t, "1 recipients", list[0].Destination)
	written, err := os.ReadFile(filepath.Join(folder, list[0].ID+".eml"))
	require.NoError(t, err)
	require.Contains(t, string(written), "Subject: Hello Bcc: eve@example.com\r\n")
	require.Contains(t, string(written), "To: <ann@example.com>\r\n")
	require.NotContains(t, string(written), "\r\nBcc:")
	require.Contains(t, string(written), "multipart/mixed")
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Zero(t, f.kept(t))
}

// mailbox is an SMTP server that keeps what it gets.
type mailbox struct {
	refuse atomic.Int64 // answer to RCPT; 0 accepts
	mails  chan string
}

func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return mailSession{m}, nil }

type mailSession struct{ *mailbox }

func (mailSession) Reset()                               {}
func (mailSession) Logout() error                        { return nil }
func (mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s mailSession) Rcpt(string, *smtp.RcptOptions) error {
	if code := s.refuse.Load(); code != 0 {
		return &smtp.SMTPError{Code: int(code), Message: "no such user ann@example.com"}
	}
	return nil
}

func (s mailSession) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.mails <- string(data)
	return err
}

func TestMailServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	box := &mailbox{mails: make(chan string, 10)}
	server := smtp.NewServer(box)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	f := newFixture(t)
	o := f.outbox(t, notify.Config{MailURL: "smtp://" + listener.Addr().String()})
	run(t, o)
	put := func(key string) {
		f.put(t, "acme", func(tx pgx.Tx) error {
			return o.Mail(t.Context(), tx, "acme", key, notify.Mail{To: []string{"ann@example.com"}, Subject: "Hello", Text: "Text"})
		})
	}
	put("m1")
	require.Contains(t, <-box.mails, "Subject: Hello\r\n")
	await(t, o, "acme", all("delivered", 1))

	box.refuse.Store(451)
	put("m2")
	list := await(t, o, "acme", func(list []notify.Delivery) error {
		if list[0].LastError == "" {
			return errors.New("not tried yet")
		}
		return nil
	})
	require.Equal(t, "pending", list[0].Status)
	require.NotContains(t, list[0].LastError, "ann@")
	box.refuse.Store(0)
	require.NoError(t, o.Retry(t.Context(), "acme", list[0].ID))
	<-box.mails
	await(t, o, "acme", all("delivered", 2))

	box.refuse.Store(550)
	put("m3")
	list = await(t, o, "acme", func(list []notify.Delivery) error {
		if list[0].Status != "failed" {
			return errors.New("not given up yet")
		}
		return nil
	})
	require.NotContains(t, list[0].LastError, "ann@")
}

func TestMailWaits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	o := f.outbox(t, notify.Config{})
	run(t, o)
	f.put(t, "acme", func(tx pgx.Tx) error {
		return o.Mail(t.Context(), tx, "acme", "m1", notify.Mail{To: []string{"ann@example.com"}, Subject: "Hello", Text: "Text"})
	})
	list := await(t, o, "acme", func(list []notify.Delivery) error {
		if list[0].LastError == "" {
			return errors.New("not tried yet")
		}
		return nil
	})
	require.Equal(t, "no mail server is configured: set mail-url", list[0].LastError)
	require.Equal(t, "pending", list[0].Status)
	require.Equal(t, 1, f.kept(t))
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                           "",
		"file:///var/mail":           "",
		"smtp://u:p@example.com:587": "",
		"smtps://example.com":        "",
		"file://relative/path":       "absolute path",
		"http://example.com":         "is not smtp, smtps or file",
		"smtp://":                    "names no host",
		"smtp://u:secret@h:x y":      "is not a URL",
	} {
		err := notify.Config{MailURL: url, MailFrom: "a@example.com"}.Validate()
		if want == "" {
			require.NoError(t, err, url)
			continue
		}
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "secret")
	}
	require.ErrorContains(t, notify.Config{MailURL: "file:///x", MailFrom: "nobody"}.Validate(), "mail-from")
}

func TestNoGoroutineIsLeft(t *testing.T) {
	f := newFixture(t)
	before := goleak.IgnoreCurrent()
	run(t, f.outbox(t, notify.Config{}))()
	goleak.VerifyNone(t, before)
}
