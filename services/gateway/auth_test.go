package gateway

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/testkit"
	"github.com/tollgate/tollgate/libs/token"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"
)

const issuerURL = "https://tollgate.example.com/identity"

// authority signs access tokens as identity does.
type authority struct {
	w   *world
	key ed25519.PrivateKey
}

func (w *world) authority() *authority {
	w.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(w.t, err)
	set, err := json.Marshal(token.JWKSet{Keys: []token.JWK{token.PublicJWK("k1", public)}})
	require.NoError(w.t, err)
	kv, err := w.bus.Bucket(w.t.Context(), bus.KeysBucket)
	require.NoError(w.t, err)
	_, err = kv.Put(w.t.Context(), token.KeysKey, set)
	require.NoError(w.t, err)
	return &authority{w, private}
}

// sign issues a token that change may alter before.
func (a *authority) sign(id string, now time.Time, change func(*token.AccessClaims), scopes ...string) string {
	a.w.t.Helper()
	claims := token.AccessClaims{Issuer: issuerURL, Subject: "tgc_1", ClientID: "tgc_1", Audience: []string{"t1"}, ID: id, Scopes: scopes, Tenant: "t1"}
	if change != nil {
		change(&claims)
	}
	signed, _, err := token.SignAccess(a.key, "k1", claims, now, time.Hour)
	require.NoError(a.w.t, err)
	return signed
}

func (w *world) issueAs(name string, change func(*gatewayv1.CredentialDocument)) {
	d := w.credential()
	change(d)
	sum := sha256.Sum256([]byte(name))
	w.put(bus.CredentialsBucket, hex.EncodeToString(sum[:]), d)
}

func (w *world) oauthConfig() Config {
	c := w.config(w.t.TempDir())
	c.Issuer = issuerURL
	return c
}

func bearerOf(signed string) []string { return []string{"Authorization", "Bearer " + signed} }

