// Package charge owns the decision whether a call is billable, and why not.
//
// It is pure. Only the gateway's own packages import it.
package charge

import (
	"fmt"
	"strconv"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

// Rule is a plan's charging rule: the statuses of an upstream's answer that are billable. The zero Rule is no rule: see Default.
type Rule struct {
	billable [1000]bool
}

// Default is billable whenever the upstream answered with a status below 500.
func Default() *Rule {
	r := &Rule{}
	for status := 100; status < 500; status++ {
		r.billable[status] = true
	}
	return r
}

// NewRule reads status classes ("2xx") and statuses ("404"); none means the default.
func NewRule(statuses []string) (*Rule, error) {
	if len(statuses) == 0 {
		return Default(), nil
	}
	r := &Rule{}
	for i, s := range statuses {
		if len(s) == 3 && s[1:] == "xx" && s[0] >= '1' && s[0] <= '5' {
			for n := range 100 {
				r.billable[int(s[0]-'0')*100+n] = true
			}
			continue
		}
		status, err := strconv.Atoi(s)
		if err != nil || len(s) != 3 || status < 100 || status > 599 {
			return nil, fmt.Errorf(`charging.billable[%d]: %q is neither a status class such as "2xx" nor a status such as "404"`, i, s)
		}
		r.billable[status] = true
	}
	return r, nil
}

// Outcome is what the decision depends on.
type Outcome struct {
	// Responder produced the status.
	Responder callsv1.Responder
	Status    int
	// UpstreamFailed: the gateway answered because the upstream did not, or its answer broke off.
	UpstreamFailed bool
	// Internal: the gateway itself failed.
	Internal bool
	// ClientGone: the client went away before the first byte of the answer.
	ClientGone bool
	// Anonymous: the version asks for no credential.
	Anonymous bool
	// Free: the plan has no prices.
	Free bool
	// Mocked: the gateway made the answer up.
	Mocked bool
}

// Decide returns the reason why a call is not billable, REASON_UNSPECIFIED when it is. A call that counts against the
// subscription's quotas is one that is billable or would be if the plan had prices.
func (r *Rule) Decide(o Outcome) (reason callsv1.Reason, counts bool) {
	switch {
	case o.Internal:
		return callsv1.Reason_REASON_INTERNAL, false
	case o.UpstreamFailed:
		return callsv1.Reason_REASON_UPSTREAM_FAILED, false
	case o.Mocked:
		return callsv1.Reason_REASON_TEST, false
	case o.Responder == callsv1.Responder_RESPONDER_GATEWAY:
		return callsv1.Reason_REASON_GATEWAY_REJECTED, false
	case o.Status < 0 || o.Status >= len(r.billable) || !r.billable[o.Status]:
		if o.Status >= 500 {
			return callsv1.Reason_REASON_UPSTREAM_FAILED, false
		}
		return callsv1.Reason_REASON_STATUS_EXCLUDED, false
	case o.ClientGone:
		return callsv1.Reason_REASON_CLIENT_GONE, false
	case o.Anonymous:
		return callsv1.Reason_REASON_UNSUBSCRIBED_ALLOWED, false
	case o.Free:
		return callsv1.Reason_REASON_FREE_PLAN, true
	}
	return callsv1.Reason_REASON_UNSPECIFIED, true
}
