// Package api is metering's table of operations: names, paths, scopes, requests and responses. It decodes, calls the app
// folder and encodes; it decides nothing.
package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/metering/internal/app"
)

const (
	read    = "metering.read"
	operate = "metering.operate"
)

// Register adds every operation of metering to the API.
func Register(a *operation.API, m *app.Metering) {
	registerUsage(a, m)
	registerInstallation(a, m)
	operation.RPC(a, "metering.Lease", m.Lease)
	operation.RPC(a, "metering.Usage", m.Usage)
	operation.RPC(a, "metering.Count", m.Count)
}

type getUsage struct {
	Subscription string `query:"subscription" required:"true" description:"Name or id."`
	From         string `query:"from" required:"true" format:"date-time" description:"Calls that completed at or after."`
	To           string `query:"to" required:"true" format:"date-time" description:"Calls that completed before."`
	By           string `query:"by" enum:"hour,day,month" default:"day" description:"Length of the slices, in the subscription's time zone."`
}

// longest is the longest time that is reported in slices of a length.
var (
	longest      = map[string]time.Duration{"hour": 32 * 24 * time.Hour, "day": 400 * 24 * time.Hour, "month": 3700 * 24 * time.Hour}
	longestQuery = map[string]time.Duration{"hour": longest["hour"], "day": longest["day"], "month": longest["month"], "total": longest["month"]}
)

type queryUsage struct {
	operation.Page
	From         string   `query:"from" required:"true" format:"date-time" description:"Calls that completed at or after."`
	To           string   `query:"to" required:"true" format:"date-time" description:"Calls that completed before."`
	By           string   `query:"by" enum:"hour,day,month,total" default:"day" description:"Length of the slices."`
	TimeZone     string   `query:"timeZone" description:"IANA name of the time zone of the slices; that of the subscription, else UTC, by default."`
	Dimension    []string `query:"dimension" description:"Divide by account, api, apiVersion, application, operation, plan, planVersion, reason or subscription; may be there several times."`
	Subscription string   `query:"subscription" description:"Name or id; of all, and of calls without one, by default."`
	Application  string   `query:"application" description:"Id."`
	Account      string   `query:"account" description:"Id."`
	API          string   `query:"api" description:"Id."`
	APIVersion   string   `query:"apiVersion" description:"Id."`
	Operation    string   `query:"operation" description:"operationId."`
	Plan         string   `query:"plan" description:"Id."`
	Meter        string   `query:"meter" description:"Name of a meter."`
}

type getQuotas struct {
	Subscription string `query:"subscription" required:"true" description:"Name or id."`
}

func registerUsage(a *operation.API, m *app.Metering) {
	operation.Register(a, operation.Op[getUsage, app.UsageReport]{
		Name: "GetUsage", Method: http.MethodGet, Path: "/usage", Scope: read,
		Summary: "The usage of a subscription by hour, day or month, billable and not.",
		Handle: func(ctx context.Context, r *getUsage) (app.UsageReport, error) {
			if r.Subscription == "" {
				return app.UsageReport{}, invalid(problem.Field{Path: "subscription", Message: "is missing; give the name or id of a subscription"})
			}
			from, to, by, err := r.parse(longest)
			if err != nil {
				return app.UsageReport{}, err
			}
			return m.Report(ctx, r.Subscription, from, to, by)
		},
	})
	operation.Register(a, operation.Op[queryUsage, operation.List[app.UsageItem]]{
		Name: "QueryUsage", Method: http.MethodGet, Path: "/usage/query", Scope: read,
		Summary: "Usage by hour, day or month of a time zone, and by dimensions, billable and not.",
		Handle: func(ctx context.Context, r *queryUsage) (operation.List[app.UsageItem], error) {
			span := getUsage{From: r.From, To: r.To, By: r.By}
			from, to, by, err := span.parse(longestQuery)
			if err != nil {
				return operation.List[app.UsageItem]{}, err
			}
			rows, err := m.Query(ctx, app.UsageQuery{
				Subscription: r.Subscription, From: from, To: to, By: by, TimeZone: r.TimeZone, Dimensions: r.Dimension, Application: r.Application,
				Account: r.Account, API: r.API, APIVersion: r.APIVersion, Operation: r.Operation, Plan: r.Plan, Meter: r.Meter,
				Cursor: r.Cursor, Limit: r.Size() + 1,
			})
			return operation.PageOf(rows, r.Page, app.UsageItem.Cursor), err
		},
	})
	operation.Register(a, operation.Op[getQuotas, operation.List[app.QuotaState]]{
		Name: "ListQuotas", Method: http.MethodGet, Path: "/quotas", Scope: read,
		Summary: "The quotas of a subscription in their windows of now: spent, leased and remaining.",
		Handle: func(ctx context.Context, r *getQuotas) (operation.List[app.QuotaState], error) {
			if r.Subscription == "" {
				return operation.List[app.QuotaState]{}, invalid(problem.Field{Path: "subscription", Message: "is missing; give the name or id of a subscription"})
			}
			states, err := m.Quotas(ctx, r.Subscription)
			return operation.List[app.QuotaState]{Items: states}, err
		},
	})
}

