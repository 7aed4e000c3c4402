package pipeline

import (
	"time"

	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/cors"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
	"github.com/tollgate/tollgate/services/gateway/internal/limit"
	"github.com/tollgate/tollgate/services/gateway/internal/route"
	"github.com/tollgate/tollgate/services/gateway/internal/validate"
)

// route finds the version and the operation.
func (p *Pipeline) route(x *exchange.Exchange) bool {
	if !route.ValidPath(x.Path) {
		x.Response.Close()
		return x.Refuse(400, "path-invalid", `The path has a wrong percent-encoding, a backslash, or a segment "." or "..". Send it as it should be resolved.`)
	}
	p.Store.Snapshot().Routes.Find(x.Host, x.Method, x.Path, &x.Match)
	if x.Match.Outcome == route.NoRoute {
		return x.Refuse(404, "no-route", "No API is published at this host and path.")
	}
	x.API = x.Match.API
	return true
}

// preflight answers a CORS preflight: browsers send it without a key.
func (p *Pipeline) preflight(x *exchange.Exchange) bool {
	if x.API.CORS == nil || x.Method != "OPTIONS" || x.Match.Outcome < route.NoMethod || !cors.Preflight(x.Method, x.Request.Header) {
		return true
	}
	x.Preflight = true
	x.Response.SetStatus(204)
	x.API.CORS.AnswerPreflight(x.Request.Header, x.Response.SetHeader)
	return false
}

// operation refuses what the version does not have.
func (p *Pipeline) operation(x *exchange.Exchange) bool {
	switch x.Match.Outcome {
	case route.NoOperation:
		return x.Refuse(404, "no-route", "The API has no operation at this path.")
	case route.NoMethod:
		x.Refuse(405, "method-not-allowed", "The API does not have this method at this path; the field Allow lists those it has.")
		x.Problem.Allow = x.Match.Allow
		return false
	default:
		x.Operation = x.Match.Operation
		return true
	}
}

// admit refuses calls that would be charged for while there is no room to record them.
func (p *Pipeline) admit(x *exchange.Exchange) bool {
	if !x.Unrecorded || !x.API.Authenticated || p.ServeUnrecorded {
		return true
	}
	x.Refuse(503, "journal-full", "The gateway cannot record calls at the moment, so it does not take any. Try again later.")
	x.Problem.RetryAfter = 5
	return false
}

// entitle finds the subscription that the call is made under.
func (p *Pipeline) entitle(x *exchange.Exchange) bool {
	if x.Credential == nil {
		return true
	}
	for _, product := range x.API.Products {
		for _, e := range p.Store.Entitlements(x.Credential.Application) {
			if e.Product != product || e.Tenant != x.API.Tenant {
				continue
			}
			if e.Active() {
				x.Entitlement = e
				return true
			}
			if x.Entitlement == nil || rank(e) > rank(x.Entitlement) {
				x.Entitlement = e
			}
		}
	}
	switch rank(x.Entitlement) {
	case 2:
		return x.Refuse(403, "subscription-suspended", "The application's subscription is suspended. The provider can tell why.")
	case 1:
		return x.Refuse(403, "subscription-pending", "The application's subscription waits for approval.")
	default:
		x.Entitlement = nil
		return x.Refuse(403, "not-subscribed", "The application has no subscription to this API. Subscribe in the portal.")
	}
}

// rank says which of several inactive subscriptions tells the client most.
func rank(e *config.Entitlement) int {
	switch {
	case e == nil:
		return 0
	case e.State == "suspended":
		return 2
	case e.State == "requested":
		return 1
	default:
		return 0
	}
}

// rate takes one request of each rate limit.
func (p *Pipeline) rate(x *exchange.Exchange) bool {
	if x.Entitlement == nil {
		return true
	}
	for i, r := range x.Entitlement.Rates {
		x.Rates[i] = r.Take(x.Started)
		x.RatesN = i + 1
		if x.Rates[i].Allowed {
			continue
		}
		for _, taken := range x.Entitlement.Rates[:i] {
			taken.Undo()
		}
		x.Refuse(429, "rate-limited", "The plan's rate limit is reached. The field Retry-After says when to go on.")
		x.Problem.Violated = r.Name
		x.Problem.RetryAfter = max(1, seconds(x.Rates[i].Retry))
		return false
	}
	return true
}

// seconds rounds up.
func seconds(nanoseconds int64) int64 {
	return (nanoseconds + int64(time.Second) - 1) / int64(time.Second)
}

// quota sets units aside of each hard quota and of a prepaid balance.
func (p *Pipeline) quota(x *exchange.Exchange) bool {
	if x.Entitlement == nil {
		return true
	}
	for _, q := range x.Entitlement.Quotas {
		hold, why := q.Reserve(q.Units)
		switch {
		case why == limit.Passed:
			x.Holds[x.HoldsN] = hold
			x.HoldsN++
			continue
		case why == limit.Unavailable:
			x.Refuse(503, "quota-unavailable", "What is left of the quota cannot be found out at the moment, so the call is not let through. Try again in a moment.")
			x.Problem.RetryAfter = 1
		case q.Per == limit.Wallet:
			x.Refuse(402, "balance-empty", "The prepaid balance is used up. Top it up in the portal.")
		default:
			x.Refuse(429, "quota-exceeded", "The plan's quota is used up. The field Retry-After says when there is more.")
			x.Problem.RetryAfter = max(1, seconds(int64(q.RetryAfter(x.Started))))
		}
		x.Problem.Violated = q.Name
		return false
	}
	return true
}

// validate checks the request against the version's document, if a policy asks for it.
func (p *Pipeline) validate(x *exchange.Exchange) bool {
	o := x.Operation
	if o.Validate == nil {
		return true
	}
	r := validate.Request{Query: x.Query, Header: x.Request.Header, Path: func(name string) (string, bool) {
		for i, parameter := range o.Parameters {
			if parameter == name && i < len(x.Match.Parameters()) {
				return x.Match.Parameters()[i], true
			}
		}
		return "", false
	}}
	if o.Validate.NeedsBody() {
		if err := x.Request.Buffer(min(x.API.MaxBody, p.MaxBody)); err != nil {
			return refuseBody(x, err)
		}
		r.Body, _ = x.Request.Buffered()
	}
	if fields := o.Validate.Check(&r); len(fields) > 0 {
		x.Refuse(400, "request-invalid", "The request is not as the API's document has it; errors says where.")
		x.Problem.Fields = fields
		return false
	}
	return true
}
