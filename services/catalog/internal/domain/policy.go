package domain

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

const (
	policyValidate = "validate"
	policyCORS     = "cors"

	// maxBody is the largest body that a gateway may be asked to buffer.
	maxBody = 64 << 20
	// maxPreflight is how long an answer to a preflight may be kept.
	maxPreflight = 24 * time.Hour
)

// policyFields are the fields that each kind of policy has beside kind.
var policyFields = map[string][]string{
	policyValidate: {"request", "maxBody"},
	policyCORS:     {"origins", "methods", "headers", "expose", "credentials", "maxAge"},
}

func checkPolicies(policies []*catalogv1.Policy, fields *problem.Fields) {
	seen := map[string]int{}
	for i, p := range policies {
		path := index("spec.policies", i)
		allowed, known := policyFields[p.GetKind()]
		if !known {
			fields.Add(path+".kind", "%q is not a kind of policy; want %s or %s", p.GetKind(), policyValidate, policyCORS)
			continue
		}
		if first, twice := seen[p.GetKind()]; twice {
			fields.Add(path+".kind", "is a second %s; %s is one already", p.GetKind(), index("spec.policies", first))
		}
		seen[p.GetKind()] = i
		p.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
			if name := f.JSONName(); name != "kind" && !slices.Contains(allowed, name) {
				fields.Add(path+"."+name, "is not a field of the policy %s, which has %s", p.GetKind(), strings.Join(allowed, ", "))
			}
			return true
		})
		switch p.GetKind() {
		case policyValidate:
			checkValidate(path, p, fields)
		case policyCORS:
			checkCORS(path, p, fields)
		}
	}
}

func checkValidate(path string, p *catalogv1.Policy, fields *problem.Fields) {
	if !p.GetRequest() {
		fields.Add(path+".request", "is not true, so that the policy checks nothing; set it or take the policy out")
	}
	if p.GetMaxBody() > maxBody {
		fields.Add(path+".maxBody", "%d is more than %d bytes", p.GetMaxBody(), maxBody)
	}
}

func checkCORS(path string, p *catalogv1.Policy, fields *problem.Fields) {
	everyOrigin := slices.Contains(p.GetOrigins(), "*")
	switch {
	case len(p.GetOrigins()) == 0:
		fields.Add(path+".origins", `is empty; give origins as in "https://app.example.com", or "*" for every one`)
	case everyOrigin && len(p.GetOrigins()) > 1:
		fields.Add(path+".origins", `has "*" and others; "*" covers them`)
	case everyOrigin && p.GetCredentials():
		fields.Add(path+".credentials", `is true for the origin "*", so that any site could act as its visitors; name the origins`)
	}
	checkEach(path+".origins", p.GetOrigins(), fields, origin)
	checkEach(path+".methods", p.GetMethods(), fields, func(m string) string {
		if m != strings.ToUpper(m) {
			return "is not in upper case, as methods are"
		}
		return token(m)
	})
	checkEach(path+".headers", p.GetHeaders(), fields, token)
	checkEach(path+".expose", p.GetExpose(), fields, token)
	checkDuration(path+".maxAge", p.GetMaxAge(), maxPreflight, fields)
}

// origin is the serialized form of RFC 6454, section 6.2.
func origin(value string) string {
	if value == "*" {
		return ""
	}
	u, err := url.Parse(value)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || value != u.Scheme+"://"+u.Host || value != strings.ToLower(value) {
		return `is not an origin as in "https://app.example.com", without a path and in lower case`
	}
	return ""
}
