package pipeline

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
	"github.com/tollgate/tollgate/services/gateway/internal/route"
	"github.com/tollgate/tollgate/services/gateway/internal/upstream"
)

// forward sends the request upstream and takes the answer's head in.
func (p *Pipeline) forward(x *exchange.Exchange) bool {
	if x.API.Mocked {
		return p.mock(x)
	}
	if length := x.Request.Length(); length > p.MaxBody {
		return refuseBody(x, exchange.ErrTooLarge)
	}
	path := x.Path
	if x.API.StripPrefix {
		path = route.Skip(path, x.API.PrefixSegments)
	}
	x.Upstream = upstream.Call{
		Method: x.Method, Path: path, Query: x.Query, Peer: x.Peer, Host: x.RawHost, Scheme: x.Scheme,
		Forwarded: x.Forwarded, ForwardedFor: x.ForwardedFor, HideKey: x.HideKey, Timeout: x.API.Timeout,
	}
	err := p.attempts(x, &x.Upstream)
	if err == nil {
		return true
	}
	x.Response.Reset()
	var failed *upstream.Error
	if !errors.As(err, &failed) {
		failed = &upstream.Error{Kind: upstream.Reset, Err: err}
	}
	p.Metrics.upstreamFailed(failed.Kind)
	if errors.Is(failed, upstream.ErrRefused) {
		x.UpstreamFailed = true
		return x.Refuse(502, "upstream-refused", "The API's address is one that gateways do not call.")
	}
	switch failed.Kind {
	case upstream.Client:
		return refuseBody(x, failed.Err)
	case upstream.Timeout:
		x.UpstreamFailed = true
		return x.Refuse(504, "upstream-timeout", "The API did not answer in time.")
	case upstream.Invalid:
		x.UpstreamFailed = true
		return x.Refuse(502, "upstream-invalid", "The API answered something that is not HTTP.")
	default:
		x.UpstreamFailed = true
		return x.Refuse(502, "upstream-unreachable", "The API cannot be reached.")
	}
}

// attempts sends the request until it is answered, or may not be sent again.
func (p *Pipeline) attempts(x *exchange.Exchange, call *upstream.Call) error {
	a := x.API
	_, replayable := x.Request.Buffered()
	idempotent := upstream.Idempotent(x.Method)
	deadline := time.Now().Add(a.Timeout)
	if a.Retry.Timeout && a.Attempts > 1 {
		call.Timeout = a.Timeout / time.Duration(a.Attempts) // so that there is time left for another attempt
	}
	target := a.Upstream.Next()
	for attempt := 1; ; attempt++ {
		begun := time.Now()
		x.Call.Attempts, x.Call.Target = uint32(attempt), target.URL()
		err := target.Do(call, x.Request, x.Response, &x.Answer)
		now := time.Now()
		x.UpstreamNanos += int64(now.Sub(begun))
		again := attempt < a.Attempts && replayable && now.Before(deadline)
		switch {
		case err == nil && again && idempotent && slices.Contains(a.Retry.Statuses, x.Response.Status()):
			x.Answer.End(false)
			x.Response.Reset()
		case err == nil:
			return nil
		case !again || !mayRetry(err, a.Retry, idempotent):
			return err
		}
		p.Metrics.retried()
		call.Timeout = min(call.Timeout, deadline.Sub(now))
		target = a.Upstream.Other(target)
	}
}

// mayRetry says whether a failed attempt may be followed by another: nothing was sent, or the method is idempotent (RFC 9110,
// section 9.2.2), and the version asks for it.
func mayRetry(err error, retry config.Retry, idempotent bool) bool {
	var failed *upstream.Error
	if !errors.As(err, &failed) {
		return false
	}
	switch failed.Kind {
	case upstream.Connect:
		return retry.Connect
	case upstream.Unsent:
		return retry.Connect || retry.Reset
	case upstream.Reset:
		return idempotent && retry.Reset
	case upstream.Timeout:
		return idempotent && retry.Timeout
	default:
		return false
	}
}

// refuseBody answers a body that could not be read.
func refuseBody(x *exchange.Exchange, err error) bool {
	x.Response.Close() // what is left of the body is not read
	var timeout net.Error
	switch {
	case errors.Is(err, exchange.ErrTooLarge):
		return x.Refuse(413, "body-too-large", "The request's body is larger than is taken here.")
	case errors.As(err, &timeout) && timeout.Timeout():
		return x.Refuse(408, "body-timeout", "The request's body did not arrive in time.")
	default:
		return x.Refuse(400, "body-invalid", "The request's body broke off or is not framed as HTTP/1.1 has it.")
	}
}
