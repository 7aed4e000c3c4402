package identity_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/libs/testkit"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
	"github.com/tollgate/tollgate/services/identity"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type fixture struct {
	*servicetest.Env
	service *identity.Identity
	admin   *servicetest.Client
	// secret is the administrator's token.
	secret string
	// database is the URL of the service's own.
	database string
}

// serve serves the operations over HTTP, as the service's own listener does.
func (f fixture) serve(t *testing.T) string {
	t.Helper()
	handler, err := f.service.API().Handler()
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func start(t *testing.T) fixture {
	t.Helper()
	return startWith(t, nil, func(*identity.Config) {})
}

// startWith starts identity with a clock, nil for the real one, and a changed configuration.
func startWith(t *testing.T, clock func() time.Time, configure func(*identity.Config)) fixture {
	t.Helper()
	env := servicetest.New(t)
	file := filepath.Join(t.TempDir(), "first-token")
	config := identity.Config{
		Service: env.Config("identity"), FirstTokenFile: file,
		SealKey: base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)),
	}
	configure(&config)
	s, err := identity.New(t.Context(), config, env.Deps(clock))
	require.NoError(t, err)
	env.Run(s)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	secret, err := os.ReadFile(file)
	require.NoError(t, err)
	admin := env.Client(strings.TrimSpace(string(secret)))
	testkit.Await(t, 10*time.Second, func() bool { return admin.Do("GET", "/identity/v1/accounts", nil).Status == 200 })
	return fixture{Env: env, service: s, admin: admin, secret: strings.TrimSpace(string(secret)), database: config.Service.PostgresURL}
}

type issued struct{ ID, Key, Prefix, Secret, ClientID, ClientSecret string }

func (f fixture) application(t *testing.T, c *servicetest.Client, account, name string) {
	t.Helper()
	c.Must("PUT", "/identity/v1/accounts/"+account, `{"spec":{"title":"Globex","currency":"EUR","country":"DE","billingEmail":"billing@globex.example"}}`, nil)
	c.Must("PUT", "/identity/v1/applications/"+name, fmt.Sprintf(`{"account":%q,"spec":{"title":"App"}}`, account), nil)
}

// credential waits for the document of a key at the gateways.
func (f fixture) credential(t *testing.T, key string, want func(*gatewayv1.CredentialDocument) bool) *gatewayv1.CredentialDocument {
	t.Helper()
	kv, err := f.Bus.Bucket(t.Context(), bus.CredentialsBucket)
	require.NoError(t, err)
	sum := sha256.Sum256([]byte(key))
	var d gatewayv1.CredentialDocument
	testkit.Await(t, 10*time.Second, func() bool {
		entry, err := kv.Get(t.Context(), hex.EncodeToString(sum[:]))
		return err == nil && proto.Unmarshal(entry.Value(), &d) == nil && want(&d)
	})
	return &d
}

func TestKeysReachTheGateways(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.application(t, f.admin, "globex", "globex-app")
	var first, second issued
	f.admin.Must("POST", "/identity/v1/applications/globex-app/credentials", `{"title":"Live"}`, &first)
	require.True(t, strings.HasPrefix(first.Key, first.Prefix) && len(first.Key) > 40)
	d := f.credential(t, first.Key, func(d *gatewayv1.CredentialDocument) bool { return !d.GetRevoked() })
	require.NotEmpty(t, d.GetTenant())
	require.Equal(t, first.ID, d.GetCredential())

	f.admin.Must("POST", "/identity/v1/applications/globex-app/credentials/"+first.ID+"/rotate", `{"overlap":"1h"}`, &second)
	f.credential(t, first.Key, func(d *gatewayv1.CredentialDocument) bool { return d.GetExpiresAt() > time.Now().Unix() })
	f.credential(t, second.Key, func(d *gatewayv1.CredentialDocument) bool { return d.GetExpiresAt() == 0 && !d.GetRevoked() })

	f.admin.Must("DELETE", "/identity/v1/applications/globex-app/credentials/"+second.ID, nil, nil)
	f.credential(t, second.Key, func(d *gatewayv1.CredentialDocument) bool { return d.GetRevoked() })

	f.admin.Must("DELETE", "/identity/v1/accounts/globex", nil, nil)
	f.credential(t, first.Key, func(d *gatewayv1.CredentialDocument) bool { return d.GetRevoked() })

	list := f.admin.Must("GET", "/identity/v1/applications/globex-app/credentials", nil, nil)
	require.NotContains(t, list.Body, first.Key)
	require.NotContains(t, list.Body, second.Key)
}

