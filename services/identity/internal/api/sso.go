package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/domain"
)

type setSSO struct {
	Issuer       string               `json:"issuer" required:"true" description:"The provider's issuer URL."`
	ClientID     string               `json:"clientId" required:"true"`
	ClientSecret string               `json:"clientSecret" format:"password" description:"May be left out to keep the one that the same client has."`
	Domain       string               `json:"domain" required:"true" description:"Domain of the addresses that sign in."`
	RolesClaim   string               `json:"rolesClaim" description:"Claim from whose values roles follow, at each sign-in; a member's roles stay when there is none."`
	Mappings     []domain.RoleMapping `json:"mappings" description:"Roles by value of the claim."`
	DefaultRoles []string             `json:"defaultRoles" description:"Roles of whom no mapping fits; none refuses them."`
}

type startSSO struct {
	Tenant string `path:"tenant" description:"The tenant's name."`
}

type finishSSO struct {
	State            string `query:"state"`
	Code             string `query:"code"`
	Error            string `query:"error"`
	ErrorDescription string `query:"error_description"`
	Cookie           string `header:"Cookie"`
}

type ssoCode struct {
	Code   string `json:"code" required:"true"`
	Cookie string `header:"Cookie"`
}

// finished is the answer to the browser where there is no console.
type finished struct {
	Code string `json:"code"`
	Next string `json:"next" description:"What to do with the code."`
}

// ssoCookie ties a sign-in to the browser that began it.
const ssoCookie = "tollgate_sso"

func setCookie(i *app.Identity, value string, age time.Duration) string {
	path, secure := "/", false
	if u, err := url.Parse(i.Issuer()); err == nil {
		path, secure = u.Path+app.SSOPath, u.Scheme == "https"
	}
	c := http.Cookie{Name: ssoCookie, Value: value, Path: path, MaxAge: int(age.Seconds()), HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}
	return c.String()
}

// cookieIn returns the value of ours among a browser's cookies.
func cookieIn(header string) string {
	r := http.Request{Header: http.Header{"Cookie": {header}}}
	c, err := r.Cookie(ssoCookie)
	if err != nil {
		return ""
	}
	return c.Value
}

func registerSSO(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[setSSO, app.SingleSignOn]{
		Name: "SetSingleSignOn", Method: http.MethodPut, Path: "/sso", Scope: admin,
		Summary: "Let members sign in at an OpenID provider (OpenID Connect Core 1.0).",
		Handle: func(ctx context.Context, r *setSSO) (app.SingleSignOn, error) {
			return i.SetSingleSignOn(ctx, domain.SingleSignOn{
				Issuer: r.Issuer, ClientID: r.ClientID, Domain: r.Domain, RolesClaim: r.RolesClaim, Mappings: r.Mappings, DefaultRoles: r.DefaultRoles,
			}, r.ClientSecret)
		},
	})
	operation.Register(a, operation.Op[struct{}, app.SingleSignOn]{
		Name: "GetSingleSignOn", Method: http.MethodGet, Path: "/sso", Scope: admin, Summary: "The configuration of single sign-on, without the client secret.",
		Handle: func(ctx context.Context, _ *struct{}) (app.SingleSignOn, error) { return i.SingleSignOn(ctx) },
	})
	operation.Register(a, operation.Op[struct{}, operation.Empty]{
		Name: "RemoveSingleSignOn", Method: http.MethodDelete, Path: "/sso", Scope: admin, Summary: "End single sign-on; sessions that go on do so.",
		Handle: func(ctx context.Context, _ *struct{}) (operation.Empty, error) {
			return operation.Empty{}, i.RemoveSingleSignOn(ctx)
		},
	})
	operation.Register(a, operation.Op[startSSO, operation.Raw]{
		Name: "StartSingleSignOn", Method: http.MethodGet, Path: "/sso/{tenant}/login", Public: true, Status: http.StatusFound, Timeout: 30 * time.Second,
		Answers: map[int]any{http.StatusFound: nil},
		Summary: "Send the browser to the tenant's OpenID provider.",
		Handle: func(ctx context.Context, r *startSSO) (operation.Raw, error) {
			location, cookie, err := i.StartSSO(ctx, r.Tenant)
			return redirect(location, setCookie(i, cookie, app.SSOLifetime)), err
		},
	})
	operation.Register(a, operation.Op[finishSSO, operation.Raw]{
		Name: "FinishSingleSignOn", Method: http.MethodGet, Path: "/sso/callback", Public: true, Timeout: 30 * time.Second,
		Answers: map[int]any{http.StatusOK: finished{}, http.StatusFound: nil},
		Summary: "Where the OpenID provider sends the browser back to. The answer, or the console's address, has a code for StartSingleSignOnSession.",
		Handle:  func(ctx context.Context, r *finishSSO) (operation.Raw, error) { return finish(ctx, i, r) },
	})
	operation.Register(a, operation.Op[ssoCode, app.StartedSession]{
		Name: "StartSingleSignOnSession", Method: http.MethodPost, Path: "/sso/sessions", Public: true, Direct: true, Status: http.StatusCreated,
		Summary: "Start the session of a member who signed in at the OpenID provider, in the browser that began: it sends the cookie.",
		Handle: func(ctx context.Context, r *ssoCode) (app.StartedSession, error) {
			return i.StartSSOSession(ctx, r.Code, cookieIn(r.Cookie))
		},
	})
}

func finish(ctx context.Context, i *app.Identity, r *finishSSO) (operation.Raw, error) {
	if r.Error != "" {
		return operation.Raw{}, problem.NewUnauthenticated("sign-in-failed", "The OpenID provider refused: %.100q %.300q.", r.Error, r.ErrorDescription)
	}
	cookie := cookieIn(r.Cookie)
	code, err := i.FinishSSO(ctx, r.State, r.Code, cookie)
	if err != nil {
		return operation.Raw{}, err
	}
	if console := i.AfterSSO(code); console != "" {
		answer := redirect(console, setCookie(i, cookie, app.SSOCodeLifetime))
		answer.Status = http.StatusFound
		return answer, nil
	}
	body, err := json.Marshal(finished{code, "Send the code to POST " + i.Issuer() + app.SSOPath + "/sessions, with the cookie " + ssoCookie + "."})
	return operation.Raw{
		ContentType: "application/json", Body: append(body, '\n'),
		Header: http.Header{"Set-Cookie": {setCookie(i, cookie, app.SSOCodeLifetime)}, "Cache-Control": {"no-store"}},
	}, err
}

func redirect(location, cookie string) operation.Raw {
	return operation.Raw{Header: http.Header{
		"Location": {location}, "Set-Cookie": {cookie}, "Cache-Control": {"no-store"}, "Referrer-Policy": {"no-referrer"},
	}}
}
