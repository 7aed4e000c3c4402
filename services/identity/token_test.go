package identity_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/servicetest"
)

// self is the acting member, as GET /me tells.
type self struct {
	ID, Email string
	Roles     []string
	Scopes    []string
}

func selfOf(c *servicetest.Client) (s self) {
	c.Must("GET", "/identity/v1/me", nil, &s)
	return s
}

// memberWith adds a member with the roles and returns their id, with a client that has all that they may, except acting on
// the installation.
func (p people) memberWith(t *testing.T, email, role string) (string, *servicetest.Client) {
	t.Helper()
	id := p.join(t, p.admin, "/identity/v1/invitations", email, role)
	c, _ := p.signIn(t, email, goodPassword, "")
	return id, c
}

const newTenant = `{"name":%q,"title":"T","ownerDisplayName":"Eve"}`

// To act on the installation is a right of its own: a token has it when it was asked for by one who has it, and never by the way.
func TestTokensThatActOnTheInstallation(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	installer := selfOf(p.admin)
	token := func(by *servicetest.Client, body string) *servicetest.Client {
		var i issued
		by.Must("POST", "/identity/v1/tokens", body, &i)
		return p.Client(i.Secret)
	}
	create := func(c *servicetest.Client, name string) int {
		return c.Do("POST", "/identity/v1/tenants", fmt.Sprintf(newTenant, name)).Status
	}
	ci := token(p.admin, `{"title":"CI","scopes":["catalog.read"]}`)
	require.Equal(t, 403, create(ci, "first"), "a token that was restricted")
	all := token(p.admin, `{"title":"All scopes"}`)
	require.Equal(t, 403, create(all, "second"), "it was not asked for")
	require.Equal(t, 201, create(token(p.admin, `{"title":"Provisioning","scopes":["identity.read"],"operator":true}`), "third"))
	require.Equal(t, 201, create(token(p.admin, `{"title":"Everything","operator":true}`), "fourth"))
	require.Equal(t, 201, create(p.admin, "fifth"), "the first token")

	// Nobody gives it who does not have it, nor to one who is no installer.
	_, owner := p.memberWith(t, "olga@example.com", "owner")
	viewer, _ := p.memberWith(t, "vera@example.com", "viewer")
	require.Contains(t, ci.Do("POST", "/identity/v1/tokens", `{"title":"X","operator":true}`).Body, "operator-only")
	require.Contains(t, owner.Do("POST", "/identity/v1/tokens", `{"title":"X","operator":true}`).Body, "operator-only")
	stolen := owner.Do("POST", "/identity/v1/tokens", fmt.Sprintf(`{"title":"X","member":%q}`, installer.ID))
	require.Equal(t, 403, stolen.Status, "an installer's token, by one who is none: %s", stolen.Body)
	refused := p.admin.Do("POST", "/identity/v1/tokens", fmt.Sprintf(`{"title":"X","member":%q,"operator":true}`, viewer))
	require.Equal(t, 400, refused.Status)
	require.Contains(t, refused.Body, `"path":"operator"`)

	// Nor is one without it made into a session that has it.
	require.Contains(t, all.Do("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"password":%q}`, goodPassword)).Body, "restricted")
	require.Contains(t, all.Do("PUT", "/identity/v1/members/"+installer.ID, `{"displayName":"Eve","email":"eve@example.com"}`).Body, "scope-missing")
}

// No scope in common is nothing, not everything.
func TestATokenWithoutScopesIsNotOneWithAll(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	id, robin := p.memberWith(t, "robin@example.com", "publisher")
	var writer, given issued
	robin.Must("POST", "/identity/v1/tokens", `{"title":"Publishing","scopes":["catalog.write"]}`, &writer)
	p.admin.Must("PUT", "/identity/v1/members/"+id+"/roles", `{"roles":["finance"]}`, nil)
	restricted := p.Client(writer.Secret)
	require.Empty(t, selfOf(restricted).Scopes)
	answer := restricted.Do("POST", "/identity/v1/tokens", `{"title":"x"}`)
	require.Equal(t, 403, answer.Status, answer.Body)
	require.Contains(t, answer.Body, "scope-missing")

	// One for another member has what both may.
	p.admin.Must("POST", "/identity/v1/tokens", fmt.Sprintf(`{"title":"Reading","member":%q}`, id), &given)
	require.Equal(t, []string{"analytics.read", "billing.read", "billing.run", "catalog.read", "identity.read", "metering.read", "subscription.read"}, selfOf(p.Client(given.Secret)).Scopes)
}

// With identity.admin alone nobody becomes somebody who may more.
func TestAnAdministratorDoesNotBecomeWhoMayMore(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	const reads = `"identity.read","catalog.read","subscription.read","metering.read","analytics.read","billing.read"`
	p.admin.Must("PUT", "/identity/v1/roles/helpdesk", `{"title":"Helpdesk","scopes":["identity.admin",`+reads+`]}`, nil)
	p.application(t, p.admin, "globex", "globex-app")
	desk, helpdesk := p.memberWith(t, "helen@example.com", "helpdesk")
	olga, owner := p.memberWith(t, "olga@example.com", "owner")
	vera, viewer := p.memberWith(t, "vera@example.com", "viewer")
	otto, second := p.memberWith(t, "otto@example.com", "owner")
	hank := p.join(t, p.admin, "/identity/v1/accounts/globex/invitations", "hank@globex.example", "admin")
	installer := selfOf(p.admin).ID
	p.admin.Must("PUT", "/identity/v1/members/"+installer, `{"displayName":"Ada","email":"ada@example.com"}`, nil)
	p.enableTOTP(t, owner)
	p.enableTOTP(t, viewer)
	p.enableTOTP(t, second)
	narrow := func(by *servicetest.Client) *servicetest.Client {
		var i issued
		by.Must("POST", "/identity/v1/tokens", `{"title":"Members","scopes":["identity.admin"]}`, &i)
		return p.Client(i.Secret)
	}

	type attempt struct {
		by     *servicetest.Client
		member string
		status int
	}
	for name, a := range map[string]attempt{
		"the helpdesk, an owner":                 {helpdesk, olga, 403},
		"the helpdesk, an installer":             {helpdesk, installer, 403},
		"the helpdesk, a viewer":                 {helpdesk, vera, 200},
		"the helpdesk, themselves":               {helpdesk, desk, 200},
		"the helpdesk, a member of an account":   {helpdesk, hank, 200},
		"an owner, an installer":                 {owner, installer, 403},
		"an owner, another one":                  {owner, otto, 200},
		"a restricted token, its own member":     {narrow(owner), olga, 403},
		"a restricted token, one who may more":   {narrow(owner), vera, 403},
		"an installer, who may all, an owner":    {p.admin, olga, 200},
		"an installer, who may all, a colleague": {p.admin, desk, 200},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"displayName":"Changed","email":"%s@changed.example"}`, a.member)
			if a.member == installer {
				body = `{"displayName":"Ada","email":"mallory@example.com"}`
			}
			answer := a.by.Do("PUT", "/identity/v1/members/"+a.member, body)
			require.Equal(t, a.status, answer.Status, answer.Body)
			if a.status == 403 {
				require.Contains(t, answer.Body, "scope-missing")
			}
		})
	}
	for name, a := range map[string]attempt{
		"the helpdesk, an owner": {helpdesk, olga, 403},
		"the helpdesk, a viewer": {helpdesk, vera, 204},
		"an owner, another one":  {owner, otto, 204},
	} {
		t.Run("second factor: "+name, func(t *testing.T) {
			answer := a.by.Do("DELETE", "/identity/v1/members/"+a.member+"/totp", nil)
			require.Equal(t, a.status, answer.Status, answer.Body)
		})
	}
	for name, a := range map[string]attempt{
		"the helpdesk, an owner": {helpdesk, olga, 403},
		"the helpdesk, a viewer": {helpdesk, vera, 201},
		"an owner, another one":  {owner, otto, 201},
		"an owner, an installer": {owner, installer, 403},
	} {
		t.Run("token: "+name, func(t *testing.T) {
			answer := a.by.Do("POST", "/identity/v1/tokens", fmt.Sprintf(`{"title":"X","member":%q}`, a.member))
			require.Equal(t, a.status, answer.Status, answer.Body)
		})
	}
}
