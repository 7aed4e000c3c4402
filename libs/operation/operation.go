// Package operation is how a service offers what it can do: a table of typed operations over go-kit's endpoint and
// transport/http, behind one middleware chain, served over HTTP, over NATS and in process, and described in one
// OpenAPI 3.1 document.
//
// The chain, outermost first: recover, trace, metrics, authenticate (which also sets the tenant), authorize, rate,
// decode, freshness, validate, time-out. Idempotency and dry runs are carried in the context and settled by libs/eventlog in the
// transaction of the effect. Errors become problem documents (RFC 9457) here and nowhere else.
//
// Used by the control-plane services only: the gateway's request path neither imports this package nor go-kit.
package operation

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-kit/kit/endpoint"

	"github.com/tollgate/tollgate/libs/problem"
)

// Op is one operation. Req is a struct whose fields are tagged path, query or header; the other fields are the body: those
// tagged json of a JSON document, which is decoded strictly, those tagged formData of a form
// (application/x-www-form-urlencoded), of which other fields are ignored. Resp is encoded as JSON.
type Op[Req, Resp any] struct {
	// Name is the operationId, for example "CreateAPI".
	Name string
	// Method and Path of the HTTP binding; the path is below the service's prefix, as in "/apis/{api}".
	Method, Path string
	// Root says that the path is not below the prefix, for those that a standard fixes.
	Root bool
	// Summary is one line for the documentation.
	Summary string
	// Scope that the caller's token must have; empty means that any authenticated caller may.
	Scope string
	// Public operations take no token.
	Public bool
	// Operator operations are for principals that may act on the installation.
	Operator bool
	// Account operations are open to members of accounts, whom every other operation refuses. Their Handle keeps to the
	// principal's account.
	Account bool
	// Direct operations have an effect that no transaction of the log holds, such as a message that is sent: they take no dry run,
	// and a repeat of one has the effect again.
	Direct bool
	// Status of success; 200 when zero.
	Status int
	// Timeout of the whole operation; 15 seconds when zero.
	Timeout time.Duration
	// Failure encodes errors in place of the problem document, for protocols that have their own.
	Failure func(err error) Raw
	// Answers documents the JSON bodies of Raw answers by status; 0 stands for errors, where Failure encodes them.
	Answers map[int]any
	// Handle does it. It must be safe for concurrent use.
	Handle func(ctx context.Context, req *Req) (Resp, error)
}

// Validator is implemented by requests that check themselves; the chain calls it before Handle.
type Validator interface {
	Validate() error
}

// definition is an Op without its types.
type definition struct {
	name, method, path, summary, scope string
	public, operator, account, direct  bool
	status                             int
	timeout                            time.Duration
	request, response                  reflect.Type
	failure                            func(error) Raw
	answers                            map[int]any
	endpoint                           endpoint.Endpoint
}

// Register adds an operation to the API. It is called while the API is built, before it serves.
func Register[Req, Resp any](a *API, op Op[Req, Resp]) {
	d := definition{
		name: op.Name, method: op.Method, path: a.prefix + op.Path, summary: op.Summary, scope: op.Scope,
		public: op.Public, operator: op.Operator, account: op.Account, direct: op.Direct, status: op.Status, timeout: op.Timeout,
		request: reflect.TypeFor[Req](), response: reflect.TypeFor[Resp](), failure: op.Failure, answers: op.Answers,
	}
	if op.Root {
		d.path = op.Path
	}
	if d.status == 0 {
		d.status = http.StatusOK
	}
	if d.timeout == 0 {
		d.timeout = 15 * time.Second
	}
	d.endpoint = a.chain(d)(func(ctx context.Context, request any) (any, error) {
		return op.Handle(ctx, request.(*Req))
	})
	a.operations = append(a.operations, d)
}

// Permission is one row of a service's permission matrix.
type Permission struct {
	Operation, Method, Path, Scope string
	Public, Operator, Account      bool
}

// Permissions returns the permission matrix, in the order of registration.
func (a *API) Permissions() []Permission {
	rows := make([]Permission, len(a.operations))
	for i, d := range a.operations {
		rows[i] = Permission{Operation: d.name, Method: d.method, Path: d.path, Scope: d.scope, Public: d.public, Operator: d.operator, Account: d.account}
	}
	return rows
}

// List is a page of items.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is the cursor of the following page; absent on the last.
	Next string `json:"next,omitempty"`
}

// Page is embedded in the requests of operations that list.
type Page struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" description:"Most items to return."`
	Cursor string `query:"cursor" description:"The next of the page before."`
}

// maxSearch is the most characters of a text that is searched for.
const maxSearch = 200

// Search is embedded in the requests of operations that search in a list. It is their Validator, unless they have one.
type Search struct {
	Text string `query:"search" maxLength:"200" description:"Only what has this text in its name or title, in upper or lower case; an API version also in its API's, a subscription in its application's or account's name."`
}

// Validate implements Validator.
func (s Search) Validate() error {
	if utf8.RuneCountInString(s.Text) > maxSearch {
		return problem.NewInvalid("request-invalid", "The request is not valid.").With(
			problem.Field{Path: "search", Message: fmt.Sprintf("is longer than %d characters", maxSearch)})
	}
	return nil
}

// Size returns the page's size: 50 unless asked for, 200 at most.
func (p Page) Size() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, 200)
}

// Empty is the response of operations that have nothing to say.
type Empty struct{}

// PageOf cuts rows, of which one more than the page's size was read, into a page whose cursor is that of its last item.
func PageOf[T any](rows []T, page Page, cursor func(T) string) List[T] {
	if len(rows) <= page.Size() {
		if rows == nil {
			rows = []T{}
		}
		return List[T]{Items: rows}
	}
	rows = rows[:page.Size()]
	return List[T]{Items: rows, Next: cursor(rows[len(rows)-1])}
}

func tagName(f reflect.StructField, tag string) string {
	name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
	return name
}
