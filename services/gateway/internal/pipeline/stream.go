package pipeline

import (
	"errors"
	"io"
	"time"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
)

// open records a call whose answer is about to stream: its identity is told to the client now, its end recorded later. If the
// process is killed in between, this first record stands.
func (p *Pipeline) open(x *exchange.Exchange) {
	x.Streaming = true
	p.limits(x)
	if x.Unrecorded {
		return
	}
	p.measure(x)
	c := x.Call
	c.EndReason, c.Reason, c.Billable = callrecord.EndGatewayKilled, callsv1.Reason_REASON_INTERNAL, false
	encoded := x.Encoded()
	*encoded = c.Append((*encoded)[:0])
	place, err := p.Journal.ReserveOpening(len(*encoded) + callrecord.IdentitySize)
	if err != nil {
		x.Streaming = false
		x.Answer.End(false)
		x.UpstreamFailed = true
		p.settle(x)
		p.lost(x, err)
		p.end(x)
		return
	}
	*encoded = callrecord.AppendIdentity(*encoded, place.Seq, place.CompletedAt, 0)
	p.Journal.CommitOpened(place, *encoded)
	x.Opened = place
	x.Response.SetHeader(CallIDHeader, x.Format(func(b []byte) []byte { return exchange.AppendCallID(b, p.callID, place.Seq) }))
}

// Stream is the body of an answer that streams. The front reads it and closes it, then the exchange is at its end. It belongs to one
// goroutine.
type Stream struct {
	pipeline *Pipeline
	x        *exchange.Exchange
	reads    int
	sent     uint64
	// left is what the answer's head states, -1 when unknown.
	left     int64
	recorded bool
	// Progress is called before each wait, to put the client's time-out off.
	Progress func()
}

// Stream begins the reading of a streaming answer into s.
func (p *Pipeline) Stream(x *exchange.Exchange, s *Stream, progress func()) {
	*s = Stream{pipeline: p, x: x, left: x.Response.Size(), Progress: progress}
}

// Read reads on. The record is in the journal before Read returns the last bytes, or the end.
func (s *Stream) Read(b []byte) (int, error) {
	if s.recorded {
		return 0, io.EOF
	}
	s.reads++
	s.Progress()
	s.x.Answer.Extend()
	begun := time.Now()
	n, err := s.x.Answer.Body.Read(b)
	s.x.UpstreamNanos += int64(time.Since(begun))
	s.sent += uint64(n)
	if s.left >= 0 {
		s.left -= int64(n)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.EOF) && s.left > 0:
		s.x.UpstreamFailed = true
		s.record(endUpstreamGone)
		return 0, io.ErrUnexpectedEOF // the connection is closed: the client sees that the answer broke off
	case err != nil || s.left == 0:
		s.record("")
	}
	return n, err
}

// Close ends the exchange. One that was not read to its end is a client that went away.
func (s *Stream) Close() error {
	if !s.recorded {
		s.x.ClientGone = s.reads < 2 // nothing that was read can have been sent
		s.record(endClientGone)
	}
	s.x.Answer.End(s.x.Call.EndReason == "")
	s.pipeline.end(s.x)
	return nil
}

// record settles and records the call.
func (s *Stream) record(end string) {
	p, x := s.pipeline, s.x
	s.recorded = true
	x.Call.EndReason = end
	p.settle(x)
	p.Metrics.answered(x)
	if x.Unrecorded {
		spend(x)
		p.Metrics.unrecorded()
		return
	}
	p.measure(x)
	encoded := x.Encoded()
	*encoded = x.Call.Append((*encoded)[:0])
	place, err := p.Journal.ReserveFinal(x.Opened, len(*encoded)+callrecord.IdentitySize)
	if err != nil {
		// The first record stands, as for a call that was cut off: it is not billed, and spends nothing.
		giveBack(x)
		p.Metrics.unrecorded()
		p.Log.Error("the end of a call cannot be recorded", "error", err)
		return
	}
	spend(x)
	p.commit(x, place, s.sent)
	p.Journal.Closed(x.Opened)
	if err := p.Journal.Await(); err != nil {
		p.Log.Error("a call record may not be durable", "seq", place.Seq, "error", err)
	}
}
