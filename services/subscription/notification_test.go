package subscription_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/notify"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/postgres"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/subscription"
)

const (
	webhooks   = "/subscription/v1/webhooks"
	recipients = "/subscription/v1/mail-recipients"
)

// told is a webhook that came.
type told struct {
	ID   string
	Type string
	At   time.Time `json:"timestamp"`
	Data struct {
		Subscription, Application, Account, Product, Plan struct{ ID, Name string }
		PlanVersion                                       int
		Transition, From, To, Actor, Comment, Reason      string
		At                                                time.Time
	}
}

// endpoint is a receiver of webhooks.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	secret string
	told   []told
	wrong  []string
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	seconds, timeErr := strconv.ParseInt(r.Header.Get(notify.HeaderTimestamp), 10, 64)
	id := r.Header.Get(notify.HeaderID)
	signature, signErr := notify.Sign(e.secret, id, time.Unix(seconds, 0), body)
	var message told
	if err != nil || timeErr != nil || signErr != nil || json.Unmarshal(body, &message) != nil || signature != r.Header.Get(notify.HeaderSignature) {
		e.wrong = append(e.wrong, string(body))
		return
	}
	message.ID = id
	e.told = append(e.told, message)
}

// types returns the types of the messages that came, without repeats of the same one.
func (e *endpoint) types() []string {
	var types []string
	for _, m := range e.all() {
		types = append(types, strings.TrimPrefix(m.Type, "subscription."))
	}
	return types
}

func (e *endpoint) all() []told {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := map[string]bool{}
	var all []told
	for _, m := range e.told {
		if !seen[m.ID] {
			all = append(all, m)
		}
		seen[m.ID] = true
	}
	return all
}

func (e *endpoint) sign(secret string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secret = secret
}

func (f *fixture) putWebhook(t *testing.T, name, body string, headers ...string) (w struct{ ID, Name, URL, Secret string }) {
	t.Helper()
	f.admin.Must("PUT", webhooks+"/"+name, body, &w, headers...)
	return w
}

func TestWebhooksAreToldOfTransitions(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.replica(t, nil) // tells nothing twice
	all, some, off := newEndpoint(t), newEndpoint(t), newEndpoint(t)
	created := f.putWebhook(t, "all", `{"url":"`+all.URL+`/hook"}`, operation.HeaderIdempotencyKey, "k")
	require.True(t, strings.HasPrefix(created.Secret, "whsec_"))
	require.Empty(t, f.putWebhook(t, "all", `{"url":"`+all.URL+`/hook"}`, operation.HeaderIdempotencyKey, "k").Secret, "it is shown once")
	all.sign(created.Secret)
	some.sign(f.putWebhook(t, "some", `{"url":"`+some.URL+`","events":["subscription.activated"]}`).Secret)
	f.putWebhook(t, "off", `{"url":"`+off.URL+`","disabled":true}`)

	require.Equal(t, 201, f.request("globex-weather", "pro").Status)
	const one = path + "/globex-weather"
	f.must(t, "POST", one+"/comments", `{"comment":"soon, please"}`)
	f.must(t, "POST", one+"/approve", `{"comment":"Welcome!"}`)
	f.must(t, "POST", one+"/suspend", nil, operation.HeaderReason, "abuse")
	f.must(t, "POST", one+"/resume", nil)
	f.must(t, "PUT", one+"/limits", `{"limits":[{"rate":1,"per":"second"}]}`)
	f.must(t, "POST", one+"/plan", `{"plan":"free"}`)
	f.must(t, "POST", one+"/cancel", nil, operation.HeaderReason, "moved on")
	want := []string{"requested", "commented", "activated", "suspended", "resumed", "limitsSet", "limitsCleared", "planChanged", "cancelled"}
	testkit.Await(t, patience, func() bool { return len(all.types()) == len(want) && len(some.types()) == 1 })
	require.ElementsMatch(t, want, all.types())
	require.Empty(t, all.wrong)
	require.Empty(t, off.all())

	m := some.all()[0]
	require.Equal(t, "subscription.activated", m.Type)
	require.Equal(t, m.At, m.Data.At)
	require.Equal(t, f.application, m.Data.Application.ID)
	require.Equal(t, [...]string{"globex-weather", "globex-app", "globex", "weather", "pro"},
		[...]string{m.Data.Subscription.Name, m.Data.Application.Name, m.Data.Account.Name, m.Data.Product.Name, m.Data.Plan.Name})
	require.Equal(t, 1, m.Data.PlanVersion)
	require.Equal(t, [...]string{"activated", "requested", "active", "member:test", "Welcome!"}, [...]string{m.Data.Transition, m.Data.From, m.Data.To, m.Data.Actor, m.Data.Comment})

	// Another secret, and then nothing more.
	var rotated struct{ Secret string }
	f.admin.Must("POST", webhooks+"/"+created.ID+"/rotate", nil, &rotated)
	require.NotEqual(t, created.Secret, rotated.Secret)
	all.sign(rotated.Secret)
	f.admin.Must("DELETE", webhooks+"/some", nil, nil)
	require.Equal(t, 404, f.admin.Do("GET", webhooks+"/some", nil).Status)
	require.Equal(t, 201, f.request("again", "free").Status)
	testkit.Await(t, patience, func() bool { return len(all.types()) == len(want)+2 })
	require.Empty(t, all.wrong)
	require.Len(t, some.all(), 1)
	var deliveries operation.List[notify.Delivery]
	testkit.Await(t, patience, func() bool {
		f.admin.Must("GET", "/subscription/v1/deliveries?status=delivered", nil, &deliveries)
		return len(deliveries.Items) == len(want)+3
	})
	require.NotContains(t, f.admin.Must("GET", webhooks, nil, nil).Body, "whsec_")
	f.compare(t)

	// Without the seal key nobody could be told: the service says so and does not start.
	_, err := subscription.New(t.Context(), subscription.Config{Service: f.config}, f.Deps(nil))
	require.ErrorContains(t, err, "seal-key: is empty, but there are 2 webhooks")
}

