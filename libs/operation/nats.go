package operation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/apibridge"
	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// maxInFlight bounds the requests that one replica answers at once over NATS, and besides them the internal calls, so that no
// client keeps other services waiting; more wait in the subscription.
const maxInFlight = 128

// maxWaiting bounds the requests of one replica that wait for a log at once: a part of those in flight, so that waiting keeps
// nobody else from being answered.
const maxWaiting = maxInFlight / 4

// rpc is an internal call, with protobuf messages, that only other services may make: NATS permissions guard its
// subject, no token does.
type rpc struct {
	name   string
	handle func(ctx context.Context, data []byte) (proto.Message, error)
}

// RPC registers an internal call such as "metering.Lease". Its principal is the service of all tenants; the request
// names its tenant where that matters.
func RPC[Req any, Resp proto.Message, PReq interface {
	*Req
	proto.Message
}](a *API, name string, handle func(ctx context.Context, req PReq) (Resp, error)) {
	a.calls = append(a.calls, rpc{name: name, handle: func(ctx context.Context, data []byte) (proto.Message, error) {
		req := PReq(new(Req))
		if err := proto.Unmarshal(data, req); err != nil {
			return nil, problem.NewInvalid("request-invalid", "The request is not a %s.", req.ProtoReflect().Descriptor().FullName()).Wrap(err)
		}
		return handle(ctx, req)
	}})
}

// Call makes an internal call of another service. The context's deadline bounds it; 5 seconds when it has none. The
// error of the other side keeps its kind; nobody answering is an error of kind Unavailable.
func Call(ctx context.Context, b *bus.Bus, name string, req, resp proto.Message) error {
	data, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("call %s: encode: %w", name, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
	}
	msg := &nats.Msg{Subject: bus.RPCSubject(name), Data: data, Header: nats.Header{}}
	otel.GetTextMapPropagator().Inject(ctx, propagation.HeaderCarrier(msg.Header))
	reply, err := b.Conn.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return problem.NewUnavailable("unavailable", "%s does not answer.", name).Wrap(err)
	}
	if reply.Header.Get(micro.ErrorCodeHeader) != "" {
		var doc problem.Document
		if err := json.Unmarshal(reply.Data, &doc); err != nil {
			return fmt.Errorf("call %s: %s", name, reply.Header.Get(micro.ErrorHeader))
		}
		return doc.ToError()
	}
	if err := proto.Unmarshal(reply.Data, resp); err != nil {
		return fmt.Errorf("call %s: decode: %w", name, err)
	}
	return nil
}

// ServeNATS answers on NATS until ctx ends: HTTP requests of the management API that the admin listener forwards, on
// "api.<service>", and internal calls on "rpc.<name>". Replicas share the work through a queue group.
func (a *API) ServeNATS(ctx context.Context, b *bus.Bus, ready func()) error {
	handler, err := a.Handler()
	if err != nil {
		return err
	}
	service, err := micro.AddService(b.Conn, a.microConfig())
	if err != nil {
		return fmt.Errorf("serve %s over NATS: %w", a.service, err)
	}
	requests, calls := newSlots(maxInFlight), newSlots(maxInFlight)
	forwarded := requests.spawn(func(r micro.Request) { serveForwarded(ctx, handler, r) })
	if err := service.AddEndpoint("api", forwarded, micro.WithEndpointSubject(bus.APISubject(a.service))); err != nil {
		return fmt.Errorf("serve %s over NATS: %w", a.service, err)
	}
	for _, c := range a.calls {
		endpoint := calls.spawn(func(r micro.Request) { a.serveCall(ctx, c, r) })
		name := c.name[len(a.service)+1:]
		if err := service.AddEndpoint(name, endpoint, micro.WithEndpointSubject(bus.RPCSubject(c.name))); err != nil {
			return fmt.Errorf("serve %s over NATS: %w", c.name, err)
		}
	}
	if err := b.Conn.FlushTimeout(stopTimeout); err != nil {
		return errors.Join(fmt.Errorf("serve %s over NATS: %w", a.service, err), service.Stop())
	}
	ready()
	<-ctx.Done()
	if err := service.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("stop serving %s over NATS: %w", a.service, err)
	}
	requests.stop()
	calls.stop()
	return nil
}

