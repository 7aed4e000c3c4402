package config

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
	gatewayv1 "github.com/tollgate/tollgate/proto/gateway/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/bearer"
	"github.com/tollgate/tollgate/services/gateway/internal/callrecord"
	"github.com/tollgate/tollgate/services/gateway/internal/cors"
	"github.com/tollgate/tollgate/services/gateway/internal/route"
	"github.com/tollgate/tollgate/services/gateway/internal/upstream"
	"github.com/tollgate/tollgate/services/gateway/internal/validate"
)

const (
	defaultTimeout = 30 * time.Second
	maxTimeout     = 10 * time.Minute
	maxAttempts    = 5
	defaultMaxBody = 1 << 20
)

// API is a compiled API version. It never changes.
type API struct {
	Key                  string
	Revision             uint64
	Tenant, ID, Name     string
	Version, VersionName string
	Hosts                []string
	Prefix               string
	PrefixSegments       int
	StripPrefix          bool
	Operations           []*Operation
	Upstream             *upstream.Balancer
	Timeout              time.Duration
	Attempts             int
	Retry                Retry
	// Authenticated: calls need a credential. Anonymous calls are recorded and never billed.
	Authenticated bool
	// Keys, Own and Issuers say which credentials: API keys, access tokens of identity, tokens of issuers.
	Keys, Own bool
	Issuers   []*bearer.Issuer
	// Mocked: the gateway answers from Operation.Mocks, and nobody upstream is asked.
	Mocked bool
	// Deprecation, Sunset and DeprecationLink are field values (RFC 9745, RFC 8594, RFC 8288), empty for none.
	Deprecation, Sunset, DeprecationLink string
	Products                             []string
	Meters                               []string
	CORS                                 *cors.Policy
	// MaxBody is the largest body that is buffered for validation, in bytes.
	MaxBody int64
}

// Operation is one method and path template of an API.
type Operation struct {
	API    *API
	ID     string
	Method string
	// Template is the whole template, with the prefix.
	Template   string
	Parameters []string
	// Validate checks requests; nil when no policy asks for it.
	Validate *validate.Operation
	// Scopes are alternatives: all of one of them are asked for. Roles: one of them is.
	Scopes [][]string
	Roles  []string
	Mocks  []*Mock

	relative string
}

// Retry says after which failures a request is sent again.
type Retry struct {
	Connect, Reset, Timeout bool
	Statuses                []int
}

// compileAPI compiles a document. The error names everything that is wrong.
func compileAPI(key string, d *gatewayv1.APIDocument, pools *upstream.Pools, issuers *bearer.KeySets) (*API, error) {
	a := &API{
		Key: key, Revision: d.GetRevision(), Tenant: d.GetTenant(), ID: d.GetApi(), Name: d.GetApiName(), Version: d.GetApiVersion(), VersionName: d.GetVersionName(),
		Prefix: "/" + strings.Trim(d.GetRoute().GetPrefix(), "/"), StripPrefix: d.GetRoute().GetStripPrefix(),
		Products: d.GetProducts(), Meters: d.GetMeters(), MaxBody: defaultMaxBody,
	}
	a.PrefixSegments = len(route.Segments(a.Prefix))
	var errs []error
	errs = append(errs, checkIDs(map[string]string{"tenant": a.Tenant, "api": a.ID, "api_version": a.Version}))
	errs = append(errs, a.compileRoute(d.GetRoute()), a.compileOperations(d.GetOperations()))
	if a.Mocked = d.GetStage() == "mocked"; !a.Mocked {
		errs = append(errs, a.compileUpstream(d.GetUpstream(), pools))
	}
	errs = append(errs, a.compileAuthentication(d, issuers), a.compileAccess(d.GetAccess()), a.compileMocks(d.GetMocks()))
	a.compileDeprecation(d)
	for i, m := range a.Meters {
		if m == "" || len(m) > callrecord.MaxID {
			errs = append(errs, fmt.Errorf("meters[%d]: %q is not a name of 1 to %d bytes", i, m, callrecord.MaxID))
		}
	}
	openapi, err := openapiOf(d)
	if err != nil {
		errs = append(errs, err)
	}
	for i, p := range d.GetPolicies() {
		if err := a.compilePolicy(p, openapi); err != nil {
			errs = append(errs, fmt.Errorf("policies[%d]: %w", i, err))
		}
	}
	return a, errors.Join(errs...)
}

// maxOpenAPI is the size of the largest OpenAPI document, in bytes.
const maxOpenAPI = 16 << 20

