package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/integration/harness"
	"github.com/tollgate/tollgate/libs/testkit"
)

const tokenResources = `
apiVersion: tollgate/v1
kind: API
metadata: {name: notes}
spec: {title: Notes}
---
apiVersion: tollgate/v1
kind: APIVersion
metadata: {name: notes-v1, api: notes}
spec:
  openapi: |
    openapi: 3.1.0
    info: {title: Notes, version: "1"}
    components:
      securitySchemes:
        oauth: {type: oauth2, flows: {clientCredentials: {tokenUrl: https://example.com/token, scopes: {notes.read: Read, notes.write: Write}}}}
    paths:
      /notes:
        get: {operationId: listNotes, security: [{oauth: [notes.read]}], responses: {"200": {description: OK, content: {application/json: {example: [{text: made up}]}}}}}
        post: {operationId: addNote, security: [{oauth: [notes.write]}], responses: {"201": {description: Made}}}
  stage: %[2]s
  route: {hosts: ["*"], prefix: /notes/v1, stripPrefix: true}
  upstream: {targets: [{url: "%[1]s"}]}
  authenticate: [oauth2]
---
apiVersion: tollgate/v1
kind: Product
metadata: {name: notes}
spec: {title: Notes, includes: [{apiVersion: notes-v1}]}
---
apiVersion: tollgate/v1
kind: Plan
metadata: {name: free, product: notes}
spec: {title: Free, currency: EUR, approval: auto}
---
apiVersion: tollgate/v1
kind: Account
metadata: {name: acme}
spec: {title: Acme, currency: EUR}
---
apiVersion: tollgate/v1
kind: Application
metadata: {name: acme-app, account: acme}
spec: {title: Acme app}
---
apiVersion: tollgate/v1
kind: Subscription
metadata: {name: acme-notes, application: acme-app}
spec: {plan: free, product: notes}
`

// TestAccessTokens: an application gets a token where the metadata says, calls with it what its scopes allow, and is refused once
// the token is revoked. The version is mocked first, then published, then deprecated.
func TestAccessTokens(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`["real"]`)) }))
	t.Cleanup(upstream.Close)
	s := harness.Up(t, harness.Dir(t))
	api := harness.NewAPI(t, s.Admin, s.Token(t))
	apply := func(stage string) {
		file := filepath.Join(t.TempDir(), "notes.yaml")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, tokenResources, upstream.URL, stage), 0o600))
		code, stdout, stderr := harness.CLI(t, s.Admin, s.Token(t), "apply", "-f", file)
		require.Equal(t, 0, code, stdout+stderr)
	}
	apply("mocked")
	var client struct{ ID, ClientID, ClientSecret string }
	api.Must("POST", "/identity/v1/applications/acme-app/credentials", map[string]any{"kind": "oauth2", "title": "Batch", "scopes": []string{"notes.read"}}, &client)
	require.NotEmpty(t, client.ClientSecret)

	var metadata struct {
		Issuer             string
		TokenEndpoint      string `json:"token_endpoint"`
		RevocationEndpoint string `json:"revocation_endpoint"`
	}
	response, err := http.Get(s.Admin + "/.well-known/oauth-authorization-server/identity")
	require.NoError(t, err)
	require.NoError(t, json.NewDecoder(response.Body).Decode(&metadata))
	_ = response.Body.Close()
	require.Equal(t, s.Admin+"/identity", metadata.Issuer)
	form := func(endpoint string, values url.Values, out any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(values.Encode()))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(client.ClientID, client.ClientSecret)
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		require.Equal(t, 200, response.StatusCode)
		if out != nil {
			require.NoError(t, json.NewDecoder(response.Body).Decode(out))
		}
	}
	var granted struct {
		AccessToken string `json:"access_token"`
		Scope       string `json:"scope"`
	}
	form(metadata.TokenEndpoint, url.Values{"grant_type": {"client_credentials"}}, &granted)
	require.Equal(t, "notes.read", granted.Scope)

	await := func(method string, status int, has func(body string, h http.Header) bool) {
		t.Helper()
		testkit.Await(t, 30*time.Second, func() error {
			got, body, header := bearerCall(t, s.Gateway, method, granted.AccessToken)
			if got != status || has != nil && !has(body, header) {
				return fmt.Errorf("%s /notes answers %d %s %v", method, got, body, header)
			}
			return nil
		})
	}
	await("GET", 200, func(body string, _ http.Header) bool { return strings.Contains(body, "made up") })
	apply("published")
	await("GET", 200, func(body string, _ http.Header) bool { return body == `["real"]` })
	await("POST", 403, func(body string, _ http.Header) bool { return strings.Contains(body, "scope-missing") })
	apply("deprecated")
	await("GET", 200, func(_ string, h http.Header) bool { return strings.HasPrefix(h.Get("Deprecation"), "@") })
	form(metadata.RevocationEndpoint, url.Values{"token": {granted.AccessToken}}, nil)
	await("GET", 401, func(body string, _ http.Header) bool { return strings.Contains(body, "token-revoked") })
}

func bearerCall(t *testing.T, gateway, method, token string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, gateway+"/notes/v1/notes", nil)
	require.NoError(t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body), response.Header
}
