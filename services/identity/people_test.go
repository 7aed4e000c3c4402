package identity_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
)

func TestInvitations(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	var sent, second struct{ ID, Email string }
	p.admin.Must("POST", "/identity/v1/invitations", `{"email":"robin@example.com","roles":["viewer"]}`, &sent)
	text := p.mailTo(t, "robin@example.com", 1)
	require.Contains(t, text, "as viewer")
	token := tokenIn(t, text)
	accept := func(token, name, password string) (int, string) {
		answer := p.Client("").Do("POST", "/identity/v1/invitations/accept", map[string]string{"token": token, "displayName": name, "password": password})
		return answer.Status, answer.Body
	}
	status, body := accept(token, "Robin Doe", "short")
	require.Equal(t, 400, status)
	require.Contains(t, body, "at least 15")
	status, body = accept(token, "Robin Doe", "robin kettle drums at noon")
	require.Equal(t, 400, status)
	require.Contains(t, body, "part of your name")
	status, _ = accept(strings.Repeat("x", 40), "Robin Doe", goodPassword)
	require.Equal(t, 404, status)
	status, body = accept(token, "Robin Doe", goodPassword)
	require.Equal(t, 201, status, body)
	status, body = accept(token, "Robin Doe", goodPassword)
	require.Equal(t, 404, status, "it works once: %s", body)

	robin, _ := p.signIn(t, "Robin@Example.com", goodPassword, "")
	require.Equal(t, 200, robin.Do("GET", "/identity/v1/accounts", nil).Status)
	require.Equal(t, 403, robin.Do("PUT", "/identity/v1/accounts/x", `{"spec":{"title":"X","currency":"EUR"}}`).Status)
	require.Equal(t, 403, robin.Do("POST", "/identity/v1/invitations", `{"email":"x@example.com","roles":["viewer"]}`).Status)
	var self struct {
		Email, DisplayName     string
		Scopes                 []string
		Password, SecondFactor bool
	}
	robin.Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, "robin@example.com", self.Email)
	require.True(t, self.Password)
	require.False(t, self.SecondFactor)
	require.Contains(t, self.Scopes, "identity.read")

	// Revoked, expired, and for an address that is taken meanwhile.
	p.admin.Must("POST", "/identity/v1/invitations", `{"email":"sam@example.com","roles":["viewer"]}`, &second)
	var open operation.List[struct{ ID string }]
	p.admin.Must("GET", "/identity/v1/invitations", nil, &open)
	require.Len(t, open.Items, 1)
	token = tokenIn(t, p.mailTo(t, "sam@example.com", 1))
	p.admin.Must("DELETE", "/identity/v1/invitations/"+second.ID, nil, nil)
	status, _ = accept(token, "Sam", goodPassword)
	require.Equal(t, 404, status)
	require.Equal(t, 409, p.admin.Do("DELETE", "/identity/v1/invitations/"+sent.ID, nil).Status, "it was accepted")
	p.admin.Must("POST", "/identity/v1/invitations", `{"email":"robin@example.com","roles":["viewer"]}`, nil)
	status, body = accept(tokenIn(t, p.mailTo(t, "robin@example.com", 2)), "Robin", goodPassword)
	require.Equal(t, 409, status, body)
	p.admin.Must("POST", "/identity/v1/invitations", `{"email":"late@example.com","roles":["viewer"]}`, nil)
	token = tokenIn(t, p.mailTo(t, "late@example.com", 1))
	p.advance(8 * 24 * time.Hour)
	status, _ = accept(token, "Late", goodPassword)
	require.Equal(t, 404, status)
	for _, bad := range []string{`{"email":"no address","roles":["viewer"]}`, `{"email":"","roles":["viewer"]}`, `{"email":"a@example.com","roles":["king"]}`} {
		require.Equal(t, 400, p.admin.Do("POST", "/identity/v1/invitations", bad).Status, bad)
	}
}

