package domain

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

const (
	maxHosts   = 20
	maxPrefix  = 200
	maxTargets = 50
	maxURL     = 2000
	maxMeters  = 50
	// MaxAttempts is how often gateways send a request at most.
	MaxAttempts = 5
	// maxTimeout of an upstream.
	maxTimeout = 10 * time.Minute
)

var (
	// hostPattern is a host name (RFC 1123, section 2.1) in lower case, or "*." before one.
	hostPattern = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	// prefixPattern is an absolute path (RFC 3986, section 3.3) without percent-encoding and without empty segments.
	prefixPattern = regexp.MustCompile(`^(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+$`)
	meterPattern  = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// meterCalls counts calls; every version has it.
const meterCalls = "calls"

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func checkRoute(r *catalogv1.Route, fields *problem.Fields) {
	if r == nil {
		fields.Add("spec.route", `is missing; say which requests go to the version, as in {hosts: ["*"], prefix: /weather/v1}`)
		return
	}
	switch {
	case len(r.GetHosts()) == 0:
		fields.Add("spec.route.hosts", `is empty; give host names, or "*" for every host`)
	case len(r.GetHosts()) > maxHosts:
		fields.Add("spec.route.hosts", "has %d hosts; at most %d are taken", len(r.GetHosts()), maxHosts)
	}
	checkEach("spec.route.hosts", r.GetHosts(), fields, func(host string) string {
		if host == "*" || (len(host) <= 253 && hostPattern.MatchString(host)) {
			return ""
		}
		return `is not a host name in lower case without a port, "*." before one, or "*"`
	})
	prefix := r.GetPrefix()
	switch {
	case prefix == "/":
	case !strings.HasPrefix(prefix, "/"):
		fields.Add("spec.route.prefix", `%q does not start with "/"`, prefix)
	case len(prefix) > maxPrefix:
		fields.Add("spec.route.prefix", "is %d bytes long; at most %d are taken", len(prefix), maxPrefix)
	case strings.HasSuffix(prefix, "/"):
		fields.Add("spec.route.prefix", `%q ends with "/"; want %q`, prefix, "/"+strings.Trim(prefix, "/"))
	case !prefixPattern.MatchString(prefix) || slices.ContainsFunc(strings.Split(prefix, "/"), isDots):
		fields.Add("spec.route.prefix", `%q is not a plain path as in "/weather/v1": letters, digits and -._~!$&'()*+,;=:@ between single slashes`, prefix)
	}
}

func isDots(segment string) bool { return segment == "." || segment == ".." }

func checkUpstream(u *catalogv1.Upstream, needed bool, fields *problem.Fields) {
	if u == nil {
		if needed {
			fields.Add("spec.upstream", "is missing; say where the traffic goes, as in {targets: [{url: https://weather.internal}]}")
		}
		return
	}
	switch n := len(u.GetTargets()); {
	case n == 0:
		fields.Add("spec.upstream.targets", "is empty; give at least one")
	case n > maxTargets:
		fields.Add("spec.upstream.targets", "has %d targets; at most %d are taken", n, maxTargets)
	}
	seen := map[string]bool{}
	for i, t := range u.GetTargets() {
		path := index("spec.upstream.targets", i) + ".url"
		if wrong := wrongTarget(t.GetUrl()); wrong != "" {
			fields.Add(path, "%s", wrong)
		} else if seen[t.GetUrl()] {
			fields.Add(path, "%q is there twice", t.GetUrl())
		}
		seen[t.GetUrl()] = true
	}
	checkDuration("spec.upstream.timeout", u.GetTimeout(), maxTimeout, fields)
	checkRetries(u.GetRetries(), fields)
}

// wrongTarget never repeats what may be a password.
func wrongTarget(text string) string {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return "is empty; give an address as in https://weather.internal:8443/base"
	case err != nil || len(text) > maxURL:
		return "is not a URL; want one as in https://weather.internal:8443/base"
	case u.User != nil:
		return "has credentials in it; a URL is shown and logged and must have none"
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Sprintf("has the scheme %q; want http or https", u.Scheme)
	case u.Hostname() == "":
		return "has no host; want one as in https://weather.internal:8443/base"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "has a query or a fragment; want an address with at most a base path"
	}
	return ""
}

func checkRetries(r *catalogv1.Retries, fields *problem.Fields) {
	if r == nil {
		return
	}
	if r.GetAttempts() < 1 || r.GetAttempts() > MaxAttempts {
		fields.Add("spec.upstream.retries.attempts", "%d is not from 1 to %d, the first attempt included", r.GetAttempts(), MaxAttempts)
	}
	if r.GetAttempts() > 1 && len(r.GetOn()) == 0 {
		fields.Add("spec.upstream.retries.on", "is empty; say when to try again: connect, reset, timeout, 502, 503, 504")
	}
	checkEach("spec.upstream.retries.on", r.GetOn(), fields, oneOf("connect", "reset", "timeout", "502", "503", "504"))
}

func checkMeters(meters map[string]*catalogv1.Meter, fields *problem.Fields) {
	if len(meters) > maxMeters {
		fields.Add("spec.meters", "has %d meters; at most %d are taken", len(meters), maxMeters)
	}
	for _, name := range slices.Sorted(maps.Keys(meters)) {
		m := meters[name]
		path := "spec.meters." + name
		switch {
		case name == meterCalls:
			fields.Add(path, "is there without being declared: every call counts as one")
		case !meterPattern.MatchString(name):
			fields.Add(path, "%q is not the name of a meter: want 1 to 63 lower-case letters, digits and hyphens that begin with a letter and end with a letter or digit", name)
		}
		checkLength(path+".unit", m.GetUnit(), maxTitle, fields)
		checkLength(path+".title", m.GetTitle(), maxTitle, fields)
	}
}
