// Package cors owns the CORS protocol (Fetch Standard, section 3.2) of one API version: what browsers' scripts may do.
//
// It is pure. Only the gateway's own packages import it.
package cors

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// Policy is a compiled policy. It is safe for concurrent use.
type Policy struct {
	any         bool
	origins     map[string]bool
	methods     string
	headers     string // empty: those the browser asks for
	expose      string
	credentials bool
	maxAge      string
}

// New compiles a policy. methods are those of the document, allowed when the policy names none.
func New(p *catalogv1.Policy, methods []string) (*Policy, error) {
	var errs []error
	c := &Policy{origins: map[string]bool{}, credentials: p.GetCredentials(), expose: strings.Join(p.GetExpose(), ", "), headers: strings.Join(p.GetHeaders(), ", ")}
	for i, origin := range p.GetOrigins() {
		switch {
		case origin == "*":
			c.any = true
		case !strings.Contains(origin, "://") || strings.HasSuffix(origin, "/"):
			errs = append(errs, fmt.Errorf(`origins[%d]: %q is neither "*" nor an origin such as https://app.example.com`, i, origin))
		default:
			c.origins[strings.ToLower(origin)] = true
		}
	}
	if len(p.GetOrigins()) == 0 {
		errs = append(errs, errors.New(`origins: is empty; name the origins that may call, or "*"`))
	}
	if c.any && c.credentials {
		errs = append(errs, errors.New(`credentials: not with the origin "*"; name the origins`))
	}
	if len(p.GetMethods()) > 0 {
		methods = p.GetMethods()
	}
	methods = slices.Clone(methods)
	slices.Sort(methods)
	c.methods = strings.Join(slices.Compact(methods), ", ")
	if p.GetMaxAge() != "" {
		age, err := time.ParseDuration(p.GetMaxAge())
		if err != nil || age < 0 {
			errs = append(errs, fmt.Errorf(`max_age: %q is not a duration such as "10m"`, p.GetMaxAge()))
		}
		c.maxAge = strconv.FormatInt(int64(age/time.Second), 10)
	}
	return c, errors.Join(errs...)
}

// Preflight says whether a request is a preflight.
func Preflight(method string, header func(name string) []byte) bool {
	return method == "OPTIONS" && header("Origin") != nil && header("Access-Control-Request-Method") != nil
}

// AnswerPreflight sets the fields that answer a preflight. An origin that is not allowed gets none, so that the browser refuses.
func (p *Policy) AnswerPreflight(header func(name string) []byte, set func(name, value string)) {
	if !p.allow(string(header("Origin")), set) {
		return
	}
	set("Access-Control-Allow-Methods", p.methods)
	headers := p.headers
	if headers == "" {
		headers = string(header("Access-Control-Request-Headers"))
	}
	if headers != "" {
		set("Access-Control-Allow-Headers", headers)
	}
	if p.maxAge != "" {
		set("Access-Control-Max-Age", p.maxAge)
	}
}

// Answer sets the fields of an answer to a script's request. It is called for every answer, refusals included: scripts are to
// see the reason.
func (p *Policy) Answer(origin string, set func(name, value string)) {
	if p.allow(origin, set) && p.expose != "" {
		set("Access-Control-Expose-Headers", p.expose)
	}
}

func (p *Policy) allow(origin string, set func(name, value string)) bool {
	if p.any {
		if origin != "" {
			set("Access-Control-Allow-Origin", "*")
		}
		return origin != ""
	}
	set("Vary", "Origin") // caches must not serve one origin's answer to another
	if origin == "" || !p.origins[strings.ToLower(origin)] {
		return false
	}
	set("Access-Control-Allow-Origin", origin)
	if p.credentials {
		set("Access-Control-Allow-Credentials", "true")
	}
	return true
}
