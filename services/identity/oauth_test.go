package identity_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/token"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

const (
	credentialsPath = "/identity/v1/applications/globex-app/credentials"
	issuer          = "http://127.0.0.1:8081/identity"
)

// postForm sends a form as a client of the OAuth endpoints does, with HTTP Basic unless id is empty.
func postForm(t *testing.T, address, id, secret string, form url.Values) (int, http.Header, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		request.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	body := map[string]any{}
	if len(raw) > 0 {
		require.NoError(t, json.Unmarshal(raw, &body), string(raw))
	}
	return response.StatusCode, response.Header, body
}

// keys returns the published keys.
func (f fixture) keys(t *testing.T) token.Keys {
	t.Helper()
	answer := f.admin.Must("GET", "/identity/v1/jwks.json", nil, nil)
	keys, err := token.ParseKeys([]byte(answer.Body))
	require.NoError(t, err)
	return keys
}

func (f fixture) client(t *testing.T, body string) issued {
	t.Helper()
	f.application(t, f.admin, "globex", "globex-app")
	var client issued
	f.admin.Must("POST", credentialsPath, body, &client)
	require.True(t, strings.HasPrefix(client.ClientID, "tgc_"), client.ClientID)
	require.Greater(t, len(client.ClientSecret), 40)
	require.Empty(t, client.Key)
	return client
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	f := start(t)
	client := f.client(t, `{"kind":"oauth2","title":"Batch","scopes":["forecast.read","forecast.write"]}`)
	server := f.serve(t)
	d := f.credential(t, "oauth2 "+client.ClientID, func(*gatewayv1.CredentialDocument) bool { return true })
	require.Equal(t, client.ID, d.GetCredential())
	require.Equal(t, "oauth2", d.GetKind())
	require.Empty(t, d.GetScopes(), "tokens carry their own")

	// A client library reads the metadata and gets a token, by either way of authentication.
	var metadata struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
		JWKSURI       string `json:"jwks_uri"`
	}
	f.admin.Must("GET", "/identity/.well-known/oauth-authorization-server", nil, &metadata)
	require.Equal(t, issuer, metadata.Issuer)
	require.Equal(t, issuer+"/v1/jwks.json", metadata.JWKSURI)
	path, found := strings.CutPrefix(metadata.TokenEndpoint, "http://127.0.0.1:8081")
	require.True(t, found)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		library := clientcredentials.Config{
			ClientID: client.ClientID, ClientSecret: client.ClientSecret, TokenURL: server + path,
			Scopes: []string{"forecast.read"}, AuthStyle: style,
		}
		got, err := library.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "Bearer", got.Type())
		claims, err := f.keys(t).VerifyAccess(got.AccessToken, time.Now(), issuer)
		require.NoError(t, err)
		require.Equal(t, client.ClientID, claims.ClientID)
		require.Equal(t, []string{"forecast.read"}, claims.Scopes)
		require.Equal(t, []string{d.GetTenant()}, claims.Audience)
		require.Equal(t, d.GetTenant(), claims.Tenant)
		require.Equal(t, 401, f.Client(got.AccessToken).Do("GET", "/identity/v1/accounts", nil).Status, "it manages nothing")
	}

	status, header, body := postForm(t, server+path, client.ClientID, client.ClientSecret, url.Values{
		"grant_type": {"client_credentials"}, "resource": {"https://api.example.com", "https://other.example.com/v1"},
	})
	require.Equal(t, 200, status)
	require.Equal(t, "no-store", header.Get("Cache-Control"))
	require.Equal(t, "forecast.read forecast.write", body["scope"])
	require.InDelta(t, 3600, body["expires_in"], 1)
	claims, err := f.keys(t).VerifyAccess(body["access_token"].(string), time.Now(), issuer)
	require.NoError(t, err)
	require.Equal(t, []string{"https://api.example.com", "https://other.example.com/v1"}, claims.Audience)
}

