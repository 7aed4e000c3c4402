// Package api is subscription's table of operations: names, paths, scopes, requests and responses. It decodes, calls the app
// folder and encodes; it decides nothing.
package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/libs/resource"
	"github.com/tollgate/tollgate/services/subscription/internal/app"
	"github.com/tollgate/tollgate/services/subscription/internal/store"
)

// The scopes of the operations.
const (
	Read  = "subscription.read"
	Write = "subscription.write"
)

type requestSubscription struct {
	Name          string `json:"name" required:"true" description:"A DNS label, unique among the tenant's live subscriptions."`
	Application   string `json:"application" required:"true" description:"Name or id."`
	Plan          string `json:"plan" required:"true" description:"Name or id; its newest version counts."`
	Product       string `json:"product" description:"Name or id; needed only where several products have a plan of that name."`
	AcceptedTerms string `json:"acceptedTerms" description:"Version of the plan's terms, where it has terms: giving it accepts them."`
}

type subscriptionPath struct {
	Subscription string `path:"subscription" description:"Name or id; of several of a name it is the live one, else the newest."`
}

type listSubscriptions struct {
	operation.Page
	operation.Search
	Application string `query:"application" description:"Name or id of an application."`
	State       string `query:"state" enum:"requested,active,suspended,rejected,cancelled"`
	Plan        string `query:"plan" description:"Name or id of a plan."`
	Waiting     bool   `query:"waiting" description:"Only those on a waiting list."`
}

type changePlan struct {
	Subscription  string `path:"subscription" description:"Name or id."`
	Plan          string `json:"plan" required:"true" description:"Name or id of a plan of the same product; its newest version counts."`
	Product       string `json:"product" description:"Name or id; must be the subscription's product when given."`
	AcceptedTerms string `json:"acceptedTerms" description:"Version of the plan's terms; needed where it has terms that were not accepted before."`
}

type decideSubscription struct {
	Subscription string `path:"subscription" description:"Name or id."`
	Comment      string `json:"comment" description:"For the developer who asked; kept with the subscription."`
}

type commentSubscription struct {
	Subscription string `path:"subscription" description:"Name or id."`
	Comment      string `json:"comment" required:"true"`
}

type setLimits struct {
	Subscription string       `path:"subscription" description:"Name or id."`
	Limits       store.Limits `json:"limits" required:"true" description:"In place of all limits of the plan."`
}

type listTransitions struct {
	operation.Page
	Subscription string `path:"subscription" description:"Name or id."`
}

const one = "/subscriptions/{subscription}"

// Register adds every operation of subscription to the API.
func Register(a *operation.API, s *app.Subscriptions) {
	operation.Register(a, operation.Op[requestSubscription, store.Subscription]{
		Name: "RequestSubscription", Method: http.MethodPost, Path: "/subscriptions", Scope: Write, Status: http.StatusCreated,
		Summary: "Ask for a plan for an application; where the plan needs no approval the subscription is active at once.",
		Handle: func(ctx context.Context, r *requestSubscription) (store.Subscription, error) {
			return s.Request(ctx, app.Asked{Name: r.Name, Application: r.Application, Plan: r.Plan, Product: r.Product, AcceptedTerms: r.AcceptedTerms})
		},
	})
	operation.Register(a, operation.Op[listSubscriptions, operation.List[store.Subscription]]{
		Name: "ListSubscriptions", Method: http.MethodGet, Path: "/subscriptions", Scope: Read,
		Summary: "Subscriptions in the order in which they were requested.",
		Handle: func(ctx context.Context, r *listSubscriptions) (operation.List[store.Subscription], error) {
			rows, err := s.List(ctx, store.Filter{Application: r.Application, State: r.State, Plan: r.Plan, Waiting: r.Waiting, Search: r.Text}, r.Cursor, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(s store.Subscription) string { return s.ID }), err
		},
	})
	operation.Register(a, operation.Op[subscriptionPath, app.Detail]{
		Name: "GetSubscription", Method: http.MethodGet, Path: one, Scope: Read, Summary: "One subscription with its comments.",
		Handle: func(ctx context.Context, r *subscriptionPath) (app.Detail, error) {
			return s.Subscription(ctx, r.Subscription)
		},
	})
	registerDecisions(a, s)
	registerTransitions(a, s)
	registerLimits(a, s)
	registerResources(a, s)
}