// slots bounds what is answered at once.
type slots struct {
	taken   chan struct{} // has an element for each request that is being answered
	stopped chan struct{} // closed when nothing is answered any more
}

func newSlots(n int) slots {
	return slots{taken: make(chan struct{}, n), stopped: make(chan struct{})}
}

// spawn returns a handler that does the work in a goroutine of its own, once a slot is free.
func (s slots) spawn(work func(micro.Request)) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		select {
		case s.taken <- struct{}{}:
		case <-s.stopped:
			refuse(r)
			return
		}
		go func() {
			defer func() { <-s.taken }()
			work(r)
		}()
	})
}

// stop waits for what is being answered, and refuses what still waits for a slot then.
func (s slots) stop() {
	for range cap(s.taken) {
		s.taken <- struct{}{}
	}
	close(s.stopped)
}

// refuse answers a request or an internal call that came too late.
func refuse(r micro.Request) {
	doc := problem.From(problem.NewUnavailable("stopping", "The service stops. Try again in a moment."))
	body, _ := json.Marshal(doc)
	status := strconv.Itoa(doc.Status)
	_ = r.Error(status, doc.Code, body, micro.WithHeaders(micro.Headers{apibridge.HeaderStatus: {status}, "Content-Type": {problem.ContentType}}))
}

func (a *API) serveCall(ctx context.Context, c rpc, r micro.Request) {
	ctx = otel.GetTextMapPropagator().Extract(context.WithoutCancel(ctx), propagation.HeaderCarrier(r.Headers()))
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ctx = principal.With(ctx, principal.Service(a.service, principal.AllTenants))
	start := time.Now()
	resp, err := c.handle(ctx, r.Data())
	if err == nil {
		var data []byte
		if data, err = proto.Marshal(resp); err == nil {
			a.duration.WithLabelValues(c.name, "ok").Observe(time.Since(start).Seconds())
			_ = r.Respond(data)
			return
		}
	}
	doc := problem.From(err)
	if problem.KindOf(err) == problem.Internal {
		a.log.ErrorContext(ctx, "internal call failed", "call", c.name, "error", err)
	}
	a.duration.WithLabelValues(c.name, doc.Code).Observe(time.Since(start).Seconds())
	body, _ := json.Marshal(doc)
	_ = r.Error(strconv.Itoa(doc.Status), doc.Code, body)
}

// serveForwarded answers one HTTP request that came over NATS in the form of libs/apibridge.
func serveForwarded(ctx context.Context, handler http.Handler, r micro.Request) {
	header := http.Header(r.Headers())
	target, err := url.ParseRequestURI(header.Get(apibridge.HeaderTarget))
	if err != nil {
		_ = r.Error("400", "bad target", nil)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	request := (&http.Request{
		RemoteAddr: header.Get(apibridge.HeaderAddress), Method: header.Get(apibridge.HeaderMethod), URL: target, Header: header, Host: header.Get("Host"),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(r.Data())), ContentLength: int64(len(r.Data())),
	}).WithContext(ctx)
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(w, request)
	w.header.Set(apibridge.HeaderStatus, strconv.Itoa(w.status))
	if w.body.Len() > bus.MaxPayload-(64<<10) {
		doc, _ := json.Marshal(problem.From(problem.NewTooLarge("answer-too-large", "The answer is too large for one message; ask for a smaller page.")))
		w.body.Reset()
		w.body.Write(doc)
		w.header.Set(apibridge.HeaderStatus, strconv.Itoa(http.StatusRequestEntityTooLarge))
		w.header.Set("Content-Type", problem.ContentType)
	}
	_ = r.Respond(w.body.Bytes(), micro.WithHeaders(micro.Headers(w.header)))
}

// recorder is a ResponseWriter that keeps the answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
