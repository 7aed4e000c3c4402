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
		a.waitForPositions,
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

// waitForPositions delays the answer until the service has seen what the caller has seen elsewhere (Tollgate-After).
func (a *API) waitForPositions(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, request any) (any, error) {
		positions, err := parsePositions(callInfoFrom(ctx).after)
		if err != nil {
			return nil, err
		}
		for log, position := range positions {
			wait, ok := a.waiters[log]
			if !ok {
				continue // a log that this service does not follow cannot be stale here
			}
			waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
			err := wait(waiting, position)
			cancel()
			if err != nil {
				return nil, problem.NewUnavailable("behind", "%s has not yet seen position %d of %s. Try again in a moment.", a.service, position, log).Wrap(err)
			}
		}
		return next(ctx, request)
	}
}

// carryCommand puts the idempotency key, the hash of the request and the trace into the context, for libs/eventlog.
func (a *API) carryCommand(d definition) endpoint.Middleware {
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, request any) (any, error) {
			c := callInfoFrom(ctx)
			if len(c.idempotencyKey) > 200 {
				return nil, problem.NewInvalid("request-invalid", "The Idempotency-Key is longer than 200 characters.")
			}
			if len(c.reason) > 500 {
				return nil, problem.NewInvalid("request-invalid", "The reason is longer than 500 characters.")
			}
			command := principal.Command{
				Key: c.idempotencyKey, Reason: c.reason, DryRun: c.dryRun, TraceParent: c.traceParent,
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
