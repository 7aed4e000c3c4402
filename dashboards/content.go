package dashboards

func traffic(s Scope) content {
	return content{
		name: "traffic", title: "traffic and latency", calls: true, description: "Calls by API and consumer, and how long they took.",
		panels: []panel{
			number("Calls", "Calls that completed in the time.", count, quarter, s.table(`SELECT count() AS calls FROM calls WHERE {conditions}`)),
			number("Error rate", "Share of calls that were answered with 400 or more.", share, quarter, s.table(`SELECT countIf(status >= 400) / greatest(count(), 1) AS rate FROM calls WHERE {conditions}`)),
			number("Latency, 99th percentile", "Of the whole call.", micros, quarter, s.table(`SELECT quantileTDigest(0.99)(total_micros) AS p99 FROM calls WHERE {conditions}`)),
			number("Consumers", "Accounts that called.", count, quarter, s.table(`SELECT uniqExact(account) AS accounts FROM calls WHERE {conditions} AND account != ''`)),
			chart("Calls by API", "Calls per interval.", count, half, true, s.series(`SELECT $__timeInterval(completed_at) AS time, {name:api:api} AS api_name, count() AS calls FROM calls WHERE {conditions} GROUP BY time, api ORDER BY time`)),
			chart("Calls by account", "Of the 20 accounts with the most calls.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, {name:account:account} AS account_name, count() AS calls FROM calls
				WHERE {conditions} AND account IN (SELECT account FROM calls WHERE {conditions} GROUP BY account ORDER BY count() DESC LIMIT 20)
				GROUP BY time, account ORDER BY time`)),
			chart("Latency", "Of the whole call: the percentiles 50, 90 and 99.", micros, half, false, s.series(`
				SELECT $__timeInterval(completed_at) AS time, quantileTDigest(0.5)(total_micros) AS p50, quantileTDigest(0.9)(total_micros) AS p90, quantileTDigest(0.99)(total_micros) AS p99
				FROM calls WHERE {conditions} GROUP BY time ORDER BY time`)),
			chart("Upstream and gateway", "Average time spent in the upstream and in the gateway.", micros, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, avg(upstream_micros) AS upstream, avg(gateway_micros) AS gateway FROM calls WHERE {conditions} GROUP BY time ORDER BY time`)),
			chart("Bytes", "Received from and sent to clients.", octets, half, false, s.series(`
				SELECT $__timeInterval(completed_at) AS time, sum(bytes_in) AS received, sum(bytes_out) AS sent FROM calls WHERE {conditions} GROUP BY time ORDER BY time`)),
			list("Operations", "The 50 with the most calls.", half, map[string]string{"error rate": share, "p99": micros}, s.table(`
				SELECT {name:api:api} AS API, operation, count() AS calls, countIf(status >= 400) / count() AS "error rate", quantileTDigest(0.99)(total_micros) AS p99
				FROM calls WHERE {conditions} GROUP BY api, operation ORDER BY calls DESC LIMIT 50`)),
		},
	}
}

func problems(s Scope) content {
	return content{
		name: "errors", title: "errors", calls: true, description: "Calls that were not answered well, and why.",
		panels: []panel{
			chart("Errors by class", "Calls that were answered with 400 or more.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, concat(toString(intDiv(status, 100)), 'xx') AS class, count() AS errors FROM calls
				WHERE {conditions} AND status >= 400 GROUP BY time, class ORDER BY time`)),
			chart("Error rate by API", "Share of its calls.", share, half, false, s.series(`
				SELECT $__timeInterval(completed_at) AS time, {name:api:api} AS api_name, countIf(status >= 400) / count() AS rate FROM calls WHERE {conditions} GROUP BY time, api ORDER BY time`)),
			chart("Errors by who answered", "The upstream itself, the gateway, or the cache.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, responder, count() AS errors FROM calls WHERE {conditions} AND status >= 400 GROUP BY time, responder ORDER BY time`)),
			chart("Answers of gateways", "By the type of the problem.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, error_reason, count() AS errors FROM calls WHERE {conditions} AND error_reason != '' GROUP BY time, error_reason ORDER BY time`)),
			list("Where errors are", "The 50 paths with the most.", half, nil, s.table(`
				SELECT {name:api:api} AS API, method, path_template AS path, status, error_reason AS error, count() AS errors FROM calls
				WHERE {conditions} AND status >= 400 GROUP BY api, method, path_template, status, error_reason ORDER BY errors DESC LIMIT 50`)),
			list("Last errors", "The newest 100.", half, map[string]string{"latency": micros}, s.table(`
				SELECT completed_at AS time, call, {name:account:account} AS account_name, method, path, status, error_reason AS error, total_micros AS latency FROM calls
				WHERE {conditions} AND status >= 400 ORDER BY completed_at DESC LIMIT 100`)),
		},
	}
}

