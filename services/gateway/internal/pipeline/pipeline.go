// Package pipeline owns the order of what happens to a request: route, CORS, admission, authentication, entitlement, scopes and
// roles, rate limits, quotas, validation, upstream or mock, settlement, call record.
//
// Its steps see an exchange, never an engine. Whatever happens, an answered request is settled and recorded once: a panic in a step
// is an answer too. A record is complete in the journal before the last byte of the answer can reach the kernel. Only the gateway's
// root package and its fronts import it.
package pipeline

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/bearer"
	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/credential"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
	"github.com/tollgate/tollgate/services/gateway/internal/journal"
)

// Config of a pipeline.
type Config struct {
	Gateway string
	// MaxInFlight is how many requests are served at once; more are answered 503.
	MaxInFlight int64
	// MaxBody is the largest request body, in bytes.
	MaxBody int64
	// ServeUnrecorded goes on serving metered versions when the journal is full; every such call is counted.
	ServeUnrecorded bool

	// Ready says whether there is a whole configuration to serve.
	Ready func() bool

	Store       *config.Store
	Credentials *credential.Store
	Bearer      *bearer.Verifier
	Journal     *journal.Journal
	Metrics     *Metrics
	Log         *slog.Logger
}

// Pipeline serves exchanges. It is safe for concurrent use.
type Pipeline struct {
	Config
	callID   string // "gateway.boot."
	inflight atomic.Int64
	steps    []func(*exchange.Exchange) bool
}

// New returns a pipeline.
func New(c Config) *Pipeline {
	p := &Pipeline{Config: c, callID: c.Gateway + "." + strconv.FormatUint(c.Journal.Boot(), 10) + "."}
	p.steps = []func(*exchange.Exchange) bool{
		p.shed, p.route, p.preflight, p.operation, p.admit, p.authenticate, p.entitle, p.access, p.rate, p.quota, p.validate, p.forward, p.usage,
	}
	return p
}

// InFlight is how many requests are being served.
func (p *Pipeline) InFlight() int64 { return p.inflight.Load() }

// Serve runs the steps and prepares the answer. When it sets Streaming, the front reads the body from Stream and closes it;
// otherwise the answer is whole and recorded.
func (p *Pipeline) Serve(x *exchange.Exchange) {
	x.Started = time.Now().UnixNano()
	x.Unrecorded = !p.Journal.Begin()
	p.inflight.Add(1)
	p.run(x)
	p.describe(x)
	if x.Problem == nil && !x.Preflight && x.Answer.Body != nil {
		p.open(x)
		return
	}
	p.finish(x)
}

// run runs the steps until one ends them.
func (p *Pipeline) run(x *exchange.Exchange) {
	defer func() {
		if r := recover(); r != nil {
			p.Log.Error("a step of the pipeline failed", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			x.Internal = true
			x.Refuse(500, "internal", "The gateway could not handle this request.")
			x.Answer.End(false)
			x.Response.Reset()
			x.Response.Close()
		}
	}()
	for _, step := range p.steps {
		if !step(x) {
			return
		}
	}
}

// shed refuses what cannot be served now, before it costs anything.
func (p *Pipeline) shed(x *exchange.Exchange) bool {
	if !p.Ready() {
		x.Refuse(503, "not-ready", "The gateway has no configuration yet. Try again in a moment.")
		x.Problem.RetryAfter = 1
		return false
	}
	if p.inflight.Load() <= p.MaxInFlight {
		return true
	}
	x.Refuse(503, "overloaded", "The gateway is at its limit of requests at once. Try again in a moment.")
	x.Problem.RetryAfter = 1
	return false
}

// end gives back what Serve took. The exchange can be reused after it.
func (p *Pipeline) end(x *exchange.Exchange) {
	p.inflight.Add(-1)
	if !x.Unrecorded {
		p.Journal.End()
	}
}

// describe fills the record with what is known of the request.
func (p *Pipeline) describe(x *exchange.Exchange) {
	c := &x.Call
	c.StartedAt, c.Method, c.Host, c.Path = x.Started, x.Method, x.Host, x.Path
	c.ClientAddress = x.Client
	c.UserAgent = x.Keep(x.Request.Header("User-Agent"))
	c.TraceID = traceID(x.Request.Header("Traceparent"))
	if a := x.API; a != nil {
		c.Tenant, c.API, c.APIVersion, c.APIRevision = a.Tenant, a.ID, a.Version, a.Revision
	}
	if o := x.Operation; o != nil {
		c.Operation, c.PathTemplate = o.ID, o.Template
	}
	if k := x.Credential; k != nil {
		c.Account, c.Application, c.Credential = k.Account, k.Application, k.ID
	}
	if e := x.Entitlement; e != nil {
		c.Subscription, c.Product, c.Plan, c.PlanVersion, c.EntitlementRevision = e.Subscription, e.Product, e.Plan, e.PlanVersion, e.Revision
	}
	if x.Problem != nil {
		c.Responder, c.Status, c.ErrorReason = callsv1.Responder_RESPONDER_GATEWAY, x.Problem.Status, x.Problem.Code
		return
	}
	c.Status = x.Response.Status()
	c.Responder = callsv1.Responder_RESPONDER_UPSTREAM
	if x.Preflight || x.Mocked {
		c.Responder = callsv1.Responder_RESPONDER_GATEWAY
	}
}

// traceID returns the trace id of a traceparent (W3C Trace Context, section 3.2), empty when there is none.
func traceID(traceparent []byte) string {
	if len(traceparent) < 55 || traceparent[2] != '-' || traceparent[35] != '-' {
		return ""
	}
	for _, b := range traceparent[3:35] {
		if (b < '0' || b > '9') && (b < 'a' || b > 'f') {
			return ""
		}
	}
	return string(traceparent[3:35])
}