func TestOpenAPIsDoNotGetTollgatesCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.authority()
	api := w.api()
	api.Authenticate = nil
	w.publish(api)
	g := w.start(w.oauthConfig())
	g.await("/weather/v1/current/rome", 200)
	own := a.sign("own", time.Now(), nil)
	foreign := a.sign("foreign", time.Now(), func(c *token.AccessClaims) { c.Issuer = "https://login.example.com" })
	for _, tc := range []struct {
		field, value string
		passes       bool
	}{
		{"X-Api-Key", apiKey, false},
		{"X-API-Key", "the-upstreams-own", true},
		{"Authorization", "Bearer " + apiKey, false},
		{"Authorization", "bearer  " + apiKey, false},
		{"Authorization", apiKey, false},
		{"Authorization", "Bearer " + own, false},
		{"Authorization", "Bearer " + foreign, true},
		{"Authorization", "Bearer the-upstreams-own", true},
		{"Authorization", "Basic abc", true},
	} {
		got := g.do("GET", "/weather/v1/current/rome", nil, tc.field, tc.value)
		want := ""
		if tc.passes {
			want = tc.value
		}
		require.Equal(t, want, got.echoed(t).Headers.Get(tc.field), "%s: %s", tc.field, tc.value)
	}
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.authority()
	api := w.api()
	api.Authenticate = []string{"apiKey", "oauth2"}
	api.Access = []*gatewayv1.OperationAccess{{
		Operation: "createForecast", Roles: []string{"partner"},
		Scopes: []*gatewayv1.ScopeSet{{Scopes: []string{"forecast.write", "forecast.read"}}, {Scopes: []string{"forecast.all"}}},
	}}
	w.publish(api)
	w.entitle(w.entitlement())
	w.issue(apiKey, w.credential())
	w.issueAs("oauth2 tgc_1", func(d *gatewayv1.CredentialDocument) {
		d.Kind, d.Credential, d.Roles = "oauth2", "client1", []string{"partner"}
	})
	g := w.start(w.oauthConfig())
	g.await("/weather/v1/current/rome", 200)
	now := time.Now()
	good := a.sign("good", now, nil, "forecast.all")
	testkit.Await(t, time.Minute, func() bool { return g.do("GET", "/weather/v1/current/rome", nil, bearerOf(good)...).status == 200 })
	got := g.do("POST", "/weather/v1/forecasts", nil, bearerOf(good)...)
	require.Equal(t, 200, got.status, got.body)
	require.NotContains(t, got.body, good, "the upstream does not see it")
	require.Equal(t, 200, g.do("POST", "/weather/v1/forecasts", nil, bearerOf(a.sign("both", now, nil, "forecast.read", "forecast.write"))...).status)

	other := func(change func(*token.AccessClaims)) string { return a.sign("other", now, change, "forecast.all") }
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	forged := (&authority{w, private}).sign("forged", now, nil, "forecast.all")
	for name, tc := range map[string]struct {
		token  string
		status int
		code   string
	}{
		"no scope":        {a.sign("none", now, nil), 403, "scope-missing"},
		"half the scopes": {a.sign("half", now, nil, "forecast.read"), 403, "scope-missing"},
		"expired":         {a.sign("old", now.Add(-2*time.Hour), nil, "forecast.all"), 401, "token-expired"},
		"other audience":  {other(func(c *token.AccessClaims) { c.Audience = []string{"t2"} }), 401, "token-invalid"},
		"other issuer":    {other(func(c *token.AccessClaims) { c.Issuer = "https://evil.example.com" }), 401, "token-invalid"},
		"unknown client":  {other(func(c *token.AccessClaims) { c.Subject, c.ClientID = "tgc_2", "tgc_2" }), 401, "client-unknown"},
		"other key":       {forged, 401, "token-invalid"},
		"cut":             {good[:len(good)-4], 401, "token-invalid"},
		"no token at all": {"a.b.c", 401, "token-invalid"},
		"member's token":  {membersToken(t, a), 401, "token-invalid"},
		"unsigned":        {unsigned(t), 401, "token-invalid"},
		"key of a client": {"oauth2 tgc_1", 401, "key-unknown"},
	} {
		got := g.do("POST", "/weather/v1/forecasts", nil, bearerOf(tc.token)...)
		require.Equal(t, tc.status, got.status, "%s: %s", name, got.body)
		require.Equal(t, tc.code, got.problem(t).Code, name)
		require.Contains(t, got.headers.Get("WWW-Authenticate"), "Bearer realm=", name)
	}
	require.Contains(t, g.do("POST", "/weather/v1/forecasts", nil, bearerOf(a.sign("none", now, nil))...).headers.Get("WWW-Authenticate"),
		`error="insufficient_scope", scope="forecast.write forecast.read"`)

	// An API key has its own scopes, and its application's roles.
	got = g.do("POST", "/weather/v1/forecasts", nil, "X-API-Key", apiKey)
	require.Equal(t, "scope-missing", got.problem(t).Code)
	w.issueAs(apiKey, func(d *gatewayv1.CredentialDocument) { d.Scopes = []string{"forecast.all"} })
	testkit.Await(t, time.Minute, func() bool {
		return g.do("POST", "/weather/v1/forecasts", nil, "X-API-Key", apiKey).problem(t).Code == "role-missing"
	})
	w.issueAs(apiKey, func(d *gatewayv1.CredentialDocument) {
		d.Scopes, d.Roles = []string{"forecast.all"}, []string{"partner"}
	})
	testkit.Await(t, time.Minute, func() bool { return g.do("POST", "/weather/v1/forecasts", nil, "X-API-Key", apiKey).status == 200 })

	// A revoked token is refused, whether it was used before or not; the client's others are not.
	for _, id := range []string{"good", "unused"} {
		w.issueAs("token "+id, func(d *gatewayv1.CredentialDocument) {
			*d = gatewayv1.CredentialDocument{Revision: d.Revision, Tenant: d.Tenant, Kind: "revokedToken", Revoked: true, ExpiresAt: now.Add(time.Hour).Unix()}
		})
	}
	testkit.Await(t, time.Minute, func() bool { return g.do("POST", "/weather/v1/forecasts", nil, bearerOf(good)...).status == 401 })
	require.Equal(t, "token-revoked", g.do("POST", "/weather/v1/forecasts", nil, bearerOf(good)...).problem(t).Code)
	require.Equal(t, "token-revoked", g.do("POST", "/weather/v1/forecasts", nil, bearerOf(a.sign("unused", now, nil, "forecast.all"))...).problem(t).Code)
	third := a.sign("third", now, nil, "forecast.all")
	require.Equal(t, 200, g.do("POST", "/weather/v1/forecasts", nil, bearerOf(third)...).status)

	// With NATS down, what was verified goes on, and what cannot be asked for is not let through.
	w.nats.Shutdown()
	require.Equal(t, 200, g.do("POST", "/weather/v1/forecasts", nil, bearerOf(third)...).status)
	require.Equal(t, 503, g.do("POST", "/weather/v1/forecasts", nil, bearerOf(a.sign("fourth", now, nil, "forecast.all"))...).status)
	w.nats.Start()
	testkit.Await(t, time.Minute, func() error {
		_, err := w.bus.Conn.RTT()
		return err
	})

	w.issueAs("oauth2 tgc_1", func(d *gatewayv1.CredentialDocument) { d.Kind, d.Credential, d.Revoked = "oauth2", "client1", true })
	testkit.Await(t, time.Minute, func() bool { return g.do("POST", "/weather/v1/forecasts", nil, bearerOf(third)...).status == 401 })
	require.Equal(t, "client-revoked", g.do("POST", "/weather/v1/forecasts", nil, bearerOf(third)...).problem(t).Code)
}

