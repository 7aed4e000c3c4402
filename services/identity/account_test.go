package identity_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
)

func TestMembersOfAccounts(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	p.application(t, p.admin, "globex", "globex-app")
	p.application(t, p.admin, "initech", "initech-app")
	var provided, foreign issued
	p.admin.Must("POST", credentialsPath, `{"kind":"oauth2","title":"Provided","scopes":["forecast.read"]}`, &provided)
	p.admin.Must("POST", "/identity/v1/applications/initech-app/credentials", `{"title":"Foreign"}`, &foreign)
	p.admin.Must("PUT", "/identity/v1/applications/globex-app", `{"account":"globex","spec":{"title":"App","roles":["partner"]}}`, nil)

	p.join(t, p.admin, "/identity/v1/accounts/globex/invitations", "hank@globex.example", "admin")
	hank, _ := p.signIn(t, "hank@globex.example", goodPassword, "")
	dev := p.join(t, hank, "/identity/v1/account/invitations", "dana@globex.example", "developer")
	dana, _ := p.signIn(t, "dana@globex.example", goodPassword, "")
	other := p.join(t, p.admin, "/identity/v1/accounts/initech/invitations", "peter@initech.example", "admin")

	var account struct{ Name string }
	dana.Must("GET", "/identity/v1/account", nil, &account)
	require.Equal(t, "globex", account.Name)
	var members operation.List[struct{ Email string }]
	dana.Must("GET", "/identity/v1/account/members", nil, &members)
	require.Len(t, members.Items, 2)
	p.admin.Must("GET", "/identity/v1/members", nil, &members)
	require.Len(t, members.Items, 1, "members of accounts are none of the tenant's")
	p.admin.Must("GET", "/identity/v1/accounts/globex/members", nil, &members)
	require.Len(t, members.Items, 2)

	// A developer keeps the account's applications and their credentials; rights come from the provider.
	dana.Must("PUT", "/identity/v1/account/applications/mobile", `{"spec":{"title":"Mobile"}}`, nil)
	var key, rotated issued
	dana.Must("POST", "/identity/v1/account/applications/mobile/credentials", `{"title":"Live"}`, &key)
	require.NotEmpty(t, key.Key)
	dana.Must("POST", "/identity/v1/account/applications/globex-app/credentials/"+provided.ID+"/rotate", `{}`, &rotated)
	require.Equal(t, provided.ClientID, rotated.ClientID)
	var credentials operation.List[struct{ Scopes []string }]
	dana.Must("GET", "/identity/v1/account/applications/globex-app/credentials", nil, &credentials)
	require.Equal(t, []string{"forecast.read"}, credentials.Items[1].Scopes, "its scopes stay")
	dana.Must("DELETE", "/identity/v1/account/applications/mobile/credentials/"+key.ID, nil, nil)
	require.Contains(t, dana.Do("POST", "/identity/v1/account/applications/mobile/credentials", `{"title":"X","scopes":["all"]}`).Body, "granted-by-provider")
	require.Contains(t, dana.Do("POST", "/identity/v1/account/applications/mobile/credentials", `{"title":"X","kind":"jwt","issuer":"https://x.example","client":"c"}`).Body, "granted-by-provider")
	require.Contains(t, dana.Do("PUT", "/identity/v1/account/applications/mobile", `{"spec":{"title":"Mobile","roles":["partner"]}}`).Body, "granted-by-provider")
	var application struct{ Roles []string }
	dana.Must("PUT", "/identity/v1/account/applications/globex-app", `{"spec":{"title":"Renamed"}}`, &application)
	require.Equal(t, []string{"partner"}, application.Roles, "its roles stay")
	var applications operation.List[struct{ Name string }]
	dana.Must("GET", "/identity/v1/account/applications?account=initech", nil, &applications)
	require.Len(t, applications.Items, 2)

	// What an account's admin may and a developer may not.
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/identity/v1/account/invitations", `{"email":"x@globex.example","roles":["admin"]}`},
		{"GET", "/identity/v1/account/invitations", ""},
		{"PUT", "/identity/v1/account/members/" + dev + "/roles", `{"roles":["admin","developer"]}`},
		{"DELETE", "/identity/v1/account/members/" + dev, ""},
	} {
		require.Equal(t, 403, dana.Do(c.method, c.path, c.body).Status, c.path)
		require.Less(t, hank.Do(c.method, c.path, c.body).Status, 300, c.path)
	}
	require.Equal(t, 400, hank.Do("POST", "/identity/v1/account/invitations", `{"email":"y@globex.example","roles":["owner"]}`).Status)

	// Nothing beyond the account.
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/identity/v1/account/applications/initech-app", ""},
		{"DELETE", "/identity/v1/account/applications/initech-app", ""},
		{"GET", "/identity/v1/account/applications/initech-app/credentials", ""},
		{"POST", "/identity/v1/account/applications/initech-app/credentials", `{"title":"X"}`},
		{"DELETE", "/identity/v1/account/applications/initech-app/credentials/" + foreign.ID, ""},
		{"DELETE", "/identity/v1/account/applications/globex-app/credentials/" + foreign.ID, ""},
		{"PUT", "/identity/v1/account/members/" + other + "/roles", `{"roles":["developer"]}`},
		{"DELETE", "/identity/v1/account/members/" + other, ""},
	} {
		require.Equal(t, 404, hank.Do(c.method, c.path, c.body).Status, c.method+" "+c.path)
	}
	taken := hank.Do("PUT", "/identity/v1/account/applications/initech-app", `{"spec":{"title":"Mine"}}`)
	require.Equal(t, 409, taken.Status)
	require.NotContains(t, taken.Body, "account initech")
	for _, o := range p.service.API().Permissions() {
		if !o.Account && !o.Public {
			answer := hank.Do(o.Method, strings.ReplaceAll(o.Path, "{position}", "1"), `{}`)
			require.Equal(t, 403, answer.Status, "%s: %s", o.Operation, answer.Body)
		}
	}
	require.Equal(t, 409, p.admin.Do("POST", "/identity/v1/tokens", map[string]string{"title": "X", "member": other}).Status)

	// With the account its members are out.
	p.admin.Must("DELETE", "/identity/v1/accounts/globex", nil, nil)
	require.Equal(t, 401, p.trySignIn("hank@globex.example", goodPassword, "").Status)
	require.Equal(t, 409, p.admin.Do("POST", "/identity/v1/accounts/globex/invitations", `{"email":"z@globex.example","roles":["admin"]}`).Status)
}
