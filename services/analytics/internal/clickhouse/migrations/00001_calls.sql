-- Every call, once.
CREATE TABLE IF NOT EXISTS calls{{.OnCluster}}
(
    gateway              LowCardinality(String),
    boot                 UInt64                  CODEC(Delta, ZSTD(1)),
    seq                  UInt64                  CODEC(Delta, ZSTD(1)),
    started_at           DateTime64(9, 'UTC')    CODEC(Delta, ZSTD(1)),
    completed_at         DateTime64(9, 'UTC')    CODEC(Delta, ZSTD(1)),
    tenant               LowCardinality(String),
    api                  LowCardinality(String),
    api_version          LowCardinality(String),
    operation            LowCardinality(String),
    account              String                  CODEC(ZSTD(1)),
    application          String                  CODEC(ZSTD(1)),
    credential           String                  CODEC(ZSTD(1)),
    subscription         String                  CODEC(ZSTD(1)),
    product              LowCardinality(String),
    plan                 LowCardinality(String),
    plan_version         UInt32                  CODEC(ZSTD(1)),
    api_revision         UInt64                  CODEC(Delta, ZSTD(1)),
    entitlement_revision UInt64                  CODEC(Delta, ZSTD(1)),
    method               LowCardinality(String),
    host                 LowCardinality(String),
    path_template        LowCardinality(String),
    path                 String                  CODEC(ZSTD(1)),
    status               UInt16                  CODEC(ZSTD(1)),
    responder            LowCardinality(String),
    error_reason         LowCardinality(String),
    total_micros         UInt64                  CODEC(ZSTD(1)),
    upstream_micros      UInt64                  CODEC(ZSTD(1)),
    gateway_micros       UInt64                  CODEC(ZSTD(1)),
    bytes_in             UInt64                  CODEC(ZSTD(1)),
    bytes_out            UInt64                  CODEC(ZSTD(1)),
    cache_status         LowCardinality(String),
    attempts             UInt32                  CODEC(ZSTD(1)),
    target               LowCardinality(String),
    client_address       String                  CODEC(ZSTD(1)),
    user_agent           String                  CODEC(ZSTD(1)),
    trace_id             String                  CODEC(ZSTD(1)),
    meters               Array(LowCardinality(String)),
    quantities           Array(Decimal(38, 12))  CODEC(ZSTD(1)),
    usage_source         LowCardinality(String),
    end_reason           LowCardinality(String),
    billable             Bool                    CODEC(ZSTD(1)),
    reason               LowCardinality(String),
    call_units           Decimal(38, 12)         CODEC(ZSTD(1)),
    leases               Array(String)           CODEC(ZSTD(1)),
    lease_units          Array(Int64)            CODEC(ZSTD(1)),
    -- Digest of the identity, see libs/callset: it finds one call and adds up to the digest of many.
    digest               UInt64 MATERIALIZED reinterpretAsUInt64(substring(SHA256(concat(gateway, '.', toString(boot), '.', toString(seq))), 1, 8)) CODEC(NONE),
    -- What the client received as Tollgate-Call-Id, to be read; the digest is what finds a call.
    call                 String ALIAS concat(gateway, '.', toString(boot), '.', toString(seq)),

    INDEX by_digest digest TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_application application TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = {{.MergeTree}}
PARTITION BY toYYYYMM(completed_at)
ORDER BY (tenant, api, toStartOfHour(completed_at), subscription, completed_at)
-- A call is taken off the landing's hands once its insert is acknowledged: it must then survive a loss of power.
SETTINGS {{.Deduplication}} = 1000, fsync_after_insert = 1, fsync_part_directory = 1