func TestALostBucketIsFilledAgain(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.application(t, f.admin, "globex", "globex-app")
	var key issued
	f.admin.Must("POST", "/identity/v1/applications/globex-app/credentials", `{"title":"Live"}`, &key)
	f.credential(t, key.Key, func(*gatewayv1.CredentialDocument) bool { return true })
	require.NoError(t, f.Bus.JS.DeleteKeyValue(t.Context(), bus.CredentialsBucket))
	f.credential(t, key.Key, func(*gatewayv1.CredentialDocument) bool { return true })
}

func TestARepeatedCommandHasOneEffect(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.application(t, f.admin, "globex", "globex-app")
	const path = "/identity/v1/applications/globex-app/credentials"
	var first, again issued
	f.admin.Must("POST", path, `{"title":"Live"}`, &first, "Idempotency-Key", "k1")
	answer := f.admin.Must("POST", path, `{"title":"Live"}`, &again, "Idempotency-Key", "k1")
	require.Equal(t, "true", answer.Header.Get(operation.HeaderReplayed))
	require.Equal(t, first.ID, again.ID)
	require.Empty(t, again.Key, "the key is not kept and cannot be shown again")
	other := f.admin.Do("POST", path, `{"title":"Another"}`, "Idempotency-Key", "k1")
	require.Equal(t, 409, other.Status, other.Body)
	elsewhere := f.admin.Do("POST", "/identity/v1/tokens", `{"title":"Live"}`, "Idempotency-Key", "k1")
	require.Equal(t, 409, elsewhere.Status, elsewhere.Body)
}

func TestTokens(t *testing.T) {
	t.Parallel()
	f := start(t)
	var member, limited issued
	f.admin.Must("POST", "/identity/v1/members", `{"displayName":"Kim","email":"kim@example.com","roles":["viewer"]}`, &member)
	f.admin.Must("POST", "/identity/v1/tokens", fmt.Sprintf(`{"title":"CI","member":%q}`, member.ID), &limited)
	viewer := f.Client(limited.Secret)
	require.Equal(t, 200, viewer.Do("GET", "/identity/v1/accounts", nil).Status)
	denied := viewer.Do("PUT", "/identity/v1/accounts/x", `{"spec":{"title":"X","currency":"EUR"}}`)
	require.Equal(t, 403, denied.Status)
	require.Contains(t, denied.Body, "identity.write")
	raise := viewer.Do("POST", "/identity/v1/tokens", `{"title":"More","scopes":["identity.write"]}`)
	require.Equal(t, 403, raise.Status, "a token cannot give what its holder does not have")

	var signed struct{ Token string }
	f.Client("").Must("POST", "/identity/v1/tokens/exchange", fmt.Sprintf(`{"token":%q}`, limited.Secret), &signed)
	require.Equal(t, 200, f.Client(signed.Token).Do("GET", "/identity/v1/accounts", nil).Status)

	f.admin.Must("DELETE", "/identity/v1/tokens/"+limited.ID, nil, nil)
	void := f.Client("").Do("POST", "/identity/v1/tokens/exchange", fmt.Sprintf(`{"token":%q}`, limited.Secret))
	require.Equal(t, 401, void.Status)
	require.Equal(t, 401, f.Client("tgp_nonsense").Do("GET", "/identity/v1/accounts", nil).Status)
}

func TestTheLastOwnerStays(t *testing.T) {
	t.Parallel()
	f := start(t)
	var members operation.List[struct{ ID string }]
	f.admin.Must("GET", "/identity/v1/members", nil, &members)
	require.Len(t, members.Items, 1)
	answer := f.admin.Do("DELETE", "/identity/v1/members/"+members.Items[0].ID, nil)
	require.Equal(t, 409, answer.Status)
	require.Contains(t, answer.Body, "last-owner")
}

func weather(t *testing.T, account string) resource.ApplyRequest {
	t.Helper()
	return resource.ApplyRequest{Resources: []resource.Resource{
		{APIVersion: "tollgate/v1", Kind: "Application", Metadata: resource.Metadata{Name: "globex-app", Account: "globex"}, Spec: []byte(`{"title":"Globex travel app"}`)},
		{APIVersion: "tollgate/v1", Kind: "Account", Metadata: resource.Metadata{Name: "globex"}, Spec: []byte(account)},
	}}
}

