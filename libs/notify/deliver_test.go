package notify_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/notify"
)

// silent is an endpoint that takes webhooks and does not answer until the test ends.
func silent(t *testing.T) (url string, came <-chan struct{}) {
	t.Helper()
	arrived, leave := make(chan struct{}, 1000), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-leave
	}))
	t.Cleanup(func() {
		close(leave)
		server.Close()
	})
	return server.URL, arrived
}

func (f *fixture) count(t *testing.T, condition string) (n int) {
	t.Helper()
	f.put(t, "*", func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM notify_outbox WHERE `+condition).Scan(&n)
	})
	return n
}

// TestOneTenantHoldsUpNoOther: messages of a tenant whose endpoints do not answer leave room for those of others, and none is taken
// before it can be sent, so that no other replica finds it overdue.
func TestOneTenantHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := notify.NewSecret()
	dead, came := silent(t)
	e := newEndpoint(t, secret)
	o := f.outbox(t, notify.Config{WebhookAllowPrivate: true})
	for i := range 100 {
		f.webhook(t, o, "acme", fmt.Sprint("s", i), dead, secret)
	}
	run(t, o)
	<-came
	for _, tenant := range []string{"globex", "initech"} {
		f.webhook(t, o, tenant, "s", e.URL, secret)
		await(t, o, tenant, all("delivered", 1))
	}
	sent := 1
	for ; len(came) > 0; sent++ {
		<-came
	}
	taken := f.count(t, `attempts > 0 AND tenant_id = 'acme'`)
	require.LessOrEqual(t, taken, notify.PerTenant)
	require.LessOrEqual(t, sent, taken)
	require.Greater(t, notify.ClaimFor, notify.SendTimeout)
}

// TestErrorsAreText: whatever a server says, the outcome of an attempt can be noted.
func TestErrorsAreText(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("554 x\xff\x00" + strings.Repeat("ü", 400) + "\r\n"))
			_ = c.Close()
		}
	}()
	o := f.outbox(t, notify.Config{MailURL: "smtp://" + listener.Addr().String()})
	run(t, o)
	f.put(t, "acme", func(tx pgx.Tx) error {
		return o.Mail(t.Context(), tx, "acme", "m", notify.Mail{To: []string{"ann@example.com"}, Subject: "Hello", Text: "Text"})
	})
	list := await(t, o, "acme", func(list []notify.Delivery) error {
		if list[0].LastError == "" {
			return errors.New("not noted yet")
		}
		return nil
	})
	require.Contains(t, list[0].LastError, "554")
	require.LessOrEqual(t, len(list[0].LastError), 300)
}

// TestErrorsSayNothingSecret: the path and the query of a webhook's URL may be secrets.
func TestErrorsSayNothingSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	o := f.outbox(t, notify.Config{WebhookAllowPrivate: true})
	run(t, o)
	f.webhook(t, o, "acme", "s", "http://"+closed.Addr().String()+"/hooks/sesame?token=sesame", notify.NewSecret())
	list := await(t, o, "acme", func(list []notify.Delivery) error {
		if list[0].LastError == "" {
			return errors.New("not tried yet")
		}
		return nil
	})
	require.NotContains(t, list[0].LastError, "sesame")
	require.Contains(t, list[0].LastError, "refused")
}

func TestFinishedMessagesAreDeleted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := notify.NewSecret()
	var down atomic.Bool
	e := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(e.Close)
	o := f.outbox(t, notify.Config{WebhookAllowPrivate: true})
	stop := run(t, o)
	f.webhook(t, o, "acme", "old", e.URL, secret)
	await(t, o, "acme", all("delivered", 1))
	stop()
	f.clock.ahead.Store(int64(29 * 24 * time.Hour))
	stop = run(t, o)
	f.webhook(t, o, "acme", "new", e.URL, secret)
	await(t, o, "acme", all("delivered", 2))
	down.Store(true)
	f.webhook(t, o, "acme", "pending", e.URL, secret)
	await(t, o, "acme", func([]notify.Delivery) error {
		if f.count(t, `key = 'pending' AND last_error <> ''`) == 0 {
			return errors.New("not tried yet")
		}
		return nil
	})
	require.Equal(t, 1, f.count(t, `key = 'old'`))
	stop()
	f.put(t, "*", func(tx pgx.Tx) error { // one that waits, however long, is not deleted
		_, err := tx.Exec(t.Context(), `UPDATE notify_outbox SET next_at = next_at + interval '1 year' WHERE key = 'pending'`)
		return err
	})
	f.clock.ahead.Store(int64(31 * 24 * time.Hour))
	run(t, o)
	await(t, o, "acme", func(list []notify.Delivery) error {
		if len(list) != 2 {
			return fmt.Errorf("there are %d", len(list))
		}
		return nil
	})
	require.Zero(t, f.count(t, `key = 'old'`))
}
