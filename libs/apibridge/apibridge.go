// Package apibridge forwards HTTP requests of the management API to the services over NATS.
//
// The admin listener of a gateway mounts Handler: the first segment of the path names the service, and a personal access
// token or a session's token is exchanged for a short-lived signed token on the way, so that services verify offline. The
// forwarded form: the HTTP headers are the message's headers, plus Tollgate-Method, Tollgate-Target and
// Tollgate-Client-Address; the body is the data. The answer
// comes back likewise, with Tollgate-Status.
//
// It links neither go-kit nor a database driver: the gateway's binary includes it.
package apibridge

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/bus"
	"github.com/tollgate/tollgate/libs/problem"
	identityv1 "github.com/tollgate/tollgate/proto/identity/v1"
)

// The headers of the forwarded form.
const (
	HeaderMethod = "Tollgate-Method"
	HeaderTarget = "Tollgate-Target"
	HeaderStatus = "Tollgate-Status"
	// HeaderAddress is the address of the client, host and port, as the listener sees it; one that the client sends is not taken.
	HeaderAddress = "Tollgate-Client-Address"
)

// PersonalTokenPrefix starts every personal access token, SessionPrefix every session's token. Both are exchanged.
const (
	PersonalTokenPrefix = "tgp_"
	SessionPrefix       = "tgs_"
)

// exchangeFor is how long an exchanged token is used again: a revoked one is refused after it.
const exchangeFor = 15 * time.Second

// maxExchanged bounds the exchanged tokens that are kept.
const maxExchanged = 10_000

type exchanged struct {
	signed string
	until  time.Time
}

type bridge struct {
	bus      *bus.Bus
	services []string
	log      *slog.Logger
	bodies   bodies
	mu       sync.Mutex
	tokens   map[[32]byte]exchanged
}

// Handler forwards to the services of these names; other paths answer 404. It is safe for concurrent use.
func Handler(b *bus.Bus, services []string, log *slog.Logger) http.Handler {
	return &bridge{bus: b, services: services, log: log, bodies: newBodies(), tokens: map[[32]byte]exchanged{}}
}

// ServeHTTP implements http.Handler.
func (h *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	service := serviceOf(r.URL.Path)
	if !slices.Contains(h.services, service) {
		h.fail(w, r, problem.NewNotFound("no-such-path", "There is nothing at %s. The management API is below /%s/.", r.URL.Path, strings.Join(h.services, "/, /")))
		return
	}
	// Who sends it is found out before a body is read, which nobody unknown can have much memory taken for.
	authorization, known, err := h.authorization(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	body, release, err := h.bodies.read(w, r, known)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer release()
	msg := message(r, service, authorization, body)
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	reply, err := h.bus.Conn.RequestMsgWithContext(ctx, msg)
	if err != nil {
		h.fail(w, r, problem.NewUnavailable("service-unavailable", "The service %s does not answer.", service).Wrap(err))
		return
	}
	writeReply(w, reply)
}

// serviceOf is the first segment of a path; of a well-known one (RFC 8414, section 3.1) the last: there the service's path follows.
func serviceOf(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if first == ".well-known" {
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return first
}

func message(r *http.Request, service, authorization string, body []byte) *nats.Msg {
	msg := &nats.Msg{Subject: bus.APISubject(service), Data: body, Header: nats.Header{}}
	for name, values := range r.Header {
		if !hopByHop(name) && !strings.HasPrefix(name, "Nats-") {
			msg.Header[name] = values
		}
	}
	msg.Header.Set("Host", r.Host)
	msg.Header.Set(HeaderMethod, r.Method)
	msg.Header.Set(HeaderTarget, r.URL.RequestURI())
	msg.Header.Set(HeaderAddress, r.RemoteAddr)
	if authorization != "" {
		msg.Header.Set("Authorization", authorization)
	}
	return msg
}

// authorization returns the field Authorization to forward. The sender is known where a token was exchanged for it.
func (h *bridge) authorization(r *http.Request) (field string, known bool, err error) {
	field = r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(field, " ")
	if !strings.EqualFold(scheme, "Bearer") || !strings.HasPrefix(token, PersonalTokenPrefix) && !strings.HasPrefix(token, SessionPrefix) {
		return field, false, nil
	}
	signed, err := h.exchange(r.Context(), token)
	return "Bearer " + signed, err == nil, err
}

// exchange returns the signed token for a personal access token, at most exchangeFor old.
func (h *bridge) exchange(ctx context.Context, token string) (string, error) {
	key := sha256.Sum256([]byte(token))
	h.mu.Lock()
	known, ok := h.tokens[key]
	h.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.signed, nil
	}
	data, err := proto.Marshal(&identityv1.ExchangeRequest{Token: token})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reply, err := h.bus.Conn.RequestWithContext(ctx, bus.RPCSubject("identity.Exchange"), data)
	if err != nil {
		return "", problem.NewUnavailable("service-unavailable", "The service identity does not answer.").Wrap(err)
	}
	if reply.Header.Get("Nats-Service-Error-Code") != "" {
		var doc problem.Document
		if err := json.Unmarshal(reply.Data, &doc); err != nil {
			return "", errors.New("exchange token: " + reply.Header.Get("Nats-Service-Error"))
		}
		return "", doc.ToError()
	}
	var answer identityv1.ExchangeReply
	if err := proto.Unmarshal(reply.Data, &answer); err != nil {
		return "", err
	}
	h.keep(key, answer.GetToken())
	return answer.GetToken(), nil
}

func (h *bridge) keep(key [32]byte, signed string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tokens) >= maxExchanged {
		clear(h.tokens)
	}
	h.tokens[key] = exchanged{signed: signed, until: time.Now().Add(exchangeFor)}
}

func (h *bridge) fail(w http.ResponseWriter, r *http.Request, err error) {
	doc := problem.From(err)
	if doc.Status >= http.StatusInternalServerError {
		h.log.ErrorContext(r.Context(), "management request not forwarded", "path", r.URL.Path, "error", err)
	}
	body, _ := json.Marshal(doc)
	w.Header().Set("Content-Type", problem.ContentType)
	switch doc.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="tollgate"`)
	}
	w.WriteHeader(doc.Status)
	_, _ = w.Write(append(body, '\n'))
}

func writeReply(w http.ResponseWriter, reply *nats.Msg) {
	status, err := strconv.Atoi(reply.Header.Get(HeaderStatus))
	if err != nil || status < 100 || status > 999 {
		status = http.StatusBadGateway
	}
	for name, values := range reply.Header {
		if name != HeaderStatus && !strings.HasPrefix(name, "Nats-") {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write(reply.Data)
}

// hopByHop says whether a field is for one connection only (RFC 9110, section 7.6.1).
func hopByHop(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length":
		return true
	default:
		return false
	}
}
