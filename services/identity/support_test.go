package identity_test

import (
	"io"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/services/identity"
)

const patience = 30 * time.Second

// clock is one that stands still until a test sets it, so that nothing depends on how long the test takes.
type clock struct {
	start time.Time
	ahead atomic.Int64
}

func (c *clock) now() time.Time { return c.start.Add(time.Duration(c.ahead.Load())) }

// advance sets the clock forward. Clients that go on must be made again: they keep signed tokens that end.
func (p *people) advance(d time.Duration) {
	p.clock.ahead.Add(int64(d))
	p.admin = p.Client(p.secret)
}

// people is identity with a clock and a mailbox.
type people struct {
	fixture
	clock   *clock
	mailbox string
}

func startPeople(t *testing.T) people {
	t.Helper()
	return startPeopleWith(t, func(*identity.Config) {})
}

func startPeopleWith(t *testing.T, configure func(*identity.Config)) people {
	t.Helper()
	p := people{clock: &clock{start: time.Now().UTC()}, mailbox: t.TempDir()}
	p.fixture = startWith(t, p.clock.now, func(c *identity.Config) {
		c.Notify.MailURL = "file://" + p.mailbox
		configure(c)
	})
	return p
}

// mailTo waits for the nth mail to an address and returns its text.
func (p people) mailTo(t *testing.T, address string, nth int) string {
	t.Helper()
	var text string
	testkit.Await(t, patience, func() bool {
		files, err := filepath.Glob(filepath.Join(p.mailbox, "*.eml"))
		require.NoError(t, err)
		seen := 0
		for _, file := range files { // whose names are in the order of time
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			message, err := mail.ReadMessage(strings.NewReader(string(raw)))
			require.NoError(t, err)
			if !strings.Contains(message.Header.Get("To"), address) {
				continue
			}
			if seen++; seen < nth {
				continue
			}
			body, err := io.ReadAll(quotedprintable.NewReader(message.Body))
			require.NoError(t, err)
			text = strings.ReplaceAll(string(body), "\r\n", "\n")
			return true
		}
		return false
	})
	return text
}

// tokenIn returns the token of a mail's text.
func tokenIn(t *testing.T, text string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, ":\n")
	require.True(t, found, text)
	token, _, _ := strings.Cut(rest, "\n")
	require.Len(t, token, 40)
	return token
}

const goodPassword = "violet kettle drums at noon"

type session struct{ ID, Token, Method string }

// join invites a person, who accepts, and returns the member's id. path is that of the invitations.
func (p people) join(t *testing.T, by *servicetest.Client, path, email, role string) string {
	t.Helper()
	by.Must("POST", path, map[string]any{"email": email, "roles": []string{role}}, nil)
	var member struct{ ID string }
	p.Client("").Must("POST", "/identity/v1/invitations/accept", map[string]string{
		"token": tokenIn(t, p.mailTo(t, email, 1)), "displayName": "Robin Doe", "password": goodPassword,
	}, &member)
	return member.ID
}

func (p people) trySignIn(email, password, code string) servicetest.Answer {
	return p.Client("").Do("POST", "/identity/v1/sessions", map[string]string{
		"tenant": "main", "email": email, "password": password, "code": code,
	})
}

func (p people) signIn(t *testing.T, email, password, code string) (*servicetest.Client, session) {
	t.Helper()
	answer := p.trySignIn(email, password, code)
	require.Equal(t, 201, answer.Status, answer.Body)
	var s session
	answer.Decode(t, &s)
	require.True(t, strings.HasPrefix(s.Token, "tgs_"))
	return p.Client(s.Token), s
}

// enableTOTP gives the member of a client a second factor.
func (p people) enableTOTP(t *testing.T, c *servicetest.Client) {
	t.Helper()
	var factor struct{ Secret string }
	c.Must("POST", "/identity/v1/me/totp", map[string]string{"password": goodPassword}, &factor)
	code, err := totp.GenerateCode(factor.Secret, p.clock.now())
	require.NoError(t, err)
	c.Must("POST", "/identity/v1/me/totp/confirm", map[string]string{"code": code}, nil)
}
