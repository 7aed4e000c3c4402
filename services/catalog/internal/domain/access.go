package domain

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/libs/problem"
	catalogv1 "github.com/tollgate/tollgate/proto/catalog/v1"
)

// The kinds of credential that a version may accept.
const (
	APIKey = "apiKey"
	OAuth2 = "oauth2"
	JWT    = "jwt"
)

const (
	maxAccess    = 500
	maxNames     = 100
	maxIssuers   = 10
	maxIssuerURL = 500
	maxClaim     = 100
	// maxAccessBytes is the size of what gateways are told of all operations together.
	maxAccessBytes = 2 << 20
)

// checkAccess checks what operations ask of callers. operations are those of the version's document.
func checkAccess(spec *catalogv1.APIVersionSpec, operations []*catalogv1.Operation, fields *problem.Fields) {
	if n := len(spec.GetAccess()); n > maxAccess {
		fields.Add("spec.access", "has %d entries; at most %d are taken", n, maxAccess)
		return
	}
	size := 0
	for _, o := range operations {
		size += proto.Size(AccessOf(spec, o))
	}
	if len(spec.GetAccess()) > 0 && size > maxAccessBytes {
		fields.Add("spec.access", "amounts to %d bytes for all operations; at most %d are taken", size, maxAccessBytes)
		return
	}
	roles := map[string]string{} // by operation, the entry that gives it roles
	for i, a := range spec.GetAccess() {
		path := index("spec.access", i)
		if len(a.GetScopes()) == 0 && len(a.GetRoles()) == 0 {
			fields.Add(path, "asks for nothing; give scopes or roles, or take the entry out")
		}
		if len(spec.GetAuthenticate()) == 0 {
			fields.Add(path, "asks something of callers, but spec.authenticate accepts no credential, so that nobody could have it; accept one")
		}
		checkNames(path+".scopes", a.GetScopes(), fields)
		checkNames(path+".roles", a.GetRoles(), fields)
		checkEach(path+".operations", a.GetOperations(), fields, func(name string) string {
			if !slices.ContainsFunc(operations, func(o *catalogv1.Operation) bool { return Names(name, o) }) {
				return `is no operation of the document; want an operationId, or method and path as in "GET /current/{city}"`
			}
			return ""
		})
		if len(a.GetRoles()) == 0 {
			continue
		}
		for _, o := range operations {
			if !Applies(a, o) {
				continue
			}
			if first, twice := roles[o.GetId()]; twice {
				fields.Add(path+".roles", "the operation %s is given roles by %s already; give each operation its roles in one entry", o.GetId(), first)
				break
			}
			roles[o.GetId()] = path
		}
	}
}

// Names says whether a name in an access list means the operation: its id, or method and path.
func Names(name string, o *catalogv1.Operation) bool {
	return name == o.GetId() || name == o.GetMethod()+" "+o.GetPath()
}

// Applies says whether an entry of an access list is about the operation.
func Applies(a *catalogv1.Access, o *catalogv1.Operation) bool {
	return len(a.GetOperations()) == 0 || slices.ContainsFunc(a.GetOperations(), func(name string) bool { return Names(name, o) })
}

func checkNames(path string, names []string, fields *problem.Fields) {
	if len(names) > maxNames {
		fields.Add(path, "has %d names; at most %d are taken", len(names), maxNames)
	}
	checkEach(path, names, fields, func(name string) string {
		if name == "" || len(name) > maxTitle || strings.ContainsFunc(name, notInScope) {
			return "is not a scope token (RFC 6749, section 3.3): want 1 to 200 printable characters without spaces, quotes and backslashes"
		}
		return ""
	})
}

func notInScope(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }

// checkIssuers checks the authorization servers whose tokens are accepted.
func checkIssuers(spec *catalogv1.APIVersionSpec, fields *problem.Fields) {
	issuers := spec.GetIssuers()
	accepted := slices.Contains(spec.GetAuthenticate(), JWT)
	switch {
	case accepted && len(issuers) == 0:
		fields.Add("spec.issuers", "is empty, but spec.authenticate accepts jwt; say whose tokens, as in [{issuer: https://login.example.com, jwksUri: https://login.example.com/jwks, audiences: [weather]}]")
	case !accepted && len(issuers) > 0:
		fields.Add("spec.issuers", "has issuers, but spec.authenticate does not accept jwt; add it there, or take the issuers out")
	case len(issuers) > maxIssuers:
		fields.Add("spec.issuers", "has %d issuers; at most %d are taken", len(issuers), maxIssuers)
	}
	seen := map[string]bool{}
	for i, issuer := range issuers {
		path := index("spec.issuers", i)
		switch name := issuer.GetIssuer(); {
		case name == "" || len(name) > maxIssuerURL:
			fields.Add(path+".issuer", `is not 1 to %d bytes long; give the claim "iss" exactly as the tokens have it`, maxIssuerURL)
		case seen[name]:
			fields.Add(path+".issuer", "%q is there twice", name)
		}
		seen[issuer.GetIssuer()] = true
		if wrong := wrongKeysURL(issuer.GetJwksUri()); wrong != "" {
			fields.Add(path+".jwksUri", "%s", wrong)
		}
		if len(issuer.GetAudiences()) == 0 {
			fields.Add(path+".audiences", `is empty, so that tokens made for others would be accepted; give at least one value of the claim "aud"`)
		}
		checkEach(path+".audiences", issuer.GetAudiences(), fields, func(a string) string {
			if a == "" || len(a) > maxIssuerURL {
				return "is not 1 to 500 bytes long"
			}
			return ""
		})
		checkLength(path+".clientClaim", issuer.GetClientClaim(), maxClaim, fields)
		checkLength(path+".scopesClaim", issuer.GetScopesClaim(), maxClaim, fields)
		checkLength(path+".rolesClaim", issuer.GetRolesClaim(), maxClaim, fields)
	}
}

// wrongKeysURL says what is wrong with the address of a key set: whoever can change what it answers can sign in as anybody.
func wrongKeysURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case text == "" || err != nil || len(text) > maxURL || u.Hostname() == "":
		return "is not a URL; want one as in https://login.example.com/.well-known/jwks.json"
	case u.User != nil:
		return "has credentials in it; a URL is shown and logged and must have none"
	case u.Fragment != "":
		return "has a fragment, which is never sent"
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "is not an https URL (http is taken for a loopback address alone)"
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}
