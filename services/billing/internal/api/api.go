// Package api is billing's table of operations: names, paths, scopes, requests and responses. It decodes, calls the app
// folder and encodes; it decides nothing.
package api

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/billing/internal/app"
	"github.com/tollgate/tollgate/services/billing/internal/domain"
)

const (
	read = "billing.read"
	run  = "billing.run"
)

// Register adds every operation of billing to the API.
func Register(a *operation.API, b *app.Billing) {
	registerRuns(a, b)
	registerInvoices(a, b)
	registerPeriods(a, b)
	registerSubscriptions(a, b)
}

type startRun struct {
	Period       string `json:"period" required:"true" description:"Calendar month (UTC) in which the billing periods ended, as in 2026-11."`
	Subscription string `json:"subscription" description:"Only this subscription: name or id."`
}

type runPath struct {
	Run string `path:"run"`
}

type listRuns struct {
	operation.Page
}

func registerRuns(a *operation.API, b *app.Billing) {
	operation.Register(a, operation.Op[startRun, app.Run]{
		Name: "StartBillingRun", Method: http.MethodPost, Path: "/runs", Scope: run, Status: http.StatusAccepted, Timeout: 30 * time.Second,
		Summary: "Make the invoices of the billing periods that ended in a month. The run goes on after the answer.",
		Handle: func(ctx context.Context, r *startRun) (app.Run, error) {
			return b.StartRun(ctx, r.Period, r.Subscription)
		},
	})
	operation.Register(a, operation.Op[listRuns, operation.List[app.Run]]{
		Name: "ListBillingRuns", Method: http.MethodGet, Path: "/runs", Scope: read, Summary: "Billing runs, the newest first.",
		Handle: func(ctx context.Context, r *listRuns) (operation.List[app.Run], error) {
			rows, err := b.Runs(ctx, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(r app.Run) string { return r.ID }), err
		},
	})
	operation.Register(a, operation.Op[runPath, app.Run]{
		Name: "GetBillingRun", Method: http.MethodGet, Path: "/runs/{run}", Scope: read,
		Summary: "One billing run: its progress, and what was held or skipped and why.",
		Handle:  func(ctx context.Context, r *runPath) (app.Run, error) { return b.Run(ctx, r.Run) },
	})
}

type subscriptionPath struct {
	Subscription string `path:"subscription" description:"Name or id."`
}

type replay struct {
	Subscription string `path:"subscription" description:"Name or id."`
	Plan         string `json:"plan" required:"true" description:"Name or id of the plan to rate by."`
	Product      string `json:"product" description:"Name or id; needed only where several products have a plan of that name."`
	Version      uint32 `json:"version" description:"Version of the plan; the newest when absent."`
	At           string `json:"at" format:"date-time" description:"Any time of the period to rate; now when absent."`
}

func registerSubscriptions(a *operation.API, b *app.Billing) {
	operation.Register(a, operation.Op[subscriptionPath, app.Preview]{
		Name: "PreviewInvoice", Method: http.MethodGet, Path: "/subscriptions/{subscription}/preview", Scope: read, Timeout: 30 * time.Second,
		Summary: "What a subscription's open period comes to so far.",
		Handle: func(ctx context.Context, r *subscriptionPath) (app.Preview, error) {
			return b.Preview(ctx, r.Subscription)
		},
	})
	operation.Register(a, operation.Op[replay, app.Preview]{
		Name: "ReplayPeriod", Method: http.MethodPost, Path: "/subscriptions/{subscription}/replay", Scope: read, Timeout: 30 * time.Second,
		Summary: "What a period would cost under another plan version. Nothing is stored.",
		Handle: func(ctx context.Context, r *replay) (app.Preview, error) {
			at, err := parseTime("at", r.At)
			if err != nil {
				return app.Preview{}, err
			}
			return b.Replay(ctx, r.Subscription, app.Replay{Product: r.Product, Plan: r.Plan, Version: r.Version, At: at})
		},
	})
}

// parseTime reads an optional RFC 3339 time.
func parseTime(path, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || !domain.Representable(t) {
		return time.Time{}, invalid(path, `is not a time as in "2026-11-30T00:00:00Z" (RFC 3339), from 1970 to 2261`)
	}
	return t, nil
}

func invalid(path, message string) error {
	return problem.NewInvalid("request-invalid", "The request is not valid.").With(problem.Field{Path: path, Message: message})
}
