package pipeline

import (
	"github.com/prometheus/client_golang/prometheus"

	callsv1 "github.com/tollgate/tollgate/proto/calls/v1"

	"github.com/tollgate/tollgate/services/gateway/internal/exchange"
	"github.com/tollgate/tollgate/services/gateway/internal/upstream"
)

// Metrics counts what the pipeline does. Counters are looked up when it is made, not on the way of a request.
type Metrics struct {
	answers    [2][6]prometheus.Counter // by responder (upstream, gateway) and status class
	duration   prometheus.Histogram
	gateway    prometheus.Histogram
	failures   [7]prometheus.Counter // by upstream.Kind
	retries    prometheus.Counter
	lost       prometheus.Counter
	undeclared prometheus.Counter
	invalid    prometheus.Counter
	over       prometheus.Counter
}

// NewMetrics returns metrics that registry shows.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_gateway_answers_total", Help: "Answered requests, by who produced the status and its class."}, []string{"responder", "class"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_gateway_upstream_failures_total", Help: "Requests that an upstream did not answer, by what went wrong."}, []string{"kind"})
	usage := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tollgate_gateway_usage_ignored_total", Help: "Answers with quantities in Tollgate-Usage that were ignored: invalid, of an undeclared meter, or over what the plan reserves."}, []string{"why"})
	m := &Metrics{
		duration:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tollgate_gateway_duration_seconds", Help: "Time from a request's head to its record.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15)}),
		gateway:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tollgate_gateway_overhead_seconds", Help: "That time without the wait for the upstream.", Buckets: prometheus.ExponentialBuckets(0.00001, 2, 15)}),
		retries:    prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_gateway_upstream_retries_total", Help: "Requests that were sent again."}),
		lost:       prometheus.NewCounter(prometheus.CounterOpts{Name: "tollgate_gateway_unrecorded_total", Help: "Answered requests without a record, because the journal was full."}),
		undeclared: usage.WithLabelValues("undeclared"), invalid: usage.WithLabelValues("invalid"), over: usage.WithLabelValues("over_reserve"),
	}
	for i, responder := range []string{"upstream", "gateway"} {
		for class, name := range []string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"} {
			m.answers[i][class] = answers.WithLabelValues(responder, name)
		}
	}
	for kind, name := range map[upstream.Kind]string{
		upstream.Connect: "connect", upstream.Unsent: "unsent", upstream.Reset: "reset", upstream.Timeout: "timeout", upstream.Invalid: "invalid", upstream.Client: "client",
	} {
		m.failures[kind] = failures.WithLabelValues(name)
	}
	for _, c := range []prometheus.Collector{answers, failures, usage, m.duration, m.gateway, m.retries, m.lost} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) answered(x *exchange.Exchange) {
	responder := 0
	if x.Call.Responder == callsv1.Responder_RESPONDER_GATEWAY {
		responder = 1
	}
	class := x.Call.Status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	m.answers[responder][class].Inc()
	m.duration.Observe(float64(x.Call.TotalMicros) / 1e6)
	m.gateway.Observe(float64(x.Call.GatewayMicros) / 1e6)
}

func (m *Metrics) upstreamFailed(kind upstream.Kind) { m.failures[kind].Inc() }
func (m *Metrics) retried()                          { m.retries.Inc() }
func (m *Metrics) unrecorded()                       { m.lost.Inc() }
func (m *Metrics) usageUndeclared()                  { m.undeclared.Inc() }
func (m *Metrics) usageInvalid()                     { m.invalid.Inc() }
func (m *Metrics) overReserve()                      { m.over.Inc() }
