package dashboards

// AlertRule is an alert rule of Grafana for the operators: a query that returns a number, or one for each series, and a threshold.
type AlertRule struct {
	UID, Title, Summary string
	// SQL is a statement for ClickHouse; Expression one for Prometheus. One of them is given.
	SQL, Expression string
	// DataSource is the uid of the query's data source.
	DataSource string
	// Seconds that are looked back.
	Seconds int64
	// Above is the threshold that fires.
	Above float64
	// For is how long it must be so, as in "5m".
	For string
}

// AlertRules are those of the installation.
func AlertRules(s Scope) []AlertRule {
	return []AlertRule{
		{
			UID: "tollgate-error-rate", Title: "Many calls fail", Summary: "Over 5 % of the calls of a tenant were answered with 500 or more in ten minutes.", DataSource: s.ClickHouse,
			SQL:     `SELECT tenant, countIf(status >= 500) / count() AS rate FROM calls WHERE $__timeFilter(completed_at) AND tenant != '' GROUP BY tenant HAVING count() >= 100`,
			Seconds: 600, Above: 0.05, For: "5m",
		},
		{
			UID: "tollgate-invoices-held", Title: "Invoices are held up", Summary: "A billing run could not finalize invoices: see the dashboard for the cause.", DataSource: s.ClickHouse,
			SQL:     `SELECT tenant, uniqExact(invoice) AS held FROM billing_events FINAL WHERE $__timeFilter(at) AND kind = 'held' GROUP BY tenant`,
			Seconds: 86400, Above: 0, For: "0s",
		},
		{
			UID: "tollgate-landing-lag", Title: "Calls are landed late", Summary: "ClickHouse is far behind the stream of calls.", DataSource: s.Prometheus,
			Expression: `max by (partition) (tollgate_analytics_messages_behind)`, Seconds: 600, Above: 5000, For: "5m",
		},
		{
			UID: "tollgate-metering-lag", Title: "Calls are metered late", Summary: "The ledger is far behind the stream of calls: quotas are spent from leases alone.", DataSource: s.Prometheus,
			Expression: `max by (partition) (tollgate_metering_messages_behind)`, Seconds: 600, Above: 5000, For: "5m",
		},
		{
			UID: "tollgate-journal-depth", Title: "A gateway does not ship its calls", Summary: "Records wait in a gateway's journal; when it is full, metered calls are refused.", DataSource: s.Prometheus,
			Expression: `max by (instance) (tollgate_gateway_unshipped_records)`, Seconds: 600, Above: 100000, For: "5m",
		},
		{
			UID: "tollgate-journal-full", Title: "A gateway's journal is full", Summary: "Metered calls are refused for want of room to record them.", DataSource: s.Prometheus,
			Expression: `max by (instance) (tollgate_gateway_journal_full)`, Seconds: 600, Above: 0, For: "0s",
		},
		{
			UID: "tollgate-follower-failing", Title: "A service does not follow", Summary: "A follower or a relay does not get on; what it feeds is stale.", DataSource: s.Prometheus,
			Expression: `sum by (job) (tollgate_follower_failing) + sum by (job) (tollgate_relay_failing)`, Seconds: 600, Above: 0, For: "5m",
		},
	}
}