func TestTokenEndpointRefusals(t *testing.T) {
	t.Parallel()
	f := start(t)
	client := f.client(t, `{"kind":"oauth2","title":"Batch","scopes":["forecast.read"]}`)
	endpoint := f.serve(t) + "/identity/v1/oauth/token"
	grant := func(more ...string) url.Values {
		form := url.Values{"grant_type": {"client_credentials"}}
		for i := 0; i < len(more); i += 2 {
			form.Add(more[i], more[i+1])
		}
		return form
	}
	for name, c := range map[string]struct {
		id, secret string
		form       url.Values
		status     int
		code       string
	}{
		"wrong secret":     {client.ClientID, "tg_wrong", grant(), 401, "invalid_client"},
		"unknown client":   {"tgc_unknown", client.ClientSecret, grant(), 401, "invalid_client"},
		"no client":        {"", "", grant(), 401, "invalid_client"},
		"two ways":         {client.ClientID, client.ClientSecret, grant("client_secret", client.ClientSecret), 400, "invalid_request"},
		"no grant":         {client.ClientID, client.ClientSecret, url.Values{}, 400, "invalid_request"},
		"grant twice":      {client.ClientID, client.ClientSecret, grant("grant_type", "client_credentials"), 400, "invalid_request"},
		"other grant":      {client.ClientID, client.ClientSecret, url.Values{"grant_type": {"password"}}, 400, "unsupported_grant_type"},
		"scope":            {client.ClientID, client.ClientSecret, grant("scope", "forecast.read forecast.write"), 400, "invalid_scope"},
		"resource":         {client.ClientID, client.ClientSecret, grant("resource", "forecast"), 400, "invalid_target"},
		"text not allowed": {client.ClientID, client.ClientSecret, grant("scope", "\"é\\"), 400, "invalid_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, body := postForm(t, endpoint, c.id, c.secret, c.form)
			require.Equal(t, c.status, status, body)
			require.Equal(t, c.code, body["error"])
			require.NotEmpty(t, body["error_description"])
			require.Regexp(t, `^[\x20-\x21\x23-\x5B\x5D-\x7E]*$`, body["error_description"], "RFC 6749, section 5.2")
			require.Equal(t, "application/json", header.Get("Content-Type"))
			if status == 401 {
				require.True(t, strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic "))
			}
		})
	}
	response, err := http.Post(endpoint, "application/json", strings.NewReader(`{"grant_type":"client_credentials"}`))
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, 400, response.StatusCode)

	// Guessing ends, with a time to come back at.
	var status int
	var header http.Header
	for range 30 {
		if status, header, _ = postForm(t, endpoint, client.ClientID, "tg_guess", grant()); status == 429 {
			break
		}
	}
	require.Equal(t, 429, status)
	require.NotEmpty(t, header.Get("Retry-After"))
}

// Wrong secrets, as of a client that is not configured right or of one who knows an id, keep nobody from getting tokens who has
// the right one: neither others at the same address nor the client itself.
func TestWrongSecretsHoldUpNobody(t *testing.T) {
	t.Parallel()
	f := start(t)
	client := f.client(t, `{"kind":"oauth2","title":"Batch","scopes":["forecast.read"]}`)
	var neighbour issued
	f.admin.Must("POST", credentialsPath, `{"kind":"oauth2","title":"Other"}`, &neighbour)
	endpoint := f.serve(t) + "/identity/v1/oauth/token"
	grant := url.Values{"grant_type": {"client_credentials"}}
	statuses := map[int]int{}
	for range 150 {
		status, _, _ := postForm(t, endpoint, client.ClientID, "tg_wrong", grant)
		statuses[status]++
	}
	require.Positive(t, statuses[401])
	require.Positive(t, statuses[429], "%v", statuses)
	for _, c := range []issued{neighbour, client} {
		status, _, body := postForm(t, endpoint, c.ClientID, c.ClientSecret, grant)
		require.Equal(t, 200, status, body)
	}
}

// One client gets so many tokens and no more.
func TestTokensOfAClientAreLimited(t *testing.T) {
	t.Parallel()
	p := startPeople(t)
	client := p.client(t, `{"kind":"oauth2","title":"Batch"}`)
	endpoint := p.serve(t) + "/identity/v1/oauth/token"
	grant := url.Values{"grant_type": {"client_credentials"}}
	for range 100 {
		status, _, body := postForm(t, endpoint, client.ClientID, client.ClientSecret, grant)
		require.Equal(t, 200, status, body)
	}
	status, header, _ := postForm(t, endpoint, client.ClientID, client.ClientSecret, grant)
	require.Equal(t, 429, status)
	require.Equal(t, "1", header.Get("Retry-After"))
	p.advance(time.Second)
	status, _, _ = postForm(t, endpoint, client.ClientID, client.ClientSecret, grant)
	require.Equal(t, 200, status)
}

