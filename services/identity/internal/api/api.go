// Package api is identity's table of operations: names, paths, scopes, requests and responses. It decodes, calls the app
// folder and encodes; it decides nothing.
package api

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
	"github.com/tollgate/tollgate/services/identity/internal/app"
)

const (
	read  = "identity.read"
	write = "identity.write"
	admin = "identity.admin"

	accountRead  = "account.read"
	accountWrite = "account.write"
	accountAdmin = "account.admin"
)

// Register adds every operation of identity to the API.
func Register(a *operation.API, i *app.Identity) {
	registerTenants(a, i)
	registerMembers(a, i)
	registerRoles(a, i)
	registerInvitations(a, i)
	registerSessions(a, i)
	registerPasswords(a, i)
	registerSSO(a, i)
	registerTokens(a, i)
	registerAccounts(a, i)
	registerApplications(a, i)
	registerOAuth(a, i)
	registerResources(a, i)
	operation.RPC(a, "identity.Exchange", func(ctx context.Context, r *identityv1.ExchangeRequest) (*identityv1.ExchangeReply, error) {
		signed, expires, err := i.Exchange(ctx, r.GetToken())
		if err != nil {
			return nil, err
		}
		return &identityv1.ExchangeReply{Token: signed, ExpiresAt: expires.Unix()}, nil
	})
}

func registerResources(a *operation.API, i *app.Identity) {
	operation.Register(a, operation.Op[resource.ApplyRequest, resource.ApplyResponse]{
		Name: "ApplyIdentityResources", Method: http.MethodPost, Path: "/apply", Scope: write,
		Summary: "Make accounts and applications as documents say, all or none.",
		Handle: func(ctx context.Context, r *resource.ApplyRequest) (resource.ApplyResponse, error) {
			return i.Apply(ctx, *r)
		},
	})
	operation.Register(a, operation.Op[struct{}, resource.Export]{
		Name: "ExportIdentityResources", Method: http.MethodGet, Path: "/export", Scope: read,
		Summary: "Every account and application as documents.",
		Handle:  func(ctx context.Context, _ *struct{}) (resource.Export, error) { return i.Export(ctx) },
	})
}

// parseTime reads an optional RFC 3339 time.
func parseTime(path, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: path, Message: `is not a time as in "2027-01-31T00:00:00Z" (RFC 3339)`})
	}
	return t, nil
}

// parseDuration reads an optional duration.
func parseDuration(path, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: path, Message: `is not a duration as in "24h"`})
	}
	return d, nil
}
