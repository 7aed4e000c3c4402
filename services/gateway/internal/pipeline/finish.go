package pipeline

import (
	"strconv"
	"time"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
	"github.com/tollgate/tollgate/services/gateway/internal/charge"
	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
	"github.com/tollgate/tollgate/services/gateway/internal/journal"
)

// End reasons of calls whose answer streamed.
const (
	endClientGone   = "client_gone"
	endUpstreamGone = "upstream_gone"
)

// CallIDHeader is the field that tells a client its call's identity.
const CallIDHeader = "Tollgate-Call-Id"

var defaultRule = charge.Default()

// finish settles and records a call whose answer is whole, and completes the answer.
func (p *Pipeline) finish(x *exchange.Exchange) {
	defer p.end(x)
	if x.Problem == nil && !x.Preflight {
		x.Answer.End(true)
		x.ClientGone = x.Request.ClientGone()
	}
	p.settle(x)
	if x.Unrecorded {
		spend(x)
		p.limits(x)
		p.Metrics.unrecorded()
		p.body(x, "")
		p.Metrics.answered(x)
		return
	}
	p.measure(x)
	encoded := x.Encoded()
	*encoded = x.Call.Append((*encoded)[:0])
	place, err := p.Journal.Reserve(len(*encoded) + callrecord.IdentitySize)
	if err != nil {
		p.lost(x, err)
		return
	}
	spend(x)
	p.limits(x)
	callID := x.Format(func(b []byte) []byte { return exchange.AppendCallID(b, p.callID, place.Seq) })
	x.Response.SetHeader(CallIDHeader, callID)
	p.body(x, callID)
	p.commit(x, place, bodySize(x))
	if err := p.Journal.Await(); err != nil {
		// Strict mode promises that an answered call is on the disk: this one may not be.
		p.Log.Error("a call record may not be durable", "call", callID, "error", err)
	}
	p.Metrics.answered(x)
}

// lost answers a call that cannot be recorded although it was admitted: the client must not get what nobody can charge for, and
// spends nothing for it.
func (p *Pipeline) lost(x *exchange.Exchange, err error) {
	giveBack(x)
	p.Metrics.unrecorded()
	p.Log.Error("a call cannot be recorded", "error", err)
	x.Response.Reset()
	x.Refuse(503, "journal-full", "The gateway cannot record calls at the moment, so it does not take any. Try again later.")
	p.body(x, "")
}

func (p *Pipeline) commit(x *exchange.Exchange, place journal.Place, bytesOut uint64) {
	x.Call.Seq, x.Call.CompletedAt, x.Call.BytesOut = place.Seq, place.CompletedAt, bytesOut
	encoded := x.Encoded()
	*encoded = callrecord.AppendIdentity(*encoded, place.Seq, place.CompletedAt, bytesOut)
	p.Journal.Commit(place, *encoded)
}

// bodySize is the number of body bytes that the client gets of a whole answer.
func bodySize(x *exchange.Exchange) uint64 {
	if x.Response.Bodiless(x.Method) {
		return 0
	}
	return uint64(max(0, x.Response.Size()))
}

func (p *Pipeline) measure(x *exchange.Exchange) {
	total := max(0, time.Now().UnixNano()-x.Started)
	c := &x.Call
	c.TotalMicros, c.UpstreamMicros = uint64(total/1000), uint64(x.UpstreamNanos/1000)
	c.GatewayMicros = c.TotalMicros - min(c.TotalMicros, c.UpstreamMicros)
	c.BytesIn = x.Request.BytesIn()
}

// settle decides whether the call is billable, and what is spent of what was set aside for it. spend or giveBack follows, when it is
// known whether there is room for the record.
func (p *Pipeline) settle(x *exchange.Exchange) {
	rule := defaultRule
	outcome := charge.Outcome{
		Responder: x.Call.Responder, Status: x.Call.Status, UpstreamFailed: x.UpstreamFailed, Internal: x.Internal, ClientGone: x.ClientGone,
		Anonymous: x.Entitlement == nil,
	}
	if e := x.Entitlement; e != nil {
		rule, outcome.Free = e.Charging, e.Free
	}
	outcome.Mocked = x.Mocked
	if x.Preflight {
		outcome.Responder = callsv1.Responder_RESPONDER_UPSTREAM // answered on its behalf: not a rejection
	}
	reason, counts := rule.Decide(outcome)
	x.Call.Reason, x.Call.Billable = reason, reason == callsv1.Reason_REASON_UNSPECIFIED
	for i, h := range x.Holds[:x.HoldsN] {
		spent := int64(0)
		if counts {
			if spent = h.Units(); h.Quota().Meter != config.Calls {
				spent = p.within(used(x, h.Quota().Meter), spent)
			}
		}
		if spent > 0 && !x.Call.AddSpend(callrecord.Spend{Lease: h.Lease(), Units: spent}) {
			spent = 0
		}
		x.Spent[i] = spent
	}
}