func TestSigningIn(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")

	// Nothing tells an unknown member from a wrong password.
	wrong := p.trySignIn("robin@example.com", "a wrong password here", "")
	require.Equal(t, 401, wrong.Status)
	require.Equal(t, wrong.Body, p.trySignIn("nobody@example.com", goodPassword, "").Body)
	require.Equal(t, 401, p.trySignIn("", "", "").Status)
	robin, first := p.signIn(t, "robin@example.com", goodPassword, "")
	_, second := p.signIn(t, "robin@example.com", goodPassword, "")
	var sessions operation.List[session]
	robin.Must("GET", "/identity/v1/sessions", nil, &sessions)
	require.Len(t, sessions.Items, 2)
	require.Equal(t, "password", sessions.Items[0].Method)
	require.Empty(t, sessions.Items[0].Token)
	exchange := func(token string) int {
		return p.Client("").Do("POST", "/identity/v1/tokens/exchange", map[string]string{"token": token}).Status
	}
	robin.Must("DELETE", "/identity/v1/sessions/"+second.ID, nil, nil)
	require.Equal(t, 401, exchange(second.Token))
	require.Equal(t, 404, robin.Do("DELETE", "/identity/v1/sessions/"+second.ID, nil).Status)

	// Used every hour it goes on; idle it ends, and in any case after its lifetime.
	for range 3 {
		p.advance(time.Hour)
		require.Equal(t, 200, exchange(first.Token))
	}
	p.advance(2*time.Hour + time.Second)
	require.Equal(t, 401, exchange(first.Token), "it was idle")
	_, third := p.signIn(t, "robin@example.com", goodPassword, "")
	for range 12 {
		p.advance(time.Hour - time.Minute)
		require.Equal(t, 200, exchange(third.Token))
	}
	p.advance(time.Hour)
	require.Equal(t, 401, exchange(third.Token), "its lifetime is over")

	// The administrator ends what others started, and what is changed ends it too.
	_, fourth := p.signIn(t, "robin@example.com", goodPassword, "")
	p.admin.Must("DELETE", "/identity/v1/sessions/"+fourth.ID, nil, nil)
	require.Equal(t, 401, exchange(fourth.Token))
	robin, fifth := p.signIn(t, "robin@example.com", goodPassword, "")
	const other = "seven orange bicycles rest"
	require.Equal(t, 403, robin.Do("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"current":"wrong","password":%q}`, other)).Status)
	robin.Must("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"current":%q,"password":%q}`, goodPassword, other), nil)
	require.Equal(t, 401, exchange(fifth.Token))
	require.Equal(t, 401, p.trySignIn("robin@example.com", goodPassword, "").Status)
	p.signIn(t, "robin@example.com", other, "")
}

func TestGuessingPasswordsIsLimited(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	for _, email := range []string{"robin@example.com", "nobody@example.com"} {
		attempts := 0
		for ; attempts < 50; attempts++ {
			answer := p.trySignIn(email, "a wrong password here", "")
			if answer.Status == 429 {
				require.Contains(t, answer.Body, "too-many-attempts")
				require.Regexp(t, `^[0-9]+$`, answer.Header.Get("Retry-After"))
				break
			}
			require.Equal(t, 401, answer.Status)
		}
		require.Equal(t, 10, attempts, email)
		p.advance(10 * time.Minute)
	}
	p.signIn(t, "robin@example.com", goodPassword, "")
}

func TestPasswordReset(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	_, before := p.signIn(t, "robin@example.com", goodPassword, "")
	request := func(tenant, email string) string {
		answer := p.Client("").Do("POST", "/identity/v1/password-resets", map[string]string{"tenant": tenant, "email": email})
		require.Equal(t, 204, answer.Status, answer.Body)
		return answer.Body
	}
	require.Equal(t, request("main", "nobody@example.com"), request("nowhere", "robin@example.com"))
	request("main", "robin@example.com")
	token := tokenIn(t, p.mailTo(t, "robin@example.com", 2)) // after the invitation
	confirm := func(token, password string) int {
		return p.Client("").Do("POST", "/identity/v1/password-resets/confirm", map[string]string{"token": token, "password": password}).Status
	}
	const other = "seven orange bicycles rest"
	require.Equal(t, 400, confirm(token, "short"))
	require.Equal(t, 404, confirm(token+"x", other))
	require.Equal(t, 204, confirm(token, other))
	require.Equal(t, 404, confirm(token, other), "it works once")
	require.Equal(t, 401, p.Client(before.Token).Do("GET", "/identity/v1/me", nil).Status, "all sessions end")
	require.Equal(t, 401, p.trySignIn("robin@example.com", goodPassword, "").Status)
	p.signIn(t, "robin@example.com", other, "")

	request("main", "robin@example.com")
	token = tokenIn(t, p.mailTo(t, "robin@example.com", 3))
	p.advance(2 * time.Hour)
	require.Equal(t, 404, confirm(token, goodPassword), "it has expired")
}

func TestSecondFactor(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	id := p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	robin, _ := p.signIn(t, "robin@example.com", goodPassword, "")
	require.Equal(t, 403, robin.Do("POST", "/identity/v1/me/totp", `{"password":"wrong"}`).Status)
	require.Equal(t, 409, robin.Do("POST", "/identity/v1/me/totp/confirm", `{"code":"123456"}`).Status)
	var factor struct{ Secret, URI string }
	robin.Must("POST", "/identity/v1/me/totp", fmt.Sprintf(`{"password":%q}`, goodPassword), &factor)
	u, err := url.Parse(factor.URI)
	require.NoError(t, err)
	require.Equal(t, factor.Secret, u.Query().Get("secret"))
	code := func() string {
		c, err := totp.GenerateCode(factor.Secret, p.clock.now())
		require.NoError(t, err)
		return c
	}
	p.signIn(t, "robin@example.com", goodPassword, "") // it does not count before it is confirmed
	require.Equal(t, 401, robin.Do("POST", "/identity/v1/me/totp/confirm", `{"code":"000000"}`).Status)
	var recovery struct{ RecoveryCodes []string }
	robin.Must("POST", "/identity/v1/me/totp/confirm", fmt.Sprintf(`{"code":%q}`, code()), &recovery)
	require.Len(t, recovery.RecoveryCodes, 10)

	needed := p.trySignIn("robin@example.com", goodPassword, "")
	require.Equal(t, 401, needed.Status)
	require.Contains(t, needed.Body, "second-factor-required")
	require.NotContains(t, p.trySignIn("robin@example.com", "a wrong password here", "").Body, "second-factor")
	require.Contains(t, p.trySignIn("robin@example.com", goodPassword, code()).Body, "second-factor-invalid", "each is good once")
	p.advance(time.Minute)
	_, s := p.signIn(t, "robin@example.com", goodPassword, code())
	require.Equal(t, "passwordAndTOTP", s.Method)
	_, s = p.signIn(t, "robin@example.com", goodPassword, recovery.RecoveryCodes[3])
	require.Equal(t, "passwordAndRecoveryCode", s.Method)
	require.Equal(t, 401, p.trySignIn("robin@example.com", goodPassword, recovery.RecoveryCodes[3]).Status, "each is good once")

	robin = p.Client(s.Token)
	require.Equal(t, 409, robin.Do("POST", "/identity/v1/me/totp", fmt.Sprintf(`{"password":%q}`, goodPassword)).Status)
	require.Equal(t, 401, robin.Do("POST", "/identity/v1/me/totp/disable", `{"code":"000000"}`).Status)
	robin.Must("POST", "/identity/v1/me/totp/disable", fmt.Sprintf(`{"code":%q}`, recovery.RecoveryCodes[4]), nil)
	p.signIn(t, "robin@example.com", goodPassword, "")

	// Whoever loses the second factor is helped by an administrator.
	robin.Must("POST", "/identity/v1/me/totp", fmt.Sprintf(`{"password":%q}`, goodPassword), &factor)
	robin.Must("POST", "/identity/v1/me/totp/confirm", fmt.Sprintf(`{"code":%q}`, code()), nil)
	require.Equal(t, 401, p.trySignIn("robin@example.com", goodPassword, "").Status)
	require.Equal(t, 403, robin.Do("DELETE", "/identity/v1/members/"+id+"/totp", nil).Status)
	p.admin.Must("DELETE", "/identity/v1/members/"+id+"/totp", nil, nil)
	p.signIn(t, "robin@example.com", goodPassword, "")
}

// A token that may less than its member cannot be made into a session that may all.
func TestARestrictedTokenDoesNotBecomeASession(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	var restricted issued
	p.admin.Must("POST", "/identity/v1/tokens", `{"title":"CI","scopes":["catalog.read"]}`, &restricted)
	ci := p.Client(restricted.Secret)
	require.Contains(t, ci.Do("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"password":%q}`, goodPassword)).Body, "restricted")
	require.Contains(t, ci.Do("POST", "/identity/v1/me/totp", `{}`).Body, "restricted")

	// The first administrator, who has a token only, gets an address and a password.
	var self struct{ ID string }
	p.admin.Must("GET", "/identity/v1/me", nil, &self)
	p.admin.Must("PUT", "/identity/v1/members/"+self.ID, `{"displayName":"Ada","email":"ada@example.com"}`, nil)
	p.admin.Must("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"password":%q}`, goodPassword), nil)
	ada, _ := p.signIn(t, "ada@example.com", goodPassword, "")
	ada.Must("POST", "/identity/v1/tenants", `{"name":"second","title":"Second","ownerDisplayName":"Eve"}`, nil)
	p.admin.Must("POST", "/identity/v1/members", `{"displayName":"Kim","email":"kim@example.com","roles":["viewer"]}`, nil)
	taken := p.admin.Do("PUT", "/identity/v1/members/"+self.ID, `{"displayName":"Ada","email":"KIM@example.com"}`)
	require.Equal(t, 409, taken.Status, taken.Body)
}

func TestRemovedMembersAreOut(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	id := p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "viewer")
	_, s := p.signIn(t, "robin@example.com", goodPassword, "")
	p.admin.Must("DELETE", "/identity/v1/members/"+id, nil, nil)
	require.Equal(t, 401, p.Client("").Do("POST", "/identity/v1/tokens/exchange", map[string]string{"token": s.Token}).Status)
	require.Equal(t, 401, p.trySignIn("robin@example.com", goodPassword, "").Status)
}

func TestRoles(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	p.admin.Must("PUT", "/identity/v1/roles/auditor", `{"title":"Auditor","scopes":["identity.read","billing.read"]}`, nil)
	id := p.join(t, p.admin, "/identity/v1/invitations", "robin@example.com", "auditor")
	robin, _ := p.signIn(t, "robin@example.com", goodPassword, "")
	var self struct{ Scopes []string }
	robin.Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, []string{"billing.read", "identity.read"}, self.Scopes)

	p.admin.Must("PUT", "/identity/v1/roles/auditor", `{"title":"Auditor","scopes":["identity.read","billing.run"]}`, nil)
	robin, _ = p.signIn(t, "robin@example.com", goodPassword, "")
	robin.Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, []string{"billing.run", "identity.read"}, self.Scopes)
	require.Contains(t, p.admin.Do("DELETE", "/identity/v1/roles/auditor", nil).Body, "role-in-use")
	p.admin.Must("PUT", "/identity/v1/members/"+id+"/roles", `{"roles":["viewer"]}`, nil)
	p.admin.Must("DELETE", "/identity/v1/roles/auditor", nil, nil)
	require.Equal(t, 404, p.admin.Do("DELETE", "/identity/v1/roles/auditor", nil).Status)
	require.Contains(t, p.admin.Do("PUT", "/identity/v1/members/"+id+"/roles", `{"roles":["auditor"]}`).Body, "is not a role")
	var roles operation.List[struct {
		Name    string
		BuiltIn bool
	}]
	p.admin.Must("PUT", "/identity/v1/roles/auditor", `{"title":"Auditor again","scopes":["identity.read"]}`, nil)
	p.admin.Must("GET", "/identity/v1/roles", nil, &roles)
	require.Len(t, roles.Items, 7)
	require.False(t, roles.Items[6].BuiltIn)

	for path, body := range map[string]string{
		"owner": `{"title":"X","scopes":["identity.read"]}`, "developer": `{"title":"X","scopes":["identity.read"]}`,
		"a": `{"title":"X","scopes":["no.scope"]}`, "b": `{"title":"X","scopes":[]}`, "c": `{"title":"","scopes":["identity.read"]}`,
		"d": `{"title":"X","scopes":["identity.read","identity.read"]}`, "e": `{"title":"X","scopes":["account.read"]}`,
	} {
		require.Equal(t, 400, p.admin.Do("PUT", "/identity/v1/roles/"+path, body).Status, path)
	}
	// Nobody gives what they do not have.
	var weak issued
	p.admin.Must("POST", "/identity/v1/tokens", `{"title":"Weak","scopes":["identity.admin","identity.read"]}`, &weak)
	w := p.Client(weak.Secret)
	require.Contains(t, w.Do("PUT", "/identity/v1/roles/king", `{"title":"King","scopes":["billing.run"]}`).Body, "cannot be given")
	require.Contains(t, w.Do("PUT", "/identity/v1/members/"+id+"/roles", `{"roles":["owner"]}`).Body, "cannot be given")
	require.Contains(t, w.Do("POST", "/identity/v1/invitations", `{"email":"x@example.com","roles":["owner"]}`).Body, "cannot be given")
}