func membersToken(t *testing.T, a *authority) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": token.Issuer, "sub": "member:m1", "tenant": "t1", "scopes": []string{"forecast.all"}, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(a.key)
	require.NoError(t, err)
	return signed
}

func unsigned(t *testing.T) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": issuerURL, "client_id": "tgc_1"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	return signed
}

// provider is an authorization server of somebody else's.
type provider struct {
	*httptest.Server
	key   *rsa.PrivateKey
	reads atomic.Int64
	down  atomic.Bool
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	p := &provider{key: key}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.reads.Add(1)
		if p.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "kid": "r1", "use": "sig", "alg": "RS256", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) sign(t *testing.T, method jwt.SigningMethod, key any, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": "https://idp.example.com", "aud": "weather", "azp": "mobile-app", "scope": "read write", "roles": []string{"gold"},
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	if change != nil {
		change(claims)
	}
	tk := jwt.NewWithClaims(method, claims)
	tk.Header["kid"] = "r1"
	signed, err := tk.SignedString(key)
	require.NoError(t, err)
	return signed
}

func TestTokensOfTrustedIssuers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProvider(t)
	api := w.api()
	api.Authenticate = []string{"jwt"}
	api.Issuers = []*catalogv1.Issuer{{Issuer: "https://idp.example.com", JwksUri: p.URL, Audiences: []string{"weather"}}}
	api.Access = []*gatewayv1.OperationAccess{{Operation: "getCurrent", Scopes: []*gatewayv1.ScopeSet{{Scopes: []string{"read"}}}, Roles: []string{"gold"}}}
	w.publish(api)
	w.entitle(w.entitlement())
	w.issueAs("jwt t1 https://idp.example.com mobile-app", func(d *gatewayv1.CredentialDocument) { d.Kind = "jwt" })
	p.down.Store(true)
	g := w.start(w.oauthConfig())
	good := p.sign(t, jwt.SigningMethodRS256, p.key, nil)
	testkit.Await(t, time.Minute, func() bool { return g.do("GET", "/weather/v1/current/rome", nil, bearerOf(good)...).status == 503 })
	p.down.Store(false)
	testkit.Await(t, time.Minute, func() bool { return g.do("GET", "/weather/v1/current/rome", nil, bearerOf(good)...).status == 200 })
	require.Contains(t, g.do("GET", "/weather/v1/current/rome", nil, bearerOf(good)...).body, good, "the upstream trusts the issuer too")
	reads := p.reads.Load()

	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	claim := func(name string, value any) string {
		return p.sign(t, jwt.SigningMethodRS256, p.key, func(c jwt.MapClaims) { c[name] = value })
	}
	for name, tc := range map[string]struct {
		token string
		code  string
	}{
		"other key":          {p.sign(t, jwt.SigningMethodRS256, stranger, nil), "token-invalid"},
		"shared secret":      {p.sign(t, jwt.SigningMethodHS256, p.key.N.Bytes(), nil), "token-invalid"},
		"unsigned":           {p.sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), "token-invalid"},
		"other audience":     {claim("aud", "others"), "token-invalid"},
		"other issuer":       {claim("iss", "https://other.example.com"), "token-invalid"},
		"no end":             {claim("exp", nil), "token-invalid"},
		"expired":            {claim("exp", time.Now().Add(-time.Hour).Unix()), "token-expired"},
		"not yet":            {claim("nbf", time.Now().Add(time.Hour).Unix()), "token-invalid"},
		"unknown client":     {claim("azp", "other-app"), "client-unknown"},
		"too few scopes":     {claim("scope", "write"), "scope-missing"},
		"role of the token":  {claim("roles", []string{"silver"}), "role-missing"},
		"an API key instead": {apiKey, "token-invalid"},
	} {
		got := g.do("GET", "/weather/v1/current/rome", nil, bearerOf(tc.token)...)
		require.Equal(t, tc.code, got.problem(t).Code, "%s: %s", name, got.body)
	}
	require.Equal(t, "token-missing", g.do("GET", "/weather/v1/current/rome", nil).problem(t).Code)
	require.Equal(t, 200, g.do("GET", "/weather/v1/current/rome", nil, bearerOf(claim("scope", []string{"read"}))...).status, "a list of scopes")
	require.LessOrEqual(t, p.reads.Load(), reads+1, "the keys are kept")
	for _, r := range w.records() {
		if r.GetStatus() == 200 {
			require.Equal(t, "app1", r.GetApplication())
		}
	}
}

func TestTokensAreNotAPIKeysOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.authority()
	g := w.startStandard() // takes API keys alone
	w.issueAs("oauth2 tgc_1", func(d *gatewayv1.CredentialDocument) { d.Kind = "oauth2" })
	require.Equal(t, "key-unknown", g.do("GET", "/weather/v1/current/rome", nil, bearerOf("a.b.c")...).problem(t).Code)
}