// openapiOf returns the OpenAPI document, which comes compressed when it is large.
func openapiOf(d *gatewayv1.APIDocument) (string, error) {
	if len(d.GetOpenapiGzip()) == 0 {
		return d.GetOpenapi(), nil
	}
	r, err := gzip.NewReader(bytes.NewReader(d.GetOpenapiGzip()))
	if err != nil {
		return "", fmt.Errorf("openapi_gzip: %w", err)
	}
	var b strings.Builder
	n, err := io.Copy(&b, io.LimitReader(r, maxOpenAPI+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("openapi_gzip: %w", err)
	case n > maxOpenAPI:
		return "", fmt.Errorf("openapi_gzip: is longer than %d bytes", maxOpenAPI)
	}
	return b.String(), nil
}

func checkIDs(ids map[string]string) error {
	var errs []error
	for name, id := range ids {
		if id == "" || len(id) > callrecord.MaxID {
			errs = append(errs, fmt.Errorf("%s: %q is not an id of 1 to %d bytes", name, id, callrecord.MaxID))
		}
	}
	return errors.Join(errs...)
}

func (a *API) compileRoute(r *catalogv1.Route) error {
	var errs []error
	a.Hosts = r.GetHosts()
	if len(a.Hosts) == 0 {
		errs = append(errs, errors.New(`route.hosts: is empty; "*" matches every host`))
	}
	for i, h := range a.Hosts {
		if err := route.ValidateHost(h); err != nil {
			errs = append(errs, fmt.Errorf("route.hosts[%d]: %w", i, err))
		}
	}
	if !strings.HasPrefix(r.GetPrefix(), "/") || strings.ContainsAny(r.GetPrefix(), "{}?#") || strings.Contains(r.GetPrefix(), "//") || !route.ValidPath(r.GetPrefix()) {
		errs = append(errs, fmt.Errorf("route.prefix: %q is not a path such as /weather/v1", r.GetPrefix()))
	}
	return errors.Join(errs...)
}

func (a *API) compileOperations(operations []*catalogv1.Operation) error {
	var errs []error
	for i, o := range operations {
		_, parameters, err := route.SplitTemplate(o.GetPath())
		if err != nil {
			errs = append(errs, fmt.Errorf("operations[%d]: %w", i, err))
		}
		if o.GetMethod() == "" || strings.ToUpper(o.GetMethod()) != o.GetMethod() {
			errs = append(errs, fmt.Errorf("operations[%d].method: %q is not a method in capitals", i, o.GetMethod()))
		}
		a.Operations = append(a.Operations, &Operation{
			API: a, ID: o.GetId(), Method: o.GetMethod(), Template: strings.TrimSuffix(a.Prefix, "/") + o.GetPath(), Parameters: parameters, relative: o.GetPath(),
		})
	}
	return errors.Join(errs...)
}

func (a *API) compileUpstream(u *catalogv1.Upstream, pools *upstream.Pools) error {
	var errs []error
	var targets []*upstream.Target
	var weights []uint32
	for i, t := range u.GetTargets() {
		target, err := pools.Target(t.GetUrl())
		if err != nil {
			errs = append(errs, fmt.Errorf("upstream.targets[%d].url: %w", i, err))
			continue
		}
		targets, weights = append(targets, target), append(weights, t.GetWeight())
	}
	if len(u.GetTargets()) == 0 {
		errs = append(errs, errors.New("upstream.targets: is empty; name one address at least"))
	}
	a.Timeout = defaultTimeout
	if u.GetTimeout() != "" {
		var err error
		if a.Timeout, err = time.ParseDuration(u.GetTimeout()); err != nil || a.Timeout <= 0 || a.Timeout > maxTimeout {
			errs = append(errs, fmt.Errorf(`upstream.timeout: %q is not a duration up to %v such as "10s"`, u.GetTimeout(), maxTimeout))
		}
	}
	a.Attempts = max(1, int(u.GetRetries().GetAttempts()))
	if a.Attempts > maxAttempts {
		errs = append(errs, fmt.Errorf("upstream.retries.attempts: %d is more than %d", a.Attempts, maxAttempts))
	}
	for i, on := range u.GetRetries().GetOn() {
		switch on {
		case "connect":
			a.Retry.Connect = true
		case "reset":
			a.Retry.Reset = true
		case "timeout":
			a.Retry.Timeout = true
		case "502", "503", "504":
			a.Retry.Statuses = append(a.Retry.Statuses, 500+int(on[2]-'0'))
		default:
			errs = append(errs, fmt.Errorf("upstream.retries.on[%d]: %q is not connect, reset, timeout, 502, 503 or 504", i, on))
		}
	}
	if len(errs) == 0 {
		a.Upstream = upstream.NewBalancer(targets, weights)
	}
	return errors.Join(errs...)
}

func (a *API) compilePolicy(p *catalogv1.Policy, openapi string) (err error) {
	switch p.GetKind() {
	case "cors":
		var methods []string
		for _, o := range a.Operations {
			methods = append(methods, o.Method)
		}
		a.CORS, err = cors.New(p, methods)
		return err
	case "validate":
		if !p.GetRequest() {
			return nil
		}
		if p.GetMaxBody() > 0 {
			a.MaxBody = int64(min(p.GetMaxBody(), 64<<20))
		}
		document, err := validate.Compile(openapi)
		if err != nil {
			return err
		}
		for _, o := range a.Operations {
			if o.Validate = document.Operation(o.Method, o.relative); o.Validate == nil {
				return fmt.Errorf("the document has no operation %s %s", o.Method, o.relative)
			}
		}
		return nil
	default:
		// Serving a version without one of its policies would be worse than not serving it.
		return fmt.Errorf("this gateway does not know the kind %q; it knows cors and validate", p.GetKind())
	}
}

// routed says whether a document's stage is served.
func routed(stage string) bool {
	return slices.Contains([]string{"mocked", "published", "deprecated"}, stage)
}
