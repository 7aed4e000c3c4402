// Package exchange owns the view of one request and its answer that the steps of the pipeline see: the same for every engine at
// the front.
//
// A front fills an Exchange, implements Request and Response with its engine's types, and hands it to the pipeline. No step sees an
// engine's type. Only the gateway's own packages import it.
package exchange

import (
	"errors"
	"strconv"
	"unsafe"

	"github.com/tollgate/tollgate/libs/problem"

	"github.com/tollgate/tollgate/services/gateway/internal/bearer"
	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/credential"
	"github.com/tollgate/tollgate/services/gateway/internal/journal"
	"github.com/tollgate/tollgate/services/gateway/internal/limit"
	"github.com/tollgate/tollgate/services/gateway/internal/upstream"
)

// ErrTooLarge is what Buffer returns, and what reading a body returns, when the body is over the limit.
var ErrTooLarge = errors.New("the body is too large")

// Request is what the client sent. Byte slices are valid until the exchange ends; field names are canonical ("X-Api-Key").
type Request interface {
	upstream.Request
	// Buffer reads the whole body into memory: ErrTooLarge when it is over limit bytes.
	Buffer(limit int64) error
	// BytesIn is how many bytes of the body were read so far.
	BytesIn() uint64
	// ClientGone says whether the client has closed the connection.
	ClientGone() bool
}

// Response is what the client gets.
type Response interface {
	upstream.Response
	SetStatus(status int)
	// SetHeader sets a field; the value is copied.
	SetHeader(name, value string)
	// AddHeader adds a value to a field; it is copied.
	AddHeader(name, value string)
	// Header returns a field's first value, nil when there is none.
	Header(name string) []byte
	// Values calls visit with each value of a field.
	Values(name string, visit func(value []byte))
	DelHeader(name string)
	// SetBody replaces the body; it is copied.
	SetBody(body []byte)
	// Size is the length of the body held, or that the answer's head states for a body that streams; -1 when unknown.
	Size() int64
	// Bodiless says whether the answer has no body whatever its fields say (RFC 9112, section 6.3).
	Bodiless(method string) bool
	// Close has the connection to the client closed after the answer.
	Close()
}

// Exchange is one request with its answer. It belongs to one goroutine at a time, is reused, and holds no memory that grows with
// traffic.
type Exchange struct {
	Request  Request
	Response Response

	Method, Scheme string
	// Host is in lower case and without a port; RawHost is as sent.
	Host, RawHost string
	// Path is as in the request line, Query what comes after the question mark.
	Path, Query string
	// Client is the IP address of the client; Peer that of who connected, a listed proxy or the client itself.
	Client, Peer string
	// Forwarded and ForwardedFor are the fields of a listed proxy, to be extended.
	Forwarded, ForwardedFor string

	// Started is in nanoseconds since the Unix epoch.
	Started int64
	// UpstreamNanos is the time spent waiting for the upstream.
	UpstreamNanos int64

	Match       config.Match
	API         *config.API
	Operation   *config.Operation
	Credential  *credential.Credential
	Entitlement *config.Entitlement
	// Token is what the credential was, when it was no API key.
	Token *bearer.Token
	// HideKey: the credential came in a field that the upstream must not see.
	HideKey bool

	Rates  [config.MaxRates]limit.State
	RatesN int
	Holds  [config.MaxQuotas]limit.Hold
	Spent  [config.MaxQuotas]int64 // of each hold, when the call is settled
	HoldsN int

	// Problem is the answer of the gateway itself; nil when the upstream answers.
	Problem *Problem
	// Preflight: the gateway answered a CORS preflight.
	Preflight bool
	// Mocked: the gateway answered as the API's document has it.
	Mocked bool
	// UpstreamFailed, Internal and ClientGone: see charge.Outcome.
	UpstreamFailed, Internal, ClientGone bool
	// Unrecorded: the journal did not admit the call.
	Unrecorded bool

	Call     callrecord.Call
	Upstream upstream.Call
	Answer   upstream.Answer
	// Streaming: the answer's body is still to be read from Answer.
	Streaming bool
	// Opened is the place of the first record of a call that streams.
	Opened journal.Place

	scratch []byte
	encoded []byte
	problem Problem
}

// Problem is an answer of the gateway: a problem detail (RFC 9457).
type Problem struct {
	Status int
	Code   string
	Detail string
	Fields []problem.Field
	// Violated names the limits that refuse the call.
	Violated string
	// RetryAfter is in seconds; 0 leaves the field out.
	RetryAfter int64
	// Allow and Authenticate are the values of Allow and WWW-Authenticate.
	Allow, Authenticate string
}

// Refuse makes the gateway answer with a problem. It returns false, as a step does that ends the pipeline.
func (x *Exchange) Refuse(status int, code, detail string) bool {
	x.problem = Problem{Status: status, Code: code, Detail: detail}
	x.Problem = &x.problem
	return false
}

// Keep copies bytes into memory of the exchange and returns them as a string that is valid until the exchange ends.
func (x *Exchange) Keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(x.scratch)+len(b) > cap(x.scratch) {
		// The strings handed out go on pointing into the old memory.
		x.scratch = make([]byte, 0, max(2*cap(x.scratch), len(b)+1024))
	}
	start := len(x.scratch)
	x.scratch = append(x.scratch, b...)
	kept := x.scratch[start:]
	return unsafe.String(unsafe.SliceData(kept), len(kept))
}

// Format gives fill memory of the exchange to append to, and returns what it appended, valid until the exchange ends.
func (x *Exchange) Format(fill func(b []byte) []byte) string {
	start := len(x.scratch)
	x.scratch = fill(x.scratch)
	if start > len(x.scratch) {
		start = 0
	}
	made := x.scratch[start:]
	return unsafe.String(unsafe.SliceData(made), len(made))
}

// Encoded is a buffer for the record's encoding, kept over exchanges.
func (x *Exchange) Encoded() *[]byte { return &x.encoded }

// Reset makes the exchange ready for another request.
func (x *Exchange) Reset() {
	scratch, encoded := x.scratch[:0], x.encoded[:0]
	if cap(scratch) > maxKept {
		scratch = nil
	}
	if cap(encoded) > maxKept {
		encoded = nil
	}
	*x = Exchange{scratch: scratch, encoded: encoded}
}

// maxKept bounds the memory that an idle exchange keeps.
const maxKept = 64 << 10

// AppendCallID appends a call's identity as clients see it.
func AppendCallID(b []byte, prefix string, seq uint64) []byte {
	return strconv.AppendUint(append(b, prefix...), seq, 10)
}
