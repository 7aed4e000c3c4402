package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tollgate/tollgate/libs/operation"
	"github.com/tollgate/tollgate/libs/problem"
	analyticsv1 "github.com/tollgate/tollgate/proto/analytics/v1"
	"github.com/tollgate/tollgate/services/analytics/internal/app"
)

// filter is what calls can be filtered by.
type filter struct {
	API          string `query:"api" description:"Name or id."`
	Version      string `query:"version" description:"Name or id of an API version."`
	Operation    string `query:"operation" description:"The operationId."`
	Account      string `query:"account" description:"Name or id."`
	Application  string `query:"application" description:"Name or id."`
	Subscription string `query:"subscription" description:"Name or id."`
	Product      string `query:"product" description:"Name or id."`
	Plan         string `query:"plan" description:"Name or id."`
	Gateway      string `query:"gateway"`
	Method       string `query:"method" description:"As in GET."`
	Status       string `query:"status" description:"A code such as 404 or a class such as 4xx."`
	Responder    string `query:"responder" enum:"upstream,gateway,cache" description:"Who produced the status."`
	Billable     string `query:"billable" enum:"true,false"`
	Reason       string `query:"reason" description:"Why calls are not billable, as in free_plan."`
	Error        string `query:"error" description:"What a gateway answered with, as in quota-exceeded."`
	Meter        string `query:"meter" description:"Calls that carry the meter."`
	LatencyFrom  string `query:"latencyFrom" description:"Calls that took so long or longer, as in 250ms."`
	LatencyTo    string `query:"latencyTo" description:"Calls that took less, as in 1.5s."`
	Call         string `query:"call" description:"Calls whose Tollgate-Call-Id begins so, as in gw1.17."`
	Search       string `query:"search" description:"Words that are all in the path or in the error, as in: berlin timeout."`
}

func (f *filter) query(fields *problem.Fields) app.Query {
	return app.Query{
		Filter: &analyticsv1.CallFilter{
			Api: f.API, Version: f.Version, Operation: f.Operation, Account: f.Account, Application: f.Application, Subscription: f.Subscription,
			Product: f.Product, Plan: f.Plan, Gateway: f.Gateway, Method: f.Method, Status: f.Status, Responder: f.Responder, Billable: f.Billable,
			Reason: f.Reason, Error: f.Error,
		},
		Meter: f.Meter, Call: f.Call, Search: f.Search,
		LatencyFrom: parseDuration("latencyFrom", f.LatencyFrom, fields), LatencyTo: parseDuration("latencyTo", f.LatencyTo, fields),
	}
}

// parseDuration reads an optional duration.
func parseDuration(path, text string, fields *problem.Fields) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		fields.Add(path, "%q is not a duration as in 250ms or 1.5s", text)
	}
	return d
}

// span is a half-open span of completion times.
type span struct {
	From string `query:"from" format:"date-time" description:"Calls that completed at or after; a day before to by default."`
	To   string `query:"to" format:"date-time" description:"Calls that completed before; now by default."`
}

func (s *span) apply(q *app.Query, now time.Time, fields *problem.Fields) {
	q.To = parseTime("to", s.To, now, fields)
	q.From = parseTime("from", s.From, q.To.Add(-24*time.Hour), fields)
	if len(*fields) == 0 && !q.From.Before(q.To) {
		fields.Add("to", "is not after from")
	}
}

const notValid = "The request is not valid."

type listCalls struct {
	operation.Page
	span
	filter
}

type tailCalls struct {
	operation.Page
	filter
	Wait string `query:"wait" description:"How long to wait for calls, at most 20s; 20s by default."`
}

type exportCalls struct {
	span
	filter
	Format string `query:"format" enum:"csv,parquet" default:"csv"`
	Cursor string `query:"cursor" description:"Of the page before; it carries from and to."`
}

type callPath struct {
	Call string `path:"call" description:"The Tollgate-Call-Id that the client received, as in gw1.17.123456."`
}