func quotas(s Scope) content {
	return content{
		name: "quotas", title: "quotas", calls: true, description: "Calls that were refused for a limit, and who uses the most.",
		panels: []panel{
			chart("Refused by limits", "Answered with 429 or 402, by the type of the problem.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, error_reason, count() AS refused FROM calls WHERE {conditions} AND status IN (429, 402) GROUP BY time, error_reason ORDER BY time`)),
			chart("Refused by account", "Of the accounts that are refused.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, {name:account:account} AS account_name, count() AS refused FROM calls WHERE {conditions} AND status IN (429, 402) GROUP BY time, account ORDER BY time`)),
			list("Subscriptions", "Units on the meter calls, and how many calls were refused: the 100 with the most.", full, map[string]string{"refused share": share}, s.table(`
				SELECT {name:account:account} AS account_name, {name:subscription:subscription} AS subscription_name, {name:plan:plan} AS plan_name, sumIf(call_units, billable) AS units,
					countIf(status IN (429, 402)) AS refused, countIf(status IN (429, 402)) / count() AS "refused share"
				FROM calls WHERE {conditions} AND subscription != '' GROUP BY account, subscription, plan ORDER BY units DESC LIMIT 100`)),
		},
	}
}

func usage(s Scope) content {
	return content{
		name: "usage", title: "usage and revenue", calls: true, description: "What is used under which plan, and what final invoices say of it.",
		panels: []panel{
			chart("Billable units by plan", "Sum on the meter calls.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, {name:plan:plan} AS plan_name, sum(call_units) AS units FROM calls WHERE {conditions} AND billable GROUP BY time, plan ORDER BY time`)),
			chart("Calls that are not billed", "By the reason.", count, half, true, s.series(`
				SELECT $__timeInterval(completed_at) AS time, reason, count() AS calls FROM calls WHERE {conditions} AND NOT billable GROUP BY time, reason ORDER BY time`)),
			list("Units by meter", "Of billable calls, by plan.", half, nil, s.table(`
				SELECT {name:plan:plan} AS plan_name, pair.1 AS meter, sum(pair.2) AS units FROM calls
				ARRAY JOIN arrayConcat([('calls', call_units)], arrayZip(arrayMap(m -> toString(m), meters), quantities)) AS pair
				WHERE {conditions} AND billable GROUP BY plan, meter ORDER BY plan_name, meter LIMIT 200`)),
			list("Revenue by plan", "Of final invoices whose period ends in the time, before taxes.", half, nil, s.table(`
				SELECT {name:plan:plan} AS plan_name, currency, sum(amount) AS revenue, uniqExact(invoice) AS invoices FROM invoice_lines FINAL
				WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(period_end) GROUP BY plan, currency ORDER BY revenue DESC LIMIT 200`)),
			chart("Revenue by month", "Of final invoices, by the month that their period ends in.", none, half, true, s.series(`
				SELECT toDateTime(toStartOfMonth(period_end)) AS time, currency, sum(amount) AS revenue FROM invoice_lines FINAL
				WHERE tenant IN (${tenant:sqlstring}) AND period_end >= $__toTime - INTERVAL 1 YEAR AND period_end <= $__toTime GROUP BY time, currency ORDER BY time`)),
			list("Revenue by account", "Of final invoices whose period ends in the time: the 100 largest.", half, nil, s.table(`
				SELECT {name:account:account} AS account_name, currency, sum(amount) AS revenue FROM invoice_lines FINAL
				WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(period_end) GROUP BY account, currency ORDER BY revenue DESC LIMIT 100`)),
		},
	}
}

func pipeline(s Scope) content {
	return content{
		name: "pipeline", title: "pipeline health", installation: true, description: "From a gateway's journal over the stream to ClickHouse and the ledger: what waits, and what is missing.",
		panels: []panel{
			chart("Journal depth", "Records that the stream has not acknowledged, by gateway.", count, half, false, s.metrics(`sum by (instance) (tollgate_gateway_unshipped_records)`, "{{instance}}")),
			chart("Journals that are full", "1 while a gateway refuses calls for want of room.", none, half, false, s.metrics(`max by (instance) (tollgate_gateway_journal_full)`, "{{instance}}")),
			chart("Landing lag", "Messages in the stream that are not in ClickHouse, by partition.", count, half, true, s.metrics(`max by (partition) (tollgate_analytics_messages_behind)`, "partition {{partition}}")),
			chart("Metering lag", "Messages in the stream that are not in the ledger, by partition.", count, half, true, s.metrics(`max by (partition) (tollgate_metering_messages_behind)`, "partition {{partition}}")),
			chart("Landed and metered", "Calls per second.", perSec, half, false, s.metrics(`sum by (job) (rate(tollgate_analytics_calls_total[$__rate_interval]) or rate(tollgate_metering_calls_total[$__rate_interval]))`, "{{job}}")),
			chart("Time of a landing", "99th percentile.", seconds, half, false, s.metrics(`histogram_quantile(0.99, sum by (le) (rate(tollgate_analytics_landing_seconds_bucket[$__rate_interval])))`, "p99")),
			list("Gaps", "Numbers that are missing in the sequence of a gateway's boot, of calls in ClickHouse. What is not shipped yet is not among them.", half, nil, s.table(`
				SELECT gateway, boot, max(seq) AS last, max(seq) - min(seq) + 1 - uniqExact(seq) AS missing, max(completed_at) AS "last call" FROM calls
				WHERE $__timeFilter(completed_at) GROUP BY gateway, boot ORDER BY missing DESC, gateway, boot LIMIT 200`)),
			list("Silence", "How long ago the last call of each gateway completed that is in ClickHouse.", half, map[string]string{"silence": seconds}, s.table(`
				SELECT gateway, max(boot) AS boot, max(completed_at) AS "last call", dateDiff('second', max(completed_at), $__toTime) AS silence FROM calls
				WHERE $__timeFilter(completed_at) GROUP BY gateway ORDER BY silence DESC LIMIT 200`)),
			chart("Refused messages and failures", "Messages that contradict themselves, and attempts to ship that failed.", count, half, false, s.metrics(`sum by (job) (increase(tollgate_analytics_refused_messages_total[$__rate_interval])) + sum by (job) (increase(tollgate_metering_refused_messages_total[$__rate_interval]))`, "{{job}}")),
			chart("Followers and relays that fail", "1 for each that does not get on.", count, half, true, s.metrics(`sum by (job) (tollgate_follower_failing) + sum by (job) (tollgate_relay_failing)`, "{{job}}")),
		},
	}
}

func gateways(s Scope) content {
	return content{
		name: "gateways", title: "gateways", installation: true, description: "What gateways do, as they see it themselves.",
		panels: []panel{
			chart("Answers", "Per second, by class of status.", perSec, half, true, s.metrics(`sum by (class) (rate(tollgate_gateway_answers_total[$__rate_interval]))`, "{{class}}")),
			chart("Answers by gateway", "Per second.", perSec, half, true, s.metrics(`sum by (instance) (rate(tollgate_gateway_answers_total[$__rate_interval]))`, "{{instance}}")),
			chart("Duration", "99th percentile of a request.", seconds, half, false, s.metrics(`histogram_quantile(0.99, sum by (le, instance) (rate(tollgate_gateway_duration_seconds_bucket[$__rate_interval])))`, "{{instance}}")),
			chart("Overhead", "99th percentile of a request without the wait for the upstream.", seconds, half, false, s.metrics(`histogram_quantile(0.99, sum by (le, instance) (rate(tollgate_gateway_overhead_seconds_bucket[$__rate_interval])))`, "{{instance}}")),
			chart("In flight", "Requests that are being served.", count, half, true, s.metrics(`sum by (instance) (tollgate_gateway_in_flight)`, "{{instance}}")),
			chart("Upstream failures", "Per second, by what went wrong.", perSec, half, true, s.metrics(`sum by (kind) (rate(tollgate_gateway_upstream_failures_total[$__rate_interval]))`, "{{kind}}")),
			chart("Retries", "Requests that were sent again, per second.", perSec, half, false, s.metrics(`sum by (instance) (rate(tollgate_gateway_upstream_retries_total[$__rate_interval]))`, "{{instance}}")),
			chart("Configuration", "Newest revision that is served: gateways that lag behind serve an older one.", none, half, false, s.metrics(`max by (instance) (tollgate_gateway_configuration_revision)`, "{{instance}}")),
			chart("Unrecorded answers", "Answers without a record, because the journal was full.", count, half, false, s.metrics(`sum by (instance) (increase(tollgate_gateway_unrecorded_total[$__rate_interval]))`, "{{instance}}")),
			chart("Ignored usage", "Quantities of upstreams that were ignored, by why.", count, half, false, s.metrics(`sum by (why) (increase(tollgate_gateway_usage_ignored_total[$__rate_interval]))`, "{{why}}")),
		},
	}
}

func billing(s Scope) content {
	return content{
		name: "billing", title: "billing runs", description: "What billing runs did, and what holds invoices up.",
		panels: []panel{
			number("Final invoices", "Finalized in the time.", count, third, s.table(`SELECT uniqExact(invoice) AS invoices FROM invoice_lines FINAL WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(finalized_at)`)),
			number("Held", "Times that an invoice was held up.", count, third, s.table(`SELECT count() AS held FROM billing_events FINAL WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(at) AND kind = 'held'`)),
			number("Runs", "Billing runs that finished in the time.", count, third, s.table(`SELECT count() AS runs FROM billing_events FINAL WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(at) AND kind = 'finished'`)),
			list("Runs", "The newest 100.", half, nil, s.table(`
				SELECT run, anyIf(period, kind = 'started') AS billed, minIf(at, kind = 'started') AS started, maxIf(at, kind = 'finished') AS finished, max(finalized) AS final, max(held) AS held_up
				FROM billing_events FINAL WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(at) AND run != '' GROUP BY tenant, run ORDER BY started DESC LIMIT 100`)),
			list("Invoices that were held up", "The newest 100, with the cause.", half, nil, s.table(`
				SELECT at AS time, invoice, cause FROM billing_events FINAL WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(at) AND kind = 'held' ORDER BY at DESC LIMIT 100`)),
			chart("Held by cause", "Per interval.", count, half, true, s.series(`
				SELECT $__timeInterval(at) AS time, cause, count() AS held FROM billing_events FINAL WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(at) AND kind = 'held' GROUP BY time, cause ORDER BY time`)),
			list("Lines of final invoices", "The newest 200.", half, nil, s.table(`
				SELECT finalized_at AS time, invoice, {name:account:account} AS account_name, {name:plan:plan} AS plan_name, price, quantity, amount, currency, calls FROM invoice_lines FINAL
				WHERE tenant IN (${tenant:sqlstring}) AND $__timeFilter(finalized_at) ORDER BY finalized_at DESC, invoice, line LIMIT 200`)),
		},
	}
}
