package operation

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-kit/kit/endpoint"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// chain returns the middlewares of an operation, composed; the first is the outermost.
func (a *API) chain(d definition) endpoint.Middleware {
	return endpoint.Chain(
		a.recoverPanics(d),
		a.trace(d),
		a.measure(d),
		a.authenticate(d),
		a.authorize(d),
		a.limitRate(d),
		decode,
		a.waitForPositions(d),
		a.carryCommand(d),
		a.validate,
		a.limitTime(d),
	)
}

func (a *API) recoverPanics(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (response any, err error) {
			defer func() {
				if r := recover(); r != nil {
					a.log.ErrorContext(ctx, "operation panicked", "operation", d.name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
					err = fmt.Errorf("operation %s panicked", d.name)
				}
			}()
			return next(ctx, request)
		}
	}
}

func (a *API) trace(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			ctx, span := a.tracer.Start(ctx, a.service+"."+d.name)
			defer span.End()
			response, err := next(ctx, request)
			if err != nil {
				span.SetAttributes(attribute.String("problem", problem.From(err).Code))
				if problem.KindOf(err) == problem.Internal {
					span.SetStatus(codes.Error, "internal")
				}
			}
			return response, err
		}
	}
}

func (a *API) measure(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			start := time.Now()
			response, err := next(ctx, request)
			code := "ok"
			if err != nil {
				code = problem.From(err).Code
			}
			a.duration.WithLabelValues(d.name, code).Observe(time.Since(start).Seconds())
			if err != nil && problem.KindOf(err) == problem.Internal && !errors.Is(err, context.Canceled) {
				a.log.LogAttrs(ctx, slog.LevelError, "operation failed", slog.String("operation", d.name), slog.Any("error", err))
			}
			return response, err
		}
	}
}

// authenticate verifies the signed token and sets who acts, with their tenant. It is the only place that does.
func (a *API) authenticate(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			if d.public {
				return next(ctx, request)
			}
			if _, ok := principal.From(ctx); ok {
				return next(ctx, request) // called in process, by a service that has authenticated
			}
			scheme, signed, _ := strings.Cut(callInfoFrom(ctx).authorization, " ")
			if !strings.EqualFold(scheme, "Bearer") || signed == "" {
				return nil, problem.NewUnauthenticated("token-missing", `The request carries no token: send "Authorization: Bearer TOKEN".`)
			}
			p, err := a.verify(strings.TrimSpace(signed))
			if err != nil {
				return nil, problem.NewUnauthenticated("token-invalid", "The token is not valid: %s. A service itself takes the signed token of POST /identity/v1/tokens/exchange; the admin listener takes personal access tokens too.", err)
			}
			return next(principal.With(ctx, p), request)
		}
	}
}

func (a *API) authorize(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			p, _ := principal.From(ctx)
			switch {
			case d.public:
			case d.operator && !p.Operator:
				return nil, problem.NewDenied("operator-only", "%s is for operators of the installation.", d.name)
			case p.Account != "" && !d.account:
				return nil, problem.NewDenied("tenant-only", "%s is for members of the tenant; you are a member of an account.", d.name)
			case d.scope != "" && !p.May(d.scope):
				return nil, problem.NewDenied("scope-missing", "%s needs the scope %s, which your token does not have.", d.name, d.scope)
			}
			return next(ctx, request)
		}
	}
}

func (a *API) limitRate(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			p, known := principal.From(ctx)
			caller := p.Tenant + " " + p.Subject
			if !known {
				caller = CallerFrom(ctx).Address
			}
			if !a.limits.allow(caller) {
				return nil, problem.NewExhausted("rate-limited", "Too many requests to %s: at most %d a second are taken of one caller. Try again in a second.", a.service, a.limits.perSecond)
			}
			return next(ctx, request)
		}
	}
}

// decode reads the request, unless it came in process.
func decode(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		if read, ok := request.(undecoded); ok {
			decoded, err := read()
			if err != nil {
				return nil, err
			}
			request = decoded
		}
		return next(ctx, request)
	}
}

