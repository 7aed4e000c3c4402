-- Names of what calls refer to, for whoever reads the table calls directly. What is written again replaces itself: read with FINAL.
CREATE TABLE IF NOT EXISTS names{{.OnCluster}}
(
    tenant LowCardinality(String),
    kind   LowCardinality(String), -- account, application, api, api-version, subscription, product, plan
    id     String,
    name   String
)
ENGINE = {{.ReplacingMergeTree}}
ORDER BY (tenant, kind, id);

-- The lines of invoices that are final.
CREATE TABLE IF NOT EXISTS invoice_lines{{.OnCluster}}
(
    tenant       LowCardinality(String),
    invoice      String,
    line         UInt32,
    finalized_at DateTime64(6, 'UTC'),
    period_start DateTime64(9, 'UTC'),
    period_end   DateTime64(9, 'UTC'),
    account      String,
    subscription String,
    plan         LowCardinality(String),
    plan_version UInt32,
    price        String,
    meter        LowCardinality(String),
    quantity     Decimal(38, 12),
    amount       Decimal(38, 12),
    currency     LowCardinality(String),
    calls        UInt64
)
ENGINE = {{.ReplacingMergeTree}}
ORDER BY (tenant, invoice, line);

-- Billing runs, and invoices that a run could not finalize.
CREATE TABLE IF NOT EXISTS billing_events{{.OnCluster}}
(
    tenant    LowCardinality(String),
    at        DateTime64(6, 'UTC'),
    event     String, -- its id
    kind      LowCardinality(String), -- started, finished or held
    run       String,
    period    String,
    finalized UInt32,
    held      UInt32,
    invoice   String,
    cause     LowCardinality(String)
)
ENGINE = {{.ReplacingMergeTree}}
ORDER BY (tenant, at, event);
