package identity_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/operation"
)

// The code of a sign-in is good in the browser that began it, and in no other: nobody is signed in as somebody else by it.
func TestACodeOfAnotherBrowserIsRefused(t *testing.T) {
	t.Parallel()
	f := startSSO(t, "")
	f.configure(t, `,"defaultRoles":["viewer"]`)
	start := func(code, cookie string) int {
		return f.Client("").Do("POST", "/identity/v1/sso/sessions", map[string]string{"code": code}, "Cookie", cookie).Status
	}
	code, cookie := f.code(t, "kim")
	require.Equal(t, 401, start(code, ""), "no cookie")
	require.Equal(t, 401, start(code, cookie), "it was taken")
	_, others := f.code(t, "robin")
	code, _ = f.code(t, "kim")
	require.Equal(t, 401, start(code, others), "another browser's")
	code, cookie = f.code(t, "kim")
	require.Equal(t, 201, start(code, "a=b; "+cookie))
}

// Nobody takes over a member by being the provider: who is there already, and may more than single sign-on gives, is found by
// the address only where it was set up by one who may all of that.
func TestSingleSignOnLinksNobodyWhoMayMore(t *testing.T) {
	t.Parallel()
	f := startSSO(t, "")
	scopes := `"identity.admin","identity.read","catalog.read","subscription.read","metering.read","analytics.read","billing.read"`
	f.admin.Must("PUT", "/identity/v1/roles/helpdesk", `{"title":"Helpdesk","scopes":[`+scopes+`]}`, nil)
	_, helpdesk := f.memberWith(t, "helen@example.com", "helpdesk")
	_, owner := f.memberWith(t, "olga@example.com", "owner")
	add := func(email, role string) (id string) {
		var m struct{ ID string }
		f.admin.Must("POST", "/identity/v1/members", fmt.Sprintf(`{"displayName":"X","email":%q,"roles":[%q]}`, email, role), &m)
		return m.ID
	}
	robin, kim := add("robin@globex.example.com", "owner"), add("kim@globex.example.com", "viewer")
	const viewers = `,"defaultRoles":["viewer"]`
	refused := func(name string) {
		t.Helper()
		answer, body := f.browser(t, name)
		require.Equal(t, 403, answer.StatusCode, body)
		require.Contains(t, body, "member-may-more")
	}
	f.configureBy(helpdesk, viewers)
	refused("robin")
	id, _ := f.member(t, "kim")
	require.Equal(t, kim, id, "who may no more than single sign-on gives")

	// The roles of the claim count too.
	f.configureBy(helpdesk, `,"rolesClaim":"groups","mappings":[{"value":"everybody","roles":["viewer"]}]`)
	refused("robin")
	var members operation.List[self]
	f.admin.Must("GET", "/identity/v1/members", nil, &members)
	for _, m := range members.Items {
		if m.ID == robin {
			require.Equal(t, []string{"owner"}, m.Roles)
		}
	}

	// An owner may all that another owner may, but not act on the installation.
	f.admin.Must("PUT", "/identity/v1/members/"+robin+"/roles", `{"roles":["owner","installer"]}`, nil)
	f.configureBy(owner, viewers)
	refused("robin")
	f.admin.Must("PUT", "/identity/v1/members/"+robin+"/roles", `{"roles":["owner"]}`, nil)
	id, _ = f.member(t, "robin")
	require.Equal(t, robin, id)
}