func TestIntrospectionAndRevocation(t *testing.T) {
	t.Parallel()
	f := start(t)
	client := f.client(t, `{"kind":"oauth2","title":"Batch","scopes":["forecast.read"]}`)
	var other issued
	f.admin.Must("POST", credentialsPath, `{"kind":"oauth2","title":"Other"}`, &other)
	oauth := f.serve(t) + "/identity/v1/oauth/"
	_, _, body := postForm(t, oauth+"token", client.ClientID, client.ClientSecret, url.Values{"grant_type": {"client_credentials"}})
	access := body["access_token"].(string)
	introspect := func(by issued, signed string) map[string]any {
		status, _, body := postForm(t, oauth+"introspect", by.ClientID, by.ClientSecret, url.Values{"token": {signed}})
		require.Equal(t, 200, status, body)
		return body
	}
	active := introspect(other, access)
	require.Equal(t, true, active["active"])
	require.Equal(t, client.ClientID, active["client_id"])
	require.Equal(t, "forecast.read", active["scope"])
	require.Equal(t, map[string]any{"active": false}, introspect(other, access+"x"))
	status, _, _ := postForm(t, oauth+"introspect", client.ClientID, "wrong", url.Values{"token": {access}})
	require.Equal(t, 401, status)

	// Another tenant's client learns nothing.
	var tenant struct{ OwnerToken string }
	f.admin.Must("POST", "/identity/v1/tenants", `{"name":"rival","title":"Rival","ownerDisplayName":"Eve"}`, &tenant)
	rival := f.Client(tenant.OwnerToken)
	f.application(t, rival, "rival", "rival-app")
	var spy issued
	rival.Must("POST", "/identity/v1/applications/rival-app/credentials", `{"kind":"oauth2","title":"Spy"}`, &spy)
	require.Equal(t, map[string]any{"active": false}, introspect(spy, access))

	status, _, body = postForm(t, oauth+"revoke", other.ClientID, other.ClientSecret, url.Values{"token": {access}})
	require.Equal(t, 400, status)
	require.Equal(t, "invalid_grant", body["error"])
	require.Equal(t, true, introspect(other, access)["active"])
	for range 2 {
		status, _, _ = postForm(t, oauth+"revoke", client.ClientID, client.ClientSecret, url.Values{"token": {access}})
		require.Equal(t, 200, status)
	}
	require.Equal(t, map[string]any{"active": false}, introspect(client, access))
	claims, err := f.keys(t).VerifyAccess(access, time.Now(), issuer)
	require.NoError(t, err)
	d := f.credential(t, "token "+claims.ID, func(d *gatewayv1.CredentialDocument) bool { return d.GetRevoked() })
	require.Equal(t, "revokedToken", d.GetKind())
	require.Equal(t, claims.ExpiresAt.Unix(), d.GetExpiresAt())
	status, _, _ = postForm(t, oauth+"revoke", client.ClientID, client.ClientSecret, url.Values{"token": {"nonsense"}})
	require.Equal(t, 200, status, "RFC 7009, section 2.2")
}

func TestAClientKeepsItsIDWhenItsSecretIsRotated(t *testing.T) {
	t.Parallel()
	f := start(t)
	first := f.client(t, `{"kind":"oauth2","title":"Batch","scopes":["forecast.read"]}`)
	endpoint := f.serve(t) + "/identity/v1/oauth/token"
	works := func(secret string) bool {
		status, _, _ := postForm(t, endpoint, first.ClientID, secret, url.Values{"grant_type": {"client_credentials"}})
		return status == 200
	}
	var second, third issued
	f.admin.Must("POST", credentialsPath+"/"+first.ID+"/rotate", `{"overlap":"1h"}`, &second)
	require.Equal(t, first.ClientID, second.ClientID)
	require.True(t, works(first.ClientSecret))
	require.True(t, works(second.ClientSecret))
	f.credential(t, "oauth2 "+first.ClientID, func(d *gatewayv1.CredentialDocument) bool {
		return d.GetCredential() == second.ID && d.GetExpiresAt() == 0
	})
	f.admin.Must("POST", credentialsPath+"/"+second.ID+"/rotate", `{}`, &third)
	require.False(t, works(second.ClientSecret))
	require.True(t, works(third.ClientSecret))
	f.credential(t, "oauth2 "+first.ClientID, func(d *gatewayv1.CredentialDocument) bool {
		return d.GetCredential() == third.ID && !d.GetRevoked()
	})
	f.admin.Must("DELETE", credentialsPath+"/"+third.ID, nil, nil)
	f.admin.Must("DELETE", credentialsPath+"/"+first.ID, nil, nil)
	require.False(t, works(first.ClientSecret))
	f.credential(t, "oauth2 "+first.ClientID, func(d *gatewayv1.CredentialDocument) bool { return d.GetRevoked() })
}

