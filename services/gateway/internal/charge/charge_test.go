package charge

import (
	"testing"

	"github.com/stretchr/testify/require"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	const (
		upstream = callsv1.Responder_RESPONDER_UPSTREAM
		gateway  = callsv1.Responder_RESPONDER_GATEWAY
	)
	for name, c := range map[string]struct {
		rule    []string
		outcome Outcome
		reason  callsv1.Reason
		counts  bool
	}{
		"answered":                      {nil, Outcome{Responder: upstream, Status: 200}, callsv1.Reason_REASON_UNSPECIFIED, true},
		"redirect":                      {nil, Outcome{Responder: upstream, Status: 304}, callsv1.Reason_REASON_UNSPECIFIED, true},
		"client's fault":                {nil, Outcome{Responder: upstream, Status: 404}, callsv1.Reason_REASON_UNSPECIFIED, true},
		"upstream's fault":              {nil, Outcome{Responder: upstream, Status: 500}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
		"upstream's fault, rule":        {[]string{"2xx"}, Outcome{Responder: upstream, Status: 503}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
		"upstream's fault, charged":     {[]string{"2xx", "5xx"}, Outcome{Responder: upstream, Status: 503}, callsv1.Reason_REASON_UNSPECIFIED, true},
		"excluded by the rule":          {[]string{"2xx"}, Outcome{Responder: upstream, Status: 404}, callsv1.Reason_REASON_STATUS_EXCLUDED, false},
		"single status":                 {[]string{"404"}, Outcome{Responder: upstream, Status: 404}, callsv1.Reason_REASON_UNSPECIFIED, true},
		"single status, other":          {[]string{"404"}, Outcome{Responder: upstream, Status: 200}, callsv1.Reason_REASON_STATUS_EXCLUDED, false},
		"status unknown to HTTP":        {nil, Outcome{Responder: upstream, Status: 999}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
		"rejected":                      {nil, Outcome{Responder: gateway, Status: 429}, callsv1.Reason_REASON_GATEWAY_REJECTED, false},
		"rejected, whatever the rule":   {[]string{"4xx"}, Outcome{Responder: gateway, Status: 429}, callsv1.Reason_REASON_GATEWAY_REJECTED, false},
		"upstream unreachable":          {[]string{"5xx"}, Outcome{Responder: gateway, Status: 502, UpstreamFailed: true}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
		"answer broke off":              {nil, Outcome{Responder: upstream, Status: 200, UpstreamFailed: true}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
		"gateway's fault":               {nil, Outcome{Responder: gateway, Status: 500, Internal: true}, callsv1.Reason_REASON_INTERNAL, false},
		"client gone":                   {nil, Outcome{Responder: upstream, Status: 200, ClientGone: true}, callsv1.Reason_REASON_CLIENT_GONE, false},
		"client gone, upstream's fault": {nil, Outcome{Responder: upstream, Status: 500, ClientGone: true}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
		"free plan":                     {nil, Outcome{Responder: upstream, Status: 200, Free: true}, callsv1.Reason_REASON_FREE_PLAN, true},
		"free plan, upstream's fault":   {nil, Outcome{Responder: upstream, Status: 500, Free: true}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
		"free plan, excluded":           {[]string{"2xx"}, Outcome{Responder: upstream, Status: 404, Free: true}, callsv1.Reason_REASON_STATUS_EXCLUDED, false},
		"anonymous":                     {nil, Outcome{Responder: upstream, Status: 200, Anonymous: true}, callsv1.Reason_REASON_UNSUBSCRIBED_ALLOWED, false},
		"anonymous, rejected":           {nil, Outcome{Responder: gateway, Status: 400, Anonymous: true}, callsv1.Reason_REASON_GATEWAY_REJECTED, false},
		"anonymous, upstream's fault":   {nil, Outcome{Responder: upstream, Status: 502, Anonymous: true}, callsv1.Reason_REASON_UPSTREAM_FAILED, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule, err := NewRule(c.rule)
			require.NoError(t, err)
			reason, counts := rule.Decide(c.outcome)
			require.Equal(t, c.reason, reason)
			require.Equal(t, c.counts, counts)
		})
	}
}

func TestRulesThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "xx", "6xx", "0xx", "2xxx", "40", "600", "abc", "+20"} {
		_, err := NewRule([]string{"2xx", s})
		require.ErrorContains(t, err, "charging.billable[1]", s)
	}
}