// spend spends what settle decided on, and gives the rest back.
func spend(x *exchange.Exchange) {
	for i, h := range x.Holds[:x.HoldsN] {
		h.Settle(x.Spent[i])
	}
	x.HoldsN = 0
}

// giveBack gives back all that was set aside.
func giveBack(x *exchange.Exchange) {
	for _, h := range x.Holds[:x.HoldsN] {
		h.Settle(0)
	}
	x.HoldsN = 0
}

// within bounds what is spent by what was set aside: a call that reports more than its plan sets aside is counted whole by
// metering, and noticed here.
func (p *Pipeline) within(used, reserved int64) int64 {
	if used > reserved {
		p.Metrics.overReserve()
		return reserved
	}
	return used
}

// limits sets the fields that tell a client its limits (draft-ietf-httpapi-ratelimit-headers), that the version comes to its end,
// and those of CORS.
func (p *Pipeline) limits(x *exchange.Exchange) {
	if x.API != nil {
		deprecation(x.API, x.Response)
	}
	if x.API != nil && x.API.CORS != nil && !x.Preflight {
		x.API.CORS.Answer(string(x.Request.Header("Origin")), x.Response.SetHeader)
	}
	e := x.Entitlement
	if e == nil || x.RatesN == 0 && len(e.Quotas) == 0 {
		return
	}
	policy := x.Format(func(b []byte) []byte { return appendPolicies(b, x) })
	if policy == "" {
		return
	}
	x.Response.SetHeader("RateLimit-Policy", policy)
	x.Response.SetHeader("RateLimit", x.Format(func(b []byte) []byte { return appendStates(b, x) }))
}

// deprecation tells that a version is deprecated (RFC 9745) and when it ends (RFC 8594).
func deprecation(a *config.API, r exchange.Response) {
	if a.Deprecation != "" {
		r.SetHeader("Deprecation", a.Deprecation)
	}
	if a.Sunset != "" {
		r.SetHeader("Sunset", a.Sunset)
	}
	if a.DeprecationLink != "" {
		r.AddHeader("Link", a.DeprecationLink)
	}
}

func appendPolicies(b []byte, x *exchange.Exchange) []byte {
	start := len(b)
	for _, r := range x.Entitlement.Rates[:x.RatesN] {
		b = appendItem(b, start, r.Name, 'q', r.Quota, 'w', r.Window)
	}
	for _, q := range x.Entitlement.Quotas {
		if info, ok := q.Info(); ok {
			b = appendItem(b, start, q.Name, 'q', info.Quota, 'w', seconds(info.WindowEnd-info.WindowStart))
		}
	}
	return b
}

func appendStates(b []byte, x *exchange.Exchange) []byte {
	start := len(b)
	for i, r := range x.Entitlement.Rates[:x.RatesN] {
		s := x.Rates[i]
		b = appendItem(b, start, r.Name, 'r', min(s.Remaining, r.Quota), 't', seconds(max(s.Retry, s.Reset)))
	}
	for _, q := range x.Entitlement.Quotas {
		if info, ok := q.Info(); ok {
			b = appendItem(b, start, q.Name, 'r', info.Remaining, 't', seconds(max(0, info.WindowEnd-x.Started)))
		}
	}
	return b
}

// appendItem appends a member such as "default";r=50;t=30. A second number that is not above 0 is left out.
func appendItem(b []byte, start int, name string, first byte, one int64, second byte, two int64) []byte {
	if len(b) > start {
		b = append(b, ", "...)
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, '"', ';', first, '=')
	b = strconv.AppendInt(b, max(0, one), 10)
	if two > 0 {
		b = append(b, ';', second, '=')
		b = strconv.AppendInt(b, two, 10)
	}
	return b
}

// body writes the gateway's own answer, if it is one.
func (p *Pipeline) body(x *exchange.Exchange, callID string) {
	problem := x.Problem
	if problem == nil {
		return
	}
	r := x.Response
	r.SetStatus(problem.Status)
	r.SetHeader("Content-Type", "application/problem+json")
	if problem.RetryAfter > 0 {
		r.SetHeader("Retry-After", x.Format(func(b []byte) []byte { return strconv.AppendInt(b, problem.RetryAfter, 10) }))
	}
	if problem.Allow != "" {
		r.SetHeader("Allow", problem.Allow)
	}
	if problem.Authenticate != "" {
		r.SetHeader("WWW-Authenticate", problem.Authenticate)
	}
	document := x.Format(func(b []byte) []byte { return exchange.AppendProblem(b, problem, callID) })
	r.SetBody([]byte(document))
}
