package operation

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/libs/problem"
)

// The headers that operations share.
const (
	// HeaderIdempotencyKey makes a repeated command answer as the first did.
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderReason is the actor's reason, kept with the event.
	HeaderReason = "Tollgate-Reason"
	// HeaderDryRun with the value "true" asks for the outcome without the effect.
	HeaderDryRun = "Tollgate-Dry-Run"
	// HeaderPosition names the log position that a command reached, as in "catalog=45".
	HeaderPosition = "Tollgate-Position"
	// HeaderAfter asks that the answer reflect these positions, as in "identity=12, catalog=45".
	HeaderAfter = "Tollgate-After"
	// HeaderReplayed is "true" on the stored answer to a repeated command.
	HeaderReplayed = "Idempotency-Replayed"
)

// callInfo is what the transports hand to the chain, and what comes back besides the response.
type callInfo struct {
	authorization  string
	idempotencyKey string
	reason         string
	dryRun         string
	after          string
	traceParent    string
	caller         Caller
	// position and replayed are set by Committed.
	position uint64
	replayed bool
}

// Caller is from where a request came: personal data, to be kept no longer than it is needed.
type Caller struct {
	// Address of the peer (of the admin listener's, for a forwarded request), without its port; empty in process.
	Address string
	// UserAgent is the header of that name, cut to 200 bytes.
	UserAgent string
}

// CallerFrom returns from where the request of ctx came.
func CallerFrom(ctx context.Context) Caller { return callInfoFrom(ctx).caller }

// maxUserAgent bounds what is kept of the header User-Agent, in bytes.
const maxUserAgent = 200

func callerOf(r *http.Request) Caller {
	c := Caller{Address: r.RemoteAddr, UserAgent: strings.ToValidUTF8(strings.ReplaceAll(r.UserAgent(), "\x00", ""), "")}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		c.Address = host
	}
	if len(c.UserAgent) > maxUserAgent {
		c.UserAgent = strings.ToValidUTF8(c.UserAgent[:maxUserAgent], "")
	}
	return c
}

type callInfoKey struct{}

func withCallInfo(ctx context.Context, c *callInfo) context.Context {
	return context.WithValue(ctx, callInfoKey{}, c)
}

func callInfoFrom(ctx context.Context) *callInfo {
	c, _ := ctx.Value(callInfoKey{}).(*callInfo)
	if c == nil {
		return &callInfo{}
	}
	return c
}

func readCallInfo(ctx context.Context, r *http.Request) context.Context {
	h := r.Header
	return withCallInfo(ctx, &callInfo{
		authorization: h.Get("Authorization"), idempotencyKey: h.Get(HeaderIdempotencyKey), reason: h.Get(HeaderReason),
		dryRun: h.Get(HeaderDryRun), after: h.Get(HeaderAfter), traceParent: h.Get("Traceparent"),
		caller: callerOf(r),
	})
}

// Committed tells the chain which position of the service's log a command reached, for the Tollgate-Position header,
// and whether the response is the stored one of an earlier command with the same key.
func Committed(ctx context.Context, position uint64, replayed bool) {
	c := callInfoFrom(ctx)
	c.position, c.replayed = position, replayed
}

// parsePositions reads "identity=12, catalog=45".
func parsePositions(text string) (map[string]uint64, error) {
	positions := map[string]uint64{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, number, _ := strings.Cut(part, "=")
		position, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		if err != nil {
			return nil, problem.NewInvalid("request-invalid", "The header %s is not valid.", HeaderAfter).
				With(problem.Field{Path: HeaderAfter, Message: fmt.Sprintf(`%q is not of the form log=position, as in "catalog=45"`, part)})
		}
		positions[strings.TrimSpace(name)] = position
	}
	return positions, nil
}
