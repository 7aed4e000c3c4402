// Package api is analytics' table of operations: names, paths, scopes, requests and responses. It decodes, calls the app
// folder and encodes; it decides nothing.
package api

import (
	"context"
	"net/http"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
)

const (
	read  = "analytics.read"
	write = "analytics.write"
)

// Register adds every operation of analytics to the API. clock gives the time that spans end at by default.
func Register(a *operation.API, s *app.Analytics, clock func() time.Time) {
	registerCalls(a, s, clock)
	registerMeasurements(a, s, clock)
	registerSettings(a, s)
	registerAlerts(a, s)
	registerReports(a, s)
	registerResources(a, s)
	registerReconciliation(a, s)
	operation.RPC(a, "analytics.Count", s.Count)
	operation.RPC(a, "analytics.Proof", s.ProveAndReport)
}

type getReconciliation struct {
	From         string `query:"from" required:"true" format:"date-time"`
	To           string `query:"to" required:"true" format:"date-time"`
	Subscription string `query:"subscription" description:"Name or id; all calls of the tenant when empty."`
	All          bool   `query:"all" description:"The calls of every tenant; for operators of the installation."`
}

// reconciliation is the proof as it is shown.
type reconciliation struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Answered by gateways: in the stream, or missing between what is.
	Answered uint64 `json:"answered"`
	// Stored in the stream, each once.
	Stored uint64 `json:"stored"`
	// Landed in ClickHouse, each once.
	Landed uint64 `json:"landed"`
	// Metered, billable or not.
	Metered       uint64   `json:"metered"`
	Agree         bool     `json:"agree"`
	LandedDigest  string   `json:"landedDigest"`
	MeteredDigest string   `json:"meteredDigest"`
	Differences   []string `json:"differences"`
}

func registerReconciliation(a *operation.API, s *app.Analytics) {
	operation.Register(a, operation.Op[getReconciliation, reconciliation]{
		Name: "GetReconciliation", Method: http.MethodGet, Path: "/reconciliation", Scope: read, Timeout: 50 * time.Second,
		Summary: "Whether the four counters of a time agree: answered by gateways, stored in the stream, landed in ClickHouse, metered.",
		Handle: func(ctx context.Context, r *getReconciliation) (reconciliation, error) {
			var fields problem.Fields
			if r.From == "" {
				fields.Add("from", "is missing")
			}
			if r.To == "" {
				fields.Add("to", "is missing")
			}
			from, to := parseTime("from", r.From, time.Time{}, &fields), parseTime("to", r.To, time.Time{}, &fields)
			if len(fields) == 0 && !from.Before(to) {
				fields.Add("to", "is not after from")
			}
			if err := fields.Err("request-invalid", "The request is not valid."); err != nil {
				return reconciliation{}, err
			}
			p, err := s.Reconcile(ctx, r.Subscription, from, to, r.All)
			if err != nil {
				return reconciliation{}, err
			}
			return reconciliation{
				From: from.UTC(), To: to.UTC(), Answered: p.GetAnswered(), Stored: p.GetStored(), Landed: p.GetLanded(), Metered: p.GetMetered(),
				Agree: p.GetAgree(), LandedDigest: p.GetLandedDigest(), MeteredDigest: p.GetMeteredDigest(), Differences: append([]string{}, p.GetDifferences()...),
			}, nil
		},
	})
}

// parseTime reads a time, or returns the default when there is none.
func parseTime(path, text string, standard time.Time, fields *problem.Fields) time.Time {
	if text == "" {
		return standard
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Unix() < 0 || t.Year() > 2200 {
		fields.Add(path, `is not a time as in "2027-01-31T00:00:00Z" (RFC 3339) from 1970 to 2200`)
		return standard
	}
	return t
}
