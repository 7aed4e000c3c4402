package pipeline

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/tollgate/tollgate/services/gateway/internal/config"
	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
)

// mock answers as the version's document has it. The field Prefer (RFC 7240) chooses the answer: code=404, example=rainy.
func (p *Pipeline) mock(x *exchange.Exchange) bool {
	x.Mocked = true
	code, example, applied := preferred(x.Request.Header("Prefer"))
	m := choose(x.Operation.Mocks, code, example, string(x.Request.Header("Accept")))
	if m == nil {
		x.Mocked = false
		return x.Refuse(404, "mock-unknown", "The API's document has no such answer for this operation. Leave out the field Prefer, or ask for one that is there.")
	}
	r := x.Response
	r.SetStatus(m.Status)
	for _, h := range m.Headers {
		r.SetHeader(h[0], h[1])
	}
	if m.ContentType != "" {
		r.SetHeader("Content-Type", m.ContentType)
	}
	if applied != "" {
		r.SetHeader("Preference-Applied", applied)
	}
	r.SetBody(m.Body)
	return true
}

// preferred reads the preferences that choose an answer; others are not for the gateway.
func preferred(prefer []byte) (code int, example, applied string) {
	var kept []string
	for each := range bytes.SplitSeq(prefer, []byte{','}) {
		name, value, _ := strings.Cut(strings.TrimSpace(string(each)), "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "code":
			code, _ = strconv.Atoi(value) // what is no number is no code that there is
			if code == 0 {
				code = -1
			}
		case "example":
			example = value
		default:
			continue
		}
		kept = append(kept, strings.ToLower(name)+"="+value)
	}
	return code, example, strings.Join(kept, ", ")
}

// choose returns the first success, or what is asked for: of those in the media type that is accepted, if there is one.
func choose(mocks []*config.Mock, code int, example, accept string) *config.Mock {
	var best *config.Mock
	rank := func(m *config.Mock) int {
		n := 0
		if m.Status < 300 {
			n += 2
		}
		if accepts(accept, m.ContentType) {
			n++
		}
		return n
	}
	for _, m := range mocks {
		if code != 0 && m.Status != code || example != "" && m.Example != example {
			continue
		}
		if best == nil || rank(m) > rank(best) {
			best = m
		}
	}
	return best
}

// accepts says whether a media type is among the accepted ones (RFC 9110, section 12.5.1); weights are left out of account.
func accepts(accept, contentType string) bool {
	if accept == "" || contentType == "" {
		return true
	}
	contentType, _, _ = strings.Cut(contentType, ";")
	for each := range strings.SplitSeq(accept, ",") {
		wanted, _, _ := strings.Cut(strings.TrimSpace(each), ";")
		kind, isRange := strings.CutSuffix(wanted, "/*")
		if wanted == "*/*" || strings.EqualFold(wanted, contentType) || isRange && strings.HasPrefix(contentType, kind+"/") {
			return true
		}
	}
	return false
}