// maxWait is how long a request waits for logs, all of them together.
const maxWait = 5 * time.Second

// waitForPositions delays the answer until the service has seen what the caller has seen elsewhere (Tollgate-After). Who shows no
// token waits for nothing.
func (a *API) waitForPositions(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			if d.public {
				return next(ctx, request)
			}
			positions, err := parsePositions(callInfoFrom(ctx).after)
			if err == nil {
				err = a.await(ctx, positions)
			}
			if err != nil {
				return nil, err
			}
			return next(ctx, request)
		}
	}
}

func (a *API) await(ctx context.Context, positions map[string]uint64) error {
	now, cancel := context.WithDeadline(ctx, time.Time{})
	defer cancel()
	for log, position := range positions {
		wait, ok := a.waiters[log]
		if !ok || wait(now, position) == nil { // a log that this service does not follow cannot be stale here
			delete(positions, log)
		}
	}
	if len(positions) == 0 {
		return nil
	}
	select {
	case a.waiting <- struct{}{}:
		defer func() { <-a.waiting }()
	default:
		return problem.NewUnavailable("too-many-wait", "Too many requests wait until %s has seen what they name in %s. Try again in a moment.", a.service, HeaderAfter)
	}
	ctx, cancel = context.WithTimeout(ctx, maxWait)
	defer cancel()
	for log, position := range positions {
		if err := a.waiters[log](ctx, position); err != nil {
			return problem.NewUnavailable("behind", "%s has not yet seen position %d of %s. Try again in a moment.", a.service, position, log).Wrap(err)
		}
	}
	return nil
}

// carryCommand puts the idempotency key, the hash of the request and the trace into the context, for libs/eventlog.
func (a *API) carryCommand(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			c := callInfoFrom(ctx)
			if len(c.idempotencyKey) > 200 || !usable(c.idempotencyKey) {
				return nil, problem.NewInvalid("request-invalid", "The Idempotency-Key is longer than 200 characters, or not text in UTF-8.")
			}
			if len(c.reason) > 500 || !usable(c.reason) {
				return nil, problem.NewInvalid("request-invalid", "The reason is longer than 500 characters, or not text in UTF-8.")
			}
			switch dry := c.dryRun == "true"; {
			case !dry && c.dryRun != "" && c.dryRun != "false":
				return nil, problem.NewInvalid("request-invalid", "The header %s is neither true nor false.", HeaderDryRun)
			case dry && d.direct:
				return nil, problem.NewInvalid("dry-run-impossible", "%s has its effect at once and takes no dry run. Leave the header %s out.", d.name, HeaderDryRun)
			}
			command := principal.Command{
				Key: c.idempotencyKey, Reason: c.reason, DryRun: c.dryRun == "true", TraceParent: c.traceParent,
				CorrelationID: uuid.Must(uuid.NewV7()).String(),
			}
			if c.idempotencyKey != "" {
				encoded, err := json.Marshal(hashed{request})
				if err != nil {
					return nil, fmt.Errorf("hash request: %w", err)
				}
				command.Hash = sha256.Sum256(append([]byte(d.name+"\n"), encoded...))
			}
			return next(principal.WithCommand(ctx, command), request)
		}
	}
}

// hashed encodes every field of a request, those bound to path and query included, which have no json name of their own.
type hashed struct{ request any }

func (h hashed) MarshalJSON() ([]byte, error) {
	fields, err := allFields(h.request)
	if err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

func (a *API) validate(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		if v, ok := request.(Validator); ok {
			if err := v.Validate(); err != nil {
				return nil, err
			}
		}
		return next(ctx, request)
	}
}

func (a *API) limitTime(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			limited, cancel := context.WithTimeout(ctx, d.timeout)
			defer cancel()
			response, err := next(limited, request)
			if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				return nil, problem.NewTimeout("timeout", "%s took longer than %s and was given up.", d.name, d.timeout).Wrap(err)
			}
			return response, err
		}
	}
}