func registerCalls(a *operation.API, s *app.Analytics, clock func() time.Time) {
	operation.Register(a, operation.Op[listCalls, operation.List[app.Call]]{
		Name: "ListCalls", Method: http.MethodGet, Path: "/calls", Scope: read, Timeout: 30 * time.Second,
		Summary: "Calls, the newest first.",
		Handle: func(ctx context.Context, r *listCalls) (operation.List[app.Call], error) {
			var fields problem.Fields
			q := r.query(&fields)
			r.apply(&q, clock(), &fields)
			if err := fields.Err("request-invalid", notValid); err != nil {
				return operation.List[app.Call]{}, err
			}
			q.Cursor, q.Limit = r.Cursor, r.Size()+1
			calls, err := s.Calls(ctx, q)
			return operation.PageOf(calls, r.Page, app.Call.Cursor), err
		},
	})
	operation.Register(a, operation.Op[tailCalls, app.Tail]{
		Name: "TailCalls", Method: http.MethodGet, Path: "/calls/tail", Scope: read, Timeout: 40 * time.Second,
		Summary: "Calls as they are landed, the oldest first: waits for some after the cursor, which begins now when it is empty.",
		Handle: func(ctx context.Context, r *tailCalls) (app.Tail, error) {
			var fields problem.Fields
			q := r.query(&fields)
			wait := app.MaxTailWait
			if r.Wait != "" {
				wait = parseDuration("wait", r.Wait, &fields)
			}
			if err := fields.Err("request-invalid", notValid); err != nil {
				return app.Tail{}, err
			}
			q.Cursor, q.Limit = r.Cursor, r.Size()
			return s.TailCalls(ctx, q, wait)
		},
	})
	operation.Register(a, operation.Op[exportCalls, operation.Raw]{
		Name: "ExportCalls", Method: http.MethodGet, Path: "/calls/export", Scope: read, Timeout: 50 * time.Second,
		Summary: "Calls as CSV or Parquet, the oldest first, in pages of at most 20,000: the header Link names the next one.",
		Handle: func(ctx context.Context, r *exportCalls) (operation.Raw, error) {
			var fields problem.Fields
			q := r.query(&fields)
			r.apply(&q, clock(), &fields)
			if err := fields.Err("request-invalid", notValid); err != nil {
				return operation.Raw{}, err
			}
			q.Cursor = r.Cursor
			if r.Format == "" {
				r.Format = app.FormatCSV
			}
			page, err := s.Export(ctx, q, r.Format)
			if err != nil {
				return operation.Raw{}, err
			}
			return r.answer(page), nil
		},
	})
	operation.Register(a, operation.Op[callPath, app.Call]{
		Name: "GetCall", Method: http.MethodGet, Path: "/calls/{call}", Scope: read, Timeout: 30 * time.Second,
		Summary: "One call, by the id that its client received.",
		Handle:  func(ctx context.Context, r *callPath) (app.Call, error) { return s.Call(ctx, r.Call) },
	})
}

// answer is a page as a file. The next one is named by a link (RFC 8288).
func (r *exportCalls) answer(page app.Exported) operation.Raw {
	raw := operation.Raw{ContentType: "text/csv; charset=utf-8", Body: page.Content, Header: http.Header{}}
	if r.Format == app.FormatParquet {
		raw.ContentType = "application/vnd.apache.parquet"
	}
	if page.Next != "" {
		values := url.Values{"format": {r.Format}, "cursor": {page.Next}}
		for name, value := range map[string]string{
			"api": r.API, "version": r.Version, "operation": r.Operation, "account": r.Account, "application": r.Application, "subscription": r.Subscription,
			"product": r.Product, "plan": r.Plan, "gateway": r.Gateway, "method": r.Method, "status": r.Status, "responder": r.Responder, "billable": r.Billable,
			"reason": r.Reason, "error": r.Error, "meter": r.Meter, "latencyFrom": r.LatencyFrom, "latencyTo": r.LatencyTo, "call": r.Call, "search": r.Search,
		} {
			if value != "" {
				values.Set(name, value)
			}
		}
		raw.Header.Set("Link", fmt.Sprintf(`</analytics/v1/calls/export?%s>; rel="next"`, values.Encode()))
	}
	return raw
}