func TestApply(t *testing.T) {
	t.Parallel()
	f := start(t)
	good := weather(t, `{"title":"Globex","currency":"USD","country":"DE","billingEmail":"billing@globex.example"}`)
	var response resource.ApplyResponse
	f.admin.Must("POST", "/identity/v1/apply", good, &response, operation.HeaderDryRun, "true")
	require.Equal(t, resource.Created, response.Changes[1].Action)
	require.Equal(t, 404, f.admin.Do("GET", "/identity/v1/accounts/globex", nil).Status, "a dry run changes nothing")

	bad := f.admin.Do("POST", "/identity/v1/apply", weather(t, `{"title":"Globex","currency":"XXQ"}`))
	require.Equal(t, 400, bad.Status)
	require.Contains(t, bad.Body, `"path":"resources[1].spec.currency"`)
	require.Equal(t, 404, f.admin.Do("GET", "/identity/v1/applications/globex-app", nil).Status, "a bad resource changes nothing at all")

	first := f.admin.Must("POST", "/identity/v1/apply", good, &response)
	second := f.admin.Must("POST", "/identity/v1/apply", good, &response)
	for _, c := range response.Changes {
		require.Equal(t, resource.Unchanged, c.Action)
	}
	require.Equal(t, first.Header.Get(operation.HeaderPosition), second.Header.Get(operation.HeaderPosition), "no event")

	var export resource.Export
	f.admin.Must("GET", "/identity/v1/export", nil, &export)
	require.Len(t, export.Resources, 2)
	f.admin.Must("POST", "/identity/v1/apply", resource.ApplyRequest{Resources: export.Resources}, &response)
	require.Equal(t, resource.Unchanged, response.Changes[0].Action)
}

func TestPersonalDataIsInNoEvent(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.application(t, f.admin, "globex", "globex-app")
	f.admin.Must("POST", "/identity/v1/members", `{"displayName":"Kim Example","email":"kim@example.com","roles":["viewer"]}`, nil)
	stream, err := f.Bus.JS.Stream(t.Context(), "EV_IDENTITY")
	require.NoError(t, err)
	testkit.Await(t, 10*time.Second, func() bool {
		info, err := stream.Info(t.Context())
		return err == nil && info.State.Msgs >= 6
	})
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	for sequence := uint64(1); sequence <= info.State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(t.Context(), sequence)
		require.NoError(t, err)
		require.NotContains(t, string(msg.Data), "example")
	}
}

// deliveries returns the ids of the tenant's deliveries.
func deliveries(t *testing.T, f fixture) (ids []string) {
	t.Helper()
	var list operation.List[struct{ ID string }]
	f.admin.Must("GET", "/identity/v1/deliveries", nil, &list)
	require.NotEmpty(t, list.Items)
	for _, d := range list.Items {
		ids = append(ids, d.ID)
	}
	return ids
}

