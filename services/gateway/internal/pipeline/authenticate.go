package pipeline

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/services/gateway/internal/bearer"
	"github.com/tollgate/tollgate/services/gateway/internal/credential"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
)

// authenticate finds out which application calls: by an API key, or by a token.
func (p *Pipeline) authenticate(x *exchange.Exchange) bool {
	a := x.API
	if !a.Authenticated {
		x.HideKey = p.carriesOwn(x)
		return true
	}
	x.HideKey = true
	value, inKeyField := presented(x)
	switch {
	case len(value) == 0 && !a.Keys:
		return unauthenticated(x, "token-missing", "The API asks for an access token. Send it as Authorization: Bearer TOKEN.", "")
	case len(value) == 0:
		return unauthenticated(x, "key-missing", "The API asks for a key. Send it as Authorization: Bearer KEY, or as X-API-Key: KEY.", "")
	case !inKeyField && bearer.Looks(value) && (a.Own || len(a.Issuers) > 0):
		return p.token(x, value)
	case !a.Keys:
		return unauthenticated(x, "token-invalid", "The API takes access tokens, not API keys. Get one at the token endpoint.", "invalid_token")
	}
	found, outcome := p.Credentials.Lookup(context.Background(), value) //nolint:contextcheck // bounded by the store
	return p.known(x, found, outcome, &keyRefusals)
}

// presented returns the credential that the request carries (RFC 6750, section 2.1, or X-API-Key).
func presented(x *exchange.Exchange) (value []byte, inKeyField bool) {
	if key := x.Request.Header("X-Api-Key"); len(key) > 0 {
		return key, true
	}
	return bearerOf(x.Request.Header("Authorization")), false
}

// bearerOf returns what follows the scheme Bearer; nil for another one.
func bearerOf(authorization []byte) []byte {
	const scheme = "bearer "
	if len(authorization) > len(scheme) && bytes.EqualFold(authorization[:len(scheme)], []byte(scheme)) {
		return bytes.TrimLeft(authorization[len(scheme):], " ")
	}
	return nil
}

// keyPrefix begins every API key and client secret that identity makes.
var keyPrefix = []byte("tg_")

// carriesOwn says whether a request that needs no credential carries one of Tollgate's all the same: callers send it to the host, not
// knowing what asks for it, and the API's provider may be another one than the key's. What is not Tollgate's is the upstream's.
func (p *Pipeline) carriesOwn(x *exchange.Exchange) bool {
	if bytes.HasPrefix(x.Request.Header("X-Api-Key"), keyPrefix) {
		return true
	}
	authorization := x.Request.Header("Authorization")
	if len(authorization) == 0 {
		return false
	}
	value := bearerOf(authorization)
	return bytes.HasPrefix(value, keyPrefix) || bytes.HasPrefix(authorization, keyPrefix) || p.Bearer.LooksOwn(value)
}

// token verifies a token, and finds the application of its client.
func (p *Pipeline) token(x *exchange.Exchange, signed []byte) bool {
	a := x.API
	t, err := p.Bearer.Verify(signed, a.Own, a.Issuers, time.Unix(0, x.Started))
	switch {
	case errors.Is(err, bearer.ErrExpired):
		return unauthenticated(x, "token-expired", "The access token has expired. Get another one at the token endpoint.", "invalid_token")
	case errors.Is(err, bearer.ErrUnavailable):
		return unavailable(x)
	case err != nil:
		return unauthenticated(x, "token-invalid", "The access token is not a valid one of an issuer that this API accepts.", "invalid_token")
	}
	if t.Own {
		if !slices.Contains(t.Audiences, a.Tenant) {
			return unauthenticated(x, "token-invalid", "The access token is meant for another audience.", "invalid_token")
		}
		if ok := p.notRevoked(x, t); !ok {
			return false
		}
	}
	x.Token = t
	x.HideKey = t.Own                                                    // who trusts an issuer may want to read its tokens
	found, outcome := p.Credentials.Find(context.Background(), t.Client) //nolint:contextcheck // bounded by the store
	return p.known(x, found, outcome, &tokenRefusals)
}