func TestMailIsSentOnTransitions(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.applications("a")
	f.do("GET", path, nil)
	for name, body := range map[string]string{
		"provider": `{"address":"api-team@acme.example"}`, "globex": `{"address":"dev@globex.example","account":"globex"}`,
		"other": `{"address":"dev@a.example","account":"a"}`, "picky": `{"address":"boss@acme.example","events":["subscription.rejected"]}`,
	} {
		f.admin.Must("PUT", recipients+"/"+name, body, nil, f.after...)
	}
	require.Equal(t, 201, f.request("globex-weather", "pro").Status)
	f.must(t, "POST", path+"/globex-weather/reject", `{"comment":"not now"}`, operation.HeaderReason, "no contract")
	testkit.Await(t, patience, func() bool { return len(f.mails(t)) == 5 })
	mails := f.mails(t)
	counted := map[string]int{}
	for _, m := range mails {
		for _, address := range []string{"api-team@acme.example", "dev@globex.example", "dev@a.example", "boss@acme.example"} {
			if bytes.Contains(m, []byte("To: <"+address+">")) {
				counted[address]++
			}
		}
	}
	require.Equal(t, map[string]int{"api-team@acme.example": 2, "dev@globex.example": 2, "boss@acme.example": 1}, counted)
	rejected := string(mails[len(mails)-1])
	for _, want := range []string{"Subject: Subscription globex-weather: ", "globex-app", "weather", "pro, version 1", "member:test"} {
		require.Contains(t, rejected, want)
	}

	// The address is in no event, and gone with its recipient.
	require.False(t, f.holds(t, `SELECT EXISTS (SELECT FROM events WHERE position('example' IN encode(payload, 'escape')) > 0)`))
	require.True(t, f.holds(t, `SELECT EXISTS (SELECT FROM mail_addresses WHERE address = 'dev@globex.example')`))
	f.admin.Must("PUT", recipients+"/globex", `{"address":"new@globex.example","account":"globex"}`, nil)
	require.False(t, f.holds(t, `SELECT EXISTS (SELECT FROM mail_addresses WHERE address = 'dev@globex.example')`))
	f.admin.Must("DELETE", recipients+"/globex", nil, nil)
	require.Equal(t, 404, f.admin.Do("DELETE", recipients+"/globex", nil).Status)
	require.False(t, f.holds(t, `SELECT EXISTS (SELECT FROM mail_addresses WHERE address LIKE '%globex%')`))
	require.Equal(t, 403, f.Client(f.Token("t1", "subscription.read")).Do("GET", recipients, nil).Status, "addresses are personal data")
	f.compare(t)
}

func (f *fixture) mails(t *testing.T) [][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.mail, "*.eml"))
	require.NoError(t, err)
	var mails [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		mails = append(mails, text)
	}
	return mails
}

// holds asks the database a question, about all tenants.
func (f *fixture) holds(t *testing.T, question string) (yes bool) {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Config{URL: f.config.PostgresURL, MaxConns: 1})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.InTenant(t.Context(), "*", func(tx pgx.Tx) error { return tx.QueryRow(t.Context(), question).Scan(&yes) }))
	return yes
}

// A deployment that tells nobody needs no seal key.
func TestNobodyIsTold(t *testing.T) {
	t.Parallel()
	f := start(t)
	config := f.Config("silent")
	silent, err := subscription.New(t.Context(), subscription.Config{Service: config}, f.Deps(nil))
	require.NoError(t, err)
	for _, p := range silent.API().Permissions() {
		require.NotContains(t, p.Operation, "Webhook")
	}
	f.Run(silent)
}

func TestWhatIsWrongInWhoIsTold(t *testing.T) {
	t.Parallel()
	f := start(t)
	for at, wrong := range map[string]map[string]string{
		webhooks + "/hook": {
			`{}`: `"path":"url"`, `{"url":"ftp://x.example"}`: `"path":"url"`, `{"url":"https://u:p@x.example"}`: `"path":"url"`,
			`{"url":"https://x.example","events":["subscription.activated","activated"]}`: `"path":"events[1]"`,
		},
		recipients + "/ops": {
			`{}`: `"path":"address"`, `{"address":"Ops <ops@acme.example>"}`: `"path":"address"`,
			`{"address":"ops@acme.example","account":"nobody"}`: `"path":"account"`, `{"address":"ops@acme.example","events":["x"]}`: `"path":"events[0]"`,
		},
		webhooks + "/No-Name":   {`{"url":"https://x.example"}`: `"path":"name"`},
		recipients + "/No-Name": {`{"address":"ops@acme.example"}`: `"path":"name"`},
	} {
		for body, want := range wrong {
			answer := f.admin.Do("PUT", at, body)
			require.Equal(t, 400, answer.Status, body)
			require.Contains(t, answer.Body, want)
		}
	}
	require.Equal(t, 404, f.admin.Do("POST", webhooks+"/hook/rotate", nil).Status)
	require.Equal(t, 404, f.admin.Do("GET", recipients+"/ops", nil).Status)
	require.Zero(t, f.head(t))
}
