package api

import (
	"context"
	"net/http"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
)

type putSettings struct {
	RetentionDays   int    `json:"retentionDays" required:"true" minimum:"1" maximum:"3650"`
	ClientAddresses string `json:"clientAddresses" required:"true" enum:"full,truncated,none"`
}

func registerSettings(a *operation.API, s *app.Analytics) {
	operation.Register(a, operation.Op[struct{}, app.Settings]{
		Name: "GetSettings", Method: http.MethodGet, Path: "/settings", Scope: read, Summary: "How the tenant's calls are kept.",
		Handle: func(ctx context.Context, _ *struct{}) (app.Settings, error) { return s.Settings(ctx) },
	})
	operation.Register(a, operation.Op[putSettings, app.Settings]{
		Name: "PutSettings", Method: http.MethodPut, Path: "/settings", Scope: write, Summary: "Change how the tenant's calls are kept.",
		Handle: func(ctx context.Context, r *putSettings) (app.Settings, error) {
			return s.PutSettings(ctx, r.RetentionDays, r.ClientAddresses)
		},
	})
}