func registerDecisions(a *operation.API, s *app.Subscriptions) {
	for _, t := range []struct {
		name, path, summary string
		do                  func(context.Context, string, string) (store.Subscription, error)
	}{
		{"ApproveSubscription", "/approve", "Let a requested subscription begin.", s.Approve},
		{"RejectSubscription", "/reject", "Turn a request down; takes a reason in Tollgate-Reason, or a comment.", s.Reject},
	} {
		operation.Register(a, operation.Op[decideSubscription, store.Subscription]{
			Name: t.name, Method: http.MethodPost, Path: one + t.path, Scope: Write, Summary: t.summary,
			Handle: func(ctx context.Context, r *decideSubscription) (store.Subscription, error) {
				return t.do(ctx, r.Subscription, r.Comment)
			},
		})
	}
	operation.Register(a, operation.Op[commentSubscription, app.Detail]{
		Name: "CommentSubscription", Method: http.MethodPost, Path: one + "/comments", Scope: Write,
		Summary: "Say something about a subscription; it is kept with it.",
		Handle: func(ctx context.Context, r *commentSubscription) (app.Detail, error) {
			return s.Comment(ctx, r.Subscription, r.Comment)
		},
	})
}

func registerLimits(a *operation.API, s *app.Subscriptions) {
	operation.Register(a, operation.Op[setLimits, store.Subscription]{
		Name: "SetLimits", Method: http.MethodPut, Path: one + "/limits", Scope: Write,
		Summary: "Give a subscription rate limits and quotas of its own, in place of all of its plan's.",
		Handle: func(ctx context.Context, r *setLimits) (store.Subscription, error) {
			return s.SetLimits(ctx, r.Subscription, r.Limits)
		},
	})
	operation.Register(a, operation.Op[subscriptionPath, store.Subscription]{
		Name: "ClearLimits", Method: http.MethodDelete, Path: one + "/limits", Scope: Write,
		Summary: "Put the limits of the plan in force again.",
		Handle: func(ctx context.Context, r *subscriptionPath) (store.Subscription, error) {
			return s.ClearLimits(ctx, r.Subscription)
		},
	})
}

func registerTransitions(a *operation.API, s *app.Subscriptions) {
	for _, t := range []struct {
		name, path, summary string
		do                  func(context.Context, string) (store.Subscription, error)
	}{
		{"SuspendSubscription", "/suspend", "Stop a subscription's calls; takes a reason in Tollgate-Reason.", s.Suspend},
		{"ResumeSubscription", "/resume", "Let a suspended subscription's calls through again.", s.Resume},
		{"CancelSubscription", "/cancel", "End a subscription for good.", s.Cancel},
	} {
		operation.Register(a, operation.Op[subscriptionPath, store.Subscription]{
			Name: t.name, Method: http.MethodPost, Path: one + t.path, Scope: Write, Summary: t.summary,
			Handle: func(ctx context.Context, r *subscriptionPath) (store.Subscription, error) {
				return t.do(ctx, r.Subscription)
			},
		})
	}
	operation.Register(a, operation.Op[changePlan, store.Subscription]{
		Name: "ChangePlan", Method: http.MethodPost, Path: one + "/plan", Scope: Write,
		Summary: "Put a subscription under the newest version of a plan of its product, at once and with the same keys.",
		Handle: func(ctx context.Context, r *changePlan) (store.Subscription, error) {
			return s.ChangePlan(ctx, r.Subscription, app.PlanChange{Plan: r.Plan, Product: r.Product, AcceptedTerms: r.AcceptedTerms})
		},
	})
	operation.Register(a, operation.Op[listTransitions, operation.List[app.Transition]]{
		Name: "ListTransitions", Method: http.MethodGet, Path: one + "/transitions", Scope: Read,
		Summary: "What happened to a subscription, by whom and why, the oldest first.",
		Handle: func(ctx context.Context, r *listTransitions) (operation.List[app.Transition], error) {
			after, err := strconv.ParseUint("0"+r.Cursor, 10, 31)
			if err != nil {
				return operation.List[app.Transition]{}, problem.NewInvalid("request-invalid", "The request is not valid.").With(
					problem.Field{Path: "cursor", Message: "is not the next of a page before"})
			}
			rows, err := s.Transitions(ctx, r.Subscription, after, r.Size()+1)
			return operation.PageOf(rows, r.Page, func(t app.Transition) string { return strconv.FormatUint(t.Number, 10) }), err
		},
	})
}

func registerResources(a *operation.API, s *app.Subscriptions) {
	operation.Register(a, operation.Op[resource.ApplyRequest, resource.ApplyResponse]{
		Name: "ApplySubscriptionResources", Method: http.MethodPost, Path: "/apply", Scope: Write,
		Summary: "Make subscriptions as documents say, all or none.",
		Handle: func(ctx context.Context, r *resource.ApplyRequest) (resource.ApplyResponse, error) {
			return s.Apply(ctx, *r)
		},
	})
	operation.Register(a, operation.Op[struct{}, resource.Export]{
		Name: "ExportSubscriptionResources", Method: http.MethodGet, Path: "/export", Scope: Read,
		Summary: "Every live subscription as documents.",
		Handle:  func(ctx context.Context, _ *struct{}) (resource.Export, error) { return s.Export(ctx) },
	})
}