func TestTenantsAreIsolated(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.application(t, f.admin, "globex", "globex-app")
	var key, token, member issued
	f.admin.Must("POST", "/identity/v1/applications/globex-app/credentials", `{"title":"Live"}`, &key)
	f.admin.Must("POST", "/identity/v1/tokens", `{"title":"CI"}`, &token)
	f.admin.Must("POST", "/identity/v1/members", `{"displayName":"Kim","roles":["viewer"]}`, &member)
	var account, application, invitation, self struct{ ID string }
	f.admin.Must("POST", "/identity/v1/invitations", `{"email":"secret@globex.example","roles":["viewer"]}`, &invitation)
	f.admin.Must("PUT", "/identity/v1/roles/auditor", `{"title":"Globex","scopes":["identity.read"]}`, nil)
	f.admin.Must("GET", "/identity/v1/me", nil, &self)
	f.admin.Must("PUT", "/identity/v1/members/"+self.ID, `{"displayName":"Ada","email":"ada@globex.example"}`, nil)
	f.admin.Must("PUT", "/identity/v1/me/password", fmt.Sprintf(`{"password":%q}`, goodPassword), nil)
	var started session
	f.admin.Must("POST", "/identity/v1/sessions", fmt.Sprintf(`{"tenant":"main","email":"ada@globex.example","password":%q}`, goodPassword), &started)
	f.admin.Must("GET", "/identity/v1/accounts/globex", nil, &account)
	f.admin.Must("GET", "/identity/v1/applications/globex-app", nil, &application)
	var other struct{ OwnerToken string }
	f.admin.Must("POST", "/identity/v1/tenants", `{"name":"evil","title":"Evil","ownerDisplayName":"Eve"}`, &other)

	tried := f.Attack(f.service.API(), other.OwnerToken,
		map[string][]string{
			"account": {"globex", account.ID}, "application": {"globex-app", application.ID},
			"credential": {key.ID}, "token": {token.ID}, "member": {member.ID},
			"invitation": {invitation.ID}, "role": {"auditor"}, "session": {started.ID}, "delivery": deliveries(t, f), "position": {"1", "2"},
		},
		map[string]any{
			"PutAccount": `{"spec":{"title":"Stolen","currency":"USD"}}`, "PutApplication": fmt.Sprintf(`{"account":%q,"spec":{"title":"Stolen"}}`, account.ID),
			"IssueCredential": `{"title":"Stolen"}`, "RotateCredential": `{}`, "ChangeMemberRoles": `{"roles":["owner"]}`,
			"IssueToken": fmt.Sprintf(`{"title":"Stolen","member":%q}`, member.ID), "AddMember": `{"displayName":"Eve","roles":["viewer"]}`,
			"ApplyIdentityResources": weather(t, `{"title":"Stolen","currency":"USD"}`), "ExchangeToken": `{"token":"tgp_x"}`,
			"ChangeMember": `{"displayName":"Eve"}`, "SetRole": `{"title":"Evil","scopes":["identity.read"]}`,
			"InviteMember": `{"email":"eve@example.com","roles":["viewer"]}`, "InviteAccountMember": `{"email":"eve@example.com","roles":["admin"]}`,
			"AcceptInvitation": `{"token":"x","displayName":"Eve","password":"x"}`, "SignIn": `{"tenant":"main","email":"ada@globex.example","password":"x"}`,
			"RequestPasswordReset": `{"tenant":"main","email":"ada@globex.example"}`, "ResetPassword": `{"token":"x","password":"x"}`,
			"ChangePassword": `{"password":"x"}`, "ConfirmSecondFactor": `{"code":"x"}`, "DisableSecondFactor": `{"code":"x"}`,
			"CreateTenant": `{"name":"evil2","title":"Evil","ownerDisplayName":"Eve"}`,
		}, nil,
		// What a stranger may do in a tenant of their own; PutAccount makes an account of that name there.
		map[string]bool{
			"PutAccount": true, "AddMember": true, "ApplyIdentityResources": true, "ExportIdentityResources": true, "ListTenants": true,
			"ListMembers": true, "ListTokens": true, "ListAccounts": true, "ListApplications": true, "GetAccount": true, "CloseAccount": true,
			"PutApplication": true, "GetApplication": true, "DeleteApplication": true, "IssueCredential": true, "ListCredentials": true,
			"ListRoles": true, "SetRole": true, "DeleteRole": true, "ListSessions": true, "GetSelf": true, "ListInvitations": true,
			"InviteMember": true, "InviteAccountMember": true, "ListAccountMembers": true, "StartSecondFactor": true, "ListIdentityDeliveries": true,
			"ListIdentityAudit": true, "EraseAccountContact": true, "ExportIdentityAudit": true,
		},
		[]string{account.ID, application.ID, key.ID, token.ID, member.ID, "Globex\"", "billing@globex.example", "Kim",
			invitation.ID, started.ID, "secret@globex.example", "ada@globex.example"})
	require.Greater(t, tried, 60)
	f.admin.Must("DELETE", "/identity/v1/sessions/"+started.ID, nil, nil)
	f.admin.Must("DELETE", "/identity/v1/invitations/"+invitation.ID, nil, nil)
	var roles operation.List[struct{ Name, Title string }]
	f.admin.Must("GET", "/identity/v1/roles", nil, &roles)
	require.Equal(t, "Globex", roles.Items[len(roles.Items)-1].Title)

	var unchanged struct {
		Title, BillingEmail string
		Closed, Deleted     bool
	}
	f.admin.Must("GET", "/identity/v1/accounts/"+account.ID, nil, &unchanged)
	require.Equal(t, "Globex", unchanged.Title)
	require.Equal(t, "billing@globex.example", unchanged.BillingEmail)
	require.False(t, unchanged.Closed)
	f.admin.Must("GET", "/identity/v1/applications/"+application.ID, nil, &unchanged)
	require.Equal(t, "App", unchanged.Title)
	require.False(t, unchanged.Deleted)
	var credentials operation.List[struct {
		ID      string
		Revoked bool
	}]
	f.admin.Must("GET", "/identity/v1/applications/globex-app/credentials", nil, &credentials)
	require.Len(t, credentials.Items, 1)
	require.False(t, credentials.Items[0].Revoked)
}
