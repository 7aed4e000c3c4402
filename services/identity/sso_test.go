package identity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/servicetest"
	"github.com/tollgate/tollgate/services/identity"
)

// staff are the people that the provider of a test knows.
type staff map[string]*storage.User

func (s staff) GetUserByID(id string) *storage.User { return s[id] }

func (s staff) GetUserByUsername(name string) *storage.User {
	for _, u := range s {
		if u.Username == name {
			return u
		}
	}
	return nil
}

func (s staff) ExampleClientID() string { return "service" }

// openIDProvider is zitadel's provider with groups at its UserInfo endpoint.
type openIDProvider struct {
	*storage.Storage
	groups map[string][]string
}

func (p openIDProvider) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := p.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	info.AppendClaims("groups", p.groups[subject])
	return nil
}

// late is a handler that is set after its server has started, so that its address can be configured.
type late struct{ handler atomic.Pointer[http.Handler] }

func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*l.handler.Load()).ServeHTTP(w, r) }
func (l *late) set(h http.Handler)                               { l.handler.Store(&h) }

func startLate(t *testing.T) (*late, string) {
	t.Helper()
	l := &late{}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	return l, server.URL
}

type ssoFixture struct {
	people
	// issuer is that of the provider, identity the address of the service.
	issuer, identity string
	provider         openIDProvider
	client           string
}

func startSSO(t *testing.T, web string) ssoFixture {
	t.Helper()
	handler, issuer := startLate(t)
	service, address := startLate(t)
	f := ssoFixture{issuer: issuer, identity: address + "/identity", client: "tollgate-" + strings.ReplaceAll(t.Name(), "/", "-")}
	storage.RegisterClients(storage.WebClient(f.client, "secret", f.identity+"/v1/sso/callback"))
	people := staff{}
	f.provider = openIDProvider{storage.NewStorage(people), map[string][]string{"u1": {"engineering", "everybody"}, "u2": {"everybody"}, "u3": {"everybody"}}}
	for id, name := range map[string]string{"u1": "kim", "u2": "robin", "u3": "mallory", "u4": "stranger"} {
		people[id] = &storage.User{
			ID: id, Username: name, Password: "verysecure", FirstName: strings.ToUpper(name[:1]) + name[1:], LastName: "Example",
			Email: name + "@globex.example.com", EmailVerified: name != "mallory",
		}
	}
	people["u4"].Email = "stranger@elsewhere.example.com"
	handler.set(exampleop.SetupServer(issuer, f.provider, slog.New(slog.DiscardHandler), false))
	f.people = startPeopleWith(t, func(c *identity.Config) {
		c.Issuer, c.SSOAllowPrivate, c.WebURL = f.identity, true, web
	})
	api, err := f.service.API().Handler()
	require.NoError(t, err)
	service.set(api)
	return f
}

func (f ssoFixture) configure(t *testing.T, more string) {
	t.Helper()
	f.configureBy(f.admin, more)
}

func (f ssoFixture) configureBy(by *servicetest.Client, more string) {
	by.Must("PUT", "/identity/v1/sso", fmt.Sprintf(`{"issuer":%q,"clientId":%q,"clientSecret":"secret","domain":"globex.example.com"%s}`, f.issuer, f.client, more), nil)
}

// browser signs in at the provider as a person does, and returns the last answer.
func (f ssoFixture) browser(t *testing.T, name string) (*http.Response, string) {
	t.Helper()
	answer, body, _ := f.browse(t, name)
	return answer, body
}

// browse is browser with the cookie that the browser keeps for the service, as a header.
func (f ssoFixture) browse(t *testing.T, name string) (answer *http.Response, body, cookie string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), "https://console.") {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, err := browser.Get(f.identity + "/v1/sso/main/login")
	require.NoError(t, err)
	page.Body.Close()
	require.Equal(t, "/login/username", page.Request.URL.Path)
	answer, err = browser.PostForm(page.Request.URL.Scheme+"://"+page.Request.URL.Host+"/login/username", url.Values{
		"id": {page.Request.URL.Query().Get("authRequestID")}, "username": {name}, "password": {"verysecure"},
	})
	require.NoError(t, err)
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	at, err := url.Parse(f.identity + "/v1/sso/sessions")
	require.NoError(t, err)
	for _, c := range jar.Cookies(at) {
		cookie = c.String()
	}
	return answer, string(raw), cookie
}

func (f ssoFixture) member(t *testing.T, name string) (id, sessionToken string) {
	t.Helper()
	code, cookie := f.code(t, name)
	return f.startSession(t, code, cookie)
}

// code signs in at the provider and returns the code that the session is started with, and the browser's cookie.
func (f ssoFixture) code(t *testing.T, name string) (code, cookie string) {
	t.Helper()
	answer, body, cookie := f.browse(t, name)
	require.Equal(t, 200, answer.StatusCode, body)
	var got struct{ Code string }
	require.NoError(t, json.Unmarshal([]byte(body), &got))
	return got.Code, cookie
}

