package operation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	httptransport "github.com/go-kit/kit/transport/http"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tollgate/tollgate/libs/principal"
	"github.com/tollgate/tollgate/libs/problem"
)

// Config of an API.
type Config struct {
	// Service is the name, which is also the first segment of every path: "/catalog/v1/apis".
	Service string
	Title   string
	// Version of the build, shown in the OpenAPI document.
	Version string
	// Verify returns who a signed token stands for.
	Verify func(signed string) (principal.Principal, error)
	// Waiters wait until the service has followed a log up to a position, by log. One that has already returns nil, even when the
	// context has ended.
	Waiters map[string]func(ctx context.Context, position uint64) error
	Log     *slog.Logger
	// Registry takes the metrics; a private one when nil.
	Registry prometheus.Registerer
	// PerSecond is how many requests of one caller are taken in a second; 500 when zero.
	PerSecond int
}

// API is a service's table of operations. It is built by one goroutine, then serves concurrently.
type API struct {
	service, prefix, title, version string
	verify                          func(string) (principal.Principal, error)
	waiters                         map[string]func(context.Context, uint64) error
	waiting                         chan struct{} // has an element for each request that waits
	log                             *slog.Logger
	tracer                          trace.Tracer
	duration                        *prometheus.HistogramVec
	limits                          *callers
	operations                      []definition
	calls                           []rpc
}

// New returns an API without operations.
func New(c Config) (*API, error) {
	if c.Service == "" || c.Verify == nil || c.Log == nil {
		return nil, errors.New("operation: Service, Verify and Log must be given")
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.PerSecond == 0 {
		c.PerSecond = 500
	}
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "tollgate_operation_duration_seconds", Help: "Time an operation took, by outcome.",
		ConstLabels: prometheus.Labels{"service": c.Service}, Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
	}, []string{"operation", "code"})
	if err := c.Registry.Register(duration); err != nil {
		return nil, fmt.Errorf("register metrics of %s: %w", c.Service, err)
	}
	return &API{
		service: c.Service, prefix: "/" + c.Service + "/v1", title: c.Title, version: c.Version, verify: c.Verify,
		waiters: c.Waiters, waiting: make(chan struct{}, maxWaiting), log: c.Log, tracer: otel.Tracer("tollgate/" + c.Service), duration: duration,
		limits: newCallers(c.PerSecond),
	}, nil
}

// Handler serves every operation, and the OpenAPI document at /<service>/openapi.json and /openapi.json.
func (a *API) Handler() (http.Handler, error) {
	document, err := a.OpenAPI()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, d := range a.operations {
		mux.Handle(d.method+" "+d.path, httptransport.NewServer(d.endpoint, decoder(d), a.encoder(d),
			httptransport.ServerBefore(extractTrace, readCallInfo),
			httptransport.ServerErrorEncoder(errorEncoder(d))))
	}
	serveDocument := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(document)
	}
	mux.HandleFunc("GET /openapi.json", serveDocument)
	mux.HandleFunc("GET /"+a.service+"/openapi.json", serveDocument)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			a.unknownPath(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// unknownPath answers requests that match no operation with a problem document instead of plain text.
func (a *API) unknownPath(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		WriteProblem(w, problem.Document{
			Type: problem.TypePrefix + "method-not-allowed", Title: "Method Not Allowed", Status: http.StatusMethodNotAllowed,
			Code: "method-not-allowed", Detail: fmt.Sprintf("%s does not take %s; it takes %s.", r.URL.Path, r.Method, strings.Join(allowed, ", ")),
		})
		return
	}
	WriteProblem(w, problem.From(problem.NewNotFound("no-such-path", "%s has nothing at %s; its operations are listed at /%s/openapi.json.", a.service, r.URL.Path, a.service)))
}

func extractTrace(ctx context.Context, r *http.Request) context.Context {
	return otel.GetTextMapPropagator().Extract(ctx, propagation.HeaderCarrier(r.Header))
}

// Invoke calls an operation in process, through the same chain. The context must carry a principal, or the operation
// must be public.
func Invoke[Resp any](ctx context.Context, a *API, name string, request any) (Resp, error) {
	var none Resp
	for _, d := range a.operations {
		if d.name != name {
			continue
		}
		response, err := d.endpoint(ctx, request)
		if err != nil {
			return none, err
		}
		return response.(Resp), nil
	}
	return none, fmt.Errorf("%s has no operation %s", a.service, name)
}

// semantic is the form of versions that NATS's micro takes (semver.org).
var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// microConfig names the API among the micro services of NATS. A build that is not of a release is version 0.0.0, with what it
// is called as metadata.
func (a *API) microConfig() micro.Config {
	version := strings.TrimPrefix(a.version, "v")
	if !semantic.MatchString(version) {
		version = "0.0.0"
	}
	return micro.Config{
		Name: "tollgate-" + a.service, Version: version, Description: a.title, Metadata: map[string]string{"build": a.version},
	}
}

// stopTimeout bounds the flush at the start and the end of serving over NATS.
const stopTimeout = 5 * time.Second