// notRevoked refuses a token of identity that was revoked. Of one that is used for the first time it is asked, and from then on the
// watch on the credentials tells.
func (p *Pipeline) notRevoked(x *exchange.Exchange, t *bearer.Token) bool {
	if t.Checked() {
		if p.Credentials.Revoked(t.Revocation) {
			return unauthenticated(x, "token-revoked", "The access token was revoked. Get another one at the token endpoint.", "invalid_token")
		}
		return true
	}
	switch _, outcome := p.Credentials.Find(context.Background(), t.Revocation); outcome { //nolint:contextcheck // bounded by the store
	case credential.Known:
		return unauthenticated(x, "token-revoked", "The access token was revoked. Get another one at the token endpoint.", "invalid_token")
	case credential.Unavailable:
		return unavailable(x)
	default:
		t.Check()
		return true
	}
}

func unavailable(x *exchange.Exchange) bool {
	x.Refuse(503, "credential-unavailable", "The gateway cannot check this credential at the moment. Try again in a moment.")
	x.Problem.RetryAfter = 1
	return false
}

// refusals are the answers to a credential that is known to be of no use.
type refusals struct {
	kinds                     []string  // that the credential may be of
	unknown, revoked, expired [2]string // code and detail
	oauth                     string    // error code of RFC 6750, section 3.1
}

var (
	keyRefusals = refusals{
		kinds:   []string{"apiKey"},
		unknown: [2]string{"key-unknown", "The key is not known. Check it, or make a new one in the portal."},
		revoked: [2]string{"key-revoked", "The key was revoked. Make a new one in the portal."},
		expired: [2]string{"key-expired", "The key has expired. Make a new one in the portal."},
	}
	tokenRefusals = refusals{
		kinds:   []string{"oauth2", "jwt"},
		unknown: [2]string{"client-unknown", "No application has the token's client as a credential."},
		revoked: [2]string{"client-revoked", "The credential of the token's client was revoked."},
		expired: [2]string{"client-expired", "The credential of the token's client has expired."},
		oauth:   "invalid_token",
	}
)

// known takes the credential that was found, if it may be used.
func (p *Pipeline) known(x *exchange.Exchange, found *credential.Credential, outcome credential.Outcome, r *refusals) bool {
	switch {
	case outcome == credential.Unavailable:
		return unavailable(x)
	case outcome == credential.Unknown || found.Tenant != x.API.Tenant || !slices.Contains(r.kinds, found.Kind):
		// Of another provider's credential nothing is told. A kind is looked at because a client's id is no secret: who sends the
		// name of its document as a key must not be taken for the client.
		return unauthenticated(x, r.unknown[0], r.unknown[1], r.oauth)
	}
	x.Credential = found
	switch {
	case found.Revoked:
		return unauthenticated(x, r.revoked[0], r.revoked[1], r.oauth)
	case !found.Valid(x.Started):
		return unauthenticated(x, r.expired[0], r.expired[1], r.oauth)
	}
	return true
}

// unauthenticated refuses with a challenge (RFC 6750, section 3).
func unauthenticated(x *exchange.Exchange, code, detail, oauth string) bool {
	x.Refuse(401, code, detail)
	x.Problem.Authenticate = `Bearer realm="tollgate"`
	if oauth != "" {
		x.Problem.Authenticate += `, error="` + oauth + `"`
	}
	return false
}

// access refuses callers that lack the operation's scopes or roles.
func (p *Pipeline) access(x *exchange.Exchange) bool {
	o := x.Operation
	if len(o.Scopes) > 0 && !slices.ContainsFunc(o.Scopes, func(set []string) bool { return hasAll(scopes(x), set) }) {
		x.Refuse(403, "scope-missing", "The credential lacks a scope that the operation asks for: "+alternatives(o.Scopes)+".")
		x.Problem.Authenticate = `Bearer realm="tollgate", error="insufficient_scope", scope="` + strings.Join(o.Scopes[0], " ") + `"`
		return false
	}
	if len(o.Roles) > 0 && !slices.ContainsFunc(o.Roles, func(role string) bool { return slices.Contains(roles(x), role) }) {
		return x.Refuse(403, "role-missing", "The operation asks for one of these roles: "+strings.Join(o.Roles, ", ")+".")
	}
	return true
}

func scopes(x *exchange.Exchange) []string {
	if x.Token != nil {
		return x.Token.Scopes
	}
	return x.Credential.Scopes
}

// roles are the application's, and those that a trusted issuer gives.
func roles(x *exchange.Exchange) []string {
	if x.Token != nil && len(x.Token.Roles) > 0 {
		return slices.Concat(x.Credential.Roles, x.Token.Roles)
	}
	return x.Credential.Roles
}

func hasAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

func alternatives(sets [][]string) string {
	var texts []string
	for _, set := range sets {
		texts = append(texts, strings.Join(set, " and "))
	}
	return strings.Join(texts, ", or ")
}