func (f ssoFixture) startSession(t *testing.T, code, cookie string) (id, sessionToken string) {
	t.Helper()
	var s struct{ Token, Member, Method string }
	f.Client("").Must("POST", "/identity/v1/sso/sessions", map[string]string{"code": code}, &s, "Cookie", cookie)
	require.Equal(t, "sso", s.Method)
	require.Equal(t, 401, f.Client("").Do("POST", "/identity/v1/sso/sessions", map[string]string{"code": code}, "Cookie", cookie).Status, "a code is good once")
	return s.Member, s.Token
}

func TestSingleSignOn(t *testing.T) {
	t.Parallel()
	f := startSSO(t, "")
	var robin struct{ ID string }
	f.admin.Must("POST", "/identity/v1/members", `{"displayName":"Robin","email":"Robin@globex.example.com","roles":["finance"]}`, &robin)
	f.configure(t, `,"rolesClaim":"groups","mappings":[{"value":"engineering","roles":["publisher","operator"]},{"value":"everybody","roles":["viewer"]}]`)
	var self struct {
		ID, DisplayName, Email string
		Roles                  []string
		Password               bool
	}

	kim, token := f.member(t, "kim")
	f.Client(token).Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, "kim@globex.example.com", self.Email)
	require.Equal(t, "Kim Example", self.DisplayName)
	require.Equal(t, []string{"operator", "publisher", "viewer"}, self.Roles)
	require.False(t, self.Password)

	// Roles follow the provider at the next sign-in, as the same member.
	f.provider.groups["u1"] = []string{"everybody"}
	again, token := f.member(t, "kim")
	require.Equal(t, kim, again)
	f.Client(token).Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, []string{"viewer"}, self.Roles)

	// A member who is there already is found by the verified address, then by the subject.
	id, _ := f.member(t, "robin")
	require.Equal(t, robin.ID, id)
	f.admin.Must("PUT", "/identity/v1/members/"+id, `{"displayName":"Robin","email":"other@globex.example.com"}`, nil)
	id, _ = f.member(t, "robin")
	require.Equal(t, robin.ID, id)

	for name, want := range map[string]string{"mallory": "email-not-verified", "stranger": "domain-not-admitted"} {
		answer, body := f.browser(t, name)
		require.Equal(t, 403, answer.StatusCode, name)
		require.Contains(t, body, want)
	}
	f.provider.groups["u1"] = nil
	answer, body := f.browser(t, "kim")
	require.Equal(t, 403, answer.StatusCode)
	require.Contains(t, body, "no-role")

	var members operation.List[struct{ ID string }]
	f.admin.Must("GET", "/identity/v1/members", nil, &members)
	require.Len(t, members.Items, 3, "the administrator, Kim and Robin")
	shown := f.admin.Must("GET", "/identity/v1/sso", nil, nil)
	require.NotContains(t, shown.Body, "secret")
	require.Contains(t, shown.Body, f.identity+"/v1/sso/callback")
	f.admin.Must("DELETE", "/identity/v1/sso", nil, nil)
	require.Equal(t, 404, f.Client("").Do("GET", "/identity/v1/sso/main/login", nil).Status)
	require.Equal(t, 404, f.admin.Do("DELETE", "/identity/v1/sso", nil).Status)
}

func TestTheLastOwnerStaysOneWithSingleSignOn(t *testing.T) {
	t.Parallel()
	f := startSSO(t, "https://console.globex.example.com/")
	var self struct {
		ID    string
		Roles []string
	}
	f.admin.Must("GET", "/identity/v1/me", nil, &self)
	f.admin.Must("PUT", "/identity/v1/members/"+self.ID, `{"displayName":"Robin","email":"robin@globex.example.com"}`, nil)
	f.configure(t, `,"rolesClaim":"groups","mappings":[{"value":"everybody","roles":["viewer"]}]`)
	answer, _, cookie := f.browse(t, "robin")
	require.Equal(t, http.StatusFound, answer.StatusCode)
	page, code, found := strings.Cut(answer.Header.Get("Location"), "#code=")
	require.True(t, found)
	require.Equal(t, "https://console.globex.example.com/sso", page)
	_, token := f.startSession(t, code, cookie)
	f.Client(token).Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, []string{"installer", "owner", "viewer"}, self.Roles)
}

func TestSignInsOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	f := startSSO(t, "")
	f.configure(t, `,"defaultRoles":["viewer"]`)
	start := func() (*http.Response, url.Values) {
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		answer, err := client.Get(f.identity + "/v1/sso/main/login")
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, http.StatusFound, answer.StatusCode)
		location, err := url.Parse(answer.Header.Get("Location"))
		require.NoError(t, err)
		return answer, location.Query()
	}
	answer, query := start()
	require.Equal(t, "S256", query.Get("code_challenge_method"))
	require.NotEmpty(t, query.Get("nonce"))
	cookie := answer.Cookies()[0]
	require.True(t, cookie.HttpOnly)
	require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
	callback := func(state string, cookie *http.Cookie) int {
		request, err := http.NewRequestWithContext(t.Context(), "GET", f.identity+"/v1/sso/callback?code=x&state="+url.QueryEscape(state), nil)
		require.NoError(t, err)
		if cookie != nil {
			request.AddCookie(cookie)
		}
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		answer.Body.Close()
		return answer.StatusCode
	}
	require.Equal(t, 401, callback(query.Get("state"), nil), "without the browser's cookie")
	require.Equal(t, 401, callback(query.Get("state"), cookie), "a state is taken once")
	answer, query = start()
	require.Equal(t, 401, callback("unknown", answer.Cookies()[0]))
	require.Equal(t, 401, callback(query.Get("state"), answer.Cookies()[0]), "the provider does not know the code")
	answer, query = start()
	f.advance(time.Hour)
	require.Equal(t, 401, callback(query.Get("state"), answer.Cookies()[0]), "it took too long")
	refused, err := http.Get(f.identity + "/v1/sso/callback?error=access_denied&error_description=no")
	require.NoError(t, err)
	refused.Body.Close()
	require.Equal(t, 401, refused.StatusCode)
}

func TestSingleSignOnIsChecked(t *testing.T) {
	t.Parallel()
	f := startSSO(t, "")
	for body, want := range map[string]string{
		`{"issuer":"http://login.example.com","clientId":"c","clientSecret":"s","domain":"x.example","defaultRoles":["viewer"]}`: "issuer",
		`{"issuer":"%s/nothing","clientId":"c","clientSecret":"s","domain":"x.example","defaultRoles":["viewer"]}`:               "does not answer as an OpenID provider",
		`{"issuer":"%s","clientId":"","clientSecret":"s","domain":"x.example","defaultRoles":["viewer"]}`:                        "clientId",
		`{"issuer":"%s","clientId":"c","clientSecret":"s","domain":"X","defaultRoles":["viewer"]}`:                               "domain",
		`{"issuer":"%s","clientId":"c","clientSecret":"s","domain":"x.example"}`:                                                 "nobody could sign in",
		`{"issuer":"%s","clientId":"c","domain":"x.example","defaultRoles":["viewer"]}`:                                          "clientSecret",
		`{"issuer":"%s","clientId":"c","clientSecret":"s","domain":"x.example","defaultRoles":["king"]}`:                         "is not a role",
		`{"issuer":"%s","clientId":"c","clientSecret":"s","domain":"x.example","defaultRoles":["installer"]}`:                    "installer",
		`{"issuer":"%s","clientId":"c","clientSecret":"s","domain":"x.example","mappings":[{"value":"a","roles":["viewer"]}]}`:   "rolesClaim",
	} {
		if strings.Contains(body, "%s") {
			body = fmt.Sprintf(body, f.issuer)
		}
		answer := f.admin.Do("PUT", "/identity/v1/sso", body)
		require.Equal(t, 400, answer.Status, "%s: %s", body, answer.Body)
		require.Contains(t, answer.Body, want)
	}
	// What else is at an address that somebody names is not shown to them.
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/failing/") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "the plans of Globex")
	}))
	t.Cleanup(elsewhere.Close)
	for _, path := range []string{"/failing", "/working"} {
		answer := f.admin.Do("PUT", "/identity/v1/sso", fmt.Sprintf(`{"issuer":%q,"clientId":"c","clientSecret":"s","domain":"x.example","defaultRoles":["viewer"]}`, elsewhere.URL+path))
		require.Equal(t, 400, answer.Status)
		require.Contains(t, answer.Body, "is not a provider's metadata")
		require.NotContains(t, answer.Body, "Globex")
	}
	f.configure(t, `,"defaultRoles":["viewer"]`)
	f.admin.Must("PUT", "/identity/v1/sso", fmt.Sprintf(`{"issuer":%q,"clientId":%q,"domain":"globex.example.com","defaultRoles":["finance"]}`, f.issuer, f.client), nil)
	_, token := f.member(t, "kim")
	var self struct{ Roles []string }
	f.Client(token).Must("GET", "/identity/v1/me", nil, &self)
	require.Equal(t, []string{"finance"}, self.Roles)

	// Without being allowed to, nobody makes the service call into its network.
	guarded := startPeople(t)
	answer := guarded.admin.Do("PUT", "/identity/v1/sso", fmt.Sprintf(`{"issuer":%q,"clientId":"c","clientSecret":"s","domain":"x.example","defaultRoles":["viewer"]}`, f.issuer))
	require.Equal(t, 400, answer.Status)
	require.Contains(t, answer.Body, "private ones are not allowed")
}