// parse reads the time asked for, and the length of its slices, of which each has its longest time.
func (r *getUsage) parse(longest map[string]time.Duration) (from, to time.Time, by string, err error) {
	var fields problem.Fields
	from, to = parseTime("from", r.From, &fields), parseTime("to", r.To, &fields)
	if by = r.By; by == "" {
		by = "day"
	}
	most, known := longest[by]
	switch {
	case !known:
		fields.Add("by", "%q is not known; want one of %s", by, strings.Join(slices.Sorted(maps.Keys(longest)), ", "))
	case len(fields) > 0:
	case !from.Before(to):
		fields.Add("to", "is not after from")
	case to.Sub(from) > most:
		fields.Add("to", "is more than %d days after from; ask for less, or for longer slices", most/(24*time.Hour))
	}
	return from, to, by, fields.Err("request-invalid", "The request is not valid.")
}

// parseTime reads a time that must be there.
func parseTime(path, text string, fields *problem.Fields) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Unix() < 0 || t.Year() > 2200 {
		fields.Add(path, `is not a time as in "2027-01-31T00:00:00Z" (RFC 3339) from 1970 to 2200`)
	}
	return t
}

func invalid(field problem.Field) error {
	return problem.NewInvalid("request-invalid", "The request is not valid.").With(field)
}

type listGaps struct {
	operation.Page
	All bool `query:"all" description:"Those that were closed, too."`
}

type listHolds struct {
	From string `query:"from" required:"true" format:"date-time" description:"Beginning of the period."`
	To   string `query:"to" required:"true" format:"date-time" description:"End of the period, not included."`
}

type waiveGateway struct {
	Gateway string `path:"gateway"`
	Until   string `json:"until" required:"true" format:"date-time" description:"Periods that end before this time close without the gateway's seal."`
	Reason  string `json:"reason" description:"Why its calls will not come; the header Tollgate-Reason does as well."`
}

// The state of gateways tells the traffic of the whole installation, and a waiver closes periods of every tenant: these
// operations are for the installation's operators.
func registerInstallation(a *operation.API, m *app.Metering) {
	operation.Register(a, operation.Op[struct{}, operation.List[app.GatewayState]]{
		Name: "ListGateways", Method: http.MethodGet, Path: "/gateways", Scope: read, Operator: true,
		Summary: "Every gateway with its boots: what was received of each, and until when each has sealed.",
		Handle: func(ctx context.Context, _ *struct{}) (operation.List[app.GatewayState], error) {
			states, err := m.Gateways(ctx)
			return operation.List[app.GatewayState]{Items: states}, err
		},
	})
	operation.Register(a, operation.Op[listGaps, operation.List[app.GapState]]{
		Name: "ListGaps", Method: http.MethodGet, Path: "/gaps", Scope: read, Operator: true,
		Summary: "Calls of gateways that have been missing for over a minute.",
		Handle: func(ctx context.Context, r *listGaps) (operation.List[app.GapState], error) {
			states, err := m.Gaps(ctx, r.All, r.Cursor, r.Size()+1)
			return operation.PageOf(states, r.Page, app.GapState.Cursor), err
		},
	})
	operation.Register(a, operation.Op[listHolds, app.Holds]{
		Name: "ListPeriodHolds", Method: http.MethodGet, Path: "/periods/holds", Scope: read, Operator: true,
		Summary: "What holds a period open: gateways that have not sealed past its end and calls that are missing, with the evidence and the remedy.",
		Handle: func(ctx context.Context, r *listHolds) (app.Holds, error) {
			var fields problem.Fields
			from, to := parseTime("from", r.From, &fields), parseTime("to", r.To, &fields)
			if len(fields) == 0 && !from.Before(to) {
				fields.Add("to", "is not after from")
			}
			if err := fields.Err("request-invalid", "The request is not valid."); err != nil {
				return app.Holds{}, err
			}
			return m.Holds(ctx, from, to)
		},
	})
	operation.Register(a, operation.Op[waiveGateway, operation.Empty]{
		Name: "WaiveGateway", Method: http.MethodPost, Path: "/gateways/{gateway}/waive", Scope: operate, Operator: true,
		Summary: "Let billing periods close without the seal of a gateway whose calls will not come.",
		Handle: func(ctx context.Context, r *waiveGateway) (operation.Empty, error) {
			var fields problem.Fields
			until := parseTime("until", r.Until, &fields)
			if err := fields.Err("waiver-invalid", "The gateway cannot be waived."); err != nil {
				return operation.Empty{}, err
			}
			command := principal.CommandFrom(ctx)
			if command.Reason == "" {
				command.Reason = r.Reason
			}
			return operation.Empty{}, m.Waive(principal.WithCommand(ctx, command), r.Gateway, until)
		},
	})
}
