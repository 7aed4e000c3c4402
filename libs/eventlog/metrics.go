package eventlog

import "github.com/prometheus/client_golang/prometheus"

// Describe implements prometheus.Collector.
func (r *Relay) Describe(descriptions chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(r, descriptions)
}

// Collect implements prometheus.Collector: tollgate_relay_published_total, tollgate_relay_replaced_total and
// tollgate_relay_failing, by log. Alert on the last one.
func (r *Relay) Collect(metrics chan<- prometheus.Metric) {
	labels := prometheus.Labels{"log": r.log.name}
	counter(metrics, "tollgate_relay_published_total", "Events published to the replica.", labels, r.published.Load())
	counter(metrics, "tollgate_relay_replaced_total", "Times that the replica was replaced and filled again.", labels, r.replaced.Load())
	failing(metrics, "tollgate_relay_failing", "1 when the relay does not get on.", labels, r.Err())
}

// Describe implements prometheus.Collector.
func (f *Follower) Describe(descriptions chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(f, descriptions)
}

// Collect implements prometheus.Collector: tollgate_follower_position, tollgate_follower_skipped_total,
// tollgate_follower_parked_total and tollgate_follower_failing, by follower and log. Alert on the last two.
func (f *Follower) Collect(metrics chan<- prometheus.Metric) {
	labels := prometheus.Labels{"follower": f.config.Name, "log": f.config.Follow}
	now := f.Status()
	gauge(metrics, "tollgate_follower_position", "Position up to which the log is applied.", labels, float64(now.Position))
	counter(metrics, "tollgate_follower_skipped_total", "Events passed over because their type is unknown.", labels, now.Skipped)
	counter(metrics, "tollgate_follower_parked_total", "Events set aside because they could not be applied.", labels, now.Parked)
	failing(metrics, "tollgate_follower_failing", "1 when the follower does not get on.", labels, now.Err)
}

func counter(metrics chan<- prometheus.Metric, name, help string, labels prometheus.Labels, value uint64) {
	metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), prometheus.CounterValue, float64(value))
}

func gauge(metrics chan<- prometheus.Metric, name, help string, labels prometheus.Labels, value float64) {
	metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), prometheus.GaugeValue, value)
}

func failing(metrics chan<- prometheus.Metric, name, help string, labels prometheus.Labels, err error) {
	value := 0.0
	if err != nil {
		value = 1
	}
	gauge(metrics, name, help, labels, value)
}
