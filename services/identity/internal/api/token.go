package api

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/identity/internal/app"
	"github.com/tollgate/tollgate/services/identity/internal/store"
)

type issueToken struct {
	Member    string   `json:"member" description:"Id of the member; yourself when empty."`
	Title     string   `json:"title" required:"true"`
	Scopes    []string `json:"scopes" description:"What the token may do at most; all that both you and the member may, when empty."`
	Operator  bool     `json:"operator" description:"Whether the token may act on the installation too, as its member may."`
	ExpiresAt string   `json:"expiresAt" format:"date-time"`
}

type tokenPath struct {
	Token string `path:"token"`
}

type exchangeToken struct {
	Token string `json:"token" required:"true" description:"A personal access token, or a session's token."`
}

type signedToken struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func registerTokens(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[issueToken, app.IssuedToken]{
		Name: "IssueToken", Method: http.MethodPost, Path: "/tokens", Status: http.StatusCreated,
		Summary: "Issue a personal access token; its secret is shown once.",
		Handle: func(ctx context.Context, r *issueToken) (app.IssuedToken, error) {
			expires, err := parseTime("expiresAt", r.ExpiresAt)
			if err != nil {
				return app.IssuedToken{}, err
			}
			return i.IssueToken(ctx, app.TokenRequest{
				Member: r.Member, Title: r.Title, Scopes: r.Scopes, Operator: r.Operator, Expires: expires,
			})
		},
	})
	operation.Register(a, operation.Op[page, operation.List[store.Token]]{
		Name: "ListTokens", Method: http.MethodGet, Path: "/tokens", Summary: "Your personal access tokens; everybody's with the scope identity.admin.",
		Handle: func(ctx context.Context, r *page) (operation.List[store.Token], error) {
			rows, err := i.Tokens(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(t store.Token) string { return t.ID }), err
		},
	})
	operation.Register(a, operation.Op[tokenPath, operation.Empty]{
		Name: "RevokeToken", Method: http.MethodDelete, Path: "/tokens/{token}", Summary: "Make a personal access token void.",
		Handle: func(ctx context.Context, r *tokenPath) (operation.Empty, error) {
			return operation.Empty{}, i.RevokeToken(ctx, r.Token)
		},
	})
	operation.Register(a, operation.Op[exchangeToken, signedToken]{
		Name: "ExchangeToken", Method: http.MethodPost, Path: "/tokens/exchange", Public: true, Direct: true,
		Summary: "A short-lived signed token for a personal access token or a session's token.",
		Handle: func(ctx context.Context, r *exchangeToken) (signedToken, error) {
			signed, expires, err := i.Exchange(ctx, r.Token)
			return signedToken{Token: signed, ExpiresAt: expires}, err
		},
	})
	operation.Register(a, operation.Op[struct{}, operation.Raw]{
		Name: "GetKeySet", Method: http.MethodGet, Path: "/jwks.json", Public: true,
		Summary: "The keys that signed tokens are verified with (RFC 7517).",
		Handle: func(ctx context.Context, _ *struct{}) (operation.Raw, error) {
			set, err := i.KeySet(ctx)
			return operation.Raw{ContentType: "application/jwk-set+json", Body: set}, err
		},
	})
}