func TestScopesRolesAndForeignClients(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.application(t, f.admin, "globex", "globex-app")
	var key, foreign issued
	f.admin.Must("POST", credentialsPath, `{"title":"Live","scopes":["forecast.read"]}`, &key)
	f.admin.Must("POST", credentialsPath, `{"kind":"jwt","title":"Partner","issuer":"https://login.example.com","client":"partner-1"}`, &foreign)
	require.Empty(t, foreign.Key+foreign.ClientSecret)
	d := f.credential(t, key.Key, func(d *gatewayv1.CredentialDocument) bool { return len(d.GetScopes()) == 1 })
	require.Empty(t, d.GetRoles())
	name := "jwt " + d.GetTenant() + " https://login.example.com partner-1"
	d = f.credential(t, name, func(*gatewayv1.CredentialDocument) bool { return true })
	require.Equal(t, foreign.ID, d.GetCredential())

	// The application's roles reach every one of its documents.
	f.admin.Must("PUT", "/identity/v1/applications/globex-app", `{"account":"globex","spec":{"title":"App","roles":["partner","beta"]}}`, nil)
	for _, name := range []string{key.Key, name} {
		f.credential(t, name, func(d *gatewayv1.CredentialDocument) bool {
			return strings.Join(d.GetRoles(), " ") == "partner beta"
		})
	}
	var export struct {
		Resources []struct{ Spec struct{ Roles []string } }
	}
	f.admin.Must("GET", "/identity/v1/export", nil, &export)
	require.Equal(t, []string{"partner", "beta"}, export.Resources[1].Spec.Roles)

	again := f.admin.Do("POST", credentialsPath, `{"kind":"jwt","title":"Twice","issuer":"https://login.example.com","client":"partner-1"}`)
	require.Equal(t, 409, again.Status, again.Body)
	require.Contains(t, again.Body, "client-exists")
	require.Contains(t, f.admin.Do("POST", credentialsPath+"/"+foreign.ID+"/rotate", `{}`).Body, "credential-without-secret")
	f.admin.Must("DELETE", credentialsPath+"/"+foreign.ID, nil, nil)
	f.admin.Must("POST", credentialsPath, `{"kind":"jwt","title":"Again","issuer":"https://login.example.com","client":"partner-1"}`, &foreign)
	f.credential(t, name, func(d *gatewayv1.CredentialDocument) bool {
		return d.GetCredential() == foreign.ID && !d.GetRevoked()
	})

	for body, path := range map[string]string{
		`{"title":"X","kind":"mtls"}`:                                                   "kind",
		`{"title":"X","scopes":["a b"]}`:                                                "scopes",
		`{"title":"X","scopes":["a","a"]}`:                                              "scopes",
		`{"title":"X","client":"c"}`:                                                    "client",
		`{"title":"X","kind":"oauth2","issuer":"https://x.example"}`:                    "issuer",
		`{"title":"X","kind":"jwt","client":"c"}`:                                       "issuer",
		`{"title":"X","kind":"jwt","client":"c","issuer":"http://login.example.com"}`:   "issuer",
		`{"title":"X","kind":"jwt","issuer":"https://login.example.com"}`:               "client",
		`{"title":"X","kind":"jwt","client":"c","issuer":"https://x.example?tenant=1"}`: "issuer",
	} {
		answer := f.admin.Do("POST", credentialsPath, body)
		require.Equal(t, 400, answer.Status, body)
		require.Contains(t, answer.Body, fmt.Sprintf(`"path":%q`, path), body)
	}
	require.Equal(t, "gw_credentials", bus.CredentialsBucket, "the name that gateways know")
}
